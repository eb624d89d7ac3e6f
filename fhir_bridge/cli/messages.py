"""`fhir-bridge messages` and `send`: what came in by HL7 v2, and an MLLP client."""

import sys
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from fhir_bridge.cli.options import SET_UP, VERDICT_FAILED, configured, console, parts_of, print_json
from fhir_bridge.journal import Effect, StoredMessage
from fhir_bridge.settings import Settings
from hl7_listener.client import MllpClient, NoAcknowledgement


@click.group()
def messages() -> None:
    """Look at received messages."""


@messages.command("list", epilog="Example: fhir-bridge messages list --data-dir data")
@click.option("--limit", default=100, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@configured
def list_(settings: Settings, limit: int, as_json: bool) -> None:
    """Received messages, newest first: type, answer and why; no content."""
    with parts_of(settings) as parts:
        found = parts.journal.messages(limit)
        effects = parts.store.effects([message.id for message in found])
    if as_json:
        for message in found:
            print_json(_summary(message, effects.get(message.id)))
        return
    table = Table("id", "received", "type", "answer", "error", "where", "jobs")
    for message in found:
        cells = _summary(message, effects.get(message.id))
        table.add_row(
            *(str(cells[name]) for name in ("message", "received", "type", "answer", "error", "where")),
            " ".join(cells["jobs"]),
        )
    console().print(table)


@messages.command(epilog="Example: fhir-bridge messages show 12 --data-dir data --raw > message.hl7")
@click.argument("message_id", metavar="ID", type=int)
@click.option("--raw", is_flag=True, help="The bytes as they came. They identify the patient.")
@click.option("--json", "as_json", is_flag=True)
@configured
def show(settings: Settings, message_id: int, raw: bool, as_json: bool) -> None:
    """One message."""
    with parts_of(settings) as parts:
        message = parts.journal.message(message_id)
        effect = parts.store.effects([message_id]).get(message_id)
    if message is None:
        click.echo("no such message", err=True)
        sys.exit(VERDICT_FAILED)
    if raw:
        sys.stdout.buffer.write(message.entry.raw)
    elif as_json:
        print_json(_summary(message, effect))
    else:
        for name, value in _summary(message, effect).items():
            click.echo(f"{name}: {value}")


def _summary(message: StoredMessage, effect: Effect | None) -> dict[str, Any]:
    entry = message.entry
    return {
        "message": message.id,
        "received": message.received.isoformat(timespec="seconds"),
        "type": entry.message_type,
        "answer": entry.outcome.code,
        "error": entry.outcome.application_code,
        "where": entry.outcome.location,
        "jobs": effect.jobs if effect else (),
    }


@click.command(epilog="Example: fhir-bridge send order.hl7 --set mllp.port=2575")
@click.argument(
    "files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False)
)
@click.option("--timeout", default=30.0, show_default=True, help="Seconds to wait for each answer.")
@click.option("--json", "as_json", is_flag=True)
@configured
def send(settings: Settings, files: tuple[Path, ...], timeout: float, as_json: bool) -> None:
    """Send HL7 v2 files to mllp.host:mllp.port, one message a file, on one connection. Exit code 1 if one was not accepted."""
    accepted = True
    with MllpClient(settings.mllp.host, settings.mllp.port, timeout) as client:
        for file in files:
            content = (
                file.read_bytes().replace(b"\r\n", b"\r").replace(b"\n", b"\r")
            )  # files are edited with line feeds
            try:
                answer = client.send(content)
            except NoAcknowledgement as error:
                click.echo(f"{file}: {error}", err=True)
                sys.exit(SET_UP)
            accepted &= answer.code in ("AA", "CA")
            if as_json:
                print_json({"file": str(file), "answer": answer.code, "where": answer.location, "text": answer.text})
            else:
                click.echo(" ".join(part for part in (str(file), answer.code, answer.location, answer.text) if part))
    sys.exit(0 if accepted else VERDICT_FAILED)
