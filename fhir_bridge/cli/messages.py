"""`fhir-bridge messages`: what came in by HL7 v2, why it was refused, and putting it in again."""

import sys
from typing import Any

import click
from rich.markup import escape
from rich.table import Table

from fhir_bridge.cli.options import SET_UP, VERDICT_FAILED, configured, console, parts_of, print_json
from fhir_bridge.compose import Parts
from fhir_bridge.journal import Effect, MessageState, StoredMessage
from fhir_bridge.judgement import take_again
from fhir_bridge.settings import Settings
from hl7_listener.outcome import POSITIVE, Outcome
from hl7_listener.refusal import MessageRefused

_MOST = 2**63 - 1  # what SQLite counts up to
Known = tuple[StoredMessage, Effect | None]


@click.group()
def messages() -> None:
    """Look at received messages, put refused ones in again."""


@messages.command("list", epilog="Example: fhir-bridge messages list --refused --data-dir data")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, _MOST))
@click.option(
    "--refused", is_flag=True, help="Only those that had no effect: refused at the door, or by intake afterwards."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@configured
def list_(settings: Settings, limit: int, refused: bool, as_json: bool) -> None:
    """Received messages, newest first: type, answer and why; no content."""
    with parts_of(settings) as parts:
        found = _refused(parts, limit) if refused else _latest(parts, limit)
    if as_json:
        for message, effect in found:
            print_json(_summary(message, effect))
        return
    table = Table("id", "received", "sender", "type", "answer", "error", "where", "effect", "jobs")
    for message, effect in found:
        cells = _summary(message, effect)
        names = ("message", "received", "sender", "type", "answer", "error", "where", "effect")
        table.add_row(*(escape(str(cells[name])) for name in names), " ".join(cells["jobs"]))
    console().print(table)


@messages.command(epilog="Example: fhir-bridge messages show 12 --data-dir data --raw > message.hl7")
@click.argument("message_id", metavar="ID", type=click.IntRange(1, _MOST))
@click.option("--raw", is_flag=True, help="The bytes as they came. They identify the patient.")
@click.option("--validate", is_flag=True, help="What the standard says of its structure, by hl7apy.")
@click.option("--json", "as_json", is_flag=True)
@configured
def show(settings: Settings, message_id: int, raw: bool, validate: bool, as_json: bool) -> None:
    """One message: how it was answered, what it did, which element came from which field."""
    with parts_of(settings) as parts:
        message = parts.journal.message(message_id)
        effect = parts.store.effects([message_id]).get(message_id)
    if message is None:
        click.echo("no such message", err=True)
        sys.exit(VERDICT_FAILED)
    if raw:
        sys.stdout.buffer.write(message.entry.raw)
        return
    shown = _details(message, effect) | ({"findings": _findings(message)} if validate else {})
    if as_json:
        print_json(shown)
        return
    for name, value in shown.items():
        if isinstance(value, list):
            click.echo(f"{name}:")
            for line in value:
                click.echo(f"  {line if isinstance(line, str) else '  <-  '.join(line)}")
        else:
            click.echo(f"{name}: {' '.join(value) if isinstance(value, tuple) else value}")


@messages.command(epilog="Example: fhir-bridge messages replay 12 13 --data-dir data")
@click.argument("message_ids", metavar="ID...", type=click.IntRange(1, _MOST), nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True)
@configured
def replay(settings: Settings, message_ids: tuple[int, ...], as_json: bool) -> None:
    """Judge messages anew by the rules of today, as new entries of the journal; a running server then applies them.

    Exit code 1 if one was refused again.
    """
    fine = True
    with parts_of(settings) as parts:
        for number in message_ids:
            message = parts.journal.message(number)
            if message is None:
                click.echo(f"{number}: no such message", err=True)
                sys.exit(SET_UP)
            with parts.journal.transaction() as page:
                taken = take_again(message, page, parts.policy.senders)
            outcome = taken.outcome
            fine &= outcome.code in POSITIVE
            if as_json:
                print_json({"message": number, "as": taken.message, **_outcome(outcome)})
            else:
                words = (str(number), f"as {taken.message}:", outcome.code, outcome.application_code, outcome.location)
                click.echo(" ".join(word for word in words if word))
    sys.exit(0 if fine else VERDICT_FAILED)


def _latest(parts: Parts, limit: int) -> list[Known]:
    found = parts.journal.messages(limit)
    effects = parts.store.effects([message.id for message in found])
    return [(message, effects.get(message.id)) for message in found]


def _refused(parts: Parts, limit: int) -> list[Known]:
    """Refused at the door, or accepted and then refused by intake."""
    found: list[Known] = [(message, None) for message in parts.journal.messages(limit, state=MessageState.REFUSED)]
    for effect in parts.store.failed_effects(limit):
        if message := parts.journal.message(effect.message):
            found.append((message.without_content(), effect))
    return sorted(found, key=lambda known: known[0].id, reverse=True)[:limit]


def _outcome(outcome: Outcome) -> dict[str, str]:
    return {"answer": outcome.code, "error": outcome.application_code, "where": outcome.location}


def _summary(message: StoredMessage, effect: Effect | None) -> dict[str, Any]:
    entry = message.entry
    refusal = effect.outcome if effect and effect.outcome.code not in POSITIVE else entry.outcome
    return {
        "message": message.id,
        "received": message.received.isoformat(timespec="seconds"),
        "sender": entry.sender,
        "type": entry.message_type,
        "answer": entry.outcome.code,
        "error": refusal.application_code,
        "where": refusal.location,
        "state": str(entry.state),
        "effect": effect.outcome.code if effect else "",
        "jobs": effect.jobs if effect else (),
        "warnings": effect.warnings if effect else (),
    }


def _details(message: StoredMessage, effect: Effect | None) -> dict[str, Any]:
    entry = message.entry
    refusal = effect.outcome if effect and effect.outcome.code not in POSITIVE else entry.outcome
    return _summary(message, effect) | {
        "text": refusal.text,
        "listener": entry.key.listener,
        "batch": entry.batch,
        "replay_of": entry.replay_of,
        "sequence_number": entry.sequence_number,
        "tolerances": entry.tolerances,
        "trace": [list(line) for line in (effect and effect.trace) or entry.trace],
    }


def _findings(message: StoredMessage) -> list[str]:
    from fhir_bridge.adapters.hl7apy_conformance import findings

    try:
        return list(findings(message.entry.raw))
    except MessageRefused as refused:
        return [f"{refused.code} at {refused.where}"]
