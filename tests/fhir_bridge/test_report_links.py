"""What the report takes from the FHIR server: the visit, the time of the images, who ordered; known or absent, never made up."""

from typing import Any

import pytest

from fhir_bridge.adapters.in_memory.record import InMemoryRecord
from fhir_bridge.result import Links, links_of
from tests.support.builders import an_order

PATIENT = {"resourceType": "Patient", "id": "7"}
UID = "2.25.7"


def found(*resources: dict[str, Any]) -> Links:
    record = InMemoryRecord()
    record.store(PATIENT, *resources)
    return links_of(record, an_order(service_request="ServiceRequest/9"), "Patient/7", UID)


def a_request(**elements: Any) -> dict[str, Any]:
    numbers = [{"system": "urn:oid:1.2.3.5", "value": "CANARY-P1"}]
    subject = {"reference": "Patient/7"}
    return {
        "resourceType": "ServiceRequest",
        "id": "9",
        "status": "active",
        "subject": subject,
        "identifier": numbers,
    } | elements


def a_visit(patient: str) -> dict[str, Any]:
    return {"resourceType": "Encounter", "id": "4", "subject": {"reference": patient}}


def a_study(**elements: Any) -> dict[str, Any]:
    number = [{"system": "urn:dicom:uid", "value": f"urn:oid:{UID}"}]
    return {
        "resourceType": "ImagingStudy",
        "id": "5",
        "subject": {"reference": "Patient/7"},
        "identifier": number,
    } | elements


@pytest.mark.parametrize("reference", ["Encounter/4", "http://ehr.example/fhir/Encounter/4/_history/2"])
def test_the_visit_is_the_orders(reference: str) -> None:
    assert found(a_request(encounter={"reference": reference}), a_visit("Patient/7")).encounter == "Encounter/4"


@pytest.mark.parametrize("visit", [[], [a_visit("Patient/8")]], ids=["gone", "another patient's"])
def test_a_visit_that_is_not_the_patients_is_left_out(visit: list[dict[str, Any]]) -> None:
    assert found(a_request(encounter={"reference": "Encounter/4"}), *visit).encounter == ""


def test_who_ordered_is_as_the_order_says() -> None:
    assert found(a_request(requester={"reference": "Practitioner/7"})).requester == "Practitioner/7"


@pytest.mark.parametrize(
    ("study", "started"),
    [
        ({"started": "2026-03-02T08:15:00+01:00"}, "2026-03-02T08:15:00+01:00"),
        ({"started": "2026-03-02"}, "2026-03-02"),
        (
            {"series": [{"started": "2026-03-02T09:00:00Z"}, {"started": "2026-03-02T08:00:00Z"}]},
            "2026-03-02T08:00:00Z",
        ),
        ({"started": "yesterday"}, ""),
        ({}, ""),
    ],
)
def test_the_time_of_the_images_is_the_servers(study: dict[str, Any], started: str) -> None:
    assert found(a_request(), a_study(**study)).started == started


def test_without_a_study_there_the_time_is_not_known() -> None:
    assert found(a_request()) == Links("Patient/7", "ServiceRequest/9")
