import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings.clinical_facts import ClinicalFacts, Medication, OrderReason, PastProcedure, facts_of
from mappings.clinical_values import Absent, Concept, Quantity, When, value_of, when_of
from mappings.code import Code

LOINC, SNOMED, UCUM = "http://loinc.org", "http://snomed.info/sct", "http://unitsofmeasure.org"
ABSENT = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
VERIFIED = "http://terminology.hl7.org/CodeSystem/condition-ver-status"
CRP = Code("1988-5", LOINC)


def concept(code: str, system: str = LOINC) -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code}]}


def observation(category: str = "laboratory", **elements: Any) -> dict[str, Any]:
    usual = {"resourceType": "Observation", "id": "o1", "meta": {"versionId": "3"}, "status": "final"}
    return {**usual, "category": [concept(category)], "code": concept("1988-5"), **elements}


@pytest.mark.parametrize(
    ("element", "expected"),
    [
        (
            {"valueQuantity": {"value": 12.5, "unit": "mg/l", "code": "mg/L", "system": UCUM}},
            Quantity(12.5, "mg/l", "mg/L", UCUM),
        ),
        ({"valueQuantity": {"value": 5, "comparator": "<"}}, Quantity(5, comparator="<")),
        ({"valueQuantity": {"value": 0}}, Quantity(0)),
        ({"valueCodeableConcept": concept("260385009", SNOMED)}, Concept((Code("260385009", SNOMED),))),
        ({"valueString": "trace"}, "trace"),
        ({"valueInteger": 0}, 0),
        ({"valueBoolean": False}, False),
        ({"dataAbsentReason": concept("not-performed", ABSENT)}, Absent(Concept((Code("not-performed", ABSENT),)))),
        ({}, Absent()),
        ({"valueRange": {"low": {"value": 1}}}, Absent(Concept((Code("unsupported", ABSENT),)))),
        ({"valueQuantity": {"value": "CANARY"}}, Absent(Concept((Code("unsupported", ABSENT),)))),
        ({"valueQuantity": {"value": True}}, Absent(Concept((Code("unsupported", ABSENT),)))),
    ],
)
def test_a_value_is_as_given_or_absent_with_its_reason(element: dict[str, Any], expected: object) -> None:
    found = value_of(element)
    assert (type(found), found) == (type(expected), expected)


@pytest.mark.parametrize(
    ("resource", "expected"),
    [
        ({"onsetDateTime": "2026"}, When("2026")),
        ({"onsetDateTime": "2026-03"}, When("2026-03")),
        ({"onsetDateTime": "2026-03-02"}, When("2026-03-02")),
        ({"onsetDateTime": "2026-03-02T10:00:00+01:00"}, When("2026-03-02T10:00:00+01:00")),
        ({"onsetPeriod": {"start": "2026-03", "end": "2026-04-01"}}, When("2026-03", "2026-04-01")),
        ({"onsetPeriod": {"end": "2026"}}, When("", "2026")),
        ({"onsetString": "in childhood"}, When()),
        ({}, When()),
    ],
)
def test_a_time_keeps_its_precision(resource: dict[str, Any], expected: When) -> None:
    assert when_of(resource, "onset") == expected


def test_a_laboratory_result_says_where_it_was_said() -> None:
    high = {"interpretation": [concept("H")], "valueQuantity": {"value": 12.5}, "effectiveDateTime": "2026-03-02"}
    (found,) = facts_of({"Observation": [observation(**high)]}).laboratory
    assert found.source == "Observation/o1/_history/3"
    assert (found.code, found.value, found.at) == (Concept((CRP,)), Quantity(12.5), When("2026-03-02"))
    assert found.interpretations == (Concept((Code("H", LOINC),)),)


def test_a_vital_sign_of_several_parts_keeps_each_with_its_value_or_its_absence() -> None:
    parts = [
        {"code": concept("8480-6"), "valueQuantity": {"value": 120, "unit": "mmHg"}},
        {"code": concept("8462-4"), "dataAbsentReason": concept("error", ABSENT)},
    ]
    facts = facts_of({"Observation": [observation("vital-signs", code=concept("85354-9"), component=parts)]})
    (found,) = facts.vital_signs
    assert facts.laboratory == ()
    assert found.value == Absent()
    assert found.components == (
        (Concept((Code("8480-6", LOINC),)), Quantity(120, "mmHg")),
        (Concept((Code("8462-4", LOINC),)), Absent(Concept((Code("error", ABSENT),)))),
    )


def test_what_nobody_knows_is_none_and_not_normal() -> None:
    assert facts_of({}) == ClinicalFacts()


@pytest.mark.parametrize("kind", ["Condition", "AllergyIntolerance"])
def test_what_was_refuted_is_no_fact(kind: str) -> None:
    resource = {"resourceType": kind, "id": "1", "code": concept("233604007", SNOMED)}
    facts = facts_of({kind: [{**resource, "verificationStatus": concept("refuted", VERIFIED)}]})
    assert facts == ClinicalFacts()


@pytest.mark.parametrize(
    ("kind", "status"),
    [("Procedure", "not-done"), ("Immunization", "not-done"), ("MedicationStatement", "not-taken"),
     ("Procedure", "entered-in-error")],
)  # fmt: skip
def test_what_was_not_done_is_no_fact(kind: str, status: str) -> None:
    assert facts_of({kind: [{"resourceType": kind, "id": "1", "status": status}]}) == ClinicalFacts()


