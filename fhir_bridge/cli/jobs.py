"""`fhir-bridge jobs`: what became of the orders."""

import sys
from typing import Any

import click
from rich.table import Table

from fhir_bridge.cli.options import VERDICT_FAILED, configured, console, parts_of, print_json
from fhir_bridge.job import Event, Job, Stage, Status
from fhir_bridge.settings import Settings
from mappings.order import Identifier


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
