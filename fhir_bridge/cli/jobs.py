"""`fhir-bridge jobs`: what became of the orders."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from fhir_bridge.cli.options import VERDICT_FAILED, configured, console, parts_of, print_json
from fhir_bridge.compose import Parts
from fhir_bridge.errors import Refused
from fhir_bridge.job import Event, Job, Stage, Status
from fhir_bridge.settings import Settings
from mappings.finding import Report, ReportStatus, RetractionReason
from mappings.order import Identifier

if TYPE_CHECKING:
    from fhir_bridge.decisions import Decisions


@click.group()
def jobs() -> None:
    """Look at jobs, run them again, cancel them."""


@jobs.command("list", epilog="Example: fhir-bridge jobs list --data-dir data --status held --json")
@click.option(
    "--status",
    "statuses",
    multiple=True,
    type=click.Choice([status.value for status in Status]),
    help="Only these; repeatable.",
)
@click.option("--limit", default=1000, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line. Identifiers of orders are in it.")
@configured
def list_(settings: Settings, statuses: tuple[str, ...], limit: int, as_json: bool) -> None:
    """All jobs, newest first."""
    with parts_of(settings) as parts:
        found = parts.store.jobs(statuses, limit)
    if as_json:
        for job in found:
            print_json(summary(job))
        return
    table = Table("job", "status", "stage", "reason", "source", "updated")
    for job in found:
        table.add_row(job.id, job.status, job.stage, job.reason, job.source, f"{job.updated:%Y-%m-%d %H:%M:%S}")
    console().print(table)


@jobs.command(epilog="Example: fhir-bridge jobs show 4f1c --data-dir data --json")
@click.argument("job_id", metavar="JOB")
@click.option("--json", "as_json", is_flag=True)
@configured
def show(settings: Settings, job_id: str, as_json: bool) -> None:
    """One job with its timeline and deliveries. JOB may be the first characters of an id."""
    with parts_of(settings) as parts:
        job = _job(parts.store.jobs(limit=10**6), job_id)
        history, deliveries = parts.store.history(job.id), parts.store.deliveries(job.id)
    timeline = [
        {"at": e.at.isoformat(), "event": e.event, "stage": e.stage, "status": e.status, "reason": e.reason}
        for e in history
    ]
    sent = [
        {
            "destination": d.destination,
            "status": d.status,
            "attempts": d.attempts,
            "reason": d.reason,
            "reference": d.reference,
        }
        for d in deliveries
    ]
    if as_json:
        print_json(summary(job) | {"history": timeline, "deliveries": sent})
        return
    out = console()
    out.print(f"job {job.id}: {job.status} at {job.stage} {job.reason}", soft_wrap=True)
    for title, rows in (("timeline", timeline), ("deliveries", sent)):
        if rows:
            table = Table(*rows[0], title=title)
            for row in rows:
                table.add_row(*(str(cell) for cell in row.values()))
            out.print(table)


@jobs.command(epilog="Example: fhir-bridge jobs replay 4f1c --data-dir data --from context")
@click.argument("job_id", metavar="JOB")
@click.option(
    "--from",
    "stage",
    type=click.Choice([stage.value for stage in Stage]),
    help="The step to begin with; default: where it stands.",
)
@configured
def replay(settings: Settings, job_id: str, stage: str | None) -> None:
    """Run a job again that is held, failed, done, or on hold by its sender."""
    _happen(settings, job_id, Event.REPLAY, "operator.replay", Stage(stage) if stage else None)


@jobs.command(epilog="Example: fhir-bridge jobs cancel 4f1c --data-dir data")
@click.argument("job_id", metavar="JOB")
@configured
def cancel(settings: Settings, job_id: str) -> None:
    """Stop a job before its result goes out."""
    _happen(settings, job_id, Event.CANCEL, "operator.cancel", None)


@jobs.command(epilog='Example: fhir-bridge jobs sign 4f1c --data-dir data --by "Practitioner/12" --final --json')
@click.argument("job_id", metavar="JOB")
@click.option(
    "--by", required=True, metavar="REFERENCE", help="Practitioner/ID or PractitionerRole/ID on the FHIR server."
)
@click.option("--final", "status", flag_value="final", default=True, help="The first signature (the default).")
@click.option("--amended", "status", flag_value="amended", help="It was signed, and was changed since.")
@click.option("--corrected", "status", flag_value="corrected", help="It was signed, and had an error.")
@click.option("--json", "as_json", is_flag=True)
@configured
def sign(settings: Settings, job_id: str, by: str, status: str, as_json: bool) -> None:
    """A person takes the report of a finished job as theirs; it goes out anew to every destination."""
    _decide(settings, job_id, as_json, lambda parts, job: decisions_of(parts).sign(job, by, ReportStatus(status)))


@jobs.command(
    epilog='Example: fhir-bridge jobs retract 4f1c --data-dir data --reason wrong-patient --by "Practitioner/12"'
)
@click.argument("job_id", metavar="JOB")
@click.option(
    "--by", required=True, metavar="REFERENCE", help="Practitioner/ID or PractitionerRole/ID on the FHIR server."
)
@click.option("--reason", required=True, type=click.Choice([reason.value for reason in RetractionReason]))
@click.option("--json", "as_json", is_flag=True)
@configured
def retract(settings: Settings, job_id: str, by: str, reason: str, as_json: bool) -> None:
    """A person takes back what went out, also what was signed: it was entered in error."""
    _decide(
        settings, job_id, as_json, lambda parts, job: decisions_of(parts).retract(job, by, RetractionReason(reason))
    )


def decisions_of(parts: Parts) -> Decisions:
    """What a person may decide, on these parts."""
    from fhir_bridge.decisions import Decisions  # with the PDF library: `jobs list` does not wait for it

    return Decisions(parts.store, parts.artifacts, parts.record, parts.clock)


def _decide(settings: Settings, job_id: str, as_json: bool, decide: Callable[[Parts, Job], Report]) -> None:
    with parts_of(settings) as parts:
        job = _job(parts.store.jobs(limit=10**6), job_id)
        try:
            made = decide(parts, job)
        except Refused as refusal:
            click.echo(f"job {job.id}: {refusal}", err=True)
            sys.exit(VERDICT_FAILED)
    if as_json:
        print_json({"job": job.id, "report": made.status, "by": made.decision.by if made.decision else ""})
    else:
        click.echo(f"job {job.id}: the report is {made.status} now, and goes out anew")


def _happen(settings: Settings, job_id: str, event: Event, reason: str, stage: Stage | None) -> None:
    with parts_of(settings) as parts:
        job = _job(parts.store.jobs(limit=10**6), job_id)
        with parts.store.transaction() as ledger:
            again = event is Event.CANCEL and job.status is Status.CANCELLED
            done = not again and ledger.happen(job.id, event, reason, stage)
    click.echo(f"job {job.id}: {event} {'done' if done else f'not possible, it is {job.status}'}")
    if not done:
        sys.exit(VERDICT_FAILED)


def _job(known: tuple[Job, ...], beginning: str) -> Job:
    found = [job for job in known if job.id.startswith(beginning)]
    if len(found) != 1:
        click.echo(f"{'several jobs begin' if found else 'no job begins'} with this id", err=True)
        sys.exit(VERDICT_FAILED)
    return found[0]


def summary(job: Job) -> dict[str, Any]:
    """The shape that others script against (docs/operations.md)."""
    order = job.order
    return {
        "job": job.id,
        "status": job.status,
        "stage": job.stage,
        "reason": job.reason,
        "source": job.source,
        "placer": _value(order.placer),
        "filler": _value(order.filler),
        "accession": _value(order.accession),
        "study_instance_uid": order.study_instance_uid,
        "models": list(job.models),
        "created": job.created.isoformat(),
        "updated": job.updated.isoformat(),
    }


def _value(identifier: Identifier | None) -> str:
    return identifier.value if identifier else ""
