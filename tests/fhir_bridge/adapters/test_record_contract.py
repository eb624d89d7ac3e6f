"""`ports.ClinicalRecord`: the twin and a real FHIR server answer alike. (HAPI does in tests/acceptance.)"""

from collections.abc import Callable, Iterator

import pytest

from fhir_bridge.adapters.fhir_client import FhirClient
from fhir_bridge.adapters.fhir_server import FhirServerRecord
from fhir_bridge.adapters.in_memory.record import InMemoryRecord
from fhir_bridge.errors import Refused, Unavailable
from fhir_bridge.practice.fhir_peer import FhirPeer
from mappings.order import Identifier, PatientIdentity
from tests.support.hospitals import Hospital, ServerHospital, TwinHospital
from tests.support.record_contract import RecordContract
from tests.support.scripted_http import Scripted, fhir

SOMEONE = PatientIdentity((Identifier("CANARY-1", "urn:oid:1.2.3"),))


class TestTwin(RecordContract):
    @pytest.fixture
    def hospital(self) -> Hospital:
        return TwinHospital()

    def test_an_outage_is_raised(self) -> None:
        with pytest.raises(Unavailable):
            InMemoryRecord(Unavailable("fhir.unavailable")).find_patient(SOMEONE)


@pytest.mark.real_parts
class TestSekmet(RecordContract):
    @pytest.fixture
    def hospital(self, sekmet: FhirPeer) -> Iterator[Hospital]:
        with FhirClient(sekmet.base_url) as client:
            yield ServerHospital(client)


def searchset(*resources: dict[str, object]) -> Scripted:
    return fhir({"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": r} for r in resources]})


def test_a_server_that_ignores_the_search_finds_no_wrong_patient(serve: Callable[..., FhirClient]) -> None:
    stranger = {"resourceType": "Patient", "id": "9", "identifier": [{"system": "urn:oid:1.2.3", "value": "CANARY-9"}]}
    with pytest.raises(Refused) as caught:
        FhirServerRecord(serve(searchset(stranger))).find_patient(SOMEONE)
    assert caught.value.code == "patient.not-found"
