"""A FHIR order is what its ServiceRequest says now, however we heard of it (facts on FHIR, receiver contract, rules 2, 3 and 8)."""

from typing import Any

import pytest

from fhir_bridge.job import Event, Stage, Status
from mappings.code import Code
from mappings.order import OrderControl
from tests.support.builders import an_order
from tests.support.fhir_house import OTHER_PATIENT, House, a_category, a_code, a_service_request, typed
from tests.support.frozen_clock import FrozenClock

READY, ON_HOLD, CANCELLED = Status.READY, Status.ON_HOLD, Status.CANCELLED
CANCEL, HOLD, RELEASE = OrderControl.CANCEL, OrderControl.HOLD, OrderControl.RELEASE


@pytest.fixture
def house(clock: FrozenClock) -> House:
    return House(clock)


def states(house: House, *statuses: str) -> None:
    """The ServiceRequest, one version after the other."""
    for status in statuses:
        if status == "deleted":
            house.delete("ServiceRequest/9")
        else:
            house.put(a_service_request(status=status))


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ("revoked", "order.revoked"),
        ("entered-in-error", "order.entered-in-error"),
        ("deleted", "order.deleted"),
    ],
)
def test_a_cancel_on_the_server_has_a_reason_of_its_own(house: House, status: str, reason: str) -> None:
    states(house, "active", status)
    assert house.standing() == [(CANCELLED, reason)]


def test_an_order_that_is_not_to_be_performed_stops_until_it_is(house: House) -> None:
    states(house, "active")
    house.put(a_service_request(doNotPerform=True))
    stopped = house.standing()
    states(house, "active")
    assert (stopped, house.statuses()) == ([(CANCELLED, "order.do-not-perform")], [READY])


def test_what_is_not_to_be_performed_makes_no_job(house: House) -> None:
    house.put(a_service_request(doNotPerform=True))
    assert house.jobs() == []


@pytest.mark.parametrize("end", ["revoked", "entered-in-error", "deleted"])
@pytest.mark.parametrize(("again", "status"), [("active", READY), ("on-hold", ON_HOLD)])
def test_what_is_placed_again_after_a_cancel_on_the_server_is_ordered_anew(
    house: House, end: str, again: str, status: Status
) -> None:
    states(house, "active", end, again)
    assert house.statuses() == [status]
    assert ("replay", "order.ordered-anew") in house.timeline()


@pytest.mark.parametrize("end", ["revoked", "entered-in-error"])
def test_an_order_first_seen_revoked_runs_once_it_is_active(house: House, end: str) -> None:
    states(house, end)
    before = house.standing()
    states(house, "active")
    assert (before, house.statuses()) == ([(CANCELLED, f"order.{end}")], [READY])


def test_a_newer_version_that_is_still_active_does_not_undo_a_cancel_by_hl7_v2(house: House) -> None:
    states(house, "active")
    house.hl7(an_order("1", control=CANCEL))
    house.put(a_service_request(priority="stat"))
    assert house.standing() == [(CANCELLED, "order.cancelled")]


def test_the_timeline_of_an_order_of_hl7_v2_says_that_it_came_by_fhir_too(house: House) -> None:
    house.hl7(an_order("1"))
    states(house, "active")
    assert ("received-again", "order.same") in house.timeline()


def test_what_hl7_v2_cancelled_stays_cancelled_though_the_server_revoked_and_placed_it_again(house: House) -> None:
    house.hl7(an_order("1"))
    states(house, "active")
    house.hl7(an_order("1", control=CANCEL))
    states(house, "revoked", "active")
    assert house.statuses() == [CANCELLED]


def test_what_an_operator_cancelled_stays_cancelled_though_the_request_changes(house: House) -> None:
    states(house, "active")
    with house.store.transaction() as ledger:
        ledger.happen(house.jobs()[0].id, Event.CANCEL, "operator.cancel")
    house.put(a_service_request(priority="stat"))
    assert house.standing() == [(CANCELLED, "operator.cancel")]


@pytest.mark.parametrize(
    ("end", "status", "warning"), [("revoked", CANCELLED, "order.revoked"), ("deleted", READY, "")]
)
def test_hl7_v2_orders_anew_what_the_server_has_deleted_but_not_what_it_says_is_revoked(
    house: House, end: str, status: Status, warning: str
) -> None:
    house.hl7(an_order("1"))
    states(house, "active", end)
    taken = house.hl7(an_order("1"))
    assert (taken.warning, house.statuses()) == (warning, [status])


