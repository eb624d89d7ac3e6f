"""A report in every status of its life, as FHIR: what a signature adds, what is valid, what tells people."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from mappings.fhir_edition import edition_of, is_of
from mappings.fhir_notice import completed_task, is_open_task
from mappings.fhir_report import bundle_of
from mappings.fhir_validation import validate
from mappings.finding import SIGNED, Decision, Report, ReportStatus
from mappings.refusal import MappingRefused
from tests.support.reports import PUBLISHER, a_refused_report, a_report

BY = "Practitioner/12"
AT = datetime(2026, 1, 15, 10, 0, tzinfo=UTC)
COMPLETE = replace(PUBLISHER, communications=True)
KNOWN = {"encounter": "Encounter/4", "started": "2026-01-15T08:00:00+01:00", "requester": "Practitioner/7"}


def in_status(status: ReportStatus, **changes: Any) -> Report:
    if status is ReportStatus.PRELIMINARY:
        return a_report(**{**KNOWN, **changes})
    reason = "model-error" if status is ReportStatus.RETRACTED else ""
    return a_report(**{**KNOWN, "decision": Decision(status, BY, AT, reason), **changes})


def one(report: Report, kind: str) -> dict[str, Any]:
    found = [e["resource"] for e in bundle_of(report, COMPLETE)["entry"] if e["resource"]["resourceType"] == kind]
    return dict(found[0])


@pytest.mark.parametrize("ai_label", [True, False])
@pytest.mark.parametrize("status", ReportStatus)
def test_every_status_is_valid(status: ReportStatus, ai_label: bool) -> None:
    validate(bundle_of(in_status(status), replace(COMPLETE, ai_label=ai_label)))


@pytest.mark.parametrize("status", ReportStatus)
def test_report_and_results_have_the_status(status: ReportStatus) -> None:
    report = in_status(status)
    assert {one(report, kind)["status"] for kind in ("DiagnosticReport", "Observation")} == {status}


@pytest.mark.parametrize("status", ReportStatus)
def test_only_who_signed_is_the_interpreter(status: ReportStatus) -> None:
    expected = [{"reference": BY}] if status in SIGNED else None
    assert one(in_status(status), "DiagnosticReport").get("resultsInterpreter") == expected


def test_a_signed_report_has_the_shape_of_ihe_imr() -> None:
    """facts §8: basedOn, subject, issued, performer Organization, resultsInterpreter, imagingStudy, presentedForm with size and hash."""
    report = one(in_status(ReportStatus.FINAL), "DiagnosticReport")
    needed = {"basedOn", "subject", "issued", "performer", "resultsInterpreter", "imagingStudy", "presentedForm"}
    assert needed <= report.keys()
    assert report["performer"][0]["type"] == "Organization"
    assert {"contentType", "data", "size", "hash"} <= report["presentedForm"][0].keys()


@pytest.mark.parametrize("kind", ["DiagnosticReport", "Observation"])
def test_visit_and_time_of_the_images_stand_there_as_the_server_said_them(kind: str) -> None:
    found = one(in_status(ReportStatus.PRELIMINARY), kind)
    assert (found["encounter"], found["effectiveDateTime"]) == ({"reference": "Encounter/4"}, KNOWN["started"])


@pytest.mark.parametrize("kind", ["DiagnosticReport", "Observation"])
def test_what_is_not_known_is_not_made_up(kind: str) -> None:
    assert not {"encounter", "effectiveDateTime"} & one(a_report(), kind).keys()


@pytest.mark.parametrize(
    ("status", "agents", "activity"),
    [
        (ReportStatus.PRELIMINARY, ["author"], None),
        (ReportStatus.FINAL, ["author", "verifier"], "LA"),
        (ReportStatus.RETRACTED, ["performer"], "NULLIFY"),
    ],
)
def test_the_provenance_names_who_acted(status: ReportStatus, agents: list[str], activity: str | None) -> None:
    provenance = one(in_status(status), "Provenance")
    assert [agent["type"]["coding"][0]["code"] for agent in provenance["agent"]] == agents
    assert (provenance.get("activity") or {"coding": [{"code": None}]})["coding"][0]["code"] == activity


def test_a_retraction_says_why_and_when() -> None:
    provenance = one(in_status(ReportStatus.RETRACTED), "Provenance")
    assert (provenance["reason"], provenance["recorded"]) == ([{"text": "model-error"}], "2026-01-15T10:00:00.000Z")


@pytest.mark.parametrize("status", ReportStatus)
def test_a_communication_tells_values_only_of_what_was_signed(status: ReportStatus) -> None:
    told = one(in_status(status), "Communication")
    words = json.dumps(told["payload"])
    assert ("neumonia" in words, "0.9" in words) == (status in SIGNED, status in SIGNED)
    assert (told["status"], told["recipient"]) == ("completed", [{"reference": "Practitioner/7"}])


def test_each_edition_has_a_communication_and_a_provenance_of_its_own() -> None:
    editions = [in_status(status) for status in (ReportStatus.PRELIMINARY, ReportStatus.FINAL, ReportStatus.RETRACTED)]
    assert len({one(edition, "Provenance")["id"] for edition in editions[:2]}) == 2
    assert len({one(edition, "Communication")["identifier"][0]["value"] for edition in editions}) == 3


def test_to_nobody_nothing_is_told() -> None:
    kinds = {e["resource"]["resourceType"] for e in bundle_of(a_report(), COMPLETE)["entry"]}
    assert "Communication" not in kinds


TASK = {"resourceType": "Task", "status": "in-progress", "focus": {"reference": "http://x/fhir/ServiceRequest/sr-1"}}


@pytest.mark.parametrize(
    ("changes", "is_open"),
    [
        ({}, True),
        ({"status": "requested"}, True),
        ({"status": "on-hold"}, False),
        ({"status": "cancelled"}, False),
        ({"status": "completed"}, False),
        ({"focus": {"reference": "ServiceRequest/other"}}, False),
    ],
)
def test_only_an_open_task_of_the_order_is_completed(changes: dict[str, Any], is_open: bool) -> None:
    assert is_open_task(TASK | changes, "ServiceRequest/sr-1") is is_open


@pytest.mark.parametrize("focus", [{}, {"focus": {"identifier": {"value": "P-1"}}}])
def test_a_task_that_names_no_order_of_the_server_is_not_completed(focus: dict[str, Any]) -> None:
    task = {name: value for name, value in TASK.items() if name != "focus"} | focus
    assert not is_open_task(task, "")


def test_a_completed_task_keeps_its_outputs_and_names_the_report() -> None:
    done = completed_task(TASK | {"output": [{"type": {"text": "x"}}]}, a_report(), "DiagnosticReport/1")
    assert (done["status"], done["output"][0]) == ("completed", {"type": {"text": "x"}})
    assert done["output"][1]["valueReference"] == {"reference": "DiagnosticReport/1"}


def test_an_edition_is_known_again_by_its_time_and_words() -> None:
    report = in_status(ReportStatus.FINAL)
    kept, editions = one(report, "DiagnosticReport"), [edition_of(report)]
    assert is_of(kept, editions)
    changes = [
        {"conclusion": "By a person."},
        {"status": "amended"},
        {"issued": "2026-02-01T00:00:00Z"},
        {"presentedForm": []},
    ]
    assert [is_of(kept | change, editions) for change in changes] == [False] * 4


def test_who_signs_is_a_person_of_the_server() -> None:
    with pytest.raises(MappingRefused) as caught:
        bundle_of(a_report(decision=Decision(ReportStatus.FINAL, "Organization/1", AT)), PUBLISHER)
    assert (caught.value.code, caught.value.where) == ("report.reference-malformed", "Report.decision")


def test_of_a_study_that_was_not_analysed_nobody_is_told_that_a_result_is_there() -> None:
    report = replace(a_refused_report(), requester="Practitioner/7")
    (told,) = one(report, "Communication")["payload"]
    assert "no AI result" in told["contentString"]
