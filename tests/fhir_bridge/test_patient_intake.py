"""ADT events but merges on the jobs we hold, event by event (facts items 31 and 32). Expected values are worked out by hand."""

from dataclasses import replace
from datetime import date

import pytest

from fhir_bridge.job import Event, Stage, Status
from fhir_bridge.patient_intake import PatientTaken
from mappings.code import Code
from mappings.order import Identifier, OrderControl
from tests.support.adt_messages import adt, cx, merge, mrg, pid, pv1
from tests.support.builders import an_order
from tests.support.frozen_clock import FrozenClock
from tests.support.patient_desk import PatientDesk, bare, number

READY, HELD, DONE, CANCELLED = Status.READY, Status.HELD, Status.DONE, Status.CANCELLED


@pytest.fixture
def desk(clock: FrozenClock) -> PatientDesk:
    return PatientDesk(clock)


# item 32: A01 A04 A05 A28 A08 A31
@pytest.mark.parametrize("trigger", ["A01", "A04", "A05", "A08", "A28", "A31"])
def test_an_update_reaches_a_waiting_job(desk: PatientDesk, trigger: str) -> None:
    job = desk.accept(an_order())
    taken = desk.adt(adt(trigger, pid(cx("CANARY-1"), cx("CANARY-X", "CLINIC"), birth="20210101", sex="M")))
    patient = desk.patient(job)
    assert (taken.jobs, patient.birth_date, patient.sex) == ((job,), date(2021, 1, 1), "male")
    assert ([n.value for n in patient.identifiers], patient.former) == (["CANARY-1", "CANARY-X"], ())
    assert (desk.job(job).status, desk.job(job).reason) == (READY, "patient.updated")


# item 32: A08
def test_an_update_that_says_nothing_new_touches_no_job(desk: PatientDesk) -> None:
    job = desk.accept(an_order())
    before = desk.events(job)
    assert (desk.adt(adt("A08", pid(cx("CANARY-1")))), desk.events(job)) == (PatientTaken(), before)


# item 32: A08, not the result's frozen copy
@pytest.mark.parametrize("stage", [Stage.CONTEXT, Stage.REPORT, Stage.DELIVER])
def test_an_update_leaves_a_reported_result_alone(desk: PatientDesk, stage: Stage) -> None:
    job = desk.accept(an_order())
    desk.end(Event.ADVANCE, stage)
    desk.adt(adt("A08", pid(cx("CANARY-1"), birth="20210101")))
    changed = desk.patient(job).birth_date == date(2021, 1, 1)
    assert changed is (stage is not Stage.DELIVER)


# item 32: A08
@pytest.mark.parametrize("status", [DONE, CANCELLED])
def test_an_update_leaves_an_ended_job_alone(desk: PatientDesk, status: Status) -> None:
    job = desk.bring_to(status)
    with desk.store.transaction() as ledger:
        ledger.update_order(job.id, an_order())
    desk.adt(adt("A08", pid(cx("CANARY-1"), birth="20210101")))
    assert (desk.job(job.id).status, desk.patient(job.id)) == (status, an_order().patient)


# item 32: A08 of a job that was held because birth date or sex did not agree
def test_a_job_held_for_its_patient_tries_again_after_an_update(desk: PatientDesk) -> None:
    job = desk.accept(an_order())
    desk.end(Event.HOLD, Stage.STUDY, "identity.mismatch")
    desk.adt(adt("A08", pid(cx("CANARY-1"), birth="20210101")))
    assert (desk.job(job).status, desk.job(job).stage) == (READY, Stage.CONTEXT)
    assert desk.events(job)[-1] == ("replay", "patient.updated")


# item 31: an A08 that is older than what the job knows has no effect; wall arrival does not count
def test_an_update_older_than_the_last_one_is_stale(desk: PatientDesk) -> None:
    job = desk.accept(an_order())
    desk.adt(adt("A08", pid(cx("CANARY-1"), birth="20210101"), at="20260302100000"))
    taken = desk.adt(adt("A08", pid(cx("CANARY-1"), birth="20190101"), at="20260302090000"))
    assert (taken.warnings, desk.patient(job).birth_date) == (("patient.update-stale",), date(2021, 1, 1))


