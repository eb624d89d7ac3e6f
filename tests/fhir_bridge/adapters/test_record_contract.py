"""`ports.ClinicalRecord`: the twin and a real FHIR server answer alike. (HAPI does in tests/acceptance.)"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from fhir_bridge.adapters.fhir_client import FhirClient
from fhir_bridge.adapters.fhir_credentials import bearer
from fhir_bridge.adapters.fhir_server import FhirServerRecord
from fhir_bridge.adapters.in_memory.record import InMemoryRecord
from fhir_bridge.errors import Refused, Unavailable
from fhir_bridge.ports import ClinicalRecord
from fhir_bridge.practice.fhir_peer import FhirPeer
from mappings.order import Identifier, PatientIdentity
from tests.support.context_contract import FormerPatientsContract
from tests.support.hospitals import Hospital, Resources, ServerHospital, TwinHospital
from tests.support.patient_contract import PatientContract
from tests.support.record_contract import OrderContract, RecordContract
from tests.support.scripted_fhir import AZURE_LIKE, EPIC_LIKE, GOOGLE_LIKE, ScriptedFhir, scripted_fhir
from tests.support.scripted_http import Scripted, fhir
from tests.support.study_orders_contract import StudyOrdersContract
from tests.support.waiting_time import WaitingTime

SOMEONE = PatientIdentity((Identifier("CANARY-1", "urn:oid:1.2.3"),))


class TestTwin(RecordContract):
    @pytest.fixture
    def hospital(self) -> Hospital:
        return TwinHospital()

    def test_an_outage_is_raised(self) -> None:
        with pytest.raises(Unavailable):
            InMemoryRecord(Unavailable("fhir.unavailable")).find_patient(SOMEONE)

    @pytest.mark.parametrize("when", ["9999-12-31", "0001-01-01T00:00:00+14:00", "2026-13-01", 20260302, None])
    def test_an_order_of_no_sensible_time_is_not_near(
        self, hospital: Hospital, make: Resources, place: Hospital, when: object
    ) -> None:
        hospital.store(self.a_request(make, "r", authoredOn=when))
        assert self.found(place, self.a_study(make)) == []


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


@dataclass
class ScriptedHospital:
    """Stores past the server's rules: the hospital writes elsewhere."""

    server: ScriptedFhir
    record: ClinicalRecord

    def store(self, *resources: dict[str, Any]) -> None:
        self.server.put(*resources)

    def delete(self, reference: str) -> None:
        self.server.delete(reference)


class TestServersOfOtherTraits(PatientContract, OrderContract, StudyOrdersContract, FormerPatientsContract):
    """Pages of ten, parameters ignored, no sorting, every so many calls put off. Of the rest of the context see test_fhir_context."""

    @pytest.fixture(params=[EPIC_LIKE, AZURE_LIKE, GOOGLE_LIKE], ids=["epic", "azure", "google"])
    def hospital(self, request: pytest.FixtureRequest, waiting: WaitingTime) -> Iterator[Hospital]:
        with (
            scripted_fhir(request.param) as server,
            FhirClient(server.base_url, bearer(request.param.token), timing=waiting.timing()) as client,
        ):
            yield ScriptedHospital(server, FhirServerRecord(client))
