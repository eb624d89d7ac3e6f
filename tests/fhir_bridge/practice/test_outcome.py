"""The judgement of the practice hospital: a wrong end state must be seen, whichever column it is in."""

from dataclasses import fields, replace

import pytest

from fhir_bridge.practice.outcome import (
    JobSeen,
    Outcome,
    differences,
    expected_outcomes,
    job_seen,
    outcome_of,
    strays,
    strays_at_the_ris,
)
from fhir_bridge.practice.patients import patient_reference
from fhir_bridge.practice.record import ReportSeen
from fhir_bridge.practice.ris_inbox import ResultSeen
from fhir_bridge.practice.story import STORIES, Step

STORY = STORIES[0]
OTHER = STORIES[1]
PLACED = next(story for story in STORIES if Step.PLACE in story.steps)
EXPECTED = expected_outcomes()
JOB = JobSeen("J1", "done", "deliver", "", ("hl7v2",), frozenset((STORY.placer, STORY.filler, STORY.accession)))
REPORT = ReportSeen(
    "DiagnosticReport/1",
    "preliminary",
    patient_reference(STORY),
    frozenset((STORY.accession,)),
    False,
    ("233604007",),
    ("52101004",),
)
RESULT = ResultSeen("FB1", STORY.patient.mrn, frozenset((STORY.placer, STORY.filler)), "P", ("52101004",))


def test_expected_csv_has_a_row_for_each_story_and_names_its_order() -> None:
    assert [(row.story, row.order) for row in EXPECTED] == [(story.name, story.placer) for story in STORIES]


def test_the_issues_stories_are_all_played() -> None:
    assert {story.name for story in STORIES} >= {
        "pneumonia", "normal", "order-on-fhir-server", "both-doors", "sent-twice", "cancelled", "late-images", "adult",
        "garbage", "unknown-patient",
    }  # fmt: skip


def test_what_a_story_left_behind_becomes_its_row() -> None:
    assert outcome_of(STORY, ["AA"], [JOB], [REPORT], [RESULT]) == Outcome(
        "pneumonia", "CANARY-P01", "AA", "hl7v2", "1", "done", "", "1", "preliminary", "233604007", "52101004", "1",
        "P 52101004",
    )  # fmt: skip


def test_jobs_and_reports_of_other_orders_are_left_out() -> None:
    assert outcome_of(OTHER, [], [JOB], [REPORT], [RESULT]) == Outcome(
        "normal", "CANARY-P02", "", "", "0", "", "", "0", "", "", "", "0", ""
    )  # fmt: skip


def test_a_second_job_and_a_second_report_show() -> None:
    seen = outcome_of(STORY, ["AA"], [JOB, replace(JOB, status="waiting")], [REPORT, REPORT], [RESULT, RESULT])
    assert (seen.jobs, seen.status) == ("2", "done | waiting")
    assert (seen.reports, seen.report_status) == ("2", "preliminary | preliminary")
    assert (seen.results, seen.result) == ("2", "P 52101004 | P 52101004")


LINE = {
    "job": "J1", "status": "held", "stage": "context", "reason": "patient.not-found", "source": "hl7v2",
    "placer": "CANARY-P01", "filler": "", "accession": "CANARY-A01", "study_instance_uid": "", "models": [],
    "created": "2026-11-02T09:15:00Z", "updated": "2026-11-02T09:15:00Z",
}  # fmt: skip


def test_a_line_of_the_command_is_read() -> None:
    assert job_seen(LINE) == JobSeen(
        "J1", "held", "context", "patient.not-found", ("hl7v2",), frozenset(("CANARY-P01", "CANARY-A01"))
    )


@pytest.mark.parametrize("source", ["hl7v2", "fhir"])
def test_an_order_received_again_came_by_the_other_door(source) -> None:
    history = [{"event": "created"}, {"event": "received-again"}, {"event": "received-again"}]
    assert job_seen({**LINE, "source": source}, history).doors == ("fhir", "hl7v2")


def test_only_orders_that_come_more_than_once_arrive_again() -> None:
    assert {story.name for story in STORIES if story.arrives_again} == {"both-doors", "sent-twice"}


def test_the_expected_ends_differ_in_nothing() -> None:
    assert differences(EXPECTED, EXPECTED) == {}


@pytest.mark.parametrize("column", [column.name for column in fields(Outcome)][1:])
@pytest.mark.parametrize("story", [row.story for row in EXPECTED])
def test_a_wrong_end_is_named_by_story_and_column(story, column) -> None:
    seen = [replace(row, **{column: "something else"}) if row.story == story else row for row in EXPECTED]
    assert differences(seen, EXPECTED) == {story: (column,)}


def test_a_story_that_was_not_played_differs() -> None:
    assert list(differences(EXPECTED[1:], EXPECTED)) == ["pneumonia"]


def test_a_story_that_nobody_expected_differs() -> None:
    assert list(differences(EXPECTED, EXPECTED[1:])) == ["pneumonia"]


def test_nothing_is_astray_when_each_report_lies_with_its_order() -> None:
    placed = replace(REPORT, subject=patient_reference(PLACED), orders=frozenset((PLACED.placer,)), linked=True)
    assert strays(STORIES, [REPORT, placed], 1, 1) == ()


@pytest.mark.parametrize(
    ("report", "words"),
    [
        (replace(REPORT, subject=patient_reference(OTHER)), "on another patient"),
        (replace(REPORT, orders=frozenset(("CANARY-X",))), "belongs to 0 orders"),
        (replace(REPORT, orders=frozenset((STORY.placer, OTHER.placer))), "belongs to 2 orders"),
        (replace(REPORT, linked=True), "not based on the order"),
    ],
)
def test_a_report_in_the_wrong_place_is_a_problem(report, words) -> None:
    (problem,) = strays(STORIES, [report], 0, 0)
    assert words in problem


def test_an_order_that_the_bridge_made_on_the_server_is_a_problem() -> None:
    assert strays(STORIES, [], 2, 3) == ("2 orders were placed on the FHIR server, it holds 3",)


def test_problems_name_no_patient() -> None:
    report = replace(REPORT, subject=patient_reference(OTHER))
    assert "CANARY" not in str(strays(STORIES, [report], 0, 1))


def test_nothing_is_astray_when_each_result_is_of_its_orders_patient() -> None:
    assert strays_at_the_ris(STORIES, [RESULT]) == ()


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (replace(RESULT, patient=OTHER.patient.mrn), "on another patient"),
        (replace(RESULT, orders=frozenset(("CANARY-X",))), "belongs to 0 orders"),
        (replace(RESULT, orders=frozenset((STORY.placer, OTHER.placer))), "belongs to 2 orders"),
    ],
)
def test_a_result_in_the_wrong_place_is_a_problem(result, words) -> None:
    (problem,) = strays_at_the_ris(STORIES, [result])
    assert words in problem
    assert "CANARY" not in problem
