"""Histories of orders on a FHIR server, and a bridge that is told of them: without a loss, or as badly as real servers tell."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from fhir_bridge.adapters.in_memory.record import InMemoryRecord
from fhir_bridge.inbox import Inbox
from fhir_bridge.intake import IntakePolicy
from fhir_bridge.job import Job, Status
from fhir_bridge.order_intake import accept_order
from fhir_bridge.ports import JobStore, Notification
from fhir_bridge.senders import SenderRules, Senders
from mappings.authority import Authorities
from mappings.hl7v2_order import SenderPolicy
from mappings.order import OrderControl
from tests.support.builders import MRN_SYSTEM, an_order
from tests.support.frozen_clock import FrozenClock

V2_0203 = "http://terminology.hl7.org/CodeSystem/v2-0203"
SNOMED = "http://snomed.info/sct"
BEGIN = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
POLICY = IntakePolicy(
    Senders(SenderRules(mapping=SenderPolicy(Authorities(())))), frozenset({"363679005"}), task_orders=True
)
PATIENT = {"resourceType": "Patient", "id": "7", "identifier": [{"system": MRN_SYSTEM, "value": "CANARY-1"}]}
CODES = ("24627-2", "36643-5")

Step = tuple[str, int, str]  # what, which order, how


class Server:
    """The state of a FHIR server: each write is a version with a time of its own."""

    def __init__(self) -> None:
        self.record = InMemoryRecord()
        self.record.store(PATIENT)
        self.known: dict[str, dict[str, Any] | None] = {}  # by reference; None: deleted
        self._versions = 0

    def put(self, resource: dict[str, Any]) -> tuple[str, str]:
        """Type/id and version."""
        self._versions += 1
        at = BEGIN + timedelta(milliseconds=self._versions)
        meta = {"versionId": str(self._versions), "lastUpdated": at.isoformat(timespec="milliseconds")}
        reference = f"{resource['resourceType']}/{resource['id']}"
        self.known[reference] = resource | {"meta": meta}
        self.record.store(resource | {"meta": meta})
        return reference, str(self._versions)

    def delete(self, reference: str) -> None:
        self._versions += 1
        self.known[reference] = None
        self.record.remove(reference)

    def now(self, reference: str) -> dict[str, Any]:
        """The resource, if it is there; an empty one else."""
        return self.known.get(reference) or {}


def _typed(kind: str, value: str, **more: str) -> dict[str, Any]:
    return {"type": {"coding": [{"system": V2_0203, "code": kind}]}, "value": value, **more}


def a_request(number: int, **elements: Any) -> dict[str, Any]:
    """With the numbers of `an_order(number)`."""
    return {
        "resourceType": "ServiceRequest",
        "id": f"r{number}",
        "status": "active",
        "intent": "order",
        "subject": {"reference": "Patient/7"},
        "category": [{"coding": [{"system": SNOMED, "code": "363679005"}]}],
        "code": {"coding": [{"system": "http://loinc.org", "code": CODES[0]}]},
        "identifier": [
            _typed("PLAC", f"CANARY-P{number}", system="urn:oid:1.2.3.5"),
            _typed("ACSN", f"CANARY-A{number}"),
        ],
    } | elements


@dataclass
class Bridge:
    """An inbox, its store, and what it is told."""

    server: Server
    store: JobStore
    clock: FrozenClock
    inbox: Inbox = field(init=False)

    def __post_init__(self) -> None:
        self.inbox = Inbox(self.store, self.server.record, POLICY, self.clock)

    def tell(self, reference: str, version: str = "", method: str = "PUT") -> None:
        kind, _, identity = reference.partition("/")
        with self.store.transaction() as ledger:
            ledger.add_notification(Notification(0, "orders", method, kind, identity, version, "ready"), b"")

    def hl7(self, number: int, control: OrderControl) -> None:
        with self.store.transaction() as ledger:
            accept_order(ledger, an_order(str(number), control=control), "hl7v2")

    def settle(self) -> None:
        """All that waits, also for its next attempt."""
        for _ in range(6):
            while self.inbox.settle_due():
                pass
            self.clock.advance(61)

    def tell_all(self) -> None:
        """What catch-up does: every resource once more, the deleted ones too."""
        for reference, resource in self.server.known.items():
            self.tell(reference, method="PUT" if resource else "DELETE")
        self.settle()


Tell = Callable[[str, str, str], None]  # reference, version, method


def happen(server: Server, bridge: Bridge, step: Step, tell: Tell) -> None:
    """One thing that happens at the hospital; what cannot happen does not."""
    what, number, how = step
    request, task, study = f"ServiceRequest/r{number}", f"Task/t{number}{how[:1]}", f"ImagingStudy/s{number}"
    current = server.now(request)
    if what == "hl7":
        bridge.hl7(number, OrderControl(how))
    elif what == "put":
        tell(*server.put(current | a_request(number) if current else a_request(number)), "PUT")
    elif what == "status" and current:
        tell(*server.put(current | {"status": how}), "PUT")
    elif what == "change" and current:
        tell(*server.put(_changed(current, how)), "PUT")
    elif what == "delete" and server.now(request):
        server.delete(request)
        tell(request, "", "DELETE")
    elif what == "task" and current:
        _, _, status = how.partition(" ")
        focus = {"focus": {"reference": request}, "for": {"reference": "Patient/7"}}
        resource = {"resourceType": "Task", "id": task.partition("/")[2], "status": status, "intent": "order", **focus}
        tell(*server.put(resource), "PUT")
    elif what == "untask" and server.now(task):
        server.delete(task)
        tell(task, "", "DELETE")
    elif what == "numbered":
        identifier = [
            {"system": "urn:dicom:uid", "value": f"urn:oid:1.2.4.{number}"},
            _typed("ACSN", f"CANARY-A{number}"),
        ]
        tell(*server.put(_study(f"n{number}", how) | {"identifier": identifier}), "PUT")
    elif what == "study" and current and server.now(study).get("status") != "available":
        uid = [{"system": "urn:dicom:uid", "value": f"urn:oid:1.2.3.{number}"}]
        tell(*server.put(_study(f"s{number}", how) | {"identifier": uid, "basedOn": [{"reference": request}]}), "PUT")


def _study(name: str, status: str) -> dict[str, Any]:
    return {"resourceType": "ImagingStudy", "id": name, "status": status, "subject": {"reference": "Patient/7"}}


def _changed(request: dict[str, Any], how: str) -> dict[str, Any]:
    if how == "code":
        other = CODES[CODES[0] == request["code"]["coding"][0]["code"]]
        return request | {"code": {"coding": [{"system": "http://loinc.org", "code": other}]}}
    if how == "stat":
        return request | {"priority": "stat"}
    reason = {} if "reasonCode" in request else {"reasonCode": [{"text": "cough"}]}
    return {name: value for name, value in request.items() if name != "reasonCode"} | reason


def told_well(make: Callable[[FrozenClock], JobStore], steps: Sequence[Step]) -> Bridge:
    """Every notification at once, in order, none lost."""
    server, clock = Server(), FrozenClock()
    bridge = Bridge(server, make(clock), clock)
    for step in steps:
        happen(server, bridge, step, bridge.tell)
        bridge.settle()
    bridge.tell_all()
    return bridge


def told_badly(make: Callable[[FrozenClock], JobStore], steps: Sequence[Step], chance: random.Random) -> Bridge:
    """Lost, doubled, late and shuffled; what is read is what is there by then. At the end everything is told once more."""
    server, clock = Server(), FrozenClock()
    bridge = Bridge(server, make(clock), clock)
    waiting: list[tuple[str, str, str]] = []
    for step in steps:
        happen(server, bridge, step, lambda *told: waiting.extend([told] * chance.choice((0, 1, 1, 2))))
        chance.shuffle(waiting)
        for _ in range(chance.randint(0, len(waiting))):
            bridge.tell(*waiting.pop())
        if chance.random() < 0.5:
            bridge.settle()
    bridge.tell_all()
    return bridge


def live(store: JobStore) -> list[tuple[object, ...]]:
    """Every job that goes on or will: its order's content, and whether it is on hold."""
    return sorted((_shown(job) for job in store.jobs() if job.status is not Status.CANCELLED), key=str)


def _shown(job: Job) -> tuple[object, ...]:
    order = job.order
    content = (
        order.keys()[0].value, order.service_request, order.task, order.placer, order.filler, order.accession, order.study_instance_uid,
        order.requested_at, {number.value for number in order.patient.identifiers},
    )  # fmt: skip
    # what both doors say differently is said by the one that came first
    own = (order.procedure, order.modality, order.reason, order.priority) if not _by_both(job) else ()
    return (*content, *own, job.status)


def _by_both(job: Job) -> bool:
    return any(standing.source == "hl7v2" for standing in job.order.standings) or job.source == "hl7v2"
