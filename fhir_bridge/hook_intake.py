"""A call of a hook: what it says, and what that does to the store. Pure up to `take`, which is one transaction.

| the call | becomes |
|---|---|
| names resources that we read | a notification each, ready; the body is kept with the first |
| names only others (a Patient) | done, `hook.type-unused`, without its body |
| handshake, heartbeat, status of a topic-based Subscription | done, `hook.handshake` or `hook.status-only` |
| says that something changed, not what | done, `hook.empty`; the server is asked |
| cannot be used | quarantined with its reason; the server is asked |

The feed it counts for is the one of the hook's name; for a name that is none of ours, that of the resources told, else all of them.
"""

import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from fhir_bridge.feed import KINDS, Feed, asked, counted
from fhir_bridge.ports import Ledger, Notification
from mappings.fhir_notification import STATUS_ONLY, Notice, Told, read_notice, reference_of

_FEED_OF = {kind: name for name, kind in KINDS.items()}
_VERSION = re.compile(r'(?:W/)?"?([A-Za-z0-9.\-]{1,64})"?')  # HAPI accepts and sends W/"2", others "2" or 2
_STOPPED = ("error", "off", "entered-in-error")
_HEARD_AGAIN = timedelta(seconds=1)  # `heard` is no finer: a busy feed is not written with every call


@dataclass(frozen=True, slots=True)
class HookCall:
    """What a call says. `notifications`: what to keep, at least one; `body` belongs to the first."""

    notifications: tuple[Notification, ...]
    body: bytes
    feeds: tuple[str, ...]
    asks: bool = False  # something changed that is not named
    numbers: tuple[int, ...] = ()
    events: int | None = None
    is_stopped: bool = False  # the server says that the Subscription stands still

    @property
    def changes_feed(self) -> bool:
        """Whether it says more of its feed than that it was heard."""
        return bool(self.numbers) or self.events is not None or self.asks or self.is_stopped

    @property
    def outcome(self) -> str:
        """For the metric: received, quarantined, ignored."""
        first = self.notifications[0]
        if first.status == "quarantined":
            return "quarantined"
        return "ignored" if first.reason == "hook.type-unused" else "received"


@dataclass(frozen=True, slots=True)
class _Judged:
    """`told`: what to read again. Without any: `status` and `reason` of the one notification that is kept instead."""

    told: tuple[Told, ...] = ()
    status: str = "ready"
    reason: str = ""
    asks: bool = False


def call_of(subscription: str, method: str, path: str, headers: tuple[str, str], body: bytes) -> HookCall:
    """`path`: what follows the hook's name; `headers`: Content-Type and If-Match. Never raises."""
    content_type, if_match = headers
    notice = read_notice(body, content_type, KINDS.values())
    judged = _judge(notice, method, path, if_match)
    usable = tuple(one for one in judged.told if one.resource_type in _FEED_OF)
    if judged.told and not usable:
        judged = _Judged(status="done", reason="hook.type-unused", asks=judged.asks)
    feeds = (subscription,) if subscription in KINDS else tuple({_FEED_OF[one.resource_type]: 1 for one in usable})
    is_told = usable or notice.kind in STATUS_ONLY or judged.reason == "hook.type-unused"
    if not feeds and not is_told:
        judged = replace(judged, status="quarantined", reason="hook.name-unknown")
    return HookCall(
        notifications=tuple(_rows(judged, usable, subscription[:64], method)),
        body=b"" if judged.reason == "hook.type-unused" else body,
        feeds=feeds or (tuple(KINDS) if judged.asks else ()),
        asks=judged.asks,
        numbers=notice.numbers,
        events=notice.events,
        is_stopped=notice.status in _STOPPED,
    )


def take(ledger: Ledger, call: HookCall, now: datetime, heard: dict[str, datetime] | None = None) -> bool:
    """Keep it all, in the ledger's transaction. False where all of it was known: a repetition, or found by asking; then only numbers
    ahead of ours count.

    `heard`: when each feed was last seen to be heard, for the next calls of the same process: most of them then leave the feed alone.
    """
    heard = {} if heard is None else heard
    body, is_new = call.body, False
    for notification in call.notifications:
        if ledger.add_notification(notification, body):
            body, is_new = b"", True
    for name in call.feeds:
        if not call.changes_feed and _is_recent(heard.get(name), now):
            continue
        known = ledger.feed(name)
        feed = _after(known, call, now) if is_new or max(call.numbers, default=0) > known.event_number else known
        if feed != known or not _is_recent(known.heard, now):
            feed = replace(feed, heard=now)
            ledger.keep_feed(feed)
        heard[name] = feed.heard or now
    return is_new


def _is_recent(heard: datetime | None, now: datetime) -> bool:
    return heard is not None and timedelta() <= now - heard < _HEARD_AGAIN


def _after(feed: Feed, call: HookCall, now: datetime) -> Feed:
    feed = counted(feed, call.numbers, call.events, now)
    feed = asked(feed, now) if call.asks else feed
    return replace(feed, looked=None) if call.is_stopped else feed  # the watchdog looks at once


def _judge(notice: Notice, method: str, path: str, if_match: str) -> _Judged:
    if notice.reason == "hook.content-type":
        return _Judged(status="quarantined", reason=notice.reason, asks=True)
    if path:
        return _by_path(notice, method, path, if_match)
    if notice.told:
        told = tuple(replace(one, is_deleted=one.is_deleted or method == "DELETE") for one in notice.told)
        return _Judged(told, asks=not notice.is_whole)
    if notice.reason or method == "DELETE":
        return _Judged(status="quarantined", reason=notice.reason or "hook.nothing-named", asks=True)
    if notice.kind == "handshake":  # the Subscription begins, or begins again: what changed meanwhile was not told
        return _Judged(status="done", reason="hook.handshake", asks=True)
    if notice.is_whole:
        return _Judged(status="done", reason="hook.status-only")
    return _Judged(status="done", reason="hook.empty", asks=True)


def _by_path(notice: Notice, method: str, path: str, if_match: str) -> _Judged:
    """The path names it. A body that cannot be read does not matter then: the resource is read again anyway."""
    named = reference_of(path)
    if named is None or path.count("/") not in (1, 3):
        return _Judged(status="quarantined", reason="hook.path-unusable", asks=True)
    bodies = [
        one for one in notice.told if (one.resource_type, one.resource_id) == (named.resource_type, named.resource_id)
    ]
    if notice.told and not bodies:
        return _Judged(status="quarantined", reason="hook.body-mismatch", asks=True)
    header = (
        None if bodies else _VERSION.fullmatch(if_match)
    )  # HAPI's is the version that it tells; RFC 9110 means the one before
    version = named.version_id or (bodies[0].version_id if bodies else "") or (header[1] if header else "")
    return _Judged((replace(named, version_id=version, is_deleted=method == "DELETE"),))


def _rows(judged: _Judged, usable: tuple[Told, ...], subscription: str, method: str) -> list[Notification]:
    """`method` of a resource is DELETE or PUT, however it was told: the same version told twice is one."""
    if not usable:
        return [Notification(0, subscription, method, "", "", "", judged.status, reason=judged.reason)]
    return [
        Notification(
            0,
            subscription,
            "DELETE" if one.is_deleted else "PUT",
            one.resource_type,
            one.resource_id,
            one.version_id,
            "ready",
        )
        for one in usable
    ]
