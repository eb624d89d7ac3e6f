"""A store with its queue, as the contract tests use it."""

from dataclasses import dataclass

from fhir_bridge.job import Event, Stage, Status
from fhir_bridge.ports import Claim, JobQueue, JobStore
from mappings.order import Order
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
