"""Order messages straight into orders and jobs, on the in-memory store, with a worker driven by the test."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta

from fhir_bridge.adapters.in_memory.queue import InMemoryQueue
from fhir_bridge.adapters.in_memory.store import InMemoryStore
from fhir_bridge.job import Event, Job, Stage, Status
from fhir_bridge.order_intake import Taken, accept_order
from fhir_bridge.ports import Claim, JobQueue, JobStore, Move
from hl7_listener.message import Message
from mappings.hl7v2_order import SenderPolicy, orders_from
from tests.support.frozen_clock import FrozenClock

SENT = "20260302093000"


def segments(
    control: str = "NW",
    *,
    status: str = "",
    placer: str = "CANARY-P1^RIS",
    filler: str = "",
    at: str = "",
    parent: str = "",
    priority: str = "",
    accession: str = "CANARY-A1",
    procedure: str = "XCHEST^Chest^L",
    reason: str = "",
    obr: bool = True,
) -> str:
    """One order group: ORC-1, -2, -3, -5, -8, -9 and OBR-4, -5, -18, -31."""
    orc = f"ORC|{control}|{placer}|{filler}||{status}|||{parent}|{at}"
    line = f"OBR|1|{placer}|{filler}|{procedure}|{priority}" + "|" * 13 + accession + "|" * 13 + reason
    return orc + ("\r" + line if obr else "")


def message(*groups: str, mrn: str = "CANARY-1", sent: str = SENT, sender: str = "RIS|HOSP", birth: str = "") -> str:
    """An ORM^O01 of these groups."""
    header = rf"MSH|^~\&|{sender}|BRIDGE||{sent}||ORM^O01^ORM_O01|M1|P|2.5.1"
    pid = f"PID|1||{mrn}^^^HOSP^MR||CANARY^ZEBRA||{birth or '20220304'}|F"
    return "\r".join([header, pid, *groups, ""])


class OrderDesk:
    """Takes messages; `work` is one worker."""

    def __init__(self, clock: FrozenClock, store: JobStore | None = None, queue: JobQueue | None = None) -> None:
        self.clock = clock
        twin = InMemoryStore(clock)
        self.store: JobStore = store or twin
        self.queue: JobQueue = queue or InMemoryQueue(twin, clock)

    def take(self, text: str, *, policy: SenderPolicy | None = None, keep_unknown: bool = True) -> list[Taken]:
        """What became of each order of a message."""
        orders = orders_from(Message(text.encode()), policy or SenderPolicy())
        with self.store.transaction() as ledger:
            return [accept_order(ledger, order, "hl7v2", keep_unknown=keep_unknown) for order in orders]

    def order(self, control: str = "NW", **fields: str) -> Taken:
        """One message with one order."""
        whole = {name: fields.pop(name) for name in ("mrn", "sent", "sender", "birth") if name in fields}
        (taken,) = self.take(message(segments(control, **fields), **whole))  # type: ignore[arg-type]
        return taken

    def claim(self) -> Claim:
        claim = self.queue.claim("w")
        assert claim is not None
        return claim

    def jobs(self) -> list[Job]:
        """In the order in which they came."""
        return list(reversed(self.store.jobs()))

    def statuses(self) -> list[Status]:
        return [job.status for job in self.jobs()]

    def timeline(self, job: int = 0) -> list[tuple[str, str]]:
        """What happened to a job: event and reason."""
        return [(entry.event, entry.reason) for entry in self.store.history(self.jobs()[job].id)]

    def bring_to(self, status: Status) -> Job:
        """A new order, and its job in this status."""
        self.order("NW")
        _STEPS[status](self)
        (job,) = self.jobs()
        assert job.status is status
        return job


def _running(desk: OrderDesk) -> None:
    desk.queue.record(desk.claim(), Move(Event.ADVANCE, Stage.STUDY))
    desk.claim()


def _waiting(desk: OrderDesk) -> None:
    desk.queue.record(
        desk.claim(), Move(Event.WAIT, Stage.STUDY, "study.not-there-yet", desk.clock.now() + timedelta(hours=1))
    )


def _held(desk: OrderDesk) -> None:
    desk.queue.record(desk.claim(), Move(Event.HOLD, Stage.CONTEXT, "patient.not-found"))


def _failed(desk: OrderDesk) -> None:
    desk.queue.record(desk.claim(), Move(Event.EXHAUST, Stage.CONTEXT, "fhir.unavailable"))


def _done(desk: OrderDesk) -> None:
    claim = desk.claim()
    begun = desk.store.begin_delivery(claim, "fhir")
    desk.store.end_delivery(claim, replace(begun, status="delivered"))
    desk.queue.record(claim, Move(Event.FINISH, Stage.DELIVER))


_STEPS: Mapping[Status, Callable[[OrderDesk], object]] = {
    Status.READY: lambda _: None,
    Status.RUNNING: _running,
    Status.WAITING: _waiting,
    Status.ON_HOLD: lambda desk: desk.order("HD"),
    Status.HELD: _held,
    Status.FAILED: _failed,
    Status.DONE: _done,
    Status.CANCELLED: lambda desk: desk.order("CA"),
}
