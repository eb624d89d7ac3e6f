"""Jobs whose report a person decides about, on in-memory adapters: `Practitioner/12` signs, as himself or in a role."""

from pathlib import Path
from typing import Any

from fhir_bridge.decisions import Decisions
from fhir_bridge.job import Status
from mappings.finding import Report, ReportStatus, RetractionReason
from tests.support.bridge_in_memory import BridgeInMemory
from tests.support.frozen_clock import FrozenClock

BY, ROLE = "Practitioner/12", "PractitionerRole/3"
FINAL, AMENDED, CORRECTED = ReportStatus.FINAL, ReportStatus.AMENDED, ReportStatus.CORRECTED
WRONG = RetractionReason.WRONG_PATIENT


def a_bridge(folder: Path, clock: FrozenClock) -> BridgeInMemory:
    bridge = BridgeInMemory(folder, clock)
    bridge.record.store({"resourceType": "Practitioner", "id": "12", "active": True}, a_role())
    bridge.film()
    return bridge


def a_role(name: str = "3", **elements: Any) -> dict[str, Any]:
    """A PractitionerRole of the practitioner, by an absolute reference, as some servers write it."""
    held_by = {"reference": f"https://fhir.example/r4/{BY}"}
    return {"resourceType": "PractitionerRole", "id": name, "active": True, "practitioner": held_by, **elements}


def done(bridge: BridgeInMemory) -> str:
    job = bridge.order()
    bridge.run_until_quiet()
    assert bridge.job(job).status is Status.DONE
    bridge.clock.advance(60)
    return job


def decisions(bridge: BridgeInMemory) -> Decisions:
    return Decisions(bridge.store, bridge.kit.artifacts, bridge.record, bridge.clock)


def sign(bridge: BridgeInMemory, job: str, status: ReportStatus = FINAL, by: str = BY) -> Report:
    return decisions(bridge).sign(bridge.job(job), by, status)


def retract(bridge: BridgeInMemory, job: str) -> Report:
    return decisions(bridge).retract(bridge.job(job), BY, WRONG)


def run(bridge: BridgeInMemory) -> None:
    bridge.run()
    bridge.clock.advance(60)
    bridge.run()


def statuses(bridge: BridgeInMemory, job: str) -> list[str]:
    return [str(version.status) for version in bridge.destination.versions[job]]
