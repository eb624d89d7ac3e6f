"""Merges of patients on the jobs we hold (facts item 32): A40, its older forms, A47. Expected values are worked out by hand."""

from dataclasses import replace
from datetime import date

import pytest

from fhir_bridge.errors import StaleClaim
from fhir_bridge.job import Event, Stage, Status
from fhir_bridge.patient_intake import PatientTaken
from fhir_bridge.ports import Move
from mappings.order import Identifier, PatientIdentity
from tests.support.adt_messages import adt, cx, merge, mrg, pid
from tests.support.builders import MRN_SYSTEM, an_order
from tests.support.frozen_clock import FrozenClock
from tests.support.patient_desk import PatientDesk, bare, number

READY, RUNNING, WAITING, ON_HOLD = Status.READY, Status.RUNNING, Status.WAITING, Status.ON_HOLD
HELD, FAILED, DONE, CANCELLED = Status.HELD, Status.FAILED, Status.DONE, Status.CANCELLED


@pytest.fixture
def desk(clock: FrozenClock) -> PatientDesk:
    return PatientDesk(clock)


# item 32: A40 and its older forms A18, A30, A34, A36, A39; A46, A47
@pytest.mark.parametrize("trigger", ["A18", "A30", "A34", "A36", "A39", "A40", "A46", "A47"])
def test_a_waiting_job_follows_its_patient_to_the_surviving_number(desk: PatientDesk, trigger: str) -> None:
    job = desk.accept(an_order())
    taken = desk.adt(merge("CANARY-2", "CANARY-1", trigger=trigger))
    assert (taken, desk.numbers(job)) == (PatientTaken((job,)), (["2"], ["1"]))
    assert (desk.job(job).status, desk.job(job).stage, desk.job(job).reason) == (READY, Stage.CONTEXT, "patient.merged")


# item 32: A40
def test_the_survivor_is_described_as_the_merge_says(desk: PatientDesk) -> None:
    job = desk.accept(an_order())
    desk.adt(adt("A40", pid(cx("CANARY-2"), cx("CANARY-X2", "CLINIC"), birth="20210101", sex="M"), mrg(cx("CANARY-1"))))
    patient = desk.patient(job)
    assert (patient.birth_date, patient.sex) == (date(2021, 1, 1), "male")
    assert [(n.value, n.system) for n in patient.identifiers] == [
        ("CANARY-2", MRN_SYSTEM),
        ("CANARY-X2", "urn:clinic"),
    ]


# item 32: A40, of a job in any status
@pytest.mark.parametrize(
    ("status", "after"),
    [(READY, READY), (RUNNING, READY), (WAITING, READY), (ON_HOLD, ON_HOLD), (FAILED, READY), (DONE, READY),
     (CANCELLED, CANCELLED)],
)  # fmt: skip
def test_a_merge_reaches_a_job_in_any_status(desk: PatientDesk, status: Status, after: Status) -> None:
    job = desk.bring_to(status)
    system = job.order.patient.identifiers[0].namespace
    assert system == "HOSP"  # the desk's own messages name an authority without a rule
    with desk.store.transaction() as ledger:
        ledger.update_order(job.id, replace(job.order, patient=an_order().patient))
    desk.adt(merge("CANARY-2", "CANARY-1"))
    assert (desk.job(job.id).status, desk.numbers(job.id)) == (after, (["2"], ["1"]))


# item 32: A40
def test_a_running_job_is_taken_from_its_worker(desk: PatientDesk) -> None:
    desk.accept(an_order())
    claim = desk.claim()
    desk.adt(merge("CANARY-2", "CANARY-1"))
    with pytest.raises(StaleClaim):
        desk.queue.record(claim, Move(Event.ADVANCE, Stage.STUDY))


