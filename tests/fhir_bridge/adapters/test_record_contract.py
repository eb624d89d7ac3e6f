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
from tests.support.scripted_http import Asked, Scripted, ScriptedServer, fhir

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


def capable_of(*types: str) -> Scripted:
    resources = [{"type": kind, "searchParam": [{"name": "patient"}]} for kind in types]
    return fhir({"resourceType": "CapabilityStatement", "rest": [{"mode": "server", "resource": resources}]})


def test_a_type_that_the_server_does_not_have_is_missing_from_the_context(
    serve: Callable[..., FhirClient], servers: list[ScriptedServer]
) -> None:
    client = serve(capable_of("Condition", "Observation", "Patient"), searchset())
    context = FhirServerRecord(client).context_of({"resourceType": "Patient", "id": "1"})
    assert dict(context.others) == {"Condition": (), "Observation": ()}
    assert {asked.path.partition("?")[0] for asked in servers[0].asked} == {
        "/fhir/metadata", "/fhir/Condition", "/fhir/Observation",
    }  # fmt: skip


def test_a_server_that_sends_another_patients_context_is_refused(serve: Callable[..., FhirClient]) -> None:
    theirs = {"resourceType": "Condition", "id": "1", "subject": {"reference": "Patient/2"}}
    record = FhirServerRecord(serve(capable_of("Condition"), searchset(theirs)))
    with pytest.raises(Refused) as caught:
        record.context_of({"resourceType": "Patient", "id": "1"})
    assert caught.value.code == "patient.mismatch"


def test_only_what_the_server_can_sort_by_is_asked_for(
    serve: Callable[..., FhirClient], servers: list[ScriptedServer]
) -> None:
    client = serve(capable_of("Condition"), searchset())
    FhirServerRecord(client).context_of({"resourceType": "Patient", "id": "1"})
    assert servers[0].asked[1].path == "/fhir/Condition?patient=Patient%2F1&_count=50"


def test_an_error_in_one_of_the_parallel_searches_is_the_error_of_the_context(
    serve: Callable[..., FhirClient], servers: list[ScriptedServer]
) -> None:
    client = serve(capable_of("Condition", "ImagingStudy"))
    statement = servers[0].answer

    def answer(asked: Asked) -> Scripted:
        if "metadata" in asked.path:
            return statement(asked)
        return searchset() if "Condition" in asked.path else Scripted(500, b"")

    servers[0].answer = answer
    with pytest.raises(Unavailable) as caught:
        FhirServerRecord(client).context_of({"resourceType": "Patient", "id": "1"})
    assert caught.value.code == "fhir.unavailable"
    assert caught.value.where == "GET ImagingStudy"