@pytest.mark.parametrize("door", ["hl7v2", "fhir"])
def test_an_order_on_hold_by_both_doors_waits_for_both(house: House, door: str) -> None:
    house.hl7(an_order("1"))
    states(house, "on-hold")
    house.hl7(an_order("1", control=HOLD))
    first = lambda: house.hl7(an_order("1", control=RELEASE))  # noqa: E731
    second = lambda: states(house, "active")  # noqa: E731
    order = (first, second) if door == "hl7v2" else (second, first)
    seen = []
    for release in order:
        release()
        seen += house.statuses()
    assert seen == [ON_HOLD, READY]


@pytest.mark.parametrize("lost", [("on-hold", "active"), ("on-hold", "active", "on-hold", "active")])
def test_a_hold_and_its_release_that_were_never_told_change_nothing(house: House, lost: tuple[str, ...]) -> None:
    states(house, "active")
    house.minutes += len(lost)
    states(house, "active")
    assert house.statuses() == [READY]


# rule 2: older version than processed = ignore
def test_an_older_version_than_the_one_processed_is_ignored(house: House) -> None:
    house.put(a_service_request(status="revoked"), at=20)
    house.put(a_service_request(priority="stat"), at=10)
    assert (house.statuses(), house.settled()) == ([CANCELLED], ("done", "order.stale"))


@pytest.mark.parametrize("status", ["active", "on-hold"])
def test_what_a_person_decided_stays_where_the_same_state_is_told_again(house: House, status: str) -> None:
    states(house, "on-hold")
    with house.store.transaction() as ledger:
        ledger.happen(house.jobs()[0].id, Event.REPLAY, "operator.replay")
    states(house, status)
    assert house.statuses() == [READY]


@pytest.mark.parametrize("status", ["draft", "completed", "unknown"])
def test_a_request_that_asks_for_nothing_makes_no_job(house: House, status: str) -> None:
    states(house, status)
    assert (house.jobs(), house.settled()) == ([], ("done", "notification.no-order"))


def test_a_draft_becomes_an_order_once_it_is_active(house: House) -> None:
    states(house, "draft", "active")
    assert house.statuses() == [READY]


@pytest.mark.parametrize("status", ["completed", "unknown", "draft"])
def test_a_job_goes_on_though_its_request_asks_for_nothing_more(house: House, status: str) -> None:
    states(house, "active", status)
    assert house.statuses() == [READY]


def test_a_request_that_was_revoked_and_is_completed_stays_cancelled(house: House) -> None:
    states(house, "active", "revoked", "completed")
    assert house.statuses() == [CANCELLED]


# rule 8: seen later
@pytest.mark.parametrize("end", ["revoked", "entered-in-error", "deleted"])
def test_a_revocation_after_the_result_is_out_is_pointed_out(house: House, end: str) -> None:
    states(house, "active")
    house.finish()
    states(house, end)
    assert (house.statuses(), house.settled()) == ([Status.DONE], ("done", "order.revoked-after-result"))
    assert house.timeline()[-1] == ("cancel-ignored", "order.revoked-after-result")


def test_a_revocation_after_the_result_is_pointed_out_once(house: House) -> None:
    states(house, "active")
    house.finish()
    states(house, "revoked", "revoked")
    assert house.timeline().count(("cancel-ignored", "order.revoked-after-result")) == 1


def test_a_job_whose_revocation_came_too_late_for_its_result_runs_again_once_it_is_active(house: House) -> None:
    states(house, "active")
    claim = house.queue.claim("w")
    assert claim is not None
    house.store.begin_delivery(claim, "fhir")
    states(house, "revoked", "active")
    job = house.jobs()[0]
    assert (job.status, job.stage, job.reason) == (READY, Stage.CONTEXT, "order.ordered-anew")


def test_what_the_request_says_no_more_is_gone(house: House) -> None:
    house.put(a_service_request(reasonCode=[{"text": "cough"}], code=a_code("24627-2")))
    house.put(a_service_request(identifier=[]))
    order = house.jobs()[0].order
    assert (order.reason, order.procedure, order.accession) == ("", None, None)


def test_what_hl7_v2_added_stays_though_the_request_says_nothing_of_it(house: House) -> None:
    house.put(a_service_request())
    house.hl7(an_order("1"))
    house.put(a_service_request(priority="stat"))
    order = house.jobs()[0].order
    assert (order.placer and order.placer.value, order.modality, order.priority) == ("CANARY-P1", "DX", "stat")