# item 32: A40
def test_a_delivered_result_is_made_and_sent_anew(desk: PatientDesk) -> None:
    job = desk.accept(an_order())
    for stage in (Stage.STUDY, Stage.DEIDENTIFY, Stage.ANALYSE, Stage.REPORT, Stage.DELIVER):
        desk.end(Event.ADVANCE, stage)
    desk.deliver()
    desk.adt(merge("CANARY-2", "CANARY-1"))
    assert (desk.job(job).status, desk.job(job).stage) == (READY, Stage.REPORT)
    assert [d.status for d in desk.store.deliveries(job)] == ["stale"]


# item 32: A40
@pytest.mark.parametrize("reason", ["patient.not-found", "patient.ambiguous", "identity.mismatch"])
def test_a_job_held_for_its_patient_tries_again_after_a_merge(desk: PatientDesk, reason: str) -> None:
    job = desk.accept(an_order())
    desk.end(Event.HOLD, reason=reason)
    desk.adt(merge("CANARY-2", "CANARY-1"))
    assert (desk.job(job).status, desk.events(job)[-1]) == (READY, ("replay", "patient.merged"))


# item 32: A40
def test_a_job_held_for_anything_else_follows_and_stays_held(desk: PatientDesk) -> None:
    job = desk.accept(an_order())
    desk.end(Event.HOLD, reason="deid.text-found")
    desk.adt(merge("CANARY-2", "CANARY-1"))
    assert (desk.job(job).status, desk.job(job).reason, desk.numbers(job)) == (HELD, "deid.text-found", (["2"], ["1"]))
    assert desk.events(job)[-1] == ("patient-changed", "patient.merged")


# item 32: A40
def test_two_jobs_for_one_order_do_not_both_run_after_their_patients_were_merged(desk: PatientDesk) -> None:
    first = desk.accept(an_order())
    second = desk.accept(an_order(placer=None, patient=replace(an_order().patient, identifiers=(number("2"),))))
    desk.adt(merge("CANARY-2", "CANARY-1"))
    assert (desk.job(first).status, desk.job(second).status) == (READY, HELD)
    assert desk.job(second).reason == "order.patient-conflict"


# item 32: later messages with the old number, by either door
@pytest.mark.parametrize("source", ["hl7v2", "fhir"])
def test_a_later_order_under_the_old_number_is_the_survivors(desk: PatientDesk, source: str) -> None:
    desk.adt(merge("CANARY-2", "CANARY-1"))
    patient = replace(an_order().patient, reference="Patient/old" if source == "fhir" else "")
    job = desk.accept(an_order(patient=patient), source)
    assert (desk.numbers(job), desk.patient(job).reference) == ((["2"], ["1"]), "")
    assert ("patient.identifiers", "redirected after a merge") in desk.job(job).order.trace


# item 32: later messages with the old number
def test_the_same_order_under_the_old_number_is_the_same_job(desk: PatientDesk) -> None:
    job = desk.accept(an_order())
    desk.adt(merge("CANARY-2", "CANARY-1"))
    assert (desk.accept(an_order()), desk.accept(an_order(mrn="CANARY-2")), len(desk.store.jobs())) == (job, job, 1)


# item 32: an ADT update under the old number
def test_a_later_update_under_the_old_number_reaches_the_survivors_jobs(desk: PatientDesk) -> None:
    job = desk.accept(an_order())
    desk.adt(merge("CANARY-2", "CANARY-1"))
    desk.adt(adt("A08", pid(cx("CANARY-1"), birth="20200202"), at="20260302100000"))
    assert (desk.patient(job).birth_date, desk.numbers(job)) == (date(2020, 2, 2), (["2"], ["1"]))


