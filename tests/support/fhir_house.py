"""An inbox over an in-memory store and record, driven notification by notification."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from fhir_bridge.adapters.in_memory.queue import InMemoryQueue
from fhir_bridge.adapters.in_memory.record import InMemoryRecord
from fhir_bridge.adapters.in_memory.store import InMemoryStore
from fhir_bridge.inbox import Inbox
from fhir_bridge.intake import IntakePolicy
from fhir_bridge.job import Event, Job, Stage, Status
from fhir_bridge.order_intake import Taken, accept_order
from fhir_bridge.ports import Move, Notification
from fhir_bridge.senders import SenderRules, Senders
from fhir_bridge.study import Resource
from mappings.authority import Authorities
from mappings.hl7v2_order import SenderPolicy
from mappings.order import Order
from tests.support.builders import MRN_SYSTEM
from tests.support.frozen_clock import FrozenClock

V2_0203 = "http://terminology.hl7.org/CodeSystem/v2-0203"
LOINC = "http://loinc.org"
POLICY = IntakePolicy(Senders(SenderRules(mapping=SenderPolicy(Authorities(())))), frozenset({"363679005"}))
PATIENT = {"resourceType": "Patient", "id": "7", "identifier": [{"system": MRN_SYSTEM, "value": "CANARY-1"}]}
OTHER_PATIENT = {"resourceType": "Patient", "id": "8", "identifier": [{"system": MRN_SYSTEM, "value": "CANARY-2"}]}
BEGIN = datetime(2026, 3, 2, 9, tzinfo=UTC)


def typed(kind: str, value: str, system: str = "") -> dict[str, Any]:
    """An Identifier with a type of table 0203."""
    own = {"system": system} if system else {}
    return {"type": {"coding": [{"system": V2_0203, "code": kind}]}, "value": value, **own}


def a_service_request(**changes: Any) -> dict[str, Any]:
    return {
        "resourceType": "ServiceRequest",
        "id": "9",
        "status": "active",
        "intent": "order",
        "subject": {"reference": "Patient/7"},
        "identifier": [typed("ACSN", "CANARY-A1")],
    } | changes


def a_task(**changes: Any) -> dict[str, Any]:
    return {
        "resourceType": "Task",
        "id": "12",
        "status": "requested",
        "intent": "order",
        "focus": {"reference": "ServiceRequest/9"},
        "for": {"reference": "Patient/7"},
    } | changes


def an_imaging_study(**changes: Any) -> dict[str, Any]:
    return {
        "resourceType": "ImagingStudy",
        "id": "5",
        "status": "available",
        "subject": {"reference": "Patient/7"},
        "identifier": [{"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"}],
    } | changes


def a_code(code: str, system: str = LOINC) -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code}]}


def a_category(code: str) -> list[dict[str, Any]]:
    return [a_code(code, "http://snomed.info/sct")]


class CountingRecord(InMemoryRecord):
    """Counts what is read; `during` happens while a resource is being read."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[str] = []
        self.during: Any = None

    def read(self, reference: str) -> Resource:
        self.reads.append(reference)
        found = super().read(reference)
        if self.during:
            during, self.during = self.during, None
            during()
        return found


class House:
    """Each `put` is a version of its own, later than the one before."""

    def __init__(self, clock: FrozenClock, **policy: Any) -> None:
        self.clock = clock
        self.store = InMemoryStore(clock)
        self.queue = InMemoryQueue(self.store, clock)
        self.record = CountingRecord()
        self.record.store(PATIENT, a_service_request())
        self.inbox = Inbox(self.store, self.record, replace(POLICY, **policy), clock)
        self.minutes = 0

    def put(self, resource: dict[str, Any], at: int | None = None) -> None:
        """On the server, in the minute `at` or the next one, and told."""
        self.minutes = self.minutes + 1 if at is None else at
        updated = (BEGIN + timedelta(minutes=self.minutes)).isoformat(timespec="milliseconds")
        self.record.store(resource | {"meta": {"versionId": str(self.minutes), "lastUpdated": updated}})
        self.notify(resource["resourceType"], resource["id"], "")

    def delete(self, reference: str) -> None:
        self.record.remove(reference)
        kind, _, identity = reference.partition("/")
        self.notify(kind, identity, "", "DELETE")

    def tell(self, kind: str = "ServiceRequest", identity: str = "9", version: str = "", method: str = "PUT") -> None:
        with self.store.transaction() as ledger:
            ledger.add_notification(Notification(0, "orders", method, kind, identity, version, "ready"), b"{}")

    def notify(
        self, kind: str = "ServiceRequest", identity: str = "9", version: str = "1", method: str = "PUT"
    ) -> None:
        self.tell(kind, identity, version, method)
        self.inbox.settle_due()

    def retry(self, times: int = 3) -> None:
        for _ in range(times):
            self.clock.advance(60)
            self.inbox.settle_due()

    def hl7(self, order: Order) -> Taken:
        with self.store.transaction() as ledger:
            return accept_order(ledger, order, "hl7v2")

    def finish(self) -> None:
        """The next job runs through, and its result is out."""
        claim = self.queue.claim("w")
        assert claim is not None
        begun = self.store.begin_delivery(claim, "fhir")
        self.store.end_delivery(claim, replace(begun, status="delivered"))
        self.queue.record(claim, Move(Event.FINISH, Stage.DELIVER))

    def wait(self) -> None:
        """The next job waits for its images."""
        claim = self.queue.claim("w")
        assert claim is not None
        later = self.clock.now() + timedelta(hours=1)
        self.queue.record(claim, Move(Event.WAIT, Stage.STUDY, "study.not-there-yet", later))

    def hold(self, reason: str) -> None:
        """The next job is held."""
        claim = self.queue.claim("w")
        assert claim is not None
        self.queue.record(claim, Move(Event.HOLD, Stage.STUDY, reason))

    def last(self) -> Notification:
        return self.store.state.notifications[len(self.store.state.notifications)]

    def settled(self) -> tuple[str, str]:
        """How the last notification was settled."""
        return self.last().status, self.last().reason

    def jobs(self) -> list[Job]:
        """In the order in which they came."""
        return list(reversed(self.store.jobs()))

    def statuses(self) -> list[Status]:
        return [job.status for job in self.jobs()]

    def standing(self) -> list[tuple[str, str]]:
        return [(job.status, job.reason) for job in self.jobs()]

    def timeline(self, job: int = 0) -> list[tuple[str, str]]:
        return [(entry.event, entry.reason) for entry in self.store.history(self.jobs()[job].id)]
