"""What we publish as a FHIR server, before the validator of a real one."""

import pytest

from fhir_bridge.api.capability import capability_statement, uses
from fhir_bridge.practice.fhir_peer import FhirPeer
from mappings.concept_map import code_systems, concept_maps
from tests.support.hapi import errors_in

pytestmark = pytest.mark.real_parts

PUBLISHED = {
    "capability statement": capability_statement(
        "1", "http://bridge.example/fhir", {"ConceptMap": ("url",)}, uses(("Patient",), ("Patient",), ("Observation",))
    ),
    **{f"ConceptMap {name}": resource for name, resource in concept_maps("1").items()},
    **{f"CodeSystem {name}": resource for name, resource in code_systems("1").items()},
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_hapi_finds_no_error_in_what_we_publish(hapi: FhirPeer, name: str) -> None:
    assert errors_in(hapi, PUBLISHED[name]) == ()