# item 32: chained, repeated and reversed merges. The last column: what the first order's patient has, and had.
@pytest.mark.parametrize(
    ("merges", "numbers"),
    [
        (("12", "12"), ("2", "1")),
        (("12", "23"), ("3", "12")),
        (("23", "12"), ("3", "1")),  # the later word about 2 came first
        (("12", "21"), ("1", "2")),
        (("12", "21", "12"), ("2", "1")),
        (("12", "23", "31"), ("1", "23")),
        (("12", "13"), ("3", "1")),  # the first was a mistake: 2 was never this patient's number
    ],
)
def test_merges_may_be_chained_repeated_and_reversed(
    desk: PatientDesk, merges: tuple[str, ...], numbers: tuple[str, str]
) -> None:
    job = desk.accept(an_order())
    for hour, (former, survivor) in enumerate(merges):
        desk.adt(merge(f"CANARY-{survivor}", f"CANARY-{former}", at=f"202603021{hour}0000"))
    assert tuple("".join(sorted(values)) for values in desk.numbers(job)) == numbers


# item 32: a repeated merge
def test_a_repeated_merge_touches_no_job(desk: PatientDesk) -> None:
    desk.accept(an_order())
    desk.adt(merge("CANARY-2", "CANARY-1"))
    assert desk.adt(merge("CANARY-2", "CANARY-1")) == PatientTaken()


# item 32: a merge that was superseded
def test_a_merge_that_was_reversed_since_has_no_effect(desk: PatientDesk) -> None:
    job = desk.accept(an_order())
    desk.adt(merge("CANARY-1", "CANARY-2", at="20260302100000"))
    taken = desk.adt(merge("CANARY-2", "CANARY-1", at="20260302090000"))
    assert (taken, desk.numbers(job)) == (PatientTaken((), ("patient.merge-stale",)), (["1"], []))


# item 32: a merge of a patient with himself
def test_a_merge_of_a_number_with_itself_is_warned_of(desk: PatientDesk) -> None:
    job = desk.accept(an_order())
    taken = desk.adt(merge("CANARY-1", "CANARY-1"))
    assert (taken, desk.numbers(job)) == (PatientTaken((), ("patient.merged-into-itself",)), (["1"], []))


# item 28, item 32: the same number of another authority is another patient
def test_the_same_number_of_another_authority_is_not_merged(desk: PatientDesk) -> None:
    job = desk.accept(an_order())
    taken = desk.adt(adt("A40", pid(cx("CANARY-2", "CLINIC")), mrg(cx("CANARY-1", "CLINIC"))))
    assert (taken, desk.numbers(job)) == (PatientTaken(), (["1"], []))


# item 32: a prior patient with numbers of two authorities
def test_each_prior_number_becomes_the_one_of_its_authority(desk: PatientDesk) -> None:
    patient = replace(an_order().patient, identifiers=(number("1"), number("7", "urn:clinic")))
    job = desk.accept(an_order(patient=patient))
    now = pid(cx("CANARY-8", "CLINIC"), cx("CANARY-2"))
    desk.adt(adt("A40", now, mrg(cx("CANARY-1"), cx("CANARY-7", "CLINIC"))))
    assert desk.numbers(job) == (["2", "8"], ["1", "7"])


# item 32: a prior number without its authority
def test_a_bare_prior_number_is_the_one_that_is_known(desk: PatientDesk) -> None:
    job = desk.accept(an_order())
    desk.adt(adt("A40", pid(cx("CANARY-2")), mrg(cx("CANARY-1", ""))))
    assert desk.numbers(job) == (["2"], ["1"])


# item 32: a prior number without its authority
def test_a_bare_prior_number_of_two_known_patients_moves_neither(desk: PatientDesk) -> None:
    jobs = [desk.accept(an_order("1")), desk.accept(an_order("2", patient=patient_of_the_clinic()))]
    taken = desk.adt(adt("A40", pid(cx("CANARY-2"), cx("CANARY-3", "CLINIC")), mrg(cx("CANARY-1", ""))))
    assert (taken, [desk.numbers(job)[0] for job in jobs]) == (
        PatientTaken(tuple(jobs), ("patient.merge-ambiguous",)),
        [["1"], ["1"]],
    )


def patient_of_the_clinic() -> PatientIdentity:
    return replace(an_order().patient, identifiers=(number("1", "urn:clinic"),))