# item 31: an update that confirms what is known counts as the last one, too
def test_an_update_older_than_one_that_changed_nothing_is_stale(desk: PatientDesk) -> None:
    job = desk.accept(an_order())
    desk.adt(adt("A08", pid(cx("CANARY-1")), at="20260302100000"))
    taken = desk.adt(adt("A08", pid(cx("CANARY-1"), birth="20190101"), at="20260302090000"))
    assert (taken.warnings, desk.patient(job).birth_date) == (("patient.update-stale",), date(2022, 3, 4))


# item 31: an A08 that is older than the order's own PID, by the clock of one sender
@pytest.mark.parametrize(("sender", "warnings"), [("RIS|HOSP", ("patient.update-stale",)), ("EMR|HOSP", ())])
def test_an_update_older_than_the_orders_pid_is_stale_by_the_same_clock_only(
    desk: PatientDesk, sender: str, warnings: tuple[str, ...]
) -> None:
    desk.order("NW")  # of RIS|HOSP, at 09:30
    job = desk.jobs()[0]
    with desk.store.transaction() as ledger:
        known = replace(job.order.patient, identifiers=(number("1"),))
        ledger.update_order(job.id, replace(job.order, patient=known))
    taken = desk.adt(adt("A08", pid(cx("CANARY-1"), birth="20190101"), at="20260302090000", sender=sender))
    assert taken.warnings == warnings


# item 28, item 32: A08 of the same number of another authority, and of a patient who shares one number
@pytest.mark.parametrize(
    "numbers", [(cx("CANARY-1", "CLINIC"),), (cx("CANARY-9"), cx("CANARY-X", "CLINIC"))], ids=["authority", "shared"]
)
def test_an_update_of_another_patient_is_not_taken_for_ours(desk: PatientDesk, numbers: tuple[str, ...]) -> None:
    patient = replace(an_order().patient, identifiers=(number("1"), number("X", "urn:clinic")))
    job = desk.accept(an_order(patient=patient))
    desk.adt(adt("A08", pid(*numbers, birth="20190101")))
    assert desk.patient(job) == patient


# item 32: A08 by a bare number
@pytest.mark.parametrize(("birth", "warnings"), [("20220304", ()), ("20190101", ("patient.update-unproven",))])
def test_a_bare_number_alone_does_not_change_who_the_patient_is(
    desk: PatientDesk, birth: str, warnings: tuple[str, ...]
) -> None:
    job = desk.accept(an_order(patient=bare("CANARY-1")))
    taken = desk.adt(adt("A08", pid(cx("CANARY-1", ""), cx("CANARY-X", "CLINIC"), birth=birth, sex="M")))
    patient = desk.patient(job)
    assert (taken.warnings, patient.birth_date, patient.sex) == (
        warnings,
        date(2022, 3, 4),
        "female" if warnings else "male",
    )
    assert [n.value for n in patient.identifiers] == ["CANARY-1"]


ACCOUNT, OTHER_ACCOUNT = Identifier("CANARY-K1", namespace="BILL"), Identifier("CANARY-K9", namespace="BILL")


# item 32: A43
def test_a_moved_number_is_looked_for_again(desk: PatientDesk) -> None:
    job = desk.accept(an_order(patient=replace(an_order().patient, reference="Patient/7")))
    desk.end(Event.ADVANCE, Stage.STUDY)
    desk.adt(adt("A43", pid(cx("CANARY-1"), birth="20210101"), mrg(cx("CANARY-1"))))
    patient = desk.patient(job)
    assert (desk.numbers(job), patient.birth_date, patient.reference) == ((["1"], []), date(2021, 1, 1), "")
    assert (desk.job(job).stage, desk.job(job).reason) == (Stage.CONTEXT, "patient.moved")


# item 32: A44
def test_a_moved_account_takes_its_orders_along_and_no_others(desk: PatientDesk) -> None:
    jobs = [desk.accept(an_order("1", account=ACCOUNT)), desk.accept(an_order("2", account=OTHER_ACCOUNT))]
    account = cx("CANARY-K1", "BILL", "AN")
    desk.adt(adt("A44", pid(cx("CANARY-2"), birth="20210101", account=account), mrg(cx("CANARY-1"), account=account)))
    assert [desk.numbers(job) for job in jobs] == [
        (["2"], []),
        (["1"], []),
    ]  # and the wrong patient's number is no former one
    assert (desk.patient(jobs[0]).birth_date, desk.job(jobs[0]).reason) == (date(2021, 1, 1), "patient.moved")


