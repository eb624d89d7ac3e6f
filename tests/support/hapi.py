"""Starts the real FHIR servers of the tests. HAPI's build is kept in `.work/hapi` of the checkout, which git ignores."""

from collections.abc import Iterator
from pathlib import Path

from fhir_bridge.errors import Refused
from fhir_bridge.practice.fhir_peer import FhirPeer, start_fhir_peer
from tests.support.real_parts import part_missing

HAPI_WORK = Path(__file__).parents[2] / ".work" / "hapi"


def running_peer(kind: str, work: Path) -> Iterator[FhirPeer]:
    """The body of a fixture: a server until the fixture ends."""
    try:
        peer = start_fhir_peer(kind, work)
    except Refused as refusal:
        part_missing(kind, refusal.explanation)
    with peer:
        yield peer
