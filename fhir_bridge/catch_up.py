"""Healing by asking: what changed on the FHIR server is asked for at start, on a timer and when somebody wishes it, and kept as notifications.

All times that are compared with the server's are the server's; our clock only says when to ask again.
"""

import threading
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from fhir_bridge import log
from fhir_bridge.changes import Change, ChangeFeed, ChangePage
from fhir_bridge.errors import BridgeError, Classified, Refused, Unavailable, attempt
from fhir_bridge.feed import Feed
from fhir_bridge.ports import CATCH_UP, Clock, JobStore, Ledger, Notification

DEBOUNCE = timedelta(seconds=2)  # a burst of wishes is one
FIRST_WAIT_SECONDS = 5.0  # after trouble; doubled each time, up to the pace
RESTARTS = 3  # of a search that the server forgot, in one walk
TOLD_WITHIN = timedelta(seconds=60)  # HAPI tries for 58 s: what nobody told until then, nobody will
KEPT = timedelta(days=30)  # done notifications
_DAY = timedelta(days=1)
_ASK_AGAIN = ("fhir.page-expired", "fhir.page-too-large")
_NO_HISTORY = ("fhir.rejected", "fhir.not-found")


@dataclass(frozen=True, slots=True)
class Pace:
    """How often, how far back beyond the watermark, how far back the very first time, and what."""

    every_seconds: float = 300
    overlap_seconds: float = 300
    first_hours: float = 0
    feeds: tuple[str, ...] = ("orders", "studies")

    @property
    def overlap(self) -> timedelta:
        return timedelta(seconds=self.overlap_seconds)


@dataclass(slots=True)
class _Turn:
    """When a feed is walked again, by our clock."""

    set_at: datetime | None = None  # None: never walked since the start
    due: datetime | None = None
    failures: int = 0
    wish_seen: datetime | None = None

    def has_come(self, now: datetime, *, wished: bool) -> bool:
        """A clock that was put back makes no feed wait for the hours to come again."""
        self.wish_seen = (self.wish_seen or now) if wished else None
        if self.set_at is None or self.due is None or now >= self.due or now < self.set_at:
            return True
        return self.wish_seen is not None and not self.failures and now - self.wish_seen >= DEBOUNCE

    def set_after(self, now: datetime, pace: Pace, *, failed: bool) -> None:
        self.failures = self.failures + 1 if failed else 0
        wait = FIRST_WAIT_SECONDS * 2.0 ** min(self.failures - 1, 16) if failed else pace.every_seconds
        self.set_at, self.wish_seen = now, None
        self.due = now + timedelta(seconds=min(wait, pace.every_seconds))


class CatchUp:
    """One thread's work. Raises Unavailable `store.unavailable`; trouble with the FHIR server is kept with the feed, and waited for."""

    def __init__(self, store: JobStore, changes: ChangeFeed, clock: Clock, pace: Pace | None = None) -> None:
        self._store, self._changes, self._clock, self._pace = store, changes, clock, pace or Pace()
        self._turns = {name: _Turn() for name in self._pace.feeds}
        self._remarks: dict[str, str] = {}
        self._forgot: datetime | None = None
        self._stopping = threading.Event()

    def stop(self) -> None:
        """A walk under way ends after its page; the next one goes on from there."""
        self._stopping.set()

    def turn(self) -> int:
        """How many feeds were walked to their end; 0 where it was time for none."""
        wishes = {feed.name for feed in self._store.feeds() if feed.asked_for}
        now = self._clock.now()
        come = [name for name, turn in self._turns.items() if turn.has_come(now, wished=name in wishes)]
        walked = sum(self._walked(name) for name in come if not self._stopping.is_set())
        self._forget_done(now)
        return walked

    def _walked(self, name: str) -> bool:
        walk = _Walk(self._store, self._changes, self._clock, self._pace, name, self._stopping)
        tried = attempt(walk.run)
        self._turns[name].set_after(self._clock.now(), self._pace, failed=tried.error is not None)
        if tried.error is not None:
            self._keep_trouble(name, tried.error)
            return False
        self._remark(name, walk.remark)
        return bool(tried.value)

    def _keep_trouble(self, name: str, error: Classified) -> None:
        with self._store.transaction() as ledger:
            feed = ledger.feed(name)
            is_new = feed.trouble != error.code
            if is_new:
                ledger.keep_feed(replace(feed, trouble=error.code))
        if is_new:
            log.event("catch-up.trouble", subscription=name, code=error.code, where=error.where,
                      error_id=error.error_id, frames=error.frames)  # fmt: skip

    def _remark(self, name: str, remark: str) -> None:
        """What is odd about a server is said once, not with every walk."""
        if remark != self._remarks.get(name, ""):
            log.event("catch-up.remark", subscription=name, reason=remark)
            self._remarks[name] = remark

    def _forget_done(self, now: datetime) -> None:
        if self._forgot is not None and self._forgot <= now < self._forgot + _DAY:
            return
        with self._store.transaction() as ledger:
            count = ledger.forget_notifications(now - max(KEPT, 2 * self._pace.overlap))
        self._forgot = now
        if count:
            log.event("catch-up.forgotten", count=count)


