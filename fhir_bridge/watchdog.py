"""Keeps our Subscriptions on the FHIR server as they should be, and says what stays wrong.

Servers lose Subscriptions: they are deleted, switched off, fail, or wait for ever; nothing tells us but looking. One that is as it
should be is never written: each write costs notifications.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

from fhir_bridge import log
from fhir_bridge.errors import Classified, attempt
from fhir_bridge.feed import Feed
from fhir_bridge.ports import Clock, JobStore

ACTIVATION = timedelta(minutes=10)  # HAPI takes seconds; one that waits for longer waits for ever
MISSED_LATELY = timedelta(hours=24)
_TURNS_LATE = 3
_PENDING_SECONDS = 5.0  # how soon one is looked at again that the server has yet to activate
_FIRST_WAIT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class SubscriptionState:
    """`status` is the server's word (`active` is good), or `missing`. `differs` names what is not as wanted.

    `action`: none, created, changed, undoubled (only the doubles were removed).
    """

    name: str
    status: str
    reference: str = ""
    differs: tuple[str, ...] = ()
    doubled: int = 0  # further ones of ours that call the same endpoint
    foreign: tuple[str, ...] = ()  # another bridge's that call it, too: never touched
    action: str = "none"

    @property
    def is_good(self) -> bool:
        return self.status == "active" and self.is_settled

    @property
    def is_settled(self) -> bool:
        """Nothing to write: it is good, or the server is about to activate it."""
        return self.status in ("active", "requested") and not self.differs and not self.doubled


@dataclass(frozen=True, slots=True)
class Survey:
    """What is on the server. `leftovers` are ours and wanted no more: at a former address, or of a feed that we do without now."""

    states: tuple[SubscriptionState, ...]
    leftovers: tuple[str, ...] = ()


class Subscriptions(Protocol):
    """Our Subscriptions on the FHIR server. Raises what `ClinicalRecord` raises."""

    @property
    def names(self) -> tuple[str, ...]:
        """The feeds that this configuration can have Subscriptions for."""

    def look(self, names: Collection[str]) -> Survey:
        """How those stand, in the order of `names`; writes nothing."""

    def mend(self, name: str) -> SubscriptionState:
        """Exactly one, active and as wanted, or on its way there. A settled one is not written."""

    def remove(self, reference: str) -> None:
        """Gone, whoever removed it."""


AlarmedFeeds = Callable[[], Sequence[tuple[Feed, tuple[str, ...]]]]  # each feed with its alarms; raises Unavailable


@dataclass(frozen=True, slots=True)
class Patience:
    """How long each thing may last before it is an alarm."""

    quiet: timedelta  # asking found changes, and nothing was heard
    catch_up: timedelta  # between two times of asking
    watch: timedelta  # between two looks of the watchdog


def alarms(feed: Feed, now: datetime, patience: Patience) -> tuple[str, ...]:
    """What a person must look at, as codes of docs/operations.md; empty where all is well."""
    found = _subscription_alarms(feed, now, patience) if feed.wanted else []
    asked_last = feed.caught_up
    if (asked_last and now - asked_last > _TURNS_LATE * patience.catch_up) or (feed.trouble and not asked_last):
        found.append("feed.catch-up-late")
    if feed.wanted and feed.last_missed and now - feed.last_missed <= MISSED_LATELY:
        found.append("feed.events-missed")
    if feed.wanted and _is_silent(feed, now, patience.quiet):
        found.append("feed.silent")
    return tuple(found)


def _subscription_alarms(feed: Feed, now: datetime, patience: Patience) -> list[str]:
    found = []
    if feed.status == "missing":
        found.append("subscription.missing")
    elif feed.status == "requested":
        if feed.status_since and now - feed.status_since > ACTIVATION:
            found.append("subscription.not-activated")
    elif feed.status not in ("active", ""):
        found.append("subscription.stopped")
    looked = feed.looked or feed.heard  # a call that casts doubt takes away when we looked
    if looked and now - looked > _TURNS_LATE * patience.watch:
        found.append("subscription.not-seen")
    return found


def _is_silent(feed: Feed, now: datetime, quiet: timedelta) -> bool:
    """Changes were found by asking after the last call, and there has been none for so long."""
    heard = feed.heard or feed.status_since
    return bool(feed.last_missed and heard and feed.last_missed > heard and now - heard > quiet)


def noted(feed: Feed, state: SubscriptionState, now: datetime) -> Feed:
    """The feed with what was seen of its Subscription. After a repair and after an activation the server must be asked: what happened
    before was told to nobody (HAPI)."""
    repaired = state.action != "none"
    begins = state.status == "active" and feed.status != "active"
    return replace(
        feed,
        status=state.status,
        status_since=feed.status_since if feed.status == state.status and feed.status_since else now,
        reference=state.reference,
        looked=now,
        repairs=feed.repairs + (repaired and feed.wanted),
        asked_for=now if repaired or begins else feed.asked_for,
    )


def unwanted(feed: Feed) -> Feed:
    """The feed without a Subscription."""
    return replace(feed, wanted=False, status="", status_since=None, reference="", looked=None)


class Watchdog:
    """Looks at the Subscriptions of the feeds that are wanted, and mends them. For one thread.

    Every `watch_seconds`; at once in a new process, and where `Feed.looked` is None; soon while a server has yet to activate one; after
    trouble with the server at growing intervals. Each is written at most once in `watch_seconds`. `subscriptions` is None where there is
    no FHIR server.
    """

    def __init__(
        self, store: JobStore, subscriptions: Subscriptions | None, clock: Clock, watch_seconds: float
    ) -> None:
        self._store = store
        self._subscriptions = subscriptions
        self._clock = clock
        self._watch_seconds = watch_seconds
        self._looked: datetime | None = None
        self._next: datetime | None = None
        self._failures = 0
        self._said: set[tuple[str, str]] = set()  # trouble that the log has already
        self._mended_at: dict[str, datetime] = {}
        self._written: dict[str, tuple[str, ...]] = {}  # what we set right last, until a look finds all well
        self._not_kept: dict[str, tuple[str, ...]] = {}  # what the log has of that

    def turn(self) -> int:
        """1 where it looked and found the server, else 0. Raises Unavailable `store.unavailable`."""
        subscriptions = self._subscriptions
        if subscriptions is None:
            return 0
        feeds = self._wanted(subscriptions.names)
        if not feeds or not self._is_due(feeds):
            return 0
        doubtful = {feed.name for feed in feeds if feed.looked is None}
        tried = attempt(lambda: self._watch(subscriptions, [feed.name for feed in feeds], doubtful))
        fine = tried.error is None and not tried.value
        if tried.error is not None:
            self._say("", tried.error)
        self._failures = 0 if fine else self._failures + 1
        if fine:
            self._said.clear()
        self._looked = self._clock.now()
        self._next = self._looked + timedelta(seconds=self._wait_seconds())
        return int(tried.error is None)

    def _wanted(self, names: Sequence[str]) -> list[Feed]:
        """Those with a Subscription to keep; one that the configuration does without now is no longer wanted."""
        feeds = [feed for feed in self._store.feeds() if feed.wanted]
        for feed in feeds:
            if feed.name not in names:
                with self._store.transaction() as ledger:
                    ledger.keep_feed(unwanted(ledger.feed(feed.name)))
        return [feed for feed in feeds if feed.name in names]

    def _is_due(self, feeds: Sequence[Feed]) -> bool:
        if self._looked is None or self._next is None or not self._looked <= self._clock.now() < self._next:
            return True  # a clock that was put back makes nothing wait for the hours to come again
        return not self._failures and any(feed.looked is None for feed in feeds)

    def _wait_seconds(self) -> float:
        if self._failures:
            return min(self._watch_seconds, _FIRST_WAIT_SECONDS * 2.0 ** min(self._failures - 1, 16))
        now = self._clock.now()
        pending = any(
            feed.wanted and feed.status == "requested" and feed.status_since and now - feed.status_since < ACTIVATION
            for feed in self._store.feeds()
        )
        return min(self._watch_seconds, _PENDING_SECONDS) if pending else self._watch_seconds

    def _watch(self, subscriptions: Subscriptions, names: Sequence[str], doubtful: Collection[str]) -> int:
        """How many could not be mended."""
        survey = subscriptions.look(names)
        failed, used = 0, set[str]()
        for state in survey.states:
            tried = attempt(lambda state=state: self._mended(subscriptions, state))  # type: ignore[misc]
            if tried.error is not None:
                failed += 1
                self._say(state.name, tried.error)
            used.add((tried.value or state).reference)
            self._note(tried.value or state, state.name in doubtful)
        if not {feed.name for feed in self._wanted(subscriptions.names)} <= set(names):
            return failed  # somebody subscribes at this moment: what we saw of it is no leftover
        for reference in survey.leftovers:
            if reference not in used:
                subscriptions.remove(reference)
                log.event("subscription.leftover-removed")
        return failed

    def _mended(self, subscriptions: Subscriptions, state: SubscriptionState) -> SubscriptionState:
        if state.is_settled:
            self._written.pop(state.name, None)
            return state
        as_good_as_it_gets = state.status == "active" and not state.doubled
        if as_good_as_it_gets and state.differs == self._written.get(state.name):
            self._say_not_kept(state)  # to write it again each time would cost notifications, and change nothing
            return state
        now = self._clock.now()
        last = self._mended_at.get(state.name)
        if last is not None and timedelta() <= now - last < timedelta(seconds=self._watch_seconds):
            return state  # it did not help, as where the server cannot reach us: once a turn is enough
        mended = subscriptions.mend(state.name)
        self._mended_at[state.name] = now
        self._written[state.name] = mended.differs or state.differs
        return mended

    def _say_not_kept(self, state: SubscriptionState) -> None:
        if state.differs != self._not_kept.get(state.name):
            self._not_kept[state.name] = state.differs
            log.event("subscription.not-kept", subscription=state.name, where=" ".join(state.differs))

    def _note(self, state: SubscriptionState, was_doubtful: bool) -> None:
        now = self._clock.now()
        with self._store.transaction() as ledger:
            feed = ledger.feed(state.name)
            if not feed.wanted:  # removed meanwhile
                return
            kept = noted(feed, state, now)
            if feed.looked is None and not was_doubtful:  # a notification cast doubt on it while we looked: look again
                kept = replace(kept, looked=None)
            ledger.keep_feed(kept)
        if state.action != "none":
            log.event("subscription.repaired", subscription=state.name, status=state.status, reason=state.action)

    def _say(self, name: str, error: Classified) -> None:
        """Once, until all went well again. Without a name: it could not even look."""
        if (name, error.code) not in self._said:
            self._said.add((name, error.code))
            log.event("subscription.trouble", subscription=name, code=error.code, where=error.where,
                      error_id=error.error_id, frames=error.frames)  # fmt: skip
