"""The rows of the order-control table that tell rather than ask: SC by ORC-5, numbers, links, trouble, and what has no effect."""

import pytest

from fhir_bridge.job import Event, Stage, Status
from fhir_bridge.order_intake import Taken
from fhir_bridge.ports import Move
from tests.support.frozen_clock import FrozenClock
from tests.support.order_desk import OrderDesk, message

READY, RUNNING, WAITING, ON_HOLD = Status.READY, Status.RUNNING, Status.WAITING, Status.ON_HOLD
HELD, FAILED, DONE, CANCELLED = Status.HELD, Status.FAILED, Status.DONE, Status.CANCELLED
STOPPABLE = (READY, RUNNING, WAITING, ON_HOLD, HELD, FAILED)


@pytest.fixture
def desk(clock: FrozenClock) -> OrderDesk:
    return OrderDesk(clock)


def said(taken: Taken) -> tuple[str, str]:
    return taken.answer, taken.warning


# order control: XO (ORC-5 CM), SC (ORC-5 CM)
@pytest.mark.parametrize(("control", "answer"), [("SC", "OK"), ("XO", "XR")])
def test_a_completed_procedure_wakes_the_waiting_job(desk: OrderDesk, control: str, answer: str) -> None:
    desk.bring_to(WAITING)
    taken = desk.order(control, status="CM")
    (job,) = desk.jobs()
    assert (said(taken), job.status, job.stage, job.reason) == ((answer, ""), READY, Stage.STUDY, "order.completed")


# order control: XO (ORC-5 CM)
def test_a_change_that_says_completed_is_a_change_too(desk: OrderDesk) -> None:
    desk.bring_to(WAITING)
    desk.order("XO", status="CM", priority="S")
    assert [(job.status, job.priority) for job in desk.jobs()] == [(READY, "stat")]


# order control: SC (ORC-5 CM)
@pytest.mark.parametrize("reason", ["study.no-images", "study.still-arriving", "study.key-missing"])
def test_a_completed_procedure_revives_what_was_held_for_want_of_images(desk: OrderDesk, reason: str) -> None:
    desk.order("NW")
    desk.queue.record(desk.claim(), Move(Event.ADVANCE, Stage.STUDY))
    desk.queue.record(desk.claim(), Move(Event.HOLD, Stage.STUDY, reason))
    desk.order("SC", status="CM")
    assert [(job.status, job.stage) for job in desk.jobs()] == [(READY, Stage.STUDY)]


# order control: SC (ORC-5 CM)
@pytest.mark.parametrize("status", [READY, RUNNING, ON_HOLD, HELD, FAILED, DONE, CANCELLED])
def test_a_completed_procedure_moves_no_other_job(desk: OrderDesk, status: Status) -> None:
    desk.bring_to(status)
    assert (said(desk.order("SC", status="CM")), desk.statuses()) == (("OK", ""), [status])


# order control: SC (ORC-5 A, IP, SC)
@pytest.mark.parametrize("code", ["A", "IP", "SC"])
@pytest.mark.parametrize("status", [*STOPPABLE, DONE, CANCELLED])
def test_progress_is_noted(desk: OrderDesk, status: Status, code: str) -> None:
    desk.bring_to(status)
    taken = desk.order("SC", status=code)
    assert (said(taken), desk.statuses()) == (("OK", ""), [status])
    assert desk.timeline()[-1] == ("received", "order.in-progress")


# order control: SC (ORC-5 CA, DC, RP, HD)
@pytest.mark.parametrize(
    ("code", "expected", "reason"),
    [
        ("CA", CANCELLED, "order.cancelled"),
        ("DC", CANCELLED, "order.cancelled"),
        ("RP", CANCELLED, "order.replaced"),
        ("HD", ON_HOLD, "order.on-hold"),
    ],
)
@pytest.mark.parametrize("status", [READY, RUNNING, WAITING])
def test_a_status_change_cancels_or_holds(
    desk: OrderDesk, status: Status, code: str, expected: Status, reason: str
) -> None:
    desk.bring_to(status)
    desk.order("SC", status=code)
    assert [(job.status, job.reason) for job in desk.jobs()] == [(expected, reason)]


