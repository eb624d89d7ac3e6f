"""How each story ended, as the FHIR server, the RIS and the bridge say it, and what `expected.csv` says it should. Pure but for reading that file."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, field, fields
from pathlib import Path
from typing import Any

from fhir_bridge.practice.patients import patient_reference
from fhir_bridge.practice.record import ReportSeen
from fhir_bridge.practice.ris_inbox import ResultSeen
from fhir_bridge.practice.story import Step, Story

EXPECTED = Path(__file__).with_name("expected.csv")


@dataclass(frozen=True, slots=True)
class Outcome:
    """One row of `expected.csv`. Counts are words too: a row is compared as it is written."""

    story: str
    order: str = field(repr=False)  # placer order number
    answers: str  # acknowledgement codes in the order of the messages; empty where none was sent
    doors: str  # by which doors the order came to its job
    jobs: str  # how many jobs the bridge made of it
    status: str  # of the job
    reason: str  # of the job
    reports: str  # DiagnosticReports on the FHIR server that are based on this order
    report_status: str
    conclusion: str  # DiagnosticReport.conclusionCode
    finding: str  # the coded value of the pneumonia Observation
    results: str  # ORU^R01 messages that the RIS got of this order
    result: str  # their OBR-25, and the coded value of their pneumonia OBX


@dataclass(frozen=True, slots=True)
class JobSeen:
    """What the bridge's command line says of one job."""

    id: str
    status: str
    stage: str
    reason: str
    doors: tuple[str, ...]
    orders: frozenset[str] = field(repr=False)  # every identifier of the order


def job_seen(line: Mapping[str, Any], history: Iterable[Mapping[str, Any]] = ()) -> JobSeen:
    """From a line of `jobs list --json` and, where an order may have come twice, the history of `jobs show --json`.

    A message that is repeated byte for byte is answered from the store and never becomes an order again. An order that the history
    calls `received-again` therefore came by the other door.
    """
    doors = {line["source"]}
    if any(entry["event"] == "received-again" for entry in history):
        doors = {"fhir", "hl7v2"}
    return JobSeen(
        id=line["job"],
        status=line["status"],
        stage=line["stage"],
        reason=line["reason"],
        doors=tuple(sorted(doors)),
        orders=frozenset(line[key] for key in ("placer", "filler", "accession") if line[key]),
    )


def expected_outcomes() -> tuple[Outcome, ...]:
    """The rows of `expected.csv`."""
    with EXPECTED.open(newline="", encoding="utf-8") as file:
        return tuple(Outcome(**row) for row in csv.DictReader(file))


def outcome_of(
    story: Story,
    answers: Sequence[str],
    jobs: Iterable[JobSeen],
    reports: Iterable[ReportSeen],
    results: Iterable[ResultSeen],
) -> Outcome:
    """How the story ended."""
    own_jobs = [job for job in jobs if belongs(story, job.orders)]
    own_reports = [report for report in reports if belongs(story, report.orders)]
    own_results = [result for result in results if belongs(story, result.orders)]
    return Outcome(
        story=story.name,
        order=story.placer,
        answers=" ".join(answers),
        doors=_all(" ".join(job.doors) for job in own_jobs),
        jobs=str(len(own_jobs)),
        status=_all(job.status for job in own_jobs),
        reason=_all(job.reason for job in own_jobs),
        reports=str(len(own_reports)),
        report_status=_all(report.status for report in own_reports),
        conclusion=_all(" ".join(report.conclusions) for report in own_reports),
        finding=_all(" ".join(report.findings) for report in own_reports),
        results=str(len(own_results)),
        result=_all(" ".join((result.status, *result.findings)) for result in own_results),
    )


def belongs(story: Story, identifiers: frozenset[str]) -> bool:
    """Whether any of these is an identifier of the story's order."""
    return not identifiers.isdisjoint((story.placer, story.filler, story.accession))


def differences(seen: Sequence[Outcome], expected: Sequence[Outcome]) -> dict[str, tuple[str, ...]]:
    """Story -> the columns that differ; empty when all is as it should be. A story on one side only differs in all."""
    wanted = {row.story: row for row in expected}
    found = {row.story: row for row in seen}
    differing = {}
    for story in wanted | found:
        columns = _differing_columns(found.get(story), wanted.get(story))
        if columns:
            differing[story] = columns
    return differing


def strays(
    stories: Iterable[Story], reports: Iterable[ReportSeen], orders_placed: int, orders_found: int
) -> tuple[str, ...]:
    """What must never happen, whichever story it came from."""
    stories, problems = tuple(stories), []
    for report in reports:
        owners = [story for story in stories if belongs(story, report.orders)]
        if len(owners) != 1:
            problems.append(f"{report.reference} belongs to {len(owners)} orders of the hospital")
        elif report.subject != patient_reference(owners[0]):
            problems.append(f"{report.reference} is on another patient than its order ({owners[0].name})")
        elif report.linked is not (Step.PLACE in owners[0].steps):
            problems.append(f"{report.reference} is not based on the order that the server holds ({owners[0].name})")
    if orders_found != orders_placed:
        problems.append(f"{orders_placed} orders were placed on the FHIR server, it holds {orders_found}")
    return tuple(problems)


def strays_at_the_ris(stories: Iterable[Story], results: Iterable[ResultSeen]) -> tuple[str, ...]:
    """What the RIS must never get: a result of no order of its, or on another patient than its order."""
    stories, problems = tuple(stories), []
    for result in results:
        owners = [story for story in stories if belongs(story, result.orders)]
        if len(owners) != 1:
            problems.append(f"the result {result.control_id} belongs to {len(owners)} orders of the hospital")
        elif result.patient != owners[0].patient.mrn:
            problems.append(f"the result {result.control_id} is on another patient than its order ({owners[0].name})")
    return tuple(problems)


def _all(values: Iterable[str]) -> str:
    return " | ".join(values)


def _differing_columns(seen: Outcome | None, expected: Outcome | None) -> tuple[str, ...]:
    names = tuple(column.name for column in fields(Outcome))
    if seen is None or expected is None:
        return names
    return tuple(name for name, one, other in zip(names, astuple(seen), astuple(expected), strict=True) if one != other)
