"""Several messages about one order, in any order (item 31)."""

from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_bridge.adapters.sql_database import SqlDatabase
from fhir_bridge.adapters.sql_store import SqlStore
from fhir_bridge.adapters.sqlite_queue import SqliteQueue
from fhir_bridge.job import Event, Stage, Status
from fhir_bridge.ports import Move
from mappings.authority import Authorities, Authority
from mappings.hl7v2_order import SenderPolicy
from tests.support.frozen_clock import FrozenClock
from tests.support.order_desk import OrderDesk, message, segments

RIS = SenderPolicy(Authorities([Authority("RIS", system="urn:ris")]))


@pytest.fixture
def desk(clock: FrozenClock) -> OrderDesk:
    return OrderDesk(clock)


def at(minute: int) -> str:
    return f"202603020930{minute:02d}"


def procedures(desk: OrderDesk) -> list[str]:
    return [job.order.procedure.code if job.order.procedure else "" for job in desk.jobs()]


# item 31
def test_an_older_change_after_a_newer_one_is_noted_and_overwrites_nothing(desk: OrderDesk) -> None:
    desk.order("NW", at=at(0))
    desk.order("XO", at=at(20), procedure="XHAND^Hand^L")
    taken = desk.order("XO", at=at(10), procedure="XFOOT^Foot^L")
    assert (taken.warning, taken.answer, procedures(desk)) == ("order.stale", "UX", ["XHAND"])
    assert desk.timeline()[-1] == ("change-ignored", "order.stale")


# item 31
def test_a_change_at_the_same_time_or_later_counts(desk: OrderDesk) -> None:
    for procedure, minute in (("A^A^L", 0), ("B^B^L", 0), ("C^C^L", 1)):
        desk.order("XO", at=at(minute), procedure=procedure)
    assert procedures(desk) == ["C"]


# item 31
def test_without_a_transaction_time_the_message_time_of_the_same_sender_counts(desk: OrderDesk) -> None:
    desk.order("NW", sent=at(0))
    desk.order("XO", sent=at(20), procedure="XHAND^Hand^L")
    taken = desk.order("XO", sent=at(10), procedure="XFOOT^Foot^L")
    assert (taken.warning, procedures(desk)) == ("order.stale", ["XHAND"])


# item 31
@pytest.mark.parametrize("second", [{"sender": "EMR|HOSP", "sent": at(10)}, {"at": at(10)}], ids=["sender", "clock"])
def test_times_of_two_clocks_are_not_compared(desk: OrderDesk, second: dict[str, str]) -> None:
    desk.order("NW", sent=at(0))
    desk.order("XO", sent=at(20), procedure="XHAND^Hand^L")
    assert (desk.order("XO", procedure="XFOOT^Foot^L", **second).warning, procedures(desk)) == ("", ["XFOOT"])


# item 31
def test_a_hold_that_is_older_than_its_release_holds_nothing(desk: OrderDesk) -> None:
    desk.order("NW", at=at(0))
    desk.order("RL", at=at(20))
    taken = desk.order("HD", at=at(10))
    assert (taken.warning, taken.answer, desk.statuses()) == ("order.stale", "UH", [Status.READY])


# item 31
def test_a_change_that_is_older_than_a_hold_still_counts(desk: OrderDesk) -> None:
    desk.order("NW", at=at(0))
    desk.order("HD", at=at(20))
    desk.order("XO", at=at(10), procedure="XHAND^Hand^L")
    assert (desk.statuses(), procedures(desk)) == ([Status.ON_HOLD], ["XHAND"])


# item 31
def test_a_late_repetition_of_the_order_does_not_undo_its_cancel(desk: OrderDesk) -> None:
    desk.order("NW", at=at(0))
    desk.order("CA", at=at(10))
    taken = desk.order("NW", at=at(0))
    assert (taken.warning, desk.statuses()) == ("order.stale", [Status.CANCELLED])


# item 31: another sender's word does not make us forget this one's
def test_a_late_repetition_does_not_undo_a_cancel_that_two_senders_told(desk: OrderDesk) -> None:
    desk.order("NW", at=at(0))
    desk.order("CA", at=at(10))
    desk.order("CA", at=at(11), sender="EMR|HOSP")
    taken = desk.order("NW", at=at(0))
    assert (taken.warning, desk.statuses()) == ("order.stale", [Status.CANCELLED])


# item 31
def test_a_late_hold_of_one_sender_is_late_after_a_release_of_another(desk: OrderDesk) -> None:
    for control, minute, sender in (("NW", 0, "RIS"), ("RL", 20, "RIS"), ("RL", 5, "EMR")):
        desk.order(control, at=at(minute), sender=f"{sender}|HOSP")
    assert (desk.order("HD", at=at(10)).warning, desk.statuses()) == ("order.stale", [Status.READY])


# item 31
def test_an_order_placed_after_its_cancel_is_ordered_anew(desk: OrderDesk) -> None:
    for control, minute in (("NW", 0), ("CA", 10), ("NW", 20)):
        desk.order(control, at=at(minute))
    assert desk.statuses() == [Status.READY]


# item 31
def test_a_cancel_that_is_older_than_the_new_order_after_it_stops_nothing(desk: OrderDesk) -> None:
    for control, minute in (("NW", 0), ("CA", 10), ("NW", 20)):
        desk.order(control, at=at(minute))
    assert (desk.order("CA", at=at(10)).warning, desk.statuses()) == ("order.stale", [Status.READY])


