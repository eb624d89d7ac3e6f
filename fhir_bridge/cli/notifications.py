"""`fhir-bridge notifications`: what the FHIR server told us or asking found, what could not be used, and trying it again."""

import sys
from typing import Any

import click
from rich.markup import escape
from rich.table import Table

from fhir_bridge.cli.options import SET_UP, VERDICT_FAILED, configured, console, parts_of, print_json
from fhir_bridge.feed import KINDS
from fhir_bridge.ports import CATCH_UP, Notification
from fhir_bridge.settings import Settings

_MOST = 2**63 - 1  # what SQLite counts up to
_OURS = {*KINDS, CATCH_UP}  # what else a caller said may hold anything
_STATUSES = ("ready", "done", "quarantined")


@click.group()
def notifications() -> None:
    """Look at notifications of the FHIR server, try quarantined ones again."""


@notifications.command("list", epilog="Example: fhir-bridge notifications list --status quarantined --data-dir data")
@click.option("--status", type=click.Choice(_STATUSES), help="Only these.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, _MOST))
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@configured
def list_(settings: Settings, status: str | None, limit: int, as_json: bool) -> None:
    """Notifications, newest first: hook, type and why; neither the id of the resource nor its content."""
    with parts_of(settings) as parts:
        found = parts.store.notifications([status] if status else (), limit)
    if as_json:
        for notification in found:
            print_json(_summary(notification))
        return
    names = ("notification", "received", "hook", "call", "type", "status", "attempts", "reason")
    table = Table(*names)
    for notification in found:
        table.add_row(*(escape(str(_summary(notification)[name])) for name in names))
    console().print(table)


@notifications.command(epilog="Example: fhir-bridge notifications show 12 --data-dir data")
@click.argument("number", type=click.IntRange(1, _MOST))
@click.option("--json", "as_json", is_flag=True)
@configured
def show(settings: Settings, number: int, as_json: bool) -> None:
    """One notification with the resource that it names and the body as it came. They may identify the patient."""
    with parts_of(settings) as parts:
        notification = parts.store.notification(number)
        body = parts.store.notification_body(number)
    if notification is None:
        click.echo("no such notification", err=True)
        sys.exit(VERDICT_FAILED)
    shown = _summary(notification) | {
        "id": notification.resource_id,
        "version": notification.version_id,
        "body": (body or b"").decode("utf-8", errors="replace"),
    }
    if as_json:
        print_json(shown)
        return
    for name, value in shown.items():
        click.echo(f"{name}: {value}")


@notifications.command(epilog="Example: fhir-bridge notifications replay 12 13 --data-dir data")
@click.argument("numbers", metavar="NUMBER...", type=click.IntRange(1, _MOST), nargs=-1)
@click.option("--all-quarantined", is_flag=True, help="All that could not be used.")
@click.option("--json", "as_json", is_flag=True)
@configured
def replay(settings: Settings, numbers: tuple[int, ...], all_quarantined: bool, as_json: bool) -> None:
    """Act on notifications again as if they had never been tried: a running server reads their resources anew.

    Exit code 1 where one is unknown.
    """
    if bool(numbers) == all_quarantined:
        click.echo("replay: give numbers, or --all-quarantined", err=True)
        sys.exit(SET_UP)
    fine = True
    with parts_of(settings) as parts:
        if all_quarantined:
            numbers = tuple(sorted(found.id for found in parts.store.notifications(["quarantined"], _MOST)))
        for number in numbers:
            with parts.store.transaction() as ledger:
                again = ledger.replay_notification(number)
            fine &= again
            if as_json:
                print_json({"notification": number, "replayed": again})
            else:
                click.echo(f"{number}: {'is tried again' if again else 'no such notification'}")
    sys.exit(0 if fine else VERDICT_FAILED)


def _summary(notification: Notification) -> dict[str, Any]:
    received = notification.received
    return {
        "notification": notification.id,
        "received": received.isoformat(timespec="seconds") if received else "",
        "hook": notification.subscription if notification.subscription in _OURS else "another",
        "call": notification.method,
        "type": notification.resource_type if notification.resource_type in {"", *KINDS.values()} else "another",
        "status": notification.status,
        "attempts": notification.attempts,
        "reason": notification.reason,
    }