def test_a_change_while_on_hold_counts(house: House) -> None:
    states(house, "active")
    house.put(a_service_request(status="on-hold", priority="stat"))
    assert [(job.status, job.priority) for job in house.jobs()] == [(ON_HOLD, "stat")]


# one accession number, two requests: each gets its result
@pytest.mark.parametrize("code", ["36643-5", "24627-2"], ids=["another procedure", "the same procedure"])
def test_two_requests_under_one_accession_number_are_two_jobs(house: House, code: str) -> None:
    house.put(a_service_request(code=a_code("24627-2")))
    house.put(a_service_request(id="10", code=a_code(code)))
    house.put(a_service_request(status="revoked", code=a_code("24627-2")))
    assert [(job.order.service_request, job.status) for job in house.jobs()] == [
        ("ServiceRequest/9", CANCELLED),
        ("ServiceRequest/10", READY),
    ]


def test_an_hl7_v2_order_under_an_accession_number_of_two_requests_is_the_one_of_its_procedure(house: House) -> None:
    site = "urn:site:procedures"
    house.put(a_service_request(code=a_code("XHAND", site)))
    house.put(a_service_request(id="10", code=a_code("XCHEST", site)))
    taken = house.hl7(an_order("1"))
    assert (len(house.jobs()), taken.job) == (2, house.jobs()[1].id)


def test_a_request_under_an_accession_number_of_two_hl7_v2_orders_is_the_one_of_its_procedure(house: House) -> None:
    first, second = (
        house.hl7(an_order("1", placer=typed_placer(n), procedure=Code(code, "urn:site:procedures")))
        for n, code in (("1", "XHAND"), ("2", "XCHEST"))
    )
    house.put(a_service_request(code=a_code("XCHEST", "urn:site:procedures")))
    joined = [job.id for job in house.jobs() if job.order.service_request]
    assert (joined, first.job != second.job) == ([second.job], True)


def typed_placer(number: str) -> Any:
    return an_order(number).placer


def test_a_request_that_is_of_another_patient_now_goes_on_for_nobody(house: House) -> None:
    house.record.store(OTHER_PATIENT)
    states(house, "active")
    house.put(a_service_request(subject={"reference": "Patient/8"}))
    assert (house.standing(), house.settled()) == (
        [(Status.HELD, "order.patient-conflict")],
        ("done", "order.patient-conflict"),
    )


REPLACING: dict[str, Any] = {"id": "10", "identifier": [typed("ACSN", "CANARY-A2")]}


def test_a_replacing_order_and_the_replaced_one_name_each_other(house: House) -> None:
    states(house, "active", "revoked")
    house.put(a_service_request(**REPLACING, replaces=[{"reference": "ServiceRequest/9"}]))
    old, new = house.jobs()
    assert ("replaced-by", new.id) in house.timeline(0)
    assert ("replaces", old.id) in house.timeline(1)


def test_a_replaced_order_whose_revocation_was_not_told_is_looked_at_again(house: House) -> None:
    states(house, "active")
    house.record.store(a_service_request(status="revoked"))
    house.put(a_service_request(**REPLACING, replaces=[{"reference": "ServiceRequest/9"}]))
    row = house.last()
    house.inbox.settle_due()
    assert (row.subscription, row.resource_id, house.statuses()) == ("inbox", "9", [CANCELLED, READY])


def test_a_replacement_is_named_once_and_two_that_replace_each_other_come_to_an_end(house: House) -> None:
    house.put(a_service_request(replaces=[{"reference": "ServiceRequest/10"}]))
    house.put(a_service_request(**REPLACING, replaces=[{"reference": "ServiceRequest/9"}]))
    for _ in range(5):
        house.inbox.settle_due()
    house.put(a_service_request(**REPLACING, replaces=[{"reference": "ServiceRequest/9"}], priority="stat"))
    assert (house.inbox.settle_due(), [event for event, _ in house.timeline(1)].count("replaces")) == (0, 1)


def test_a_known_order_that_now_says_what_it_replaces_is_linked(house: House) -> None:
    states(house, "active")
    house.put(a_service_request(**REPLACING))
    house.put(a_service_request(**REPLACING, replaces=[{"reference": "ServiceRequest/9"}]))
    assert ("replaces", house.jobs()[0].id) in house.timeline(1)


def test_a_known_order_stays_one_though_its_numbers_are_corrected(house: House) -> None:
    states(house, "active")
    house.put(a_service_request(identifier=[typed("ACSN", "CANARY-A2")], category=a_category("363679005")))
    assert [job.order.accession and job.order.accession.value for job in house.jobs()] == ["CANARY-A2"]
