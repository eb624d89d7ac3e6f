"""Each row of the order-control table (HL7 v2.5.1 §4.5.1.1, table 0119) on jobs in every status: what happens, what is answered."""

import pytest

from fhir_bridge.errors import StaleClaim
from fhir_bridge.job import Event, Stage, Status
from fhir_bridge.order_intake import Taken
from fhir_bridge.ports import Move
from tests.support.frozen_clock import FrozenClock
from tests.support.order_desk import OrderDesk, message, segments

READY, RUNNING, WAITING, ON_HOLD = Status.READY, Status.RUNNING, Status.WAITING, Status.ON_HOLD
HELD, FAILED, DONE, CANCELLED = Status.HELD, Status.FAILED, Status.DONE, Status.CANCELLED
STOPPABLE = (READY, RUNNING, WAITING, ON_HOLD, HELD, FAILED)


@pytest.fixture
def desk(clock: FrozenClock) -> OrderDesk:
    return OrderDesk(clock)


def said(taken: Taken) -> tuple[str, str]:
    return taken.answer, taken.warning


# order control: NW, PR, SN, RO
@pytest.mark.parametrize("control", ["NW", "PR", "SN", "RO"])
def test_a_new_order_makes_one_job_and_the_same_again_none(desk: OrderDesk, control: str) -> None:
    first, second = desk.order(control), desk.order(control)
    assert (first.job == second.job, first.answer, second.answer, desk.statuses()) == (True, "OK", "OK", [READY])


# order control: NW
@pytest.mark.parametrize("status", [*STOPPABLE, DONE])
def test_a_repeated_new_order_leaves_its_job_as_it_is(desk: OrderDesk, status: Status) -> None:
    desk.bring_to(status)
    assert (said(desk.order("NW")), desk.statuses()) == (("OK", ""), [status])


# order control: NW
def test_a_new_order_after_its_cancel_is_ordered_anew(desk: OrderDesk) -> None:
    desk.bring_to(CANCELLED)
    assert (said(desk.order("NW")), desk.statuses()) == (("OK", ""), [READY])


CANCELS = [("CA", "CR"), ("DC", "DR"), ("OC", "OK"), ("OD", "OK"), ("CR", "OK"), ("DR", "OK")]


# order control: CA, DC, OC, OD, CR, DR
@pytest.mark.parametrize(("control", "answer"), CANCELS)
@pytest.mark.parametrize("status", [*STOPPABLE, CANCELLED])
def test_a_cancel_stops_whatever_is_not_finished(desk: OrderDesk, status: Status, control: str, answer: str) -> None:
    desk.bring_to(status)
    assert (said(desk.order(control)), desk.statuses()) == ((answer, ""), [CANCELLED])


# order control: CA, DC, OC, OD, CR, DR
@pytest.mark.parametrize(("control", "answer"), [("CA", "UC"), ("DC", "UD"), ("OC", "OK"), ("CR", "OK")])
def test_a_cancel_of_a_finished_job_is_noted_and_said_to_be_too_late(
    desk: OrderDesk, control: str, answer: str
) -> None:
    desk.bring_to(DONE)
    taken = desk.order(control)
    assert (said(taken), desk.statuses()) == ((answer, "order.cancel-too-late"), [DONE])
    assert ("cancel-ignored", "order.done") in desk.timeline()


# order control: CA
def test_a_cancelled_running_job_can_write_nothing_more(desk: OrderDesk) -> None:
    desk.order("NW")
    claim = desk.claim()
    desk.order("CA")
    with pytest.raises(StaleClaim):
        desk.store.begin_delivery(claim, "fhir")