@dataclass(slots=True)
class _Walk:
    """One feed, from its watermark to now: deletions first, for the watermark moves with the pages of the changes."""

    store: JobStore
    changes: ChangeFeed
    clock: Clock
    pace: Pace
    name: str
    stopping: threading.Event
    feed: Feed = field(init=False)  # as it was at first
    is_first: bool = field(default=False, init=False)
    started: datetime | None = field(default=None, init=False)  # the server's time at its first answer
    newest: datetime | None = field(default=None, init=False)
    sorted_up_to: datetime | None = field(default=None, init=False)
    is_sorted: bool = field(default=True, init=False)
    pages: int = field(default=0, init=False)
    moved: bool = field(default=False, init=False)  # something changed while we walked
    unusable: int = field(default=0, init=False)
    is_history_refused: bool = field(default=False, init=False)
    history_trouble: BridgeError | None = field(default=None, init=False)

    def run(self) -> bool:
        """False where it was stopped. Raises whatever the server or the store does."""
        self._begin()
        self.is_sorted = self.changes.is_sorted
        if not (self._deletions() and self._to_the_end(deleted=False)):
            return False
        if self.moved and self.pages > 1 and not self._to_the_end(deleted=False):
            return False  # pages by offset move up when one of them changes: what was skipped is found now
        if self.history_trouble:
            raise self.history_trouble
        self._end()
        return True

    @property
    def remark(self) -> str:
        """What is odd about the server; empty when nothing is."""
        odd = {
            "unsorted": self.changes.is_sorted and not self.is_sorted,
            "unusable-entries": self.unusable > 0,
            "no-deletions": self.is_history_refused,
            "clock-set-back": self._is_set_back,
        }
        return " ".join(remark for remark, is_so in odd.items() if is_so)

    @property
    def _is_set_back(self) -> bool:
        """The server's clock stands before all that was asked for: what changes now would never be asked for."""
        return self.started is not None and self.started < self._since(self.feed) - timedelta(seconds=1)

    def _begin(self) -> None:
        with self.store.transaction() as ledger:
            self.feed = ledger.feed(self.name)
        if self.feed.watermark is not None:
            return
        self.is_first = True
        now = self.changes.server_time()
        if now is None:
            raise Unavailable("fhir.no-date", "GET ServiceRequest", "the server does not say what time it is there")
        # later than it is by the overlap, so that nothing from before the very first time is ever asked for
        first = now - timedelta(hours=self.pace.first_hours) + self.pace.overlap
        with self.store.transaction() as ledger:
            ledger.keep_feed(replace(ledger.feed(self.name), watermark=first))
            self.feed = ledger.feed(self.name)

    def _deletions(self) -> bool:
        """A server whose `_history` is none, or cannot be taken, must not keep us from the changes."""
        try:
            return self._to_the_end(deleted=True)
        except (Refused, Unavailable) as error:
            self.is_history_refused = isinstance(error, Refused) and error.code in _NO_HISTORY
            self.history_trouble = None if self.is_history_refused else error
            return True

    def _to_the_end(self, *, deleted: bool) -> bool:
        """All pages; a search that the server forgot is asked again from where we are."""
        since = self._since(self.feed)
        for _ in range(RESTARTS):
            try:
                return self._all(since, deleted=deleted)
            except Unavailable as error:
                if error.code not in _ASK_AGAIN:
                    raise
            with self.store.transaction() as ledger:
                since = self._since(ledger.feed(self.name))
        return self._all(since, deleted=deleted)

    def _since(self, feed: Feed) -> datetime:
        assert feed.watermark is not None  # noqa: S101 - `_begin` sees to that
        return feed.watermark - self.pace.overlap

    def _all(self, since: datetime, *, deleted: bool) -> bool:
        ask = self.changes.deleted_since if deleted else self.changes.changed_since
        self.sorted_up_to, self.pages = None, 0
        for page in ask(self.feed.kind, since):
            self.pages += 1
            self.started = self.started or page.server_time
            self.unusable += page.unusable
            advanced = None if deleted else self._advanced(page)
            if page.changes or advanced:
                with self.store.transaction() as ledger:
                    self._keep(ledger, page, advanced)
            if self.stopping.is_set():
                return False
        return True

    def _advanced(self, page: ChangePage) -> datetime | None:
        """How far the watermark may move with this page: where the one before ended, once this one shows that the server sorts.

        What changed after the walk began counts not: it may stand anywhere (`ChangeFeed`), and others like it are yet to come.
        """
        times = [change.changed for change in page.changes if change.changed]
        self.newest = max((*times, *([self.newest] if self.newest else [])), default=None)
        self.moved = self.moved or any(self.started is not None and time > self.started for time in times)
        settled = [time for time in times if self.started is not None and time <= self.started]
        before = self.sorted_up_to
        in_order = settled == sorted(settled) and not (before and settled and settled[0] < before)
        self.is_sorted = self.is_sorted and in_order
        if not self.is_sorted or self.history_trouble:
            return None  # deletions are asked for from the watermark, too
        self.sorted_up_to = settled[-1] if settled else before
        return before

    def _keep(self, ledger: Ledger, page: ChangePage, advanced: datetime | None) -> None:
        ours = self.clock.now()
        told_at = page.latest_time or page.server_time
        found = {_notification(one, told_at, ours): one for one in page.changes if not one.is_ours}
        feed = ledger.feed(self.name)
        expected = {one for one, change in found.items() if self._is_expected(feed, change, page.server_time)}
        late = {one for one in expected if _age(found[one], page.server_time) > TOLD_WITHIN}
        added = ledger.add_changes(tuple(found), expected - late)
        moved = replace(feed, watermark=_later(feed.watermark, advanced))
        moved = _missing(moved, len(late.intersection(added.untold)), self.clock.now())
        if moved != feed:
            ledger.keep_feed(moved)

    def _is_expected(self, feed: Feed, change: Change, now: datetime | None) -> bool:
        """A Subscription that was active then tells it, or should have. Of deletions few servers tell."""
        if self.is_first or not feed.wanted or feed.status != "active" or change.is_deleted or change.changed is None:
            return False
        # how long ago it was goes by the server's clock, since when the Subscription is active by ours
        return feed.status_since is None or _age(change, now) < self.clock.now() - feed.status_since

    def _end(self) -> None:
        """Up to the server's time at its first answer; else, of a server that says none, up to the newest that it told."""
        with self.store.transaction() as ledger:
            feed = ledger.feed(self.name)
            given_up = ledger.given_up(feed.kind, self.clock.now() - TOLD_WITHIN)
            watermark = self.started if self._is_set_back else _later(feed.watermark, self.started or self.newest)
            ledger.keep_feed(
                replace(
                    _missing(feed, given_up, self.clock.now()),
                    watermark=watermark,
                    caught_up=self.clock.now(),
                    trouble="",
                    asked_for=None if feed.asked_for == self.feed.asked_for else feed.asked_for,  # a later wish stands
                )
            )
        if feed.trouble:
            log.event("catch-up.well", subscription=self.name)


def _notification(change: Change, server_time: datetime | None, now: datetime) -> Notification:
    method = "DELETE" if change.is_deleted else "PUT"
    age = _age(change, server_time)
    return Notification(0, CATCH_UP, method, change.resource_type, change.resource_id, change.version_id, "ready",
                        received=now - age if age > timedelta() else None)  # fmt: skip


def _age(change: Change, now: datetime | None) -> timedelta:
    """How long ago it changed, by the server's clock; nothing, where it does not say."""
    return now - change.changed if now and change.changed else timedelta()


def _missing(feed: Feed, count: int, now: datetime) -> Feed:
    return replace(feed, missed=feed.missed + count, last_missed=now) if count else feed


def _later(kept: datetime | None, found: datetime | None) -> datetime | None:
    """Pages that come late, or a walk that began earlier, set no watermark back."""
    return max((time for time in (kept, found) if time), default=None)
