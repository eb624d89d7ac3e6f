"""Real peers, each started once per run."""

from collections.abc import Iterator

import pytest

from fhir_bridge.practice.fhir_peer import FhirPeer
from tests.support.hapi import HAPI_WORK, running_peer
from tests.support.orthanc import Orthanc, running_orthanc


@pytest.fixture(scope="session")
def hapi() -> Iterator[FhirPeer]:
    """HAPI FHIR JPA R4 on loopback, empty at first. Use an identifier system of your own in each test."""
    yield from running_peer("hapi", HAPI_WORK)


@pytest.fixture(scope="session")
def orthanc() -> Iterator[Orthanc]:
    """A PACS on loopback, empty at first. Use a study UID and an accession number of your own in each test."""
    with running_orthanc() as server:
        yield server
