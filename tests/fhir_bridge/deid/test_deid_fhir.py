import json
from collections import Counter
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_bridge.deid.coding import is_public_code, is_unit
from fhir_bridge.deid.fhir import deidentify_resource, gender_of, known_types, parse_fhir_date
from fhir_bridge.deid.pseudonym import ProjectKeys
from fhir_bridge.deid.subject import Subject

KEYS = ProjectKeys(bytes(32))
SNOMED, LOINC, UCUM = "http://snomed.info/sct", "http://loinc.org", "http://unitsofmeasure.org"
PNEUMONIA = {"system": SNOMED, "code": "233604007", "display": "Pneumonia of CANARY"}


def reduced(resource: dict[str, Any]) -> dict[str, Any] | None:
    return deidentify_resource(resource, Subject(KEYS, "Patient/1", None, ()), Counter())


def test_a_condition_keeps_code_status_and_shifted_onset() -> None:
    found = reduced(
        {
            "resourceType": "Condition",
            "id": "CANARY-1",
            "meta": {"source": "CANARY"},
            "text": {"div": "<div>CANARY</div>"},
            "subject": {"reference": "Patient/CANARY-1", "display": "CANARY"},
            "code": {"text": "CANARY", "coding": [PNEUMONIA, {"system": "urn:local", "code": "CANARY"}]},
            "clinicalStatus": {
                "coding": [{"system": "http://terminology.hl7.org/CodeSystem/condition-clinical", "code": "active"}]
            },
            "onsetDateTime": "2023-03-08T10:00:00+01:00",
            "note": [{"text": "CANARY"}],
        }
    )
    assert found is not None
    assert found["code"] == {"coding": [{"system": SNOMED, "code": "233604007"}]}
    assert found["clinicalStatus"]["coding"][0]["code"] == "active"
    assert found["onsetDateTime"] == f"{date(2023, 3, 8) + KEYS.shift('Patient/1')}T10:00:00+01:00"
    assert found["meta"]["security"][0]["code"] == "PSEUDED"
    assert len(found["id"]) == 16
    assert set(found) == {"resourceType", "meta", "id", "code", "clinicalStatus", "onsetDateTime"}


def test_a_laboratory_value_keeps_number_and_unit() -> None:
    found = reduced(
        {
            "resourceType": "Observation",
            "status": "final",
            "code": {"coding": [{"system": LOINC, "code": "1988-5"}]},
            "valueQuantity": {"value": 12.5, "unit": "CANARY", "system": UCUM, "code": "mg/L", "comparator": ">"},
            "referenceRange": [{"high": {"value": 5, "system": UCUM, "code": "{CANARY}"}, "text": "CANARY"}],
            "component": [{"code": {"coding": [{"system": LOINC, "code": "8480-6"}]}, "valueString": "CANARY"}],
        }
    )
    assert found is not None
    assert found["valueQuantity"] == {"value": 12.5, "comparator": ">", "system": UCUM, "code": "mg/L"}
    assert found["referenceRange"] == [{"high": {"value": 5}}]
    assert found["component"] == [{"code": {"coding": [{"system": LOINC, "code": "8480-6"}]}}]


@pytest.mark.parametrize("name", ["Patient", "Practitioner", "Organization", "Binary", "CANARY", None, 7])
def test_other_resources_do_not_cross(name: object) -> None:
    assert reduced({"resourceType": name, "id": "1", "status": "final", "code": {"coding": [PNEUMONIA]}}) is None


def test_a_resource_of_which_nothing_may_cross_is_dropped() -> None:
    assert reduced({"resourceType": "Condition", "id": "CANARY-1", "code": {"text": "CANARY"}}) is None


identities = st.sampled_from(["CANARY", "CANARY^ZEBRA", "zebra", "1970-CANARY", "CANARY-1"])
values = st.recursive(
    identities,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["coding", "code", "system", "display", "text", "value", "extension", "unit", "low", "div", "CANARY"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
NAMES = sorted(known_types())
ELEMENTS = [
    "id",
    "text",
    "code",
    "status",
    "category",
    "onsetDateTime",
    "valueString",
    "valueQuantity",
    "valueCodeableConcept",
    "valueInteger",
    "note",
    "subject",
    "contained",
    "extension",
    "identifier",
    "modality",
    "started",
    "component",
    "reaction",
    "referenceRange",
    "conclusion",
    "conclusionCode",
    "presentedForm",
    "_status",
    "medicationCodeableConcept",
    "authoredOn",
    "CANARY",
]


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(NAMES), st.dictionaries(st.sampled_from(ELEMENTS), values, max_size=12))
def test_whatever_shape_a_resource_has_no_planted_identity_crosses(name: str, content: dict[str, Any]) -> None:
    actions: Counter[tuple[str, str]] = Counter()
    found = deidentify_resource({"resourceType": name, **content}, Subject(KEYS, "1", None, ()), actions)
    released = json.dumps([found, sorted(actions)]).upper()
    assert "CANARY" not in released
    assert "ZEBRA" not in released


@given(st.dates(date(1950, 1, 1)), st.dates(date(1950, 1, 1)))
def test_intervals_in_the_context_stay(one: date, two: date) -> None:
    found = reduced(
        {"resourceType": "Condition", "onsetDateTime": one.isoformat(), "recordedDate": f"{two.isoformat()}T08:00:00Z"}
    )
    assert found is not None
    moved = [date.fromisoformat(found[key][:10]) for key in ("onsetDateTime", "recordedDate")]
    assert moved[1] - moved[0] == two - one


@pytest.mark.parametrize("value", ["2023", "2023-03", "2023-02-30", "CANARY", "2023-03-08 CANARY", 2023, None])
def test_a_date_that_cannot_be_moved_does_not_cross(value: object) -> None:
    assert parse_fhir_date(value) is None
    assert reduced({"resourceType": "Condition", "onsetDateTime": value}) is None


@pytest.mark.parametrize(
    ("system", "code", "crosses"),
    [
        (SNOMED, "233604007", True),  # Pneumonia
        (SNOMED, "233604008", False),  # wrong Verhoeff digit
        (SNOMED, "123456789", False),
        (LOINC, "2160-0", True),
        (LOINC, "2160-1", False),
        (LOINC, "CANARY", False),
        ("http://www.nlm.nih.gov/research/umls/rxnorm", "723", True),
        ("http://www.whocc.no/atc", "J01CA04", True),
        ("http://www.whocc.no/atc", "CANARY", False),
        ("http://hl7.org/fhir/sid/icd-10", "J18.9", True),
        ("http://dicom.nema.org/resources/ontology/DCM", "DX", True),
        ("http://dicom.nema.org/resources/ontology/DCM", "CANARY", False),
        ("http://terminology.hl7.org/CodeSystem/condition-clinical", "canary", False),
        ("urn:oid:1.2.3", "233604007", False),
    ],
)
def test_only_codes_of_public_systems_cross(system: str, code: str, crosses: bool) -> None:
    assert is_public_code(system, code) is crosses


@pytest.mark.parametrize(
    ("unit", "known"),
    [
        ("mg/dL", True),
        ("10*9/L", True),
        ("mm[Hg]", True),
        ("kg/m2", True),
        ("%", True),
        ("{CANARY}", False),
        ("CANARY", False),
    ],
)
def test_only_units_of_ucum_cross(unit: str, known: bool) -> None:
    assert is_unit(unit) is known


@pytest.mark.parametrize(("value", "expected"), [("female", "female"), ("CANARY", ""), (None, ""), (["male"], "")])
def test_sex_is_one_of_the_value_set(value: object, expected: str) -> None:
    assert gender_of({"gender": value}) == expected