# item 31
@pytest.mark.parametrize(
    ("early", "status", "expected"),
    [("XO", "", Status.READY), ("SC", "IP", Status.READY), ("SC", "CM", Status.READY), ("HD", "", Status.ON_HOLD)],
)
def test_what_comes_before_its_order_is_completed_by_it(
    desk: OrderDesk, early: str, status: str, expected: Status
) -> None:
    desk.order(early, status=status, at=at(10), accession="", procedure="")
    desk.order("NW", at=at(0))
    (job,) = desk.jobs()
    assert (job.status, job.order.accession and job.order.accession.value, procedures(desk)) == (
        expected,
        "CANARY-A1",
        ["XCHEST"],
    )


# item 31
@pytest.mark.parametrize("early", [["CA"], ["CA", "CA"], ["HD", "CA"], ["XO", "CA"], ["RP"]])
def test_a_late_order_does_not_start_however_often_it_was_cancelled_before(desk: OrderDesk, early: list[str]) -> None:
    for control in [*early, "NW"]:
        desk.order(control)
    assert [(job.status, job.reason) for job in desk.jobs()] == [(Status.CANCELLED, "order.cancelled-before-it-came")]


# item 31
@given(order=st.permutations([("NW", 0, "A"), ("XO", 10, "B"), ("XO", 20, "C"), ("XX", 30, "D"), ("XO", 40, "E")]))
def test_the_last_change_wins_in_whatever_order_the_messages_come(order: list[tuple[str, int, str]]) -> None:
    desk = OrderDesk(FrozenClock())
    for control, minute, procedure in order:
        desk.order(control, at=at(minute), procedure=f"{procedure}^x^L")
    assert (procedures(desk), desk.statuses()) == (["E"], [Status.READY])


# item 31: the cancel was of an earlier order; MSH-7 would not show that, for whoever sends again stamps anew
@pytest.mark.parametrize(
    ("field", "expected"), [("at", "order.ordered-anew"), ("sent", "order.cancelled-before-it-came")]
)
def test_an_order_placed_after_a_cancel_that_we_knew_no_order_of_starts(
    desk: OrderDesk, field: str, expected: str
) -> None:
    desk.order("CA", **{field: at(10)})
    desk.order("NW", **{field: at(20)})
    assert [job.reason for job in desk.jobs()] == [expected]


# item 31
def test_an_order_known_only_by_its_change_is_noted_as_incomplete(desk: OrderDesk) -> None:
    desk.order("XO")
    assert desk.timeline()[-1] == ("incomplete", "order.before-it-came")


# item 31
def test_an_order_does_not_overwrite_who_the_patient_is(desk: OrderDesk) -> None:
    desk.take(message(segments("NW")), policy=RIS)
    taken = desk.order("XO", priority="S", birth="19990909")
    (job,) = desk.jobs()
    assert (taken.warning, job.order.patient.birth_date) == ("order.demographics-differ", date(2022, 3, 4))


# order control: HD, RL: a hold that came before its order
def test_a_hold_before_its_order_lasts_until_the_release(desk: OrderDesk) -> None:
    desk.order("HD")
    desk.order("NW")
    before = desk.statuses()
    desk.order("RL")
    assert (before, desk.statuses()) == ([Status.ON_HOLD], [Status.READY])


# order control: HD: after a restart
def test_a_hold_survives_a_restart(tmp_path: Path, clock: FrozenClock) -> None:
    def open_desk() -> tuple[OrderDesk, SqlDatabase, SqliteQueue]:
        database = SqlDatabase.in_folder(tmp_path)
        database.migrate()
        queue = SqliteQueue(database, clock)
        return OrderDesk(clock, SqlStore(database, clock), queue), database, queue

    desk, database, _ = open_desk()
    desk.order("NW")
    desk.claim()
    desk.order("HD")
    database.close()
    desk, database, queue = open_desk()
    queue.take_over()
    after = desk.statuses(), queue.claim("w")
    desk.order("RL")
    assert (after, desk.claim().job.id) == (([Status.ON_HOLD], None), desk.jobs()[0].id)
    database.close()


# order control: XO: priority; item 30
@pytest.mark.parametrize("kind", ["in-memory", "sqlite"])
def test_a_change_to_stat_overtakes(kind: str, tmp_path: Path, clock: FrozenClock) -> None:
    desk, database = OrderDesk(clock), None
    if kind == "sqlite":
        database = SqlDatabase.in_folder(tmp_path)
        database.migrate()
        desk = OrderDesk(clock, SqlStore(database, clock), SqliteQueue(database, clock))
    desk.order("NW", mrn="CANARY-1", placer="P1^RIS", accession="A1")
    desk.order("NW", mrn="CANARY-2", placer="P2^RIS", accession="A2")
    desk.order("XO", mrn="CANARY-2", placer="P2^RIS", accession="A2", priority="S")
    assert desk.claim().job.id == desk.jobs()[1].id
    if database:
        database.close()


# order control: CA while on hold, after a result may be out
def test_a_cancel_on_hold_comes_too_late_once_a_result_may_be_out(desk: OrderDesk) -> None:
    desk.order("NW")
    claim = desk.claim()
    desk.store.begin_delivery(claim, "fhir")
    desk.order("HD")
    taken = desk.order("CA")
    assert (taken.answer, taken.warning, desk.statuses()) == ("UC", "order.cancel-too-late", [Status.ON_HOLD])


# order control: RL after a hold during delivery
def test_a_released_job_goes_on_with_its_delivery(desk: OrderDesk) -> None:
    desk.order("NW")
    desk.queue.record(desk.claim(), Move(Event.ADVANCE, Stage.DELIVER))
    desk.store.begin_delivery(desk.claim(), "fhir")
    desk.order("HD")
    desk.order("RL")
    again = desk.claim()
    assert (again.job.stage, desk.store.begin_delivery(again, "fhir").attempts) == (Stage.DELIVER, 2)
