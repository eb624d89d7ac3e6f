"""Our Subscriptions on the hospital's FHIR server: made once, compared, repaired (R4 Subscription, channel type rest-hook).

A Subscription of ours is one that calls our endpoint `<public_url>/hooks/fhir/<name>`: it is found by that URL.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

from fhir_bridge.adapters.fhir_client import FhirClient
from fhir_bridge.adapters.fhir_transport import FHIR_JSON
from fhir_bridge.adapters.record_match import reference_to
from fhir_bridge.study import Resource
from mappings.fhir_observations import OWN_TAG

NOT_OURS = f"_tag:not={OWN_TAG[0]}|{OWN_TAG[1]}"  # our own results must not call us
_REASON = "Imaging AI: orders and studies to analyse"


@dataclass(frozen=True, slots=True)
class WantedSubscription:
    """`name` is the last part of the endpoint. The criteria name no status: with one, a revoked order would never be told (HAPI)."""

    name: str
    criteria: str


WANTED: tuple[WantedSubscription, ...] = (
    WantedSubscription("orders", f"ServiceRequest?{NOT_OURS}"),
    WantedSubscription("studies", f"ImagingStudy?{NOT_OURS}"),
)


@dataclass(frozen=True, slots=True)
class Hooks:
    """Where and how the FHIR server reaches us. The token can be read there in the Subscription: it opens the hooks and nothing else."""

    public_url: str
    token: str = field(repr=False)

    def endpoint(self, name: str) -> str:
        return f"{self.public_url.rstrip('/')}/hooks/fhir/{name}"


@dataclass(frozen=True, slots=True)
class SubscriptionState:
    """`status` is the server's (`active` is good), or `missing`. `differs` names what is not as wanted. `action`: none, created, changed."""

    name: str
    status: str
    reference: str = ""
    differs: tuple[str, ...] = ()
    doubled: int = 0  # further Subscriptions that call the same endpoint
    action: str = "none"

    @property
    def good(self) -> bool:
        return self.status == "active" and not self.differs and not self.doubled


def check_subscriptions(
    client: FhirClient, hooks: Hooks, wanted: Sequence[WantedSubscription] = WANTED
) -> tuple[SubscriptionState, ...]:
    """How ours stand. Writes nothing."""
    return tuple(_state(one, hooks, _find(client, hooks, one)) for one in wanted)


def ensure_subscriptions(
    client: FhirClient, hooks: Hooks, wanted: Sequence[WantedSubscription] = WANTED
) -> tuple[SubscriptionState, ...]:
    """Exactly one of each, active and as wanted, or on its way there (`requested`: the server activates it in its own time).

    One that is as it should be is not written: each write costs notifications. Raises what `Transport` raises.
    """
    return tuple(_ensure(client, hooks, one) for one in wanted)


def _ensure(client: FhirClient, hooks: Hooks, wanted: WantedSubscription) -> SubscriptionState:
    found = _find(client, hooks, wanted)
    if not found:
        condition = f"url={quote(hooks.endpoint(wanted.name), safe='')}"
        made = client.create_unless(
            {"resourceType": "Subscription", **_elements(wanted, hooks, "requested")}, condition
        )
        return _state(wanted, hooks, [made], "created")
    kept, *doubles = found
    for double in doubles:
        client.delete(reference_to(double))
    state = _state(wanted, hooks, [kept])
    if not state.differs and state.status in ("active", "requested"):
        return state
    return _state(wanted, hooks, [client.update(state.reference, _repaired(kept, wanted, hooks))], "changed")


def _repaired(kept: Resource, wanted: WantedSubscription, hooks: Hooks) -> Resource:
    """Ours set right, with what else was set by hand left as it is.

    An active one stays `active`: HAPI loses what happens while it is `requested`. A stopped or failed one must be requested anew.
    """
    elements = _elements(wanted, hooks, "active" if kept.get("status") == "active" else "requested")
    elements["channel"] = {**_channel(kept), **elements["channel"]}
    return {name: value for name, value in {**kept, **elements}.items() if name != "error"}


def _find(client: FhirClient, hooks: Hooks, wanted: WantedSubscription) -> list[Resource]:
    """Those with our endpoint, the one to keep first; compared here too, for a server may ignore the search."""
    endpoint = hooks.endpoint(wanted.name)
    found = [
        one
        for one in client.search("Subscription", (("url", endpoint),), limit=50)
        if _channel(one).get("endpoint") == endpoint
    ]
    return sorted(found, key=_worth_keeping)


def _worth_keeping(subscription: Resource) -> tuple[bool, str, str]:
    """Active before others, then the oldest."""
    changed = str(subscription.get("meta", {}).get("lastUpdated", ""))
    return subscription.get("status") != "active", changed, str(subscription["id"])


def _channel(subscription: Resource) -> Resource:
    channel = subscription.get("channel")
    return channel if isinstance(channel, dict) else {}


def _elements(wanted: WantedSubscription, hooks: Hooks, status: str) -> Resource:
    return {
        "status": status,
        "reason": _REASON,
        "criteria": wanted.criteria,
        "channel": {
            "type": "rest-hook",
            "endpoint": hooks.endpoint(wanted.name),
            "payload": FHIR_JSON,
            "header": [f"Authorization: Bearer {hooks.token}"],
        },
    }


def _state(
    wanted: WantedSubscription, hooks: Hooks, found: Sequence[Resource], action: str = "none"
) -> SubscriptionState:
    if not found:
        return SubscriptionState(wanted.name, "missing", action=action)
    kept = found[0]
    target = _elements(wanted, hooks, "active")
    differs = ["criteria"] if kept.get("criteria") != target["criteria"] else []
    differs += [f"channel.{name}" for name, value in target["channel"].items() if _channel(kept).get(name) != value]
    status = str(kept.get("status", ""))
    return SubscriptionState(wanted.name, status, reference_to(kept), tuple(differs), len(found) - 1, action)