# order control: SC (ORC-5 ER), UA, UC, UD, UF, UH, UM, UR, UX, DE
@pytest.mark.parametrize(
    ("control", "status"),
    [("SC", "ER"), *((code, "") for code in ["UA", "UC", "UD", "UF", "UH", "UM", "UR", "UX", "DE"])],
)
def test_trouble_on_the_other_side_is_noted_and_asks_for_a_person(desk: OrderDesk, control: str, status: str) -> None:
    desk.order("NW")
    taken = desk.order(control, status=status)
    assert (taken.warning, desk.statuses()) == ("order.trouble-reported", [READY])
    assert desk.timeline()[-1] == ("trouble", f"order.trouble-reported {control}")


# order control: UA, UC, ...: an order that we do not know
@pytest.mark.parametrize("control", ["UA", "UC", "DE"])
def test_trouble_with_an_unknown_order_asks_for_a_person_and_makes_no_job(desk: OrderDesk, control: str) -> None:
    assert (desk.order(control).warning, desk.jobs()) == ("order.trouble-reported", [])


# order control: SC (ORC-5 empty or unknown)
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("status", ["", "??"])
def test_a_status_change_without_a_status_changes_nothing_and_is_pointed_out(
    desk: OrderDesk, status: str, known: bool
) -> None:
    if known:
        desk.order("NW")
    taken = desk.order("SC", status=status)
    assert (said(taken), desk.statuses()) == (("OK", "order.status-missing"), [READY] if known else [])


# order control: SR, SS
@pytest.mark.parametrize(("control", "answer"), [("SS", "SR"), ("SR", "OK")])
def test_a_query_for_the_status_changes_nothing(desk: OrderDesk, control: str, answer: str) -> None:
    desk.order("NW")
    assert (said(desk.order(control)), desk.statuses()) == ((answer, ""), [READY])


# order control: NA
def test_a_number_that_was_assigned_is_kept(desk: OrderDesk) -> None:
    desk.order("NW")
    taken = desk.order("NA", filler="CANARY-F1^PACS")
    (job,) = desk.jobs()
    assert (said(taken), job.status, job.order.filler and job.order.filler.value) == (("OK", ""), READY, "CANARY-F1")


# order control: NA
def test_an_order_is_known_by_the_number_it_was_assigned(desk: OrderDesk) -> None:
    desk.order("NW")
    desk.order("NA", filler="CANARY-F1^PACS")
    desk.order("CA", placer="", accession="", filler="CANARY-F1^PACS")
    assert desk.statuses() == [CANCELLED]


# order control: XR, HR, NA, OK, RE, UN, LI, CN, CH, PA, SR, SS: an order that we do not know
@pytest.mark.parametrize("control", ["XR", "HR", "NA", "OK", "RE", "UN", "LI", "CN", "CH", "PA", "SR", "SS", "OP"])
def test_what_only_informs_makes_no_job(desk: OrderDesk, control: str) -> None:
    taken = desk.order(control)
    assert (taken.job, taken.warning, desk.jobs()) == ("", "", [])


# order control: RE, OK, UN, LI, CN, AF, CP, DF, FU, MC, OF, OP, PY, RF, RR
@pytest.mark.parametrize(
    "control", ["RE", "OK", "UN", "LI", "CN", "AF", "CP", "DF", "FU", "MC", "OF", "OP", "PY", "RF", "RR"]
)
def test_what_only_informs_is_noted_with_the_order_we_know(desk: OrderDesk, control: str) -> None:
    desk.order("NW")
    desk.order(control)
    assert (desk.statuses(), desk.timeline()[-1]) == ([READY], ("received", "order.no-effect"))


# order control: NW without an imaging procedure
def test_an_order_for_drugs_is_not_accepted_and_makes_no_job(desk: OrderDesk) -> None:
    (taken,) = desk.take(message("ORC|NW|P1\rRXO|1"))
    assert (said(taken), desk.jobs()) == (("UA", ""), [])
