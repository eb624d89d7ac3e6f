"""The transaction for a report: what stands in it, what must never, and that it is the same every time."""

import base64
import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

import pytest

from mappings.code import Code
from mappings.fhir_report import bundle_of
from mappings.fhir_validation import validate
from mappings.finding import Report
from mappings.model_findings import measurements_of
from mappings.order import Identifier
from mappings.refusal import MappingRefused
from tests.support.reports import PUBLISHER, a_refused_report, a_report

PATIENT = {"reference": "Patient/p-1"}
REPORTS = {
    "present": a_report(0.9),
    "absent": a_report(0.1),
    "refused": a_refused_report(),
    "refused before any model": a_refused_report(model=None),
    "refused with measurements": a_refused_report(measurements=measurements_of({"snr_db": 3.0})),
    "study known": a_report(imaging_study="ImagingStudy/s-1"),
    "order unknown": a_report(service_request=""),
    "nothing optional": a_report(
        service_request="",
        order_identifiers=(),
        procedure=None,
        modality="",
        explanation_png=None,
        input_digests=(),
        instance_uids=(),
        measurements=(),
    ),
}
every_report = pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS.keys())


def resources(report: Report, kind: str) -> list[dict[str, Any]]:
    entries = bundle_of(report, PUBLISHER)["entry"]
    return [entry["resource"] for entry in entries if entry["resource"]["resourceType"] == kind]


def one(report: Report, kind: str) -> dict[str, Any]:
    (resource,) = resources(report, kind)
    return resource


def observation(report: Report, output: str) -> dict[str, Any]:
    (found,) = [
        resource
        for resource in resources(report, "Observation")
        if resource["identifier"][0]["value"] == f"{report.job}/{output}"
    ]
    return found


def coded(concept: dict[str, Any]) -> list[tuple[str, str]]:
    return [(coding.get("system", ""), coding["code"]) for coding in concept["coding"]]


def parts(value: Any) -> Iterator[dict[str, Any]]:
    """Every JSON object in a value."""
    if isinstance(value, dict):
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from parts(part)


@every_report
def test_every_bundle_is_valid(report: Report) -> None:
    validate(bundle_of(report, PUBLISHER))


@every_report
def test_the_same_report_gives_the_same_bytes(report: Report) -> None:
    assert json.dumps(bundle_of(report, PUBLISHER)) == json.dumps(bundle_of(report, PUBLISHER))


@every_report
def test_nothing_is_empty(report: Report) -> None:
    """R4 §2.6.2: no empty objects, arrays or strings."""
    assert [
        part for part in parts(bundle_of(report, PUBLISHER)) for value in part.values() if value in ("", [], {}, None)
    ] == []


@every_report
def test_every_entry_is_found_again_by_an_identifier_of_its_own_body(report: Report) -> None:
    for entry in bundle_of(report, PUBLISHER)["entry"]:
        resource, request = entry["resource"], entry["request"]
        if resource["resourceType"] == "Provenance":
            assert (request["method"], request["url"]) == ("PUT", f"Provenance/{resource['id']}")
            continue
        condition = request["ifNoneExist"] if request["method"] == "POST" else request["url"].split("?")[1]
        system, value = unquote(condition.removeprefix("identifier=")).split("|")
        assert {"system": system, "value": value} in resource["identifier"]
        assert "id" not in resource


@every_report
def test_no_order_is_ever_written(report: Report) -> None:
    written = {entry["resource"]["resourceType"] for entry in bundle_of(report, PUBLISHER)["entry"]}

    assert written <= {"DiagnosticReport", "Observation", "Device", "ImagingStudy", "Provenance"}


@every_report
def test_everything_bears_our_tag_and_what_the_ai_says_its_label(report: Report) -> None:
    for entry in bundle_of(report, PUBLISHER)["entry"]:
        meta, kind = entry["resource"]["meta"], entry["resource"]["resourceType"]
        assert [(tag["system"], tag["code"]) for tag in meta["tag"]] == [("urn:fhir-bridge:tag", "ai-result")]
        labels = [label["code"] for label in meta.get("security", [])]
        assert labels == (["AIAST"] if kind in ("DiagnosticReport", "Observation") else [])


def test_the_label_can_be_left_away_for_servers_that_do_not_know_it() -> None:
    bundle = bundle_of(a_report(), replace(PUBLISHER, ai_label=False))

    assert [entry for entry in bundle["entry"] if "security" in entry["resource"]["meta"]] == []


@every_report
def test_only_an_unsigned_result_is_claimed(report: Report) -> None:
    results = [*resources(report, "DiagnosticReport"), *resources(report, "Observation")]

    assert {resource["status"] for resource in results} == {"preliminary"}


@every_report
def test_no_result_says_normal(report: Report) -> None:
    bundle = bundle_of(report, PUBLISHER)
    for form in one(report, "DiagnosticReport")["presentedForm"]:
        form.pop("data")
    words = json.dumps([{**entry["resource"], "presentedForm": []} for entry in bundle["entry"]]).lower()

    assert "normal" not in words