# item 32: A44 where an order does not say its account: nobody guesses
def test_an_order_that_may_belong_to_a_moved_account_is_held(desk: PatientDesk) -> None:
    job = desk.accept(an_order())
    account = cx("CANARY-K1", "BILL", "AN")
    taken = desk.adt(adt("A44", pid(cx("CANARY-2"), account=account), mrg(cx("CANARY-1"), account=account)))
    assert (taken, desk.numbers(job)) == (PatientTaken((job,), ("order.move-uncertain",)), (["1"], []))
    assert (desk.job(job).status, desk.job(job).reason) == (HELD, "order.move-uncertain")


# item 32: A43, A44 by a number without its authority: nobody guesses
@pytest.mark.parametrize("trigger", ["A43", "A44"])
@pytest.mark.parametrize("account", [ACCOUNT, None])
def test_an_order_that_a_bare_number_may_mean_is_held(
    desk: PatientDesk, trigger: str, account: Identifier | None
) -> None:
    job = desk.accept(an_order(account=account))
    moved = cx("CANARY-K1", "BILL", "AN")
    taken = desk.adt(adt(trigger, pid(cx("CANARY-2"), account=moved), mrg(cx("CANARY-1", ""), account=moved)))
    assert (taken, desk.numbers(job)) == (PatientTaken((job,), ("order.move-uncertain",)), (["1"], []))
    assert (desk.job(job).status, desk.job(job).reason) == (HELD, "order.move-uncertain")


# item 32: A44 by a number without its authority: of another account
def test_an_order_of_another_account_is_not_held_for_a_bare_number(desk: PatientDesk) -> None:
    job = desk.accept(an_order(account=OTHER_ACCOUNT))
    moved = cx("CANARY-K1", "BILL", "AN")
    taken = desk.adt(adt("A44", pid(cx("CANARY-2"), account=moved), mrg(cx("CANARY-1", ""), account=moved)))
    assert (taken, desk.job(job).status) == (PatientTaken(), READY)


# item 32: A44 leaves open whose an order is; no other message settles that
@pytest.mark.parametrize("before", ["study.no-images", "patient.not-found", "fhir.unavailable"])
def test_a_job_that_rests_already_is_held_for_an_uncertain_move(desk: PatientDesk, before: str) -> None:
    job = desk.accept(an_order())
    desk.end(Event.EXHAUST if before == "fhir.unavailable" else Event.HOLD, reason=before)
    account = cx("CANARY-K1", "BILL", "AN")
    desk.adt(adt("A44", pid(cx("CANARY-2"), account=account), mrg(cx("CANARY-1"), account=account)))
    desk.accept(an_order(control=OrderControl.COMPLETED, control_code="SC"))
    desk.accept(an_order(control=OrderControl.CHANGE, procedure=Code("XHAND", "urn:site:procedures", "Hand")))
    desk.adt(merge("CANARY-3", "CANARY-1"))
    assert (desk.job(job).status, desk.job(job).reason) == (HELD, "order.move-uncertain")


# item 32: A44; order control: HD
def test_an_order_on_hold_stays_on_hold_once_a_person_has_settled_whose_it_is(desk: PatientDesk) -> None:
    job = desk.accept(an_order())
    desk.accept(an_order(control=OrderControl.HOLD))
    account = cx("CANARY-K1", "BILL", "AN")
    desk.adt(adt("A44", pid(cx("CANARY-2"), account=account), mrg(cx("CANARY-1"), account=account)))
    held = desk.job(job).status
    with desk.store.transaction() as ledger:
        ledger.happen(job, Event.REPLAY, "operator.replay")
    assert (held, desk.job(job).status) == (HELD, Status.ON_HOLD)


# item 32: A45
def test_a_moved_visit_takes_its_orders_along(desk: PatientDesk) -> None:
    job = desk.accept(an_order(visit=Identifier("CANARY-V1", namespace="VISITS")))
    visit = cx("CANARY-V1", "VISITS", "VN")
    desk.adt(adt("A45", pid(cx("CANARY-2")), mrg(cx("CANARY-1"), visit=visit), pv1(visit)))
    assert desk.numbers(job) == (["2"], [])


