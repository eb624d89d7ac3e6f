"""Starts the real FHIR servers of the tests. HAPI's build is kept in `.work/hapi` of the checkout, which git ignores."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests

from fhir_bridge.errors import Refused
from fhir_bridge.practice.fhir_peer import FhirPeer, start_fhir_peer
from tests.support.real_parts import part_missing

HAPI_WORK = Path(__file__).parents[2] / ".work" / "hapi"

# The label of the AI Transparency guide: in today's HL7 Terminology, not in the copy of it that R4 was published with
YOUNGER_THAN_R4 = "Unknown code 'http://terminology.hl7.org/CodeSystem/v3-ObservationValue#AIAST'"


def running_peer(kind: str, work: Path) -> Iterator[FhirPeer]:
    """The body of a fixture: a server until the fixture ends."""
    with started_peer(kind, work) as peer:
        yield peer


def started_peer(kind: str, work: Path, *, port: int = 0, database: Path | None = None) -> FhirPeer:
    """A server, as `start_fhir_peer` has it; where this machine cannot have it, the test is skipped."""
    try:
        return start_fhir_peer(kind, work, port=port, database=database)
    except Refused as refusal:
        part_missing(kind, refusal.explanation)


def errors_in(hapi: FhirPeer, resource: dict[str, Any]) -> tuple[str, ...]:
    """What `$validate` (R4 resource-operation-validate) says is wrong; warnings and hints are left out."""
    url = f"{hapi.base_url}/{resource['resourceType']}/$validate"
    headers = {"Content-Type": "application/fhir+json", "Accept": "application/fhir+json"}
    outcome = requests.post(url, json=resource, headers=headers, timeout=120).json()
    assert outcome["resourceType"] == "OperationOutcome"
    errors = (issue["diagnostics"] for issue in outcome["issue"] if issue["severity"] in ("error", "fatal"))
    return tuple(error for error in errors if error != YOUNGER_THAN_R4)