def test_the_diagnostic_report_joins_order_patient_study_and_results() -> None:
    report = a_report(0.9)
    result = one(report, "DiagnosticReport")
    urls = {entry["fullUrl"]: entry["resource"] for entry in bundle_of(report, PUBLISHER)["entry"]}

    assert result["identifier"] == [{"system": "urn:fhir-bridge:job", "value": "job-7f3c"}]
    assert result["basedOn"] == [{"reference": "ServiceRequest/sr-1"}]
    assert result["subject"] == PATIENT
    assert result["issued"] == "2026-01-15T08:30:05.123Z"
    assert [urls[link["reference"]]["resourceType"] for link in result["imagingStudy"]] == ["ImagingStudy"]
    assert [urls[link["reference"]] for link in result["result"]] == resources(report, "Observation")
    assert [coded(category) for category in result["category"]] == [
        [("http://loinc.org", "LP29684-5")],
        [("http://terminology.hl7.org/CodeSystem/v2-0074", "RAD")],
    ]
    assert result["performer"] == [
        {
            "type": "Organization",
            "identifier": {"system": "urn:oid:1.2.3.9", "value": "RAD-1"},
            "display": "Test Hospital, Radiology",
        }
    ]


def test_the_pdf_is_attached_with_size_and_hash() -> None:
    (form,) = one(a_report(), "DiagnosticReport")["presentedForm"]
    pdf = base64.b64decode(form["data"])

    assert pdf.startswith(b"%PDF-")
    assert (form["contentType"], form["size"]) == ("application/pdf", len(pdf))
    assert form["hash"] == base64.b64encode(hashlib.sha1(pdf).digest()).decode()


@pytest.mark.parametrize(("probability", "codes"), [(0.9, [[("http://snomed.info/sct", "233604007")]]), (0.1, None)])
def test_only_a_present_finding_is_a_conclusion(probability: float, codes: object) -> None:
    concluded = one(a_report(probability), "DiagnosticReport").get("conclusionCode")

    assert (concluded and [coded(concept) for concept in concluded]) == codes


@pytest.mark.parametrize(
    ("procedure", "codes", "text"),
    [
        (Code("36643-5", "http://loinc.org", "XR Chest 2 Views"), [("http://loinc.org", "36643-5")], None),
        (
            Code("XCH", "urn:site", "Chest"),
            [("http://loinc.org", "36554-4"), ("urn:site", "XCH")],
            "Chest",
        ),
        (Code("", "", "Chest film"), [("http://loinc.org", "36554-4")], "Chest film"),
        (None, [("http://loinc.org", "36554-4")], None),
    ],
)
def test_the_report_is_coded_as_ordered_where_it_can_be(
    procedure: Code | None, codes: object, text: str | None
) -> None:
    code = one(a_report(procedure=procedure), "DiagnosticReport")["code"]

    assert (coded(code), code.get("text")) == (codes, text)


def test_a_refused_study_is_coded_as_no_particular_study() -> None:
    code = one(a_refused_report(procedure=None), "DiagnosticReport")["code"]

    assert coded(code) == [("http://loinc.org", "18748-4")]


@pytest.mark.parametrize(
    ("identifiers", "expected"),
    [
        (
            (Identifier("CANARY-A1", type="ACSN"), Identifier("CANARY-P1", "urn:ris", "PLAC")),
            ("PLAC", {"system": "urn:ris", "value": "CANARY-P1"}),
        ),
        (
            (Identifier("CANARY-F1", type="FILL"), Identifier("CANARY-A1", type="ACSN")),
            ("ACSN", {"value": "CANARY-A1"}),
        ),
    ],
)
def test_an_order_that_the_server_lacks_is_named_by_identifier_only(
    identifiers: tuple[Identifier, ...], expected: tuple[str, dict[str, str]]
) -> None:
    (based_on,) = one(a_report(service_request="", order_identifiers=identifiers), "DiagnosticReport")["basedOn"]

    (kind,) = [coding["code"] for coding in based_on["identifier"].pop("type")["coding"]]
    assert (kind, based_on["identifier"]) == expected
    assert based_on["type"] == "ServiceRequest"
    assert "reference" not in based_on


def test_a_finding_is_an_observation() -> None:
    found = observation(a_report(0.87), "pneumonia")

    assert coded(found["code"]) == [("http://snomed.info/sct", "233604007")]
    assert coded(found["valueCodeableConcept"]) == [("http://snomed.info/sct", "52101004")]
    assert coded(found["bodySite"]) == [("http://snomed.info/sct", "39607008")]
    assert [coded(concept) for concept in found["interpretation"]] == [
        [("http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation", "POS")]
    ]
    assert [(coded(part["code"])[0][1], part["valueQuantity"]["value"]) for part in found["component"]] == [
        ("probability", 0.87),
        ("decision-threshold", 0.3),
    ]
    assert found["subject"] == PATIENT
    assert "focus" not in found


def test_a_measurement_is_an_observation_with_a_ucum_unit() -> None:
    quantity = observation(a_report(), "snr_db")["valueQuantity"]

    assert quantity == {"value": 21.5, "unit": "dB", "system": "http://unitsofmeasure.org", "code": "dB"}


