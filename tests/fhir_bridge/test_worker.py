import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from fhir_bridge.adapters.in_memory.record import InMemoryRecord
from fhir_bridge.errors import Unavailable
from fhir_bridge.job import Event, Stage, Status
from fhir_bridge.ports import Claim
from fhir_bridge.study import Resource
from fhir_bridge.worker import Retry, _Heartbeat, inputs_digest
from mappings.order import PatientIdentity
from tests.support.bridge_in_memory import BridgeInMemory
from tests.support.builders import an_order
from tests.support.frozen_clock import FrozenClock


@pytest.fixture
def bridge(tmp_path: Path, clock: FrozenClock) -> Iterator[BridgeInMemory]:
    bridge = BridgeInMemory(tmp_path, clock)
    yield bridge
    bridge.vault.close()


class BuggyRecord(InMemoryRecord):
    def find_patient(self, patient: PatientIdentity) -> Resource:
        raise ZeroDivisionError("CANARY^ZEBRA")


def use_record(bridge: BridgeInMemory, record: InMemoryRecord) -> None:
    from dataclasses import replace

    bridge.kit = replace(bridge.kit, record=record)
    bridge.worker = bridge.a_worker()


def test_a_bug_holds_the_job_with_an_error_id_and_no_text(bridge: BridgeInMemory) -> None:
    use_record(bridge, BuggyRecord())
    job = bridge.order()
    bridge.run()
    status, reason = bridge.job(job).status, bridge.job(job).reason
    assert (status, reason.split()[0], len(reason.split()[1])) == (Status.HELD, "internal.bug", 12)


def test_a_bug_is_logged_with_its_place_and_not_with_its_text(
    bridge: BridgeInMemory, capsys: pytest.CaptureFixture[str]
) -> None:
    use_record(bridge, BuggyRecord())
    bridge.order()
    bridge.run()
    said = "".join(capsys.readouterr())
    assert ("test_worker.py:" in said, "CANARY" in said) == (True, False)


class CancellingRecord(InMemoryRecord):
    """The order is cancelled while its patient is looked for."""

    def __init__(self, bridge: BridgeInMemory) -> None:
        super().__init__()
        self._bridge = bridge

    def find_patient(self, patient: PatientIdentity) -> Resource:
        for job in self._bridge.store.jobs():
            self._bridge.happen(job.id, Event.CANCEL)
        return {"resourceType": "Patient", "id": "7"}


def test_a_cancel_during_a_step_wins_over_the_step(bridge: BridgeInMemory) -> None:
    use_record(bridge, CancellingRecord(bridge))
    job = bridge.order()
    bridge.run()
    assert (bridge.job(job).status, bridge.store.latest_artifact(job, Stage.CONTEXT)) == (Status.CANCELLED, None)


class ForgetfulQueue:
    """Fails the first renewals."""

    def __init__(self, failures: int) -> None:
        self.renewals = threading.Semaphore(0)
        self._failures = failures

    def renew(self, claim: Claim) -> None:
        self.renewals.release()
        if self._failures:
            self._failures -= 1
            raise Unavailable("store.unavailable", "store", "OperationalError")


def test_a_lease_is_renewed_again_after_the_store_was_away(bridge: BridgeInMemory) -> None:
    bridge.order()
    claim = bridge.queue.claim("w")
    assert claim is not None
    queue = ForgetfulQueue(failures=2)
    with _Heartbeat(queue, claim, 0.001):  # type: ignore[arg-type]
        assert all(queue.renewals.acquire(timeout=10) for _ in range(4))


def test_another_order_makes_other_inputs(bridge: BridgeInMemory) -> None:
    job = bridge.order()
    before = inputs_digest(bridge.job(job), bridge.kit)
    bridge.happen(job, Event.CHANGE, Stage.CONTEXT, an_order(modality="CR"))
    assert inputs_digest(bridge.job(job), bridge.kit) != before


def test_a_peers_wish_to_wait_is_honoured_up_to_the_cap() -> None:
    retry = Retry(backoff_seconds=1, backoff_cap_seconds=60)
    assert [retry.delay(1, wanted) >= timedelta(seconds=least) for wanted, least in ((30, 30), (600, 60))] == [
        True,
        True,
    ]
    assert retry.delay(1, 600) <= timedelta(seconds=60)


def test_the_backoff_grows_with_the_attempts_and_ends_at_the_cap() -> None:
    retry = Retry(backoff_seconds=2, backoff_cap_seconds=60)
    assert timedelta(seconds=4) <= retry.delay(2) <= timedelta(seconds=8)
    assert timedelta(seconds=30) <= retry.delay(40) <= timedelta(seconds=60)


def test_a_worker_survives_a_store_that_is_away(bridge: BridgeInMemory) -> None:
    class AwayOnce:
        def __init__(self) -> None:
            self.times = 0

        def claim(self, worker: str) -> Claim | None:
            self.times += 1
            if self.times == 1:
                raise Unavailable("store.unavailable", "store", "OperationalError")
            return bridge.queue.claim(worker)

        def __getattr__(self, name: str) -> object:
            return getattr(bridge.queue, name)

    job = bridge.order(mrn="CANARY-404")
    bridge.worker._queue = AwayOnce()  # type: ignore[assignment]
    bridge.worker.start()
    try:
        while bridge.job(job).status is not Status.HELD:
            bridge.worker.wake()
    finally:
        bridge.worker.stop(10)
    assert bridge.job(job).reason == "patient.not-found"


class HangingRecord(InMemoryRecord):
    """A FHIR server that answers when the bridge is long over, and into closed parts."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.over = threading.Event(), threading.Event()

    def find_patient(self, patient: PatientIdentity) -> Resource:
        self.asked.set()
        self.over.wait(30)
        raise ZeroDivisionError


def test_a_step_that_outlives_the_drain_leaves_its_job_to_the_next_start(bridge: BridgeInMemory) -> None:
    record = HangingRecord()
    use_record(bridge, record)
    job = bridge.order()
    bridge.worker.start()
    assert record.asked.wait(30)
    bridge.worker.stop(0)
    record.over.set()
    bridge.worker.stop(30)  # until its threads are over
    assert bridge.job(job).status is Status.RUNNING
    assert bridge.queue.take_over() == 1