# order control: CA, DC, HD, OH, XO, SC: an order that we do not know
@pytest.mark.parametrize(
    ("control", "status", "answer", "expected"),
    [
        ("CA", "", "CR", [CANCELLED]),
        ("DC", "", "DR", [CANCELLED]),
        ("RP", "", "RQ", [CANCELLED]),
        ("HD", "", "HR", [ON_HOLD]),
        ("OH", "", "OK", [ON_HOLD]),
        ("XO", "", "XR", [READY]),
        ("XX", "", "OK", [READY]),
        ("SC", "CM", "OK", [READY]),
        ("SC", "IP", "OK", [READY]),
        ("SC", "CA", "OK", [CANCELLED]),
        ("SC", "HD", "OK", [ON_HOLD]),
        ("RL", "", "UR", []),
        ("OE", "", "OK", []),
    ],
)
def test_what_comes_before_its_order_is_kept_and_said(
    desk: OrderDesk, control: str, status: str, answer: str, expected: list[Status]
) -> None:
    assert (said(desk.order(control, status=status)), desk.statuses()) == ((answer, "order.unknown"), expected)


# order control: CA, HD, XO, SC: an order that we do not know
@pytest.mark.parametrize("control", ["CA", "HD", "XO", "RL"])
def test_a_site_may_want_nothing_kept_of_unknown_orders(desk: OrderDesk, control: str) -> None:
    (taken,) = desk.take(message(segments(control)), keep_unknown=False)
    assert (taken.job, taken.warning, desk.jobs()) == ("", "order.unknown", [])


# order control: HD, OH
@pytest.mark.parametrize(("control", "answer"), [("HD", "HR"), ("OH", "OK"), ("HR", "OK")])
@pytest.mark.parametrize("status", [READY, RUNNING, WAITING, ON_HOLD])
def test_a_hold_suspends_what_is_on_its_way(desk: OrderDesk, status: Status, control: str, answer: str) -> None:
    desk.bring_to(status)
    assert (said(desk.order(control)), desk.statuses(), desk.queue.claim("w")) == ((answer, ""), [ON_HOLD], None)


# order control: HD
@pytest.mark.parametrize("status", [HELD, FAILED])
def test_a_hold_of_what_a_person_must_look_at_counts_once_the_person_has_replayed_it(
    desk: OrderDesk, status: Status
) -> None:
    job = desk.bring_to(status)
    taken, meanwhile = desk.order("HD"), desk.statuses()
    with desk.store.transaction() as ledger:
        ledger.happen(job.id, Event.REPLAY, "operator.replay")
    assert (said(taken), meanwhile, desk.statuses()) == (("HR", ""), [status], [ON_HOLD])


# order control: HD
@pytest.mark.parametrize(("status", "warning"), [(DONE, "order.hold-too-late"), (CANCELLED, "")])
def test_a_hold_of_what_has_ended_is_noted(desk: OrderDesk, status: Status, warning: str) -> None:
    desk.bring_to(status)
    taken = desk.order("HD")
    assert (said(taken), desk.statuses(), desk.timeline()[-1][0]) == (("UH", warning), [status], "hold-ignored")


# order control: HD
def test_a_held_running_job_sends_no_result(desk: OrderDesk) -> None:
    desk.order("NW")
    claim = desk.claim()
    desk.order("HD")
    with pytest.raises(StaleClaim):
        desk.store.begin_delivery(claim, "fhir")


# order control: RL, OE, OR
@pytest.mark.parametrize(("control", "answer"), [("RL", "OR"), ("OE", "OK"), ("OR", "OK")])
def test_a_release_lets_the_job_go_on_where_it_stood(desk: OrderDesk, control: str, answer: str) -> None:
    desk.order("NW")
    desk.queue.record(desk.claim(), Move(Event.ADVANCE, Stage.STUDY))
    desk.order("HD")
    taken = desk.order(control)
    assert (said(taken), desk.claim().job.stage) == ((answer, ""), Stage.STUDY)


# order control: RL
@pytest.mark.parametrize("status", [READY, RUNNING, WAITING, HELD, FAILED, DONE])
def test_a_release_of_what_is_not_on_hold_changes_nothing(desk: OrderDesk, status: Status) -> None:
    desk.bring_to(status)
    assert (said(desk.order("RL")), desk.statuses()) == (("OR", ""), [status])