def test_a_measurement_of_zero_is_not_lost() -> None:
    assert observation(a_report(), "saturation")["valueQuantity"]["value"] == 0.0


def test_observations_name_the_device_and_the_study() -> None:
    report = a_report(imaging_study="ImagingStudy/s-1")
    (device_entry,) = [e for e in bundle_of(report, PUBLISHER)["entry"] if e["resource"]["resourceType"] == "Device"]

    for found in resources(report, "Observation"):
        assert found["device"] == {"reference": device_entry["fullUrl"]}
        assert found["derivedFrom"] == [{"reference": "ImagingStudy/s-1"}]
    assert resources(report, "ImagingStudy") == []


def test_the_device_is_the_model_by_name_version_and_weights() -> None:
    device = one(a_report(), "Device")

    assert {"system": "urn:fhir-bridge:sha-256", "value": "ab" * 32} in device["identifier"]
    assert (device["modelNumber"], device["version"]) == ("xray_pneumonia", [{"value": "1.0.0"}])
    assert coded(device["type"]) == [("http://dicom.nema.org/resources/ontology/DCM", "123110")]


def test_a_study_that_the_server_lacks_is_created_with_its_uid_and_accession_number() -> None:
    study = one(a_report(), "ImagingStudy")

    assert study["identifier"][0] == {"system": "urn:dicom:uid", "value": "urn:oid:1.2.840.99.1"}
    assert [number["value"] for number in study["identifier"][1:]] == ["CANARY-A1"]
    assert (study["subject"], [coding["code"] for coding in study["modality"]]) == (PATIENT, ["DX"])
    assert not {"numberOfSeries", "numberOfInstances", "started"} & study.keys()


def test_the_provenance_says_who_made_it_from_what() -> None:
    report = a_report()
    provenance = one(report, "Provenance")
    urls = {entry["fullUrl"]: entry["resource"]["resourceType"] for entry in bundle_of(report, PUBLISHER)["entry"]}
    (agent,) = provenance["agent"]
    sources = [entity["what"] for entity in provenance["entity"]]

    assert provenance["id"] == "ai-job-7f3c.20260115083005123"
    assert [urls[target["reference"]] for target in provenance["target"]] == ["DiagnosticReport"] + ["Observation"] * 4
    assert urls[agent["who"]["reference"]] == "Device"
    assert agent["onBehalfOf"]["display"] == "Test Hospital, Radiology"
    assert sources[0] == {"reference": "ServiceRequest/sr-1"}
    assert {"identifier": {"system": "urn:dicom:uid", "value": "urn:oid:1.2.840.99.1.1.1"}} in sources
    assert {"identifier": {"system": "urn:fhir-bridge:sha-256", "value": "cd" * 32}} in sources


def test_a_refused_study_has_no_finding_and_says_why() -> None:
    report = a_refused_report()
    (found,) = resources(report, "Observation")
    result = one(report, "DiagnosticReport")

    assert result["conclusion"].startswith("Not analysed because the patient is 41 years old")
    assert "conclusionCode" not in result
    assert coded(found["dataAbsentReason"]) == [
        ("http://terminology.hl7.org/CodeSystem/data-absent-reason", "not-performed")
    ]
    assert not {"valueCodeableConcept", "valueQuantity", "interpretation"} & found.keys()


def test_what_a_refused_study_measured_is_still_reported() -> None:
    report = REPORTS["refused with measurements"]

    assert observation(report, "snr_db")["valueQuantity"]["value"] == 3.0


def test_another_job_of_the_same_model_shares_the_device_and_nothing_else() -> None:
    urls = [
        {entry["fullUrl"] for entry in bundle_of(a_report(job=job, study_instance_uid=uid), PUBLISHER)["entry"]}
        for job, uid in (("job-1", "1.2.1"), ("job-2", "1.2.2"))
    ]

    assert len(urls[0] & urls[1]) == 1


@pytest.mark.parametrize(
    ("changes", "code", "where"),
    [
        ({"job": "job_1"}, "report.job-malformed", "Report.job"),  # HAPI-0521
        ({"job": ""}, "report.job-malformed", "Report.job"),
        ({"patient": ""}, "report.reference-malformed", "Report.patient"),
        ({"patient": "https://server/fhir/Patient/1"}, "report.reference-malformed", "Report.patient"),
        ({"patient": "Group/1"}, "report.reference-malformed", "Report.patient"),
        ({"service_request": "sr-1"}, "report.reference-malformed", "Report.service_request"),
        ({"imaging_study": "ImagingStudy/"}, "report.reference-malformed", "Report.imaging_study"),
        ({"study_instance_uid": ""}, "report.study-missing", "Report.study_instance_uid"),
        ({"issued": a_report().issued.replace(tzinfo=None)}, "report.issued-naive", "Report.issued"),
        ({"findings": a_report().findings * 2}, "report.output-repeated", "Report.findings"),
    ],
)
def test_what_no_server_could_take_is_refused(changes: dict[str, Any], code: str, where: str) -> None:
    with pytest.raises(MappingRefused) as caught:
        bundle_of(a_report(**changes), PUBLISHER)

    assert (caught.value.code, caught.value.where) == (code, where)
