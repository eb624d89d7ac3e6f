"""Visits, procedures, vaccinations and the order across the boundary: what a model could use goes, whoever can be known by it stays."""

import json
from collections import Counter
from datetime import date
from typing import Any

import pytest

from fhir_bridge.adapters.record_context import CONTEXT_TYPES
from fhir_bridge.deid.fhir import deidentify_resource, known_types
from fhir_bridge.deid.pseudonym import ProjectKeys
from fhir_bridge.deid.subject import Subject

KEYS = ProjectKeys(bytes(32))
SNOMED = "http://snomed.info/sct"
ACT_CODE = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
ABSENT = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
PLANTED = {"display": "CANARY^ZEBRA", "reference": "Practitioner/CANARY-1"}


def reduced(resource: dict[str, Any]) -> dict[str, Any]:
    found = deidentify_resource(resource, Subject(KEYS, "Patient/1", None, ()), Counter())
    assert found is not None
    return found


def moved(day: str) -> str:
    return (date.fromisoformat(day) + KEYS.shift("Patient/1")).isoformat()


def concept(code: str, system: str = SNOMED) -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code, "display": "CANARY"}], "text": "CANARY"}


ENCOUNTER = {
    "resourceType": "Encounter", "id": "CANARY-1", "status": "in-progress",
    "identifier": [{"system": "urn:visits", "value": "CANARY-17", "assigner": PLANTED}],
    "class": {"system": ACT_CODE, "code": "EMER", "display": "CANARY"},
    "type": [concept("50849002"), concept("CANARY", "urn:local")],
    "subject": PLANTED, "participant": [{"individual": PLANTED}], "serviceProvider": PLANTED,
    "location": [{"location": {"display": "CANARY ward", "reference": "Location/CANARY"}}],
    "hospitalization": {"origin": PLANTED, "preAdmissionIdentifier": {"value": "CANARY"}},
    "period": {"start": "2026-03-01T08:00:00Z", "end": "2026-03-04", "extension": [{"valueString": "CANARY"}]},
    "text": {"div": "<div>CANARY</div>"}, "account": [PLANTED],
}  # fmt: skip
PROCEDURE = {
    "resourceType": "Procedure", "id": "CANARY-2", "status": "completed", "code": concept("80146002"),
    "subject": PLANTED, "performer": [{"actor": PLANTED, "onBehalfOf": PLANTED}], "location": PLANTED,
    "performedPeriod": {"start": "2020-05-06", "end": "CANARY"}, "note": [{"text": "CANARY", "authorString": "CANARY"}],
    "report": [PLANTED], "focalDevice": [{"manipulated": PLANTED}], "usedReference": [PLANTED],
    "_status": {"extension": [{"valueString": "CANARY"}]}, "recorder": PLANTED, "asserter": PLANTED,
}  # fmt: skip
IMMUNIZATION = {
    "resourceType": "Immunization", "id": "CANARY-3", "status": "completed",
    "vaccineCode": concept("207", "http://hl7.org/fhir/sid/cvx"), "occurrenceDateTime": "2021-02-03",
    "lotNumber": "CANARY-LOT", "manufacturer": PLANTED, "performer": [{"actor": PLANTED}], "location": PLANTED,
    "expirationDate": "2022-01-01", "patient": PLANTED, "note": [{"text": "CANARY"}], "primarySource": True,
    "education": [{"reference": "https://CANARY.example"}], "occurrenceString": "CANARY", "doseQuantity": {"value": 1},
}  # fmt: skip
REQUEST = {
    "resourceType": "ServiceRequest", "id": "CANARY-4", "status": "active", "intent": "order", "priority": "stat",
    "identifier": [{"value": "CANARY-ACC"}], "requisition": {"value": "CANARY"}, "requester": PLANTED,
    "code": concept("399208008"), "reasonCode": [concept("49727002"), {"text": "CANARY coughs"}],
    "reasonReference": [PLANTED], "authoredOn": "2026-03-01T07:00:00Z", "patientInstruction": "CANARY",
    "note": [{"text": "CANARY"}], "supportingInfo": [PLANTED], "locationReference": [PLANTED], "performer": [PLANTED],
}  # fmt: skip


def test_a_visit_keeps_its_class_its_kind_and_its_moved_dates() -> None:
    found = reduced(ENCOUNTER)
    assert found["class"] == {"system": ACT_CODE, "code": "EMER"}
    assert found["type"] == [{"coding": [{"system": SNOMED, "code": "50849002"}]}]
    assert found["period"] == {"start": f"{moved('2026-03-01')}T08:00:00Z", "end": moved("2026-03-04")}
    assert set(found) == {"resourceType", "meta", "id", "status", "class", "type", "period"}


def test_a_procedure_keeps_its_code_and_when_it_was_done() -> None:
    found = reduced(PROCEDURE)
    assert found["code"] == {"coding": [{"system": SNOMED, "code": "80146002"}]}
    assert found["performedPeriod"] == {"start": moved("2020-05-06")}
    assert set(found) == {"resourceType", "meta", "id", "status", "code", "performedPeriod"}


def test_a_vaccination_keeps_its_vaccine_and_its_date_and_no_lot() -> None:
    found = reduced(IMMUNIZATION)
    assert found["vaccineCode"] == {"coding": [{"system": "http://hl7.org/fhir/sid/cvx", "code": "207"}]}
    assert found["occurrenceDateTime"] == moved("2021-02-03")
    assert set(found) == {
        "resourceType", "meta", "id", "status", "vaccineCode", "occurrenceDateTime", "primarySource",
    }  # fmt: skip


def test_the_order_keeps_its_reason_in_codes_alone() -> None:
    found = reduced(REQUEST)
    assert found["reasonCode"] == [{"coding": [{"system": SNOMED, "code": "49727002"}]}]
    assert found["code"] == {"coding": [{"system": SNOMED, "code": "399208008"}]}
    assert set(found) == {
        "resourceType", "meta", "id", "status", "intent", "priority", "code", "reasonCode", "authoredOn",
    }  # fmt: skip


def test_why_a_value_is_absent_crosses() -> None:
    absent = {"coding": [{"system": ABSENT, "code": "not-performed"}]}
    found = reduced({"resourceType": "Observation", "dataAbsentReason": {**absent, "text": "CANARY"}})
    assert found["dataAbsentReason"] == absent


@pytest.mark.parametrize("resource", [ENCOUNTER, PROCEDURE, IMMUNIZATION, REQUEST], ids=lambda r: r["resourceType"])
def test_nobody_who_was_planted_crosses(resource: dict[str, Any]) -> None:
    actions: Counter[tuple[str, str]] = Counter()
    found = deidentify_resource(resource, Subject(KEYS, "Patient/1", None, ()), actions)
    released = json.dumps([found, sorted(actions)]).upper()
    assert "CANARY" not in released
    assert "ZEBRA" not in released


@pytest.mark.parametrize("system", ["http://terminology.hl7.org/CodeSystem/v3-ActCode", ABSENT])
def test_a_code_that_the_system_does_not_have_does_not_cross(system: str) -> None:
    encounter = {"resourceType": "Encounter", "status": "finished", "class": {"system": system, "code": "CANARY"}}
    assert "class" not in reduced(encounter)


def test_every_type_of_the_context_may_cross_and_no_other() -> None:
    assert known_types() == CONTEXT_TYPES