# order control: XO, XX, XR
@pytest.mark.parametrize(("control", "answer"), [("XO", "XR"), ("XX", "OK"), ("XR", "OK")])
@pytest.mark.parametrize("status", [READY, RUNNING, WAITING, HELD, FAILED])
def test_a_change_of_the_procedure_starts_the_job_anew(
    desk: OrderDesk, status: Status, control: str, answer: str
) -> None:
    desk.bring_to(status)
    taken = desk.order(control, procedure="XHAND^Hand^L")
    (job,) = desk.jobs()
    assert (said(taken), job.status, job.stage, job.reason) == ((answer, ""), READY, Stage.CONTEXT, "order.changed")
    assert job.order.procedure is not None
    assert job.order.procedure.code == "XHAND"


# order control: XO
@pytest.mark.parametrize("status", [*STOPPABLE, DONE])
def test_a_change_of_priority_and_reason_lets_the_job_go_on(desk: OrderDesk, status: Status) -> None:
    desk.bring_to(status)
    taken = desk.order("XO", priority="S", reason="^cough")
    (job,) = desk.jobs()
    assert (said(taken), job.status, job.priority, job.order.reason) == (("XR", ""), status, "stat", "cough")


# order control: XO
def test_a_running_job_keeps_its_claim_through_a_change_that_spares_what_was_computed(desk: OrderDesk) -> None:
    desk.order("NW")
    claim = desk.claim()
    desk.order("XO", priority="S")
    desk.queue.record(claim, Move(Event.ADVANCE, Stage.STUDY))
    assert (desk.statuses(), desk.jobs()[0].stage) == ([READY], Stage.STUDY)


# order control: XO
def test_a_running_job_loses_its_claim_when_the_accession_number_changes(desk: OrderDesk) -> None:
    desk.order("NW", placer="CANARY-P1^RIS^1.2.3^ISO")
    claim = desk.claim()
    desk.order("XO", placer="CANARY-P1^RIS^1.2.3^ISO", accession="CANARY-A2")
    with pytest.raises(StaleClaim):
        desk.queue.record(claim, Move(Event.ADVANCE, Stage.STUDY))


# order control: XO
def test_a_change_while_on_hold_updates_the_order_and_leaves_it_on_hold(desk: OrderDesk) -> None:
    desk.bring_to(ON_HOLD)
    taken = desk.order("XO", procedure="XHAND^Hand^L")
    (job,) = desk.jobs()
    assert (said(taken), job.status, job.order.procedure and job.order.procedure.code) == (("XR", ""), ON_HOLD, "XHAND")


# order control: XO
def test_a_change_after_the_result_updates_the_order_and_asks_for_a_person(desk: OrderDesk) -> None:
    desk.bring_to(DONE)
    taken = desk.order("XO", procedure="XHAND^Hand^L")
    (job,) = desk.jobs()
    assert (said(taken), job.status) == (("UX", "order.changed-after-result"), DONE)
    assert job.order.procedure is not None
    assert job.order.procedure.code == "XHAND"


# order control: XO
def test_a_change_of_a_cancelled_order_does_not_bring_it_back(desk: OrderDesk) -> None:
    desk.bring_to(CANCELLED)
    taken = desk.order("XO", procedure="XHAND^Hand^L")
    assert (said(taken), desk.statuses(), desk.timeline()[-1][0]) == (("UX", ""), [CANCELLED], "change-ignored")


# order control: XO (dcm4chee-arc #2849: XO with empty ORC-5)
@pytest.mark.parametrize("status", ["", "SC", "IP"])
def test_a_change_with_any_status_but_completed_is_a_change(desk: OrderDesk, status: str) -> None:
    desk.order("NW")
    desk.order("XO", status=status, priority="S")
    assert [job.priority for job in desk.jobs()] == ["stat"]
