"""How we hear of one kind of resource on the FHIR server: what came by itself, what was asked for, what was missed. Pure values."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

_IN_FLIGHT = 16  # so far behind an event may arrive: HAPI delivers by two threads and tries again for a minute
KINDS = {"orders": "ServiceRequest", "studies": "ImagingStudy", "tasks": "Task"}  # feed -> resource type


@dataclass(frozen=True, slots=True)
class Feed:
    """One kind of resource, named like the last part of its hook. Every time is ours but `watermark`, which is the server's."""

    name: str  # orders, studies, tasks
    wanted: bool = False  # `subscribe` made a Subscription: the watchdog keeps it as it should be
    # by hooks
    heard: datetime | None = None  # the last authorised call
    event_number: int = 0  # the last that a topic-based notification bore; 0: none yet
    gaps: int = 0  # events that the server counted and we never got
    resets: int = 0  # times that the server counted anew
    # by asking
    watermark: datetime | None = None  # all that changed before is in our store; with the server's milliseconds
    caught_up: datetime | None = None  # the last time that the asking came to its end
    trouble: str = ""  # the code of why the last one did not
    asked_for: datetime | None = (
        None  # somebody wants it done at once: a gap, a mended Subscription, an empty notification
    )
    missed: int = 0  # changes that the asking found and no notification told, though there was time enough
    last_missed: datetime | None = None
    # the Subscription, as the watchdog saw it last
    status: str = ""  # the server's word; `missing`; empty: never looked
    status_since: datetime | None = None
    reference: str = ""
    looked: datetime | None = None
    repairs: int = 0

    @property
    def kind(self) -> str:
        """The resource type."""
        return KINDS[self.name]


def asked(feed: Feed, now: datetime) -> Feed:
    """Whoever asks the server what changed shall do it at once."""
    return replace(feed, asked_for=now)


def counted(feed: Feed, numbers: Sequence[int], events: int | None, now: datetime) -> Feed:
    """After a notification with these event numbers; `events`: how many the server says there were since the Subscription started.

    A gap (what lies between our last number and the next, or below the server's count where it sends no event) is counted, and asked
    for. Lower numbers are repetitions and late ones. But a server whose own count is lower than ours began anew (a restarted HAPI,
    another Subscription): what was on its way then may be lost, so that is asked for, too. Backport guide, "errors": missing events.
    """
    fresh = sorted({number for number in numbers if number > 0}) or (
        [events] if events is not None and not numbers else []
    )
    if not fresh:
        return feed
    newest, last = fresh[-1], feed.event_number
    if _began_anew(fresh[0], max(newest, events or 0), last):
        return asked(replace(feed, event_number=newest, resets=feed.resets + 1), now)
    ahead = [number for number in fresh if number > last]
    if not ahead:
        return feed
    missing = ahead[-1] - last - (len(ahead) if numbers else 0)
    if not missing:
        return replace(feed, event_number=newest)
    is_loss = last > 0 or feed.heard is not None  # else those were before our time: asked for, but nobody's loss
    return asked(replace(feed, event_number=newest, gaps=feed.gaps + (missing if is_loss else 0)), now)


def _began_anew(lowest: int, count: int, last: int) -> bool:
    """A count just below ours is that of an event that was overtaken; but servers begin anew at 0 or 1."""
    return count < last and (lowest <= 1 or last - count > _IN_FLIGHT)
