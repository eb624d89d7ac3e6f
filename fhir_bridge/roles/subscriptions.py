"""What looks after our Subscriptions, built from one configuration."""

import os
import uuid
from collections.abc import Collection
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from fhir_bridge.adapters.fhir_client import FhirClient
from fhir_bridge.adapters.fhir_subscription import FhirSubscriptions, Hooks, WantedSubscription, wanted_subscriptions
from fhir_bridge.compose import Parts
from fhir_bridge.errors import Refused
from fhir_bridge.feed import KINDS
from fhir_bridge.settings import Settings
from fhir_bridge.watchdog import Patience, SubscriptionState, Survey, Watchdog

_ADDRESS = "http.address"  # in the data folder: where we listen, if a free port was taken


def watchdog_of(parts: Parts) -> Watchdog:
    """The watchdog over the Subscriptions of this configuration."""
    subscriptions = _AtOurAddress(parts, parts.fhir) if parts.fhir else None
    return Watchdog(parts.store, subscriptions, parts.clock, parts.settings.fhir.watch_seconds)


def subscriptions_of(parts: Parts, client: FhirClient) -> FhirSubscriptions:
    """Raises Refused `subscription.no-address`."""
    hooks = Hooks(public_url(parts.settings), parts.hook_token, bridge_id(parts.data_dir))
    return FhirSubscriptions(client, hooks, _wanted(parts))


def patience_of(settings: Settings) -> Patience:
    """From when on things are alarms."""
    fhir = settings.fhir
    return Patience(
        quiet=timedelta(hours=fhir.quiet_hours),
        catch_up=timedelta(seconds=fhir.catch_up_seconds),
        watch=timedelta(seconds=fhir.watch_seconds),
    )


def feeds_of(settings: Settings) -> tuple[str, ...]:
    """What this configuration asks for. Another that is kept was asked for by a former one: nothing of it is late."""
    return tuple(name for name in KINDS if settings.fhir.task_orders or name != "tasks")


def public_url(settings: Settings) -> str:
    """How the FHIR server reaches us. Raises Refused `subscription.no-address`: a free port, and nobody has listened yet."""
    if settings.http.public_url:
        return settings.http.public_url
    if settings.http.port:
        return f"http://{settings.http.host}:{settings.http.port}"
    with suppress(OSError):
        return (settings.data_dir / _ADDRESS).read_text(encoding="ascii")
    raise Refused(
        "subscription.no-address", "http.public_url", "not set, and the port is not known before `serve` runs"
    )


def remember_address(settings: Settings, port: int) -> None:
    """Where a free port was taken, others must be told which."""
    if not settings.http.port:
        (settings.data_dir / _ADDRESS).write_text(f"http://{settings.http.host}:{port}", encoding="ascii")


def bridge_id(data_dir: Path) -> str:
    """What tells this bridge from others of the same FHIR server; made once, whoever asks first."""
    path, draft = data_dir / "bridge.id", data_dir / f"bridge.id-{uuid.uuid4().hex}"
    if not path.exists():
        draft.write_text(uuid.uuid4().hex, encoding="ascii")
        with suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    return path.read_text(encoding="ascii").strip()


def _wanted(parts: Parts) -> tuple[WantedSubscription, ...]:
    return wanted_subscriptions(parts.traits, tasks=parts.settings.fhir.task_orders)


class _AtOurAddress:
    """`watchdog.Subscriptions` with the address of the moment: a free port is known only once we listen, after this was made."""

    def __init__(self, parts: Parts, client: FhirClient) -> None:
        self._parts, self._client = parts, client
        self.names = tuple(wanted.name for wanted in _wanted(parts))

    def look(self, names: Collection[str]) -> Survey:
        return subscriptions_of(self._parts, self._client).look(names)

    def mend(self, name: str) -> SubscriptionState:
        return subscriptions_of(self._parts, self._client).mend(name)

    def remove(self, reference: str) -> None:
        subscriptions_of(self._parts, self._client).remove(reference)