# item 32: A45 under the same patient
def test_a_visit_that_changes_only_its_account_leaves_the_patient_alone(desk: PatientDesk) -> None:
    job = desk.accept(an_order(visit=Identifier("CANARY-V1", namespace="VISITS")))
    visit = cx("CANARY-V1", "VISITS", "VN")
    taken = desk.adt(adt("A45", pid(cx("CANARY-1")), mrg("", visit=visit), pv1(visit)))
    assert (taken, desk.numbers(job)) == (PatientTaken(), (["1"], []))


# item 32: A35, A41, A49: the account is not the patient
@pytest.mark.parametrize("trigger", ["A35", "A41", "A49"])
def test_a_merged_account_changes_its_orders_account_and_nothing_else(desk: PatientDesk, trigger: str) -> None:
    job = desk.accept(an_order(account=ACCOUNT))
    desk.adt(
        adt(trigger, pid(cx("CANARY-1"), account=cx("CANARY-K2", "BILL")), mrg("", account=cx("CANARY-K1", "BILL")))
    )
    account = desk.job(job).order.account
    assert account is not None
    assert (account.value, desk.numbers(job), desk.job(job).stage) == ("CANARY-K2", (["1"], []), Stage.CONTEXT)
    assert desk.events(job)[-1] == ("merge-account", "")


# item 32: A42, A50: the visit is not the patient
@pytest.mark.parametrize("trigger", ["A42", "A50"])
def test_a_merged_visit_changes_its_orders_visit_and_nothing_else(desk: PatientDesk, trigger: str) -> None:
    job = desk.accept(an_order(visit=Identifier("CANARY-V1", namespace="VISITS")))
    now = pv1(cx("CANARY-V2", "VISITS", "VN"))
    desk.adt(adt(trigger, pid(cx("CANARY-1")), mrg("", visit=cx("CANARY-V1", "VISITS", "VN")), now))
    visit = desk.job(job).order.visit
    assert visit is not None
    assert (visit.value, desk.numbers(job), desk.events(job)[-1]) == ("CANARY-V2", (["1"], []), ("merge-visit", ""))


# item 32: A11 cancels the visit, A13 the discharge: no order is cancelled by guess
@pytest.mark.parametrize(("trigger", "event"), [("A11", "cancel-visit"), ("A13", "reopen-visit")])
def test_a_cancelled_visit_is_noted_on_its_orders_only(desk: PatientDesk, trigger: str, event: str) -> None:
    visit = Identifier("CANARY-V1", namespace="VISITS")
    jobs = [desk.accept(an_order("1", visit=visit)), desk.accept(an_order("2"))]
    taken = desk.adt(adt(trigger, pid(cx("CANARY-1")), pv1(cx("CANARY-V1", "VISITS", "VN"))))
    assert (taken, [desk.job(job).status for job in jobs]) == (PatientTaken((jobs[0],)), [READY, READY])
    assert [desk.events(job)[-1][0] for job in jobs] == [event, "received"]


# item 32: A24, A37: a link is for people
@pytest.mark.parametrize(("trigger", "event"), [("A24", "link"), ("A37", "unlink")])
def test_a_link_moves_no_order_and_is_seen_on_both_patients(desk: PatientDesk, trigger: str, event: str) -> None:
    jobs = [
        desk.accept(an_order("1")),
        desk.accept(an_order("2", mrn="CANARY-2")),
        desk.accept(an_order("3", mrn="CANARY-3")),
    ]
    desk.adt(adt(trigger, pid(cx("CANARY-1")), pid(cx("CANARY-2"))))
    assert [desk.numbers(job)[0] for job in jobs] == [["1"], ["2"], ["3"]]
    assert [desk.events(job)[-1][0] for job in jobs] == [event, event, "received"]


# item 32: A37 does not undo a merge; HL7 v2 has no such event
def test_an_unlink_does_not_undo_a_merge(desk: PatientDesk) -> None:
    job = desk.accept(an_order())
    desk.adt(merge("CANARY-2", "CANARY-1"))
    desk.adt(adt("A37", pid(cx("CANARY-1")), pid(cx("CANARY-2"))))
    assert desk.numbers(job) == (["2"], ["1"])


# item 32: every other event
@pytest.mark.parametrize("trigger", ["A02", "A03", "A06", "A09", "A29", "A60"])
def test_another_event_has_no_effect(desk: PatientDesk, trigger: str) -> None:
    desk.accept(an_order())
    assert desk.adt(adt(trigger, pid(cx("CANARY-1"), birth="19000101"))) == PatientTaken()
