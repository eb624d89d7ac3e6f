"""`fhir-bridge subscribe`: tell the FHIR server to notify us, see how that stands, and end it."""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import click

from fhir_bridge.adapters.fhir_subscription import FhirSubscriptions
from fhir_bridge.cli.options import SET_UP, VERDICT_FAILED, configured, parts_of, print_json
from fhir_bridge.compose import Parts
from fhir_bridge.feed import Feed
from fhir_bridge.roles.subscriptions import feeds_of, patience_of, subscriptions_of
from fhir_bridge.settings import Settings
from fhir_bridge.watchdog import SubscriptionState, Survey, alarms, noted, unwanted

_LOOK_SECONDS = 0.2


@click.command(epilog="Example: fhir-bridge subscribe --data-dir data --set fhir.base_url=http://localhost:8080/fhir")
@click.option("--check", "only_check", is_flag=True, help="Change nothing, say how all stands.")
@click.option("--remove", is_flag=True, help="Delete ours on the server; nothing makes them again.")
@click.option(
    "--print", "only_print", is_flag=True, help="Print them with their tokens, for who must make them by hand."
)
@click.option(
    "--wait", "wait_seconds", default=20.0, show_default=True, help="Seconds until the server has activated them."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@configured
def subscribe(
    settings: Settings, only_check: bool, remove: bool, only_print: bool, wait_seconds: float, as_json: bool
) -> None:
    """Create or repair our Subscriptions on fhir.base_url. They call http.public_url, each with a bearer token of its own.

    A running server keeps them so from then on. Exit code 1: one is not active, or something else is wrong.
    """
    if only_check + remove + only_print > 1:
        raise click.UsageError("--check, --remove and --print exclude each other")
    with parts_of(settings) as parts:
        if parts.fhir is None:
            click.echo("subscribe: set fhir.base_url", err=True)
            sys.exit(SET_UP)
        subscriptions = subscriptions_of(parts, parts.fhir)
        if remove:
            _remove(parts, subscriptions, as_json)
            fine = True
        elif only_print:
            _print_resources(subscriptions, as_json)
            fine = True
        elif only_check:
            fine = _check(parts, subscriptions, as_json)
        else:
            fine = _subscribe(parts, subscriptions, wait_seconds, as_json)
    sys.exit(0 if fine else VERDICT_FAILED)


def _subscribe(parts: Parts, subscriptions: FhirSubscriptions, wait_seconds: float, as_json: bool) -> bool:
    if not subscriptions.names:
        seconds = parts.settings.fhir.catch_up_seconds
        words = f"the server takes no Subscriptions (fhir.profile): it is asked every {seconds:g} s instead"
        print_json({"subscriptions": False, "asked_every_seconds": seconds}) if as_json else click.echo(words)
        return True
    leftovers = subscriptions.look(subscriptions.names).leftovers
    before = _want(parts, subscriptions.names)
    made = []
    for name in subscriptions.names:
        made.append(subscriptions.mend(name))
        _keep(parts, [made[-1] if name in before else replace(made[-1], action="none")])  # the first is no repair
    for reference in set(leftovers) - {state.reference for state in made}:
        subscriptions.remove(reference)
    states, deadline = made, time.monotonic() + wait_seconds
    while any(state.status == "requested" for state in states) and time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)
        states = list(subscriptions.look(subscriptions.names).states)
    _keep(parts, [replace(state, action="none") for state in states])
    for state, action in zip(states, (state.action for state in made), strict=True):
        _print_state(replace(state, action=action), as_json)
    return all(state.is_good for state in states)


def _want(parts: Parts, names: Sequence[str]) -> set[str]:
    """Before anything is made: to a running watchdog one that nobody wants is a leftover. Those that were wanted already."""
    before = {feed.name for feed in parts.store.feeds() if feed.wanted}
    with parts.store.transaction() as ledger:
        for name in names:
            ledger.keep_feed(replace(ledger.feed(name), wanted=True))
    return before


def _keep(parts: Parts, states: Sequence[SubscriptionState]) -> None:
    """From now on the watchdog keeps them so."""
    with parts.store.transaction() as ledger:
        for state in states:
            ledger.keep_feed(replace(noted(ledger.feed(state.name), state, parts.clock.now()), wanted=True))


