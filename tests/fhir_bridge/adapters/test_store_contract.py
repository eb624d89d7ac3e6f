"""The same tests on the SQL store with its queue and on their in-memory twins."""

import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest

from fhir_bridge.adapters.in_memory.queue import InMemoryQueue
from fhir_bridge.adapters.in_memory.store import InMemoryStore
from fhir_bridge.adapters.sql_database import SqlDatabase
from fhir_bridge.adapters.sql_store import SqlStore
from fhir_bridge.adapters.sqlite_queue import SqliteQueue
from fhir_bridge.errors import StaleClaim
from fhir_bridge.job import Event, Stage, Status
from fhir_bridge.ports import Claim, JobQueue, JobStore, Move, Notification, StepArtifact
from mappings.order import Order, OrderControl, OrderKey, Priority
from tests.support.builders import an_order
from tests.support.frozen_clock import FrozenClock

LEASE = 100.0
MAX_LOSSES = 2


@dataclass
class House:
    store: JobStore
    queue: JobQueue
    clock: FrozenClock

    def take(self, order: Order, **options: str) -> str:
        with self.store.transaction() as ledger:
            return ledger.add_order(order, "hl7v2", **options)

    def happen(self, job: str, event: Event, reason: str = "", stage: Stage | None = None) -> bool:
        with self.store.transaction() as ledger:
            return ledger.happen(job, event, reason, stage)

    def claim(self) -> Claim:
        claim = self.queue.claim("w")
        assert claim is not None
        return claim

    def status(self, job: str) -> Status:
        known = self.store.job(job)
        assert known is not None
        return known.status


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new database, made once and copied for every test."""
    folder = tmp_path_factory.mktemp("migrated")
    database = SqlDatabase.in_folder(folder)
    database.migrate()
    database.close()
    return folder / "bridge.db"


@pytest.fixture(params=["sqlite", "in-memory"])
def house(request: pytest.FixtureRequest, tmp_path: Path, clock: FrozenClock, migrated: Path) -> Iterator[House]:
    if request.param == "in-memory":
        store = InMemoryStore(clock)
        yield House(store, InMemoryQueue(store, clock, LEASE, MAX_LOSSES), clock)
        return
    shutil.copy(migrated, tmp_path)
    database = SqlDatabase.in_folder(tmp_path)
    yield House(SqlStore(database, clock), SqliteQueue(database, clock, LEASE, MAX_LOSSES), clock)
    database.close()


def test_an_order_becomes_one_ready_job_at_its_first_step(house: House) -> None:
    job = house.store.job(house.take(an_order()))
    assert job is not None
    assert (job.status, job.stage, job.source, job.order) == (Status.READY, Stage.CONTEXT, "hl7v2", an_order())


def test_an_order_is_found_by_any_of_its_keys(house: House) -> None:
    job = house.take(an_order())
    with house.store.transaction() as ledger:
        found = [ledger.orders_by_keys([key])[0].job.id for key in an_order().keys()]  # noqa: SIM118
    assert found == [job, job]


def test_an_order_may_claim_other_keys_than_its_own(house: House) -> None:
    key = OrderKey("conflict-accession", "urn:x|CANARY-1", "CANARY-A1")
    with house.store.transaction() as ledger:
        job = ledger.add_order(an_order(), "hl7v2", held="order.patient-conflict", keys=[key])
        assert ledger.orders_by_keys(an_order().keys()) == ()
        assert [known.job.id for known in ledger.orders_by_keys([key])] == [job]


def test_a_key_stays_with_the_job_that_had_it_first(house: House) -> None:
    first = house.take(an_order())
    house.take(an_order(placer=None))
    with house.store.transaction() as ledger:
        assert [known.job.id for known in ledger.orders_by_keys(an_order().keys())] == [first]


def test_a_failed_transaction_leaves_nothing(house: House) -> None:
    with pytest.raises(RuntimeError), house.store.transaction() as ledger:
        ledger.add_order(an_order(), "hl7v2")
        raise RuntimeError
    assert house.store.jobs() == ()


def test_a_failed_savepoint_leaves_the_rest_of_the_transaction(house: House) -> None:
    with house.store.transaction() as ledger:
        ledger.add_order(an_order("1"), "hl7v2")
        with pytest.raises(RuntimeError), ledger.savepoint():
            ledger.add_order(an_order("2", mrn="CANARY-2"), "hl7v2")
            raise RuntimeError
    assert [job.order for job in house.store.jobs()] == [an_order("1")]


def test_the_same_version_of_a_resource_is_stored_once(house: House) -> None:
    notification = Notification(0, "orders", "PUT", "ServiceRequest", "9", "2", "ready")
    with house.store.transaction() as ledger:
        first, second = (ledger.add_notification(notification, b"{}") for _ in range(2))
    assert (first, second, len(house.store.due_notifications())) == (True, False, 1)


def test_a_notification_put_off_is_due_when_its_time_has_come(house: House) -> None:
    with house.store.transaction() as ledger:
        ledger.add_notification(Notification(0, "orders", "PUT", "ServiceRequest", "9", "2", "ready"), b"{}")
    number = house.store.due_notifications()[0].id
    with house.store.transaction() as ledger:
        ledger.settle_notification(number, "ready", "fhir.unavailable", house.clock.now() + timedelta(seconds=5))
    before = house.store.due_notifications()
    house.clock.advance(5)
    after = house.store.due_notifications()
    assert (before, [(n.id, n.attempts) for n in after]) == ((), [(number, 1)])


def test_a_version_that_could_not_be_used_is_taken_again(house: House) -> None:
    notification = Notification(0, "orders", "PUT", "ServiceRequest", "9", "2", "ready")
    with house.store.transaction() as ledger:
        ledger.add_notification(notification, b"{}")
        ledger.settle_notification(1, "quarantined", "fhir.not-found")
        assert ledger.add_notification(notification, b"{}")


def test_stat_overtakes_and_the_rest_goes_by_age(house: House) -> None:
    first = house.take(an_order("1"))
    second = house.take(an_order("2", mrn="CANARY-2"))
    urgent = house.take(an_order("3", mrn="CANARY-3", priority=Priority.STAT))
    assert [house.claim().job.id for _ in range(3)] == [urgent, first, second]


def test_one_patients_jobs_run_one_after_the_other(house: House) -> None:
    first, second = house.take(an_order("1")), house.take(an_order("2"))
    claim = house.claim()
    meanwhile = house.queue.claim("other")
    house.queue.record(claim, Move(Event.FINISH, Stage.DELIVER))
    assert (claim.job.id, meanwhile, house.claim().job.id) == (first, None, second)


def test_a_waiting_job_is_claimed_when_its_time_has_come(house: House) -> None:
    job = house.take(an_order())
    wake_at = house.clock.now() + timedelta(seconds=10)
    house.queue.record(house.claim(), Move(Event.WAIT, Stage.STUDY, "study.not-there-yet", wake_at, memo="m"))
    early = house.queue.claim("w")
    house.clock.advance(10)
    claim = house.claim()
    assert (early, claim.job.id, claim.job.stage, claim.job.memo) == (None, job, Stage.STUDY, "m")


def test_the_fence_grows_with_every_claim(house: House) -> None:
    house.take(an_order())
    first = house.claim()
    house.queue.record(first, Move(Event.ADVANCE, Stage.STUDY))
    assert house.claim().fence > first.fence


def test_an_expired_lease_is_taken_over_and_the_old_worker_is_refused(house: House) -> None:
    house.take(an_order())
    old = house.claim()
    house.clock.advance(LEASE + 1)
    house.claim()
    with pytest.raises(StaleClaim):
        house.queue.record(old, Move(Event.ADVANCE, Stage.STUDY))


def test_a_renewed_lease_is_not_taken_over(house: House) -> None:
    house.take(an_order())
    claim = house.claim()
    house.clock.advance(LEASE - 1)
    house.queue.renew(claim)
    house.clock.advance(LEASE - 1)
    assert house.queue.claim("other") is None


def test_a_job_that_is_lost_too_often_becomes_a_dead_letter(house: House) -> None:
    job = house.take(an_order())
    for _ in range(MAX_LOSSES + 1):
        house.claim()
        house.clock.advance(LEASE + 1)
    assert (house.queue.claim("w"), house.status(job)) == (None, Status.FAILED)


def _record(house: House, claim: Claim) -> None:
    house.queue.record(claim, Move(Event.ADVANCE, Stage.STUDY, artifact=StepArtifact("inputs", "content")))


def _begin_delivery(house: House, claim: Claim) -> None:
    house.store.begin_delivery(claim, "fhir")


def _renew(house: House, claim: Claim) -> None:
    house.queue.renew(claim)


@pytest.mark.parametrize("write", [_record, _begin_delivery, _renew])
def test_every_write_of_a_worker_whose_job_was_cancelled_is_refused(house: House, write) -> None:  # type: ignore[no-untyped-def]
    job = house.take(an_order())
    claim = house.claim()
    house.happen(job, Event.CANCEL)
    with pytest.raises(StaleClaim):
        write(house, claim)


def test_a_cancel_reaches_a_running_job(house: House) -> None:
    job = house.take(an_order())
    house.claim()
    assert (house.happen(job, Event.CANCEL, "order.cancelled"), house.status(job)) == (True, Status.CANCELLED)


def test_a_cancel_comes_too_late_once_a_result_is_on_its_way(house: House) -> None:
    job = house.take(an_order())
    house.store.begin_delivery(house.claim(), "fhir")
    assert (house.happen(job, Event.CANCEL), house.status(job)) == (False, Status.RUNNING)


@pytest.mark.parametrize(
    ("event", "status", "after"),
    [
        (Event.WAIT, "pending", Status.CANCELLED),  # it did not get out after all
        (Event.HOLD, "pending", Status.CANCELLED),
        (Event.WAIT, "sending", Status.WAITING),  # nobody knows: it is looked for first
        (Event.FINISH, "delivered", Status.DONE),
    ],
)
def test_a_cancel_that_came_too_late_is_kept_as_a_wish(house: House, event: Event, status: str, after: Status) -> None:
    job = house.take(an_order())
    claim = house.claim()
    delivery = house.store.begin_delivery(claim, "fhir")
    house.happen(job, Event.CANCEL)
    house.store.end_delivery(claim, replace(delivery, status=status))
    house.queue.record(claim, Move(event, Stage.DELIVER, wake_at=house.clock.now()))
    assert house.status(job) is after


def test_a_change_does_not_forget_that_a_result_may_be_out(house: House) -> None:
    job = house.take(an_order())
    house.store.begin_delivery(house.claim(), "fhir")
    house.happen(job, Event.CHANGE, stage=Stage.CONTEXT)
    assert house.happen(job, Event.CANCEL) is False


def test_a_cancelled_job_can_be_ordered_anew(house: House) -> None:
    job = house.take(an_order())
    house.happen(job, Event.CANCEL)
    assert (house.happen(job, Event.REPLAY, stage=Stage.CONTEXT), house.claim().job.id) == (True, job)


def test_a_move_the_table_does_not_have_changes_nothing(house: House) -> None:
    job = house.take(an_order())
    assert (house.happen(job, Event.REPLAY), house.status(job)) == (False, Status.READY)


def test_a_steps_artifact_counts_with_its_move(house: House) -> None:
    job = house.take(an_order())
    before = house.store.latest_artifact(job, Stage.CONTEXT)
    _record(house, house.claim())
    assert (before, house.store.latest_artifact(job, Stage.CONTEXT)) == (None, "content")


def test_the_artifact_of_a_stale_worker_does_not_count(house: House) -> None:
    job = house.take(an_order())
    claim = house.claim()
    house.happen(job, Event.CANCEL)
    with pytest.raises(StaleClaim):
        _record(house, claim)
    assert house.store.latest_artifact(job, Stage.CONTEXT) is None


def _run_context(house: House, inputs: str, content: str) -> None:
    house.queue.record(house.claim(), Move(Event.ADVANCE, Stage.STUDY, artifact=StepArtifact(inputs, content)))


def test_the_latest_artifact_of_a_step_counts(house: House) -> None:
    job = house.take(an_order())
    for inputs, content in (("a", "1"), ("b", "2"), ("a", "3")):
        house.clock.advance(1)
        house.happen(job, Event.CHANGE, stage=Stage.CONTEXT)
        _run_context(house, inputs, content)
    assert house.store.latest_artifact(job, Stage.CONTEXT) == "3"


def test_a_change_starts_the_job_anew_and_forgets_what_was_computed(house: House) -> None:
    job = house.take(an_order())
    _record(house, house.claim())
    house.happen(job, Event.CHANGE, "order.changed", Stage.CONTEXT)
    known = house.store.job(job)
    assert known is not None
    assert (known.status, known.stage, house.store.latest_artifact(job, Stage.CONTEXT)) == (
        Status.READY,
        Stage.CONTEXT,
        None,
    )


def test_a_delivered_result_is_not_begun_again(house: House) -> None:
    house.take(an_order())
    claim = house.claim()
    begun = house.store.begin_delivery(claim, "fhir")
    house.store.end_delivery(claim, replace(begun, status="delivered", reference="DiagnosticReport/1"))
    again = house.store.begin_delivery(claim, "fhir")
    assert (begun.status, again.status, again.reference, again.attempts) == (
        "sending",
        "delivered",
        "DiagnosticReport/1",
        1,
    )


def test_a_replay_delivers_again(house: House) -> None:
    job = house.take(an_order())
    claim = house.claim()
    begun = house.store.begin_delivery(claim, "fhir")
    house.store.end_delivery(claim, replace(begun, status="delivered"))
    house.queue.record(claim, Move(Event.FINISH, Stage.DELIVER))
    house.happen(job, Event.REPLAY, stage=Stage.CONTEXT)
    assert [delivery.status for delivery in house.store.deliveries(job)] == ["stale"]
    assert house.store.begin_delivery(house.claim(), "fhir").status == "sending"


def test_the_timeline_tells_what_happened(house: House) -> None:
    job = house.take(an_order())
    house.queue.record(house.claim(), Move(Event.HOLD, Stage.CONTEXT, "patient.not-found"))
    timeline = [(entry.event, entry.status, entry.reason) for entry in house.store.history(job)]
    assert timeline == [("received", "ready", ""), ("claim", "running", ""), ("hold", "held", "patient.not-found")]


def test_an_updated_order_is_found_by_its_new_keys(house: House) -> None:
    job = house.take(an_order(accession=None))
    with house.store.transaction() as ledger:
        ledger.update_order(job, an_order(control=OrderControl.NEW))
    with house.store.transaction() as ledger:
        found = ledger.orders_by_keys(an_order(placer=None).keys())
    assert [known.job.id for known in found] == [job]


def test_many_threads_claim_every_job_exactly_once(house: House) -> None:
    jobs = {house.take(an_order(str(n), mrn=f"CANARY-{n}")) for n in range(20)}
    claimed: list[str] = []

    def work() -> None:
        while claim := house.queue.claim("w"):
            claimed.append(claim.job.id)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == sorted(jobs)
