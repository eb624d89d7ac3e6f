"""A ServiceRequest as an order, element by element; whole ones stand in golden/."""

from typing import Any

import pytest

from mappings.authority import Authorities
from mappings.code import Code
from mappings.code_table import load
from mappings.fhir_imaging_study import StudyFacts, requests_of, study_facts, with_study
from mappings.fhir_order import is_wanted, order_from
from mappings.order import Order, OrderControl, Priority
from mappings.refusal import MappingRefused

TABLE_0203 = "http://terminology.hl7.org/CodeSystem/v2-0203"
PATIENT = {"resourceType": "Patient", "id": "p-1", "identifier": [{"system": "urn:mrn", "value": "CANARY-1"}]}
STUDY = {
    "resourceType": "ImagingStudy",
    "id": "s-1",
    "subject": {"reference": "Patient/p-1"},
    "identifier": [{"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"}],
}


def read(patient: dict[str, Any] = PATIENT, study: dict[str, Any] | None = None, **elements: Any) -> Order:
    request = {
        "resourceType": "ServiceRequest",
        "id": "sr-1",
        "status": "active",
        "intent": "order",
        "subject": {"reference": "Patient/p-1"},
    }
    order = order_from({**request, **elements}, patient, Authorities())
    return with_study(order, study_facts(study, order.patient.reference, order.service_request)) if study else order


def typed(kind: str, value: str) -> dict[str, Any]:
    return {"type": {"coding": [{"system": TABLE_0203, "code": kind}]}, "value": value}


@pytest.mark.parametrize(
    ("status", "effect"),
    [
        ("active", OrderControl.NEW),
        ("revoked", OrderControl.CANCEL),
        ("entered-in-error", OrderControl.CANCEL),
        ("on-hold", OrderControl.HOLD),
        ("draft", OrderControl.NONE),
        ("completed", OrderControl.NONE),
        ("unknown", OrderControl.NONE),
    ],
)
def test_the_status_decides_what_happens_to_the_job(status: str, effect: OrderControl) -> None:
    assert read(status=status).control is effect


@pytest.mark.parametrize(
    ("elements", "effect"),
    [
        ({"intent": "proposal"}, OrderControl.NONE),
        ({"intent": "filler-order"}, OrderControl.NEW),
        ({"intent": None}, OrderControl.NEW),  # required in R4, and yet servers store it without
        ({"doNotPerform": True}, OrderControl.NONE),
        ({"doNotPerform": False}, OrderControl.NEW),
    ],
)
def test_only_what_authorises_starts_a_job(elements: dict[str, Any], effect: OrderControl) -> None:
    assert read(**elements).control is effect


@pytest.mark.parametrize(
    ("arguments", "code", "where"),
    [
        ({"status": "bogus"}, "order.status-unknown", "ServiceRequest.status"),
        ({"status": None}, "order.status-unknown", "ServiceRequest.status"),
        ({"id": None}, "order.id-missing", "ServiceRequest.id"),
        ({"subject": None}, "order.subject-mismatch", "ServiceRequest.subject"),
        ({"subject": {"reference": "Patient/xp-1"}}, "order.subject-mismatch", "ServiceRequest.subject"),
        (
            {"study": {**STUDY, "subject": {"reference": "Patient/p-2"}}},
            "order.subject-mismatch",
            "ImagingStudy.subject",
        ),
        ({"patient": {"id": "p-1"}}, "order.patient-identifier-missing", "Patient.identifier"),
        (
            {"identifier": [{"system": "urn:dicom:uid", "value": "nonsense"}]},
            "order.study-uid-malformed",
            "ServiceRequest.identifier",
        ),
    ],
)
def test_a_wrong_resource_is_refused_with_its_place(arguments: dict[str, Any], code: str, where: str) -> None:
    with pytest.raises(MappingRefused) as caught:
        read(**arguments)

    assert (caught.value.code, caught.value.where) == (code, where)


@pytest.mark.parametrize(
    "reference",
    [
        "Patient/p-1",
        "Patient/p-1/_history/3",
        "https://server/fhir/Patient/p-1",
        "https://server/fhir/Patient/p-1/_history/3",
    ],
)
def test_the_subject_may_be_written_in_any_of_the_ways_of_a_reference(reference: str) -> None:
    assert read(subject={"reference": reference}).patient.reference == "Patient/p-1"


def test_the_accession_number_of_the_order_goes_before_that_of_the_study() -> None:
    study = {**STUDY, "identifier": [*STUDY["identifier"], typed("ACSN", "STUDY-A")]}

    assert [
        order.accession and order.accession.value
        for order in (read(study=study), read(study=study, identifier=[typed("ACSN", "ORDER-A")]))
    ] == ["STUDY-A", "ORDER-A"]


def test_several_identifiers_without_a_type_are_no_placer_number() -> None:
    order = read(identifier=[{"value": "X1"}, {"value": "X2"}])

    assert order.placer is None
    (key,) = order.keys()
    assert key.kind == "service-request"


def test_the_uid_of_the_study_goes_before_that_of_the_order() -> None:
    order = read(study=STUDY, identifier=[{"system": "urn:dicom:uid", "value": "1.2.9"}])

    assert order.study_instance_uid == "1.2.3"


