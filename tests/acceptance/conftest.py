"""Real peers, each started once per run."""

from collections.abc import Iterator

import pytest

from fhir_bridge.practice.fhir_peer import FhirPeer
from tests.support.hapi import HAPI_WORK, running_peer


@pytest.fixture(scope="session")
def hapi() -> Iterator[FhirPeer]:
    """HAPI FHIR JPA R4 on loopback, empty at first. Use an identifier system of your own in each test."""
    yield from running_peer("hapi", HAPI_WORK)