# item 32: a prior number without its authority
def test_a_bare_prior_number_known_from_an_authority_that_the_survivor_lacks_is_ambiguous(desk: PatientDesk) -> None:
    job = desk.accept(an_order(patient=patient_of_the_clinic()))
    taken = desk.adt(adt("A40", pid(cx("CANARY-2")), mrg(cx("CANARY-1", ""))))
    assert (taken.warnings, desk.numbers(job)) == (("patient.merge-ambiguous",), (["1"], []))


# item 32: numbers without authorities on both sides count where birth date and sex agree (DESIGN §4a)
@pytest.mark.parametrize(
    ("described", "numbers"),
    [
        ({}, (["2"], ["1"])),
        ({"birth": "20210304"}, (["1"], [])),
        ({"sex": "M"}, (["1"], [])),
        ({"birth": ""}, (["1"], [])),
    ],
)
def test_bare_numbers_are_merged_only_where_the_person_is_the_same(
    desk: PatientDesk, described: dict[str, str], numbers: tuple[list[str], list[str]]
) -> None:
    job = desk.accept(an_order(patient=bare("CANARY-1")))
    taken = desk.adt(adt("A40", pid(cx("CANARY-2", ""), **described), mrg(cx("CANARY-1", ""))))
    assert (desk.numbers(job), taken.warnings) == (numbers, () if numbers[1] else ("patient.merge-ambiguous",))


# item 32: the order's sender names no authority, the merge does: what was a bare number stays one
@pytest.mark.parametrize(("birth", "numbers"), [("20220304", (["2"], ["1"])), ("20220305", (["1"], []))])
def test_an_order_under_a_bare_number_follows_only_where_the_person_is_the_same(
    desk: PatientDesk, birth: str, numbers: tuple[list[str], list[str]]
) -> None:
    job, other = desk.accept(an_order(patient=bare("CANARY-1"))), desk.accept(an_order("2"))
    desk.adt(merge("CANARY-2", "CANARY-1", birth=birth))
    assert (desk.numbers(job), desk.numbers(other)) == (numbers, (["2"], ["1"]))
    assert [n.system for n in desk.patient(job).identifiers] == [""]


# item 32: the order came before the site had a rule for the authority
def test_an_order_from_before_the_rule_for_its_authority_is_pointed_out(desk: PatientDesk) -> None:
    patient = replace(an_order().patient, identifiers=(Identifier("CANARY-1", type="MR", namespace="HOSP"),))
    job = desk.accept(an_order(patient=patient))
    taken = desk.adt(merge("CANARY-2", "CANARY-1"))
    assert (taken, desk.numbers(job)) == (PatientTaken((job,), ("patient.merge-ambiguous",)), (["1"], []))


# item 28, item 32: two authorities have given this number
def test_an_order_under_a_bare_number_of_two_patients_does_not_follow(desk: PatientDesk) -> None:
    job = desk.accept(an_order(patient=bare("CANARY-1")))
    desk.accept(an_order("2", patient=patient_of_the_clinic()))
    taken = desk.adt(merge("CANARY-2", "CANARY-1"))
    assert (desk.numbers(job), taken) == ((["1"], []), PatientTaken((job,), ("patient.merge-ambiguous",)))


# item 32: one patient's jobs run one after the other, under whichever number they came
def test_jobs_of_two_merged_patients_run_one_after_the_other(desk: PatientDesk) -> None:
    desk.accept(an_order("1"))
    desk.accept(an_order("2", mrn="CANARY-2"))
    desk.adt(merge("CANARY-2", "CANARY-1"))
    assert (desk.claim().job.order.accession, desk.queue.claim("other")) == (an_order("1").accession, None)


def test_no_warning_and_no_line_of_a_timeline_holds_a_number(desk: PatientDesk) -> None:
    job = desk.accept(an_order(patient=bare("CANARY-1", birth=None)))
    taken = desk.adt(merge("CANARY-2", "CANARY-1"))
    assert "CANARY" not in f"{taken!r}{desk.events(job)!r}"
