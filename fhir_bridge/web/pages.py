"""The two pages: the worklist and one job. Read-only, for the machine's own browser, and without any patient on them."""

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from flask import Blueprint, Response, abort, render_template, request

from fhir_bridge import encoding
from fhir_bridge.errors import Refused
from fhir_bridge.job import STAGES, Job, Stage, Status
from fhir_bridge.ports import ArtifactStore, Clock, JobStore
from fhir_bridge.study import ClinicalContext
from fhir_bridge.web.context_panel import KnownRow, rows_of
from mappings.finding import Report

JobCounts = Callable[[], Mapping[str, int]]

SHOWN_JOBS = 200
MASK = "••••"

STEP_WORDS: Mapping[Stage, str] = {
    Stage.CONTEXT: "Find the patient's context",
    Stage.STUDY: "Wait for the images and fetch them",
    Stage.DEIDENTIFY: "Take the identity off, images and context",
    Stage.ANALYSE: "Check quality, run the model",
    Stage.REPORT: "Write the report",
    Stage.DELIVER: "Send it to each destination",
}


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a job as the page shows it. `state`: done, now, stopped, ahead."""

    stage: Stage
    words: str
    state: str


def pages(store: JobStore, artifacts: ArtifactStore, clock: Clock, job_counts: JobCounts) -> Blueprint:
    """`/`, `/jobs/<job>` and `/jobs/<job>/explanation.png`. Each may raise Unavailable, which the application answers."""
    blueprint = Blueprint("pages", __name__)
    blueprint.before_request(only_this_machine)
    blueprint.add_app_template_filter(utc)
    blueprint.add_app_template_filter(ago)

    @blueprint.get("/")
    def worklist() -> str:
        wanted = request.args.get("status", "")
        if wanted and wanted not in set(Status):
            abort(404)
        jobs = store.jobs((wanted,) if wanted else (), SHOWN_JOBS)
        found = job_counts()
        counts = {status: found.get(status, 0) for status in Status}
        return _render("worklist.html", clock, jobs=jobs, counts=counts, wanted=wanted, limit=SHOWN_JOBS)

    @blueprint.get("/jobs/<job>")
    def one_job(job: str) -> str:
        found = store.job(job) or abort(404)
        report, trouble = _report_or_trouble(store, artifacts, job)
        return _render(
            "job.html",
            clock,
            job=found,
            steps=steps_of(found),
            identifiers=masked_identifiers(found),
            report=report,
            trouble=trouble,
            known=_known(store, artifacts, job),
            deliveries=store.deliveries(job),
            history=store.history(job),
            other_job_events=("replaces", "replaced-by", "child-of", "parent-of"),
        )

    @blueprint.get("/jobs/<job>/explanation.png")
    def explanation(job: str) -> Response:
        report = _report(store, artifacts, job)
        if report is None or not report.explanation_png:
            abort(404)
        return Response(report.explanation_png, mimetype="image/png")

    return blueprint


def only_this_machine() -> None:
    """Refuse whoever is elsewhere."""
    # There is no sign-in yet. A proxy on this machine would look like this machine: it says so itself.
    forwarded = "Forwarded" in request.headers or "X-Forwarded-For" in request.headers
    if forwarded or not _is_loopback(request.remote_addr or ""):
        abort(403)


def _render(template: str, clock: Clock, **parts: object) -> str:
    return render_template(template, now=clock.now(), live=request.args.get("live") == "1", **parts)


def steps_of(job: Job) -> tuple[Step, ...]:
    """The six steps: those behind the job, the one it is at, those ahead."""
    at = STAGES.index(job.stage)
    stopped = (Status.HELD, Status.ON_HOLD, Status.FAILED, Status.CANCELLED)
    here = "done" if job.status is Status.DONE else "stopped" if job.status in stopped else "now"
    return tuple(
        Step(stage, STEP_WORDS[stage], "done" if place < at else here if place == at else "ahead")
        for place, stage in enumerate(STAGES)
    )


def masked_identifiers(job: Job) -> tuple[tuple[str, str], ...]:
    """Which identifiers the order has, never their values."""
    order = job.order
    named = (
        ("Patient", order.patient.identifiers),
        ("Placer order number", order.placer),
        ("Filler order number", order.filler),
        ("Accession number", order.accession),
        ("Study Instance UID", order.study_instance_uid),
    )
    return tuple((name, MASK if value else "none") for name, value in named)


def utc(at: datetime) -> str:
    """2026-03-02 09:30:00 (the page says once that it is UTC)."""
    return f"{at:%Y-%m-%d %H:%M:%S}"


def ago(at: datetime, now: datetime) -> str:
    """How long before `now`, in the largest unit that fits."""
    seconds = max(0, int((now - at).total_seconds()))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"


def _report(store: JobStore, artifacts: ArtifactStore, job: str) -> Report | None:
    digest = store.latest_artifact(job, Stage.REPORT)
    return encoding.load(Report, artifacts.get(job, Stage.REPORT, digest)) if digest else None


def _report_or_trouble(store: JobStore, artifacts: ArtifactStore, job: str) -> tuple[Report | None, str]:
    """A stored report that is gone or damaged must not hide the rest of the job."""
    try:
        return _report(store, artifacts, job), ""
    except Refused as refusal:
        return None, refusal.code


def _known(store: JobStore, artifacts: ArtifactStore, job: str) -> tuple[KnownRow, ...]:
    """Empty before the context was had, and where what was stored of it is gone."""
    try:
        digest = store.latest_artifact(job, Stage.CONTEXT)
        content = artifacts.get(job, Stage.CONTEXT, digest) if digest else b""
    except Refused:
        return ()
    return rows_of(encoding.load(ClinicalContext, content)) if content else ()


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