def _remove(parts: Parts, subscriptions: FhirSubscriptions, as_json: bool) -> None:
    """First nobody wants them any more: a running watchdog would make them again."""
    for feed in parts.store.feeds():
        with parts.store.transaction() as ledger:
            ledger.keep_feed(unwanted(ledger.feed(feed.name)))
    for reference in subscriptions.ours():
        subscriptions.remove(reference)
        if as_json:
            print_json({"removed": reference})
        else:
            click.echo(f"removed {reference}")


def _print_resources(subscriptions: FhirSubscriptions, as_json: bool) -> None:
    click.echo("each holds the token that opens its hook: keep them like a password", err=True)
    for resource in subscriptions.resources():
        click.echo(json.dumps(resource, indent=None if as_json else 2))


def _check(parts: Parts, subscriptions: FhirSubscriptions, as_json: bool) -> bool:
    """Everything that is known of every feed. Whether nothing is wrong."""
    names = subscriptions.names
    survey = subscriptions.look(names) if names else Survey(())
    states = {state.name: state for state in survey.states}
    feeds = {feed.name: feed for feed in parts.store.feeds() if feed.name in feeds_of(parts.settings)}
    now, patience = parts.clock.now(), patience_of(parts.settings)
    fine = not survey.leftovers
    for name in dict.fromkeys((*names, *feeds)):
        state, feed = states.get(name), feeds.get(name, Feed(name))
        found = alarms(feed, now, patience)
        fine &= not found and (state is None or (state.is_good and not state.foreign))
        facts = _facts(state, feed, found) | {"deletions_seen": parts.traits.history}
        print_json(facts) if as_json else _print_facts(facts)
    for reference in survey.leftovers:
        print_json({"leftover": reference}) if as_json else click.echo(
            f"left over, ours and wanted no more: {reference}"
        )
    return fine


def _facts(state: SubscriptionState | None, feed: Feed, found: Sequence[str]) -> dict[str, Any]:
    return {
        "name": feed.name,
        "status": state.status if state else "none",
        "reference": state.reference if state else "",
        "differs": state.differs if state else (),
        "doubled": state.doubled if state else 0,
        "foreign": state.foreign if state else (),
        "alarms": found,
        "kept": feed.wanted,
        "repairs": feed.repairs,
        "last_looked": _at(feed.looked),
        "last_heard": _at(feed.heard),
        "event_number": feed.event_number,
        "gaps": feed.gaps,
        "resets": feed.resets,
        "watermark": _at(feed.watermark),
        "caught_up": _at(feed.caught_up),
        "trouble": feed.trouble,
        "missed": feed.missed,
        "last_missed": _at(feed.last_missed),
    }


_WORDS = {
    "differs": "differs in",
    "doubled": "doubles",
    "foreign": "another bridge's at our address",
    "alarms": "alarms",
    "kept": "kept so by a running server",
    "repairs": "repaired",
    "last_looked": "last looked at",
    "last_heard": "last heard",
    "event_number": "last event number",
    "gaps": "events never got",
    "resets": "numbers begun anew",
    "watermark": "watermark (by its clock)",
    "caught_up": "last asked",
    "trouble": "trouble with asking",
    "missed": "changes found by asking only",
    "last_missed": "the last of them",
    "deletions_seen": "deletions can be seen",
}


def _print_facts(facts: dict[str, Any]) -> None:
    click.echo(f"{facts['name']}: {facts['status']} {facts['reference']}".rstrip())
    for key, words in _WORDS.items():
        click.echo(f"  {words + ':':34}{_in_words(facts[key])}")


def _in_words(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(value) or "nothing"
    return str(value) if value not in ("", None) else "never" if value is None else "none"


def _at(time_: datetime | None) -> str | None:
    return time_.isoformat(timespec="seconds") if time_ else None


def _print_state(state: SubscriptionState, as_json: bool) -> None:
    if as_json:
        print_json({"name": state.name, "status": state.status, "reference": state.reference, "differs": state.differs,
                    "doubled": state.doubled, "action": state.action})  # fmt: skip
        return
    wrong = f" differs in {', '.join(state.differs)}" if state.differs else ""
    wrong += f", {state.doubled} doubles" if state.doubled else ""
    click.echo(f"{state.name}: {state.status} {state.reference} ({state.action}){wrong}")
