"""Our Subscriptions on the hospital's FHIR server: made once, compared, repaired, removed (R4 Subscription, channel type rest-hook).

A Subscription is ours where it bears our tag, the id of this bridge; or no bridge's tag and our endpoint `<public_url>/hooks/fhir/<name>`.
The tag is what a Subscription at a former address is known by.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any
from urllib.parse import quote

from fhir_bridge.adapters.fhir_client import FhirClient, Params, token
from fhir_bridge.adapters.fhir_transport import FHIR_JSON, Conflict
from fhir_bridge.adapters.record_match import reference_to
from fhir_bridge.errors import Refused
from fhir_bridge.feed import KINDS
from fhir_bridge.hook_token import token_for
from fhir_bridge.server_traits import ServerTraits
from fhir_bridge.study import Resource
from fhir_bridge.watchdog import SubscriptionState, Survey
from mappings.fhir_observations import OWN_TAG

BRIDGES = "urn:fhir-bridge:bridge"  # system of the tag; its code is the id of a bridge
NOT_OURS = f"_tag:not={OWN_TAG[0]}|{OWN_TAG[1]}"  # our own results must not call us
_REASON = "Imaging AI: orders and studies to analyse"
_TELL_DELETIONS = {  # HAPI is silent otherwise; to all others it means nothing. It works inside the channel only
    "url": "http://hapifhir.io/fhir/StructureDefinition/subscription-send-delete-messages",
    "valueBoolean": True,
}
_MOST = 1000  # Subscriptions of a server that ignores what we search by
_PAUSES = (0.1, 0.3, 1.0, 2.0)


@dataclass(frozen=True, slots=True)
class WantedSubscription:
    """`name` is the last part of the endpoint. The criteria name no status: with one, a revoked order would never be told (HAPI)."""

    name: str
    criteria: str


def wanted_subscriptions(traits: ServerTraits, *, tasks: bool) -> tuple[WantedSubscription, ...]:
    """Those that the server takes from us; without its filter for tags our own results are told, too, and left aside here."""
    names = [name for name in KINDS if traits.hooks and (tasks or name != "tasks")]
    query = NOT_OURS if traits.tag_filter else ""
    return tuple(WantedSubscription(name, f"{KINDS[name]}?{query}") for name in names)


@dataclass(frozen=True, slots=True)
class Hooks:
    """Where and how the FHIR server reaches us: each Subscription with a token of its own, made from `secret`. It can be read there in
    the Subscription: it opens that one hook and nothing else. `bridge` is the id of this bridge."""

    public_url: str
    secret: str = field(repr=False)
    bridge: str

    def endpoint(self, name: str) -> str:
        return f"{self.public_url.rstrip('/')}/hooks/fhir/{name}"

    def header(self, name: str) -> str:
        return f"Authorization: Bearer {token_for(self.secret, name)}"


class FhirSubscriptions:
    """`watchdog.Subscriptions` on a FHIR server."""

    def __init__(
        self,
        client: FhirClient,
        hooks: Hooks,
        wanted: Sequence[WantedSubscription],
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._hooks = hooks
        self._wanted = {one.name: one for one in wanted}
        self._pause = pause

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._wanted)

    def look(self, names: Collection[str]) -> Survey:
        found = list(self._search(names))
        states = tuple(self._state(name, found) for name in names)
        used = {one["id"] for name in names for one in self._of(name, found)}
        leftovers = (one for one in found if self._bears_our_tag(one) and one["id"] not in used)
        return Survey(states, tuple(reference_to(one) for one in leftovers))

    def mend(self, name: str) -> SubscriptionState:
        for seconds in _PAUSES:
            try:
                return self._mend(name)
            except Conflict:  # HAPI is writing the status of this moment itself
                self._pause(seconds)
        return self._mend(name)

    def remove(self, reference: str) -> None:
        for seconds in _PAUSES:
            try:
                return self._remove(reference)
            except Conflict:
                self._pause(seconds)
        return self._remove(reference)

    def ours(self) -> tuple[str, ...]:
        """Every one that is ours, wanted or left over."""
        return tuple(reference_to(one) for one in self._search(self.names) if self._is_ours(one))

    def resources(self) -> tuple[Resource, ...]:
        """As they should be, with their tokens."""
        return tuple(
            {"resourceType": "Subscription", "meta": {"tag": [self._tag]}, **self._elements(name, "requested")}
            for name in self.names
        )

    def _mend(self, name: str) -> SubscriptionState:
        found = list(self._search([name]))
        ours = self._of(name, found)
        if not ours:
            return self._state(name, [*found, self._create(name)], "created")
        kept, *doubles = ours
        for double in doubles:
            self.remove(reference_to(double))
        rest = [one for one in found if one not in doubles]
        state = self._state(name, rest, "undoubled" if doubles else "none")
        if state.is_settled:
            return state
        version = str(kept.get("meta", {}).get("versionId", ""))
        guard = f'W/"{version}"' if version else ""  # its status may have become `active` since
        repaired = self._client.update(state.reference, self._repaired(kept, name), if_match=guard)
        return self._state(name, [repaired if one is kept else one for one in rest], "changed")

    def _create(self, name: str) -> Resource:
        """Conditional: two processes of ours may do it at once."""
        resource = {"resourceType": "Subscription", "meta": {"tag": [self._tag]}, **self._elements(name, "requested")}
        condition = f"url={quote(self._hooks.endpoint(name), safe='')}&_tag={quote(self._token, safe='')}"
        return self._client.create_unless(resource, condition)

    def _repaired(self, kept: Resource, name: str) -> Resource:
        """Ours set right, with what else was set by hand left as it is.

        An active one stays `active`: HAPI loses what happens while it is `requested`. A stopped or failed one must be requested anew.
        """
        elements = self._elements(name, "active" if kept.get("status") == "active" else "requested")
        channel = {**_channel(kept), **elements["channel"]}
        channel["extension"] = [*_others(_channel(kept)), _TELL_DELETIONS]
        meta = dict(kept.get("meta", {}))
        if not self._bears_our_tag(kept):
            meta["tag"] = [*meta.get("tag", ()), self._tag]
        mended = {**kept, **elements, "channel": channel, "meta": meta}
        return {key: value for key, value in mended.items() if key != "error"}

    def _remove(self, reference: str) -> None:
        try:
            self._client.delete(reference)
        except Refused as refusal:
            if refusal.code != "fhir.not-found":
                raise

    def _search(self, names: Collection[str]) -> Iterator[Resource]:
        """Each that bears a tag of ours or calls one of these endpoints, once; compared here too, for a server may ignore the search."""
        endpoints = {self._hooks.endpoint(name) for name in names}
        seen = set()
        for params in ((("_tag", self._token),), *((("url", endpoint),) for endpoint in sorted(endpoints))):
            for one in self._found(params):
                if one["id"] not in seen and (self._bears_our_tag(one) or _endpoint(one) in endpoints):
                    seen.add(one["id"])
                    yield one

    def _found(self, params: Params) -> Sequence[Resource]:
        try:
            return self._client.search("Subscription", params, limit=_MOST)
        except Refused as refusal:
            if refusal.code == "fhir.rejected" and params[0][0] == "_tag":
                return ()  # a server that cannot search by tag: those at former addresses stay unknown
            raise

    def _of(self, name: str, found: Sequence[Resource]) -> list[Resource]:
        """Ours with this endpoint, the one to keep first; where there is none, the one at a former address: to move it costs nothing
        (HAPI), a new one has to be activated."""
        ours = sorted((one for one in found if self._is_ours(one)), key=_worth_keeping)
        at_home = [one for one in ours if _endpoint(one) == self._hooks.endpoint(name)]
        endpoints = {self._hooks.endpoint(known) for known in self.names}
        moved = (
            one for one in ours if _endpoint(one) not in endpoints and _endpoint(one).endswith(f"/hooks/fhir/{name}")
        )
        return at_home or list(islice(moved, 1))

    def _is_ours(self, one: Resource) -> bool:
        if self._bears_our_tag(one):
            return True
        endpoints = {self._hooks.endpoint(name) for name in self.names}
        return not _bridges(one) and _endpoint(one) in endpoints

    def _bears_our_tag(self, one: Resource) -> bool:
        return self._hooks.bridge in _bridges(one)

    def _state(self, name: str, found: Sequence[Resource], action: str = "none") -> SubscriptionState:
        ours, endpoint = self._of(name, found), self._hooks.endpoint(name)
        foreign = tuple(reference_to(one) for one in found if _endpoint(one) == endpoint and not self._is_ours(one))
        if not ours:
            return SubscriptionState(name, "missing", foreign=foreign, action=action)
        kept = ours[0]
        differs = tuple(self._differences(name, kept))
        return SubscriptionState(
            name, str(kept.get("status", "")), reference_to(kept), differs, len(ours) - 1, foreign, action
        )

    def _differences(self, name: str, kept: Resource) -> Iterator[str]:
        target, channel = self._elements(name, "active"), _channel(kept)
        if kept.get("criteria") != target["criteria"]:
            yield "criteria"
        for key, value in target["channel"].items():
            if key == "extension":
                if _TELL_DELETIONS not in channel.get(key, ()):
                    yield "channel.extension"
            elif channel.get(key) != value:
                yield f"channel.{key}"
        if not self._bears_our_tag(kept):
            yield "meta.tag"

    def _elements(self, name: str, status: str) -> Resource:
        return {
            "status": status,
            "reason": _REASON,
            "criteria": self._wanted[name].criteria,
            "channel": {
                "extension": [_TELL_DELETIONS],
                "type": "rest-hook",
                "endpoint": self._hooks.endpoint(name),
                "payload": FHIR_JSON,
                "header": [self._hooks.header(name)],
            },
        }

    @property
    def _tag(self) -> Resource:
        return {"system": BRIDGES, "code": self._hooks.bridge}

    @property
    def _token(self) -> str:
        return token(self._hooks.bridge, BRIDGES)


def _worth_keeping(subscription: Resource) -> tuple[bool, str, str]:
    """Active before others, then the oldest."""
    changed = str(subscription.get("meta", {}).get("lastUpdated", ""))
    return subscription.get("status") != "active", changed, str(subscription["id"])


def _channel(subscription: Resource) -> Mapping[str, Any]:
    channel = subscription.get("channel")
    return channel if isinstance(channel, dict) else {}


def _endpoint(subscription: Resource) -> str:
    return str(_channel(subscription).get("endpoint", ""))


def _others(channel: Mapping[str, Any]) -> list[Any]:
    """Extensions of the channel that are not ours to set."""
    return [one for one in channel.get("extension", ()) if one.get("url") != _TELL_DELETIONS["url"]]


def _bridges(subscription: Resource) -> set[str]:
    """Of which bridges it bears the tag."""
    tags = subscription.get("meta", {}).get("tag", ())
    return {str(tag.get("code")) for tag in tags if tag.get("system") == BRIDGES}