@pytest.mark.parametrize(
    ("priority", "expected"), [("stat", Priority.STAT), (None, Priority.ROUTINE), ("?", Priority.ROUTINE)]
)
def test_priority(priority: str | None, expected: Priority) -> None:
    assert read(priority=priority).priority is expected


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (
            {"coding": [{"display": "no code"}, {"system": "urn:s", "code": "X"}], "text": "Chest"},
            Code("X", "urn:s", "Chest"),
        ),
        ({"text": "Chest"}, Code("", "", "Chest")),
        (None, None),
    ],
)
def test_procedure(code: dict[str, Any] | None, expected: Code | None) -> None:
    assert read(code=code).procedure == expected


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        (
            {"authoredOn": "2026-01-15T08:00:00Z", "occurrenceDateTime": "2026-01-16T08:00:00Z"},
            "2026-01-15T08:00:00+00:00",
        ),
        ({"authoredOn": "2026-01", "occurrenceDateTime": "2026-01-16T08:00:00+01:00"}, "2026-01-16T08:00:00+01:00"),
        ({"authoredOn": "2026-01-15"}, None),
        ({"authoredOn": "2026-01-15T08:00:00"}, None),  # no zone: nobody knows when it was
    ],
)
def test_the_requested_time_has_a_zone(elements: dict[str, str], expected: str | None) -> None:
    found = read(**elements).requested_at

    assert (found and found.isoformat()) == expected


@pytest.mark.parametrize("nonsense", [5, "text", [], [5, "x"], {}, {"coding": "x"}, [{"value": 5}]])
@pytest.mark.parametrize("element", ["identifier", "code", "reasonCode", "orderDetail", "occurrencePeriod", "priority"])
def test_wrong_json_types_read_as_absent(element: str, nonsense: object) -> None:
    order = read(**{element: nonsense})

    assert order.control is OrderControl.NEW


def test_the_version_is_the_servers_time() -> None:
    order = read(meta={"versionId": "3", "lastUpdated": "2026-03-02T09:00:00.123+01:00"})

    assert order.event is not None
    assert (order.event.at.isoformat(), order.event.clock) == (
        "2026-03-02T09:00:00.123000+01:00",
        "ServiceRequest.meta.lastUpdated",
    )
    assert [standing.as_of for standing in order.standings] == [order.event]


@pytest.mark.parametrize("meta", [None, {}, {"lastUpdated": "2026-03-02"}, {"lastUpdated": 5}, "x"])
def test_a_server_that_says_no_time_has_no_version(meta: object) -> None:
    assert read(meta=meta).event is None


def test_the_requests_that_it_replaces_are_related() -> None:
    replaces = [{"reference": "https://server/fhir/ServiceRequest/1/_history/2"}, {"reference": "CarePlan/1"}, {}]

    assert [(key.kind, key.value) for key in read(replaces=replaces).related] == [
        ("service-request", "ServiceRequest/1")
    ]


LOINC_CHEST = {"coding": [{"system": "http://loinc.org", "code": "36643-5"}]}


@pytest.mark.parametrize(
    ("elements", "categories", "codes", "wanted"),
    [
        ({}, set(), set(), True),
        ({}, {"RAD"}, set(), True),  # without a category all are
        ({"category": [{"text": "Imaging"}]}, {"RAD"}, set(), True),  # a category without a code is none
        ({"category": [LOINC_CHEST]}, {"RAD"}, set(), False),
        ({"category": [{"coding": [{"code": "LAB"}, {"code": "RAD"}]}]}, {"RAD"}, set(), True),
        ({"category": [{"coding": [{"system": "urn:a", "code": "RAD"}]}]}, {"urn:a|RAD"}, set(), True),
        ({"category": [{"coding": [{"system": "urn:b", "code": "RAD"}]}]}, {"urn:a|RAD"}, set(), False),
        ({"code": LOINC_CHEST}, set(), {"36643-5"}, True),
        ({"code": LOINC_CHEST}, set(), {"http://loinc.org|36643-5"}, True),
        ({"code": LOINC_CHEST}, set(), {"24627-2"}, False),
        ({"code": {"text": "Chest"}}, set(), {"36643-5"}, False),
        ({"category": "x", "code": 5}, {"RAD"}, set(), True),  # wrong JSON types read as absent
    ],
)
def test_which_orders_are_wanted(elements: dict[str, Any], categories: set[str], codes: set[str], wanted: bool) -> None:
    assert is_wanted(elements, frozenset(categories), frozenset(codes)) is wanted


def test_every_status_of_a_task_has_its_effect() -> None:
    """CodeSystem task-status, R4 §12.8.3."""
    codes = "draft requested received accepted rejected ready cancelled in-progress on-hold failed completed entered-in-error"

    assert {row.source_code for row in load("task_status")} == set(codes.split())


@pytest.mark.parametrize("nonsense", [5, "text", [], [5], {}, {"reference": 5}])
@pytest.mark.parametrize("element", ["basedOn", "identifier", "modality", "status"])
def test_a_study_of_wrong_json_types_reads_as_absent(element: str, nonsense: object) -> None:
    study = {"resourceType": "ImagingStudy", "subject": {"reference": "Patient/p-1"}, element: nonsense}

    assert (requests_of(study), study_facts(study, "Patient/p-1")) == ((), StudyFacts())
