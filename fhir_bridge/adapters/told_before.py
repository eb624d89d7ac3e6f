"""Which notifications are news: by the version of the resource that they tell of, over all Subscriptions, on any store."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import timedelta

from fhir_bridge.ports import CATCH_UP, Notification

Told = tuple[bool, str, str, str]
_INEXACT = timedelta(
    seconds=60
)  # of the time of a change by our clock: what the server says of its own is that old or that coarse


def told(notification: Notification) -> Told:
    """What it says: which version of what, and whether that is gone. Created or changed is one: servers say either by PUT or POST."""
    n = notification
    return n.method == "DELETE", n.resource_type, n.resource_id, n.version_id


def is_repeated(kept: Notification, notification: Notification) -> bool:
    """The same was told before, and could be used. Of what could not, a new hook call is a new chance; our own asking again is none.

    What we had well before it changed is another of the same number: a server that is restored from a backup counts on from there.
    """
    if _is_of_earlier(kept, notification):
        return False
    spent = kept.status != "quarantined" or kept.subscription == notification.subscription == CATCH_UP
    return spent and told(kept) == told(notification)


def news_among(
    found: Sequence[Notification], kept: Iterable[Notification], is_gone: Callable[[Notification], bool]
) -> tuple[list[Notification], list[Notification]]:
    """(what is to be kept, and of that what no Subscription told, not even in vain).

    `kept` is all that tells of the same versions, and of the same resources without one. Without a version nothing can be compared: a
    deletion is news unless `is_gone`, the last that we heard of that resource; anything else always is. But it was told.
    """
    known: dict[Told, list[Notification]] = defaultdict(list)
    for one in kept:
        known[told(one)].append(one)
    news, untold = [], []
    for one in found:
        before = known[told(one)] if one.version_id else []
        repeated = any(is_repeated(other, one) for other in before)
        if repeated or (not one.version_id and one.method == "DELETE" and is_gone(one)):
            continue
        news.append(one)
        without = known[told(replace(one, version_id=""))]
        if one.version_id and not before and all(_is_of_earlier(other, one) for other in without):
            untold.append(one)
        before.append(one)
    return news, untold


def _is_of_earlier(kept: Notification, change: Notification) -> bool:
    """It was there well before the change, by our clock."""
    return bool(kept.received and change.received and change.received - kept.received > _INEXACT)
