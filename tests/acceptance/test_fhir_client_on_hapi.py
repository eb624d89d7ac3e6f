"""The FHIR client's presumptions, held against a real HAPI."""

import pytest

from fhir_bridge.adapters.fhir_capability import PRESUMED, disagreements
from fhir_bridge.adapters.fhir_client import FhirClient
from fhir_bridge.practice.fhir_peer import FhirPeer
from fhir_bridge.server_traits import PROFILES

pytestmark = pytest.mark.real_parts


def test_what_is_presumed_of_a_silent_server_is_what_r4_defines(hapi: FhirPeer) -> None:
    """HAPI's statement lists the search parameters that R4 defines; ours is a part of them."""
    with FhirClient(hapi.base_url) as client:
        said = client.search_parameters()
    assert {kind: names - said[kind] for kind, names in PRESUMED.search_parameters.items()} == dict.fromkeys(
        PRESUMED.search_parameters, frozenset()
    )


def test_hapi_contradicts_its_profile_nowhere(hapi: FhirPeer) -> None:
    with FhirClient(hapi.base_url) as client:
        assert disagreements(PROFILES["hapi"], client.capabilities()) == ()


@pytest.mark.parametrize("number", ["0123456789abcdef", "0123456789abcdefXYZ"])
def test_the_number_of_a_write_is_kept_with_what_was_written(
    hapi: FhirPeer, monkeypatch: pytest.MonkeyPatch, number: str
) -> None:
    """In `meta.source`; HAPI cuts off what is longer than ours is."""
    monkeypatch.setattr("fhir_bridge.adapters.fhir_transport.secrets.token_hex", lambda octets: number)
    patient = {"resourceType": "Patient", "identifier": [{"system": "urn:number", "value": f"CANARY-{number}"}]}
    with FhirClient(hapi.base_url) as client:
        kept = client.create_unless(patient, f"identifier=urn:number|CANARY-{number}")
        assert client.read(f"Patient/{kept['id']}")["meta"]["source"] == "#0123456789abcdef"