def test_a_problem_keeps_its_two_statuses_and_its_times() -> None:
    condition = {
        "resourceType": "Condition", "id": "c", "code": concept("233604007", SNOMED), "onsetDateTime": "2025-11",
        "clinicalStatus": concept("resolved"), "verificationStatus": concept("provisional", VERIFIED),
        "abatementDateTime": "2026-01-02", "recordedDate": "2025-12-01",
    }  # fmt: skip
    (found,) = facts_of({"Condition": [condition]}).problems
    assert (found.clinical, found.verification) == ("resolved", "provisional")
    assert (found.onset, found.abated, found.recorded) == (When("2025-11"), When("2026-01-02"), When("2025-12-01"))
    assert found.source == "Condition/c"  # of a server that gives no versions


def test_a_medication_is_named_by_its_code_or_by_what_the_request_contains() -> None:
    inside = {"resourceType": "Medication", "id": "m", "code": concept("723")}
    requests = [
        {"resourceType": "MedicationRequest", "id": "1", "status": "active", "authoredOn": "2026-01-01",
         "medicationReference": {"reference": "#m"}, "contained": [inside]},
        {"resourceType": "MedicationRequest", "id": "2", "status": "stopped", "authoredOn": "2025-01-01",
         "medicationReference": {"reference": "Medication/9"}},
    ]  # fmt: skip
    taken = {"resourceType": "MedicationStatement", "id": "3", "status": "active", "effectiveDateTime": "2025-06-01",
             "medicationCodeableConcept": concept("724")}  # fmt: skip
    facts = facts_of({"MedicationRequest": requests, "MedicationStatement": [taken]})
    assert facts.medications == (
        Medication(Concept((Code("723", LOINC),)), "active", When("2026-01-01"), False, "MedicationRequest/1"),
        Medication(Concept((Code("724", LOINC),)), "active", When("2025-06-01"), True, "MedicationStatement/3"),
        Medication(Concept(), "stopped", When("2025-01-01"), False, "MedicationRequest/2"),
    )


def test_the_rest_of_the_record_is_typed_too() -> None:
    dcm = "http://dicom.nema.org/resources/ontology/DCM"
    facts = facts_of(
        {
            "ServiceRequest": [
                {"resourceType": "ServiceRequest", "id": "s", "reasonCode": [concept("49727002", SNOMED)],
                 "reasonReference": [{"reference": "Condition/c"}, {"display": "CANARY"}]},
                {"resourceType": "ServiceRequest", "id": "t"},
            ],
            "Encounter": [{"resourceType": "Encounter", "id": "e", "status": "in-progress", "class": {"code": "EMER"},
                           "period": {"start": "2026-03-01T09:00:00Z"}}],
            "Procedure": [{"resourceType": "Procedure", "id": "p", "status": "completed",
                           "code": concept("80146002", SNOMED), "performedPeriod": {"start": "2020"}}],
            "Immunization": [{"resourceType": "Immunization", "id": "i", "status": "completed",
                              "vaccineCode": concept("207"), "occurrenceDateTime": "2024-01-01"}],
            "DiagnosticReport": [{"resourceType": "DiagnosticReport", "id": "d", "status": "final",
                                  "conclusionCode": [concept("233604007", SNOMED)], "issued": "2024-01-01T00:00:00Z"}],
            "ImagingStudy": [{"resourceType": "ImagingStudy", "id": "x", "started": "2023-01-01",
                              "modality": [{"system": dcm, "code": "CT"}]}],
        }
    )  # fmt: skip
    assert facts.reasons == (
        OrderReason((Concept((Code("49727002", SNOMED),)),), ("Condition/c",), "ServiceRequest/s"),
    )
    visit, vaccination, report, study = facts.visits[0], facts.vaccinations[0], facts.reports[0], facts.studies[0]
    assert (visit.kind, visit.status, visit.period) == (Code("EMER"), "in-progress", When("2026-03-01T09:00:00Z"))
    performed = PastProcedure(Concept((Code("80146002", SNOMED),)), "completed", When("2020"), "Procedure/p")
    assert facts.procedures == (performed,)
    assert vaccination.occurred == When("2024-01-01")
    assert (report.at, report.conclusions[0].codes) == (When("2024-01-01T00:00:00Z"), (Code("233604007", SNOMED),))
    assert study.modalities == (Code("CT", dcm),)


shapes = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["coding", "code", "value", "reference", "start", "id"]), inner, max_size=3)
    ),
    max_leaves=8,
)
ELEMENTS = ["code", "status", "category", "valueQuantity", "component", "meta", "class", "period", "reasonReference",
            "modality", "contained", "medicationReference", "verificationStatus", "onsetDateTime"]  # fmt: skip


@given(
    st.sampled_from(["Observation", "Condition", "MedicationRequest", "ServiceRequest", "Encounter", "ImagingStudy"]),
    st.dictionaries(st.sampled_from(ELEMENTS), shapes, max_size=6),
)
def test_whatever_shape_a_resource_has_it_is_read(kind: str, content: dict[str, Any]) -> None:
    facts_of({kind: [json.loads(json.dumps({"resourceType": kind, "id": "1", **content}))]})
