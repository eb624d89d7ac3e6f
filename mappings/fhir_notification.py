"""What the body of a REST-hook call tells: which resources, which events, how the Subscription stands.

Plain resources (R4 §2.46), notification Bundles of three dialects (the Subscriptions R5 Backport guide 1.1 for R4 and for R4B, R5 §2.47),
and the transaction Bundle of HAPI's `subscription-payload-search-criteria`; JSON and XML. Any bytes have an answer: a body is a hint
from outside, and what cannot be read is said, never raised.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from mappings import fhir_xml

STATUS_ONLY = ("handshake", "heartbeat", "query-status")  # notification types without events
MOST_TOLD = 1000  # resources of one body that are named one by one
_STATUS_TYPES = ("SubscriptionStatus", "Parameters")
_JSON = frozenset({"application/json", "application/fhir+json", "application/json+fhir", "text/json"})
_XML = frozenset({"application/xml", "application/fhir+xml", "application/xml+fhir", "text/xml"})
_EITHER = frozenset({"", "application/x-www-form-urlencoded"})  # HAPI's for an empty POST
_TYPE = re.compile(r"[A-Z][A-Za-z]{0,63}")
_ID = re.compile(r"[A-Za-z0-9.\-]{1,64}")  # R4 §2.24 `id`
_REFERENCE = re.compile(
    r"(?:.*/)?([A-Z][A-Za-z]{0,63})/([A-Za-z0-9.\-]{1,64})(?:/_history/([A-Za-z0-9.\-]{1,64}))?", re.S
)
_NUMBER = re.compile(r"[0-9]{1,15}")
_LONGEST_URL = 2048


@dataclass(frozen=True, slots=True)
class Told:
    """A resource that a body names. `version_id` is empty where it does not say."""

    resource_type: str
    resource_id: str
    version_id: str = ""
    is_deleted: bool = False


@dataclass(frozen=True, slots=True)
class Notice:
    """What a body tells. `reason` says why it tells nothing: `hook.content-type`, `hook.unreadable`, `hook.nothing-named`."""

    told: tuple[Told, ...] = ()
    is_whole: bool = True  # False: something changed that is not named here
    reason: str = ""
    # of a notification Bundle
    kind: str = ""  # event-notification, handshake, heartbeat, query-status, query-event; empty: no such Bundle
    numbers: tuple[int, ...] = ()  # of its events
    events: int | None = None  # events since the Subscription started, as the server counts
    status: str = ""  # of the Subscription, in the server's word


def read_notice(body: bytes, content_type: str, kinds: Iterable[str]) -> Notice:
    """Never raises. `kinds`: the resource types of interest; where events name nothing, entries of these types count as named."""
    if not body.strip():
        return Notice(is_whole=False)
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type not in _JSON | _XML | _EITHER:
        return Notice(reason="hook.content-type", is_whole=False)
    resource = _parse(body, media_type)
    if resource is None:
        return Notice(reason="hook.unreadable", is_whole=False)
    if resource.get("resourceType") == "Bundle":
        return _bundle(resource, frozenset(kinds))
    if resource.get("resourceType") in _STATUS_TYPES:
        return _notification(resource, (), frozenset(kinds))
    one = _named(resource)
    return Notice((one,)) if one else Notice(reason="hook.nothing-named", is_whole=False)


def reference_of(text: str) -> Told | None:
    """The resource that a relative, absolute or versioned literal reference names (R4 §2.3.0); None for any other."""
    found = _REFERENCE.fullmatch(text) if len(text) <= _LONGEST_URL else None
    return Told(found[1], found[2], found[3] or "") if found else None


def _parse(body: bytes, media_type: str) -> dict[str, Any] | None:
    is_xml = media_type in _XML or (media_type in _EITHER and body.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"))
    try:
        parsed = fhir_xml.parse(body) if is_xml else json.loads(body, object_pairs_hook=_object)
    except (*fhir_xml.UNREADABLE, RecursionError):  # RecursionError: nested past any resource
        return None
    return parsed if isinstance(parsed, dict) else None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name twice in one object: readers differ in which one counts")
    return found


def _bundle(bundle: dict[str, Any], kinds: frozenset[str]) -> Notice:
    entries = tuple(_all(bundle, "entry"))
    for entry in entries:
        if _one(entry, "resource").get("resourceType") in _STATUS_TYPES:
            return _notification(_one(entry, "resource"), entries, kinds)
    told = _distinct(one for one in map(_of_entry, entries) if one)
    return Notice(told[:MOST_TOLD], is_whole=0 < len(told) <= MOST_TOLD)


def _notification(status: dict[str, Any], entries: tuple[dict[str, Any], ...], kinds: frozenset[str]) -> Notice:
    facts = _Status.of(status)
    by_url, named = _entries(entries)
    found = [_focus(event, by_url, named) for event in facts.events]
    told = _distinct(one for one in found if one)
    is_whole = all(found) and bool(found)
    if not told:  # the entries say it where no event does; what else was included is none of our business
        told = _distinct(one for one in named.values() if one.resource_type in kinds)
        is_whole = bool(told) and len(found) <= len(told)
    numbers = (_number(event["number"]) for event in facts.events)
    return Notice(
        told[:MOST_TOLD],
        is_whole=(is_whole and len(told) <= MOST_TOLD) or (facts.kind in STATUS_ONLY and not found),
        kind=facts.kind or "event-notification",
        numbers=tuple(number for number in numbers if number is not None),
        events=_number(facts.count),
        status=facts.status,
    )


@dataclass(frozen=True, slots=True)
class _Status:
    """A SubscriptionStatus, or the Parameters that stand for one in R4. An event is `number` and `focus` (a reference)."""

    kind: str
    status: str
    count: Any
    events: tuple[dict[str, Any], ...]

    @classmethod
    def of(cls, resource: dict[str, Any]) -> "_Status":
        if resource.get("resourceType") == "Parameters":
            values = dict(map(_parameter, _all(resource, "parameter")))
            events = [
                dict(map(_parameter, _all(one, "part")))
                for one in _all(resource, "parameter")
                if one.get("name") == "notification-event"
            ]
            parts = tuple({"number": event.get("event-number"), "focus": event.get("focus")} for event in events)
            count = values.get("events-since-subscription-start")
            return cls(_text(values.get("type")), _text(values.get("status")), count, parts)
        parts = tuple(
            {"number": event.get("eventNumber"), "focus": event.get("focus")}
            for event in _all(resource, "notificationEvent")
        )
        count = resource.get("eventsSinceSubscriptionStart")
        return cls(_text(resource.get("type")), _text(resource.get("status")), count, parts)


def _parameter(parameter: dict[str, Any]) -> tuple[str, Any]:
    """Its name and its value, of whatever type: HAPI sends numbers as `valueString`, others as `valueInteger` or `valueInteger64`."""
    value = next((value for name, value in parameter.items() if name.startswith("value")), None)
    return _text(parameter.get("name")), value


def _entries(entries: tuple[dict[str, Any], ...]) -> tuple[dict[str, Told], dict[tuple[str, str], Told]]:
    """What the entries name, by fullUrl and by type and id; of several the first."""
    by_url: dict[str, Told] = {}
    named: dict[tuple[str, str], Told] = {}
    for entry in entries:
        if one := _of_entry(entry):
            by_url.setdefault(_text(entry.get("fullUrl")), one)
            named.setdefault((one.resource_type, one.resource_id), one)
    return by_url, named


def _focus(event: dict[str, Any], by_url: dict[str, Told], named: dict[tuple[str, str], Told]) -> Told | None:
    """The resource of one event, with the version of its entry; by its entry alone where the reference is a urn."""
    text = _text(_one(event, "focus").get("reference"))
    focus = reference_of(text)
    if focus is None:
        return by_url.get(text) if text else None
    entry = named.get((focus.resource_type, focus.resource_id), focus)
    return replace(focus, version_id=focus.version_id or entry.version_id, is_deleted=entry.is_deleted)


def _of_entry(entry: dict[str, Any]) -> Told | None:
    """By its resource, else its URLs: an id-only entry has no more."""
    resource, request = _one(entry, "resource"), _one(entry, "request")
    if resource.get("resourceType") in _STATUS_TYPES:
        return None
    urls = [url for url in map(reference_of, (_text(entry.get("fullUrl")), _text(request.get("url")))) if url]
    one = _named(resource) or (urls[0] if urls else None)
    if one is None:
        return None
    same = [
        url.version_id for url in urls if (url.resource_type, url.resource_id) == (one.resource_type, one.resource_id)
    ]
    version = one.version_id or next(filter(None, same), "")
    return Told(one.resource_type, one.resource_id, version, is_deleted=request.get("method") == "DELETE")


def _named(resource: dict[str, Any]) -> Told | None:
    kind, identity = _text(resource.get("resourceType")), _text(resource.get("id"))
    if not (_TYPE.fullmatch(kind) and _ID.fullmatch(identity)):
        return None
    version = _text(_one(resource, "meta").get("versionId"))
    return Told(kind, identity, version if _ID.fullmatch(version) else "")


def _all(parent: dict[str, Any], name: str) -> Iterator[dict[str, Any]]:
    """The objects of an element, be it a list or, in XML, one alone. What is no object is passed over."""
    value = parent.get(name)
    return (one for one in (value if isinstance(value, list) else [value]) if isinstance(one, dict))


def _one(parent: dict[str, Any], name: str) -> dict[str, Any]:
    return next(_all(parent, name), {})


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _number(value: Any) -> int | None:
    """Not more than fits any counter; integer64 is a string in JSON (R5 §2.6.2)."""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**15 else None


def _distinct(told: Iterable[Told]) -> tuple[Told, ...]:
    return tuple(dict.fromkeys(told))
