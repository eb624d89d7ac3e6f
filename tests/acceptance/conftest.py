"""Real peers, each started once per run."""

from collections.abc import Iterator

import pytest

from fhir_bridge.adapters.fhir_client import FhirClient
from fhir_bridge.practice.fhir_peer import FhirPeer
from tests.support.bridge import Bridge, running_bridge
from tests.support.fhir_hospital import RealHospital, real_hospital
from tests.support.hapi import HAPI_WORK, running_peer
from tests.support.neighbours import Neighbours, running_neighbours
from tests.support.orthanc import Orthanc, running_orthanc


@pytest.fixture(scope="session")
def hapi() -> Iterator[FhirPeer]:
    """HAPI FHIR JPA R4 on loopback, empty at first. Use an identifier system of your own in each test."""
    yield from running_peer("hapi", HAPI_WORK)


@pytest.fixture(scope="session")
def lasting_hapi(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealHospital]:
    """A HAPI of its own that is killed and started again, and keeps what it has in a file."""
    with real_hospital("hapi", HAPI_WORK, tmp_path_factory.mktemp("hapi") / "database") as hospital:
        yield hospital


@pytest.fixture(scope="session")
def orthanc() -> Iterator[Orthanc]:
    """A PACS on loopback, empty at first. Use a study UID and an accession number of your own in each test."""
    with running_orthanc() as server:
        yield server


@pytest.fixture(scope="session")
def bridge(hapi: FhirPeer, orthanc: Orthanc, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bridge]:
    """A bridge between the two. Use a story of your own in each test."""
    settings = {"archive.kind": "dicomweb", "archive.dicomweb_url": orthanc.dicomweb_url}
    secrets = f'[archive]\nusername = "{orthanc.auth[0]}"\npassword = "{orthanc.auth[1]}"\n'
    data_dir = tmp_path_factory.mktemp("stories") / "bridge"
    with FhirClient(hapi.base_url) as fhir, running_bridge(data_dir, fhir, settings, secrets) as bridge:
        yield bridge


@pytest.fixture(scope="session")
def neighbours(hapi: FhirPeer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Neighbours]:
    """A bridge between Camel and HAPI HL7v2. Use orders, patients and stories of your own in each test."""
    with (
        FhirClient(hapi.base_url) as fhir,
        running_neighbours(tmp_path_factory.mktemp("neighbours"), fhir) as neighbours,
    ):
        yield neighbours
