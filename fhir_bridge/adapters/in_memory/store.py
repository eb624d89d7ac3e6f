"""The twin of `sql_store` and `sql_ledger`: the same contracts on dictionaries, for tests of what stands above."""

import copy
import threading
import uuid
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime

from fhir_bridge.adapters.alias_chain import followed, is_stale, reversal
from fhir_bridge.adapters.told_before import news_among
from fhir_bridge.errors import StaleClaim
from fhir_bridge.feed import Feed
from fhir_bridge.job import STAGES, Event, Job, Stage, Status, from_outside
from fhir_bridge.journal import Effect, Reply
from fhir_bridge.ports import (
    CATCH_UP,
    Added,
    Claim,
    Clock,
    Delivery,
    HistoryEntry,
    KnownOrder,
    Notification,
    PatientAlias,
    with_content,
)
from fhir_bridge.rendezvous.survivor import has_or_had
from mappings.order import Identifier, Order, OrderKey


@dataclass
class State:
    """All there is; put back as it was when a transaction fails."""

    jobs: dict[str, Job] = field(default_factory=dict)  # in the order in which they came
    lease_until: dict[str, datetime] = field(default_factory=dict)
    losses: dict[str, int] = field(default_factory=dict)
    keys: dict[OrderKey, str] = field(default_factory=dict)
    wishes: dict[str, str] = field(default_factory=dict)  # by job: asked for, and still to come; see job.from_outside
    effects: dict[int, Effect] = field(default_factory=dict)
    replies: dict[int, Reply] = field(default_factory=dict)
    reply_wake_at: dict[int, datetime] = field(default_factory=dict)
    aliases: dict[tuple[str, str], PatientAlias] = field(default_factory=dict)
    notifications: dict[int, Notification] = field(default_factory=dict)
    newest_notification: int = 0
    awaited: set[int] = field(default_factory=set)  # notifications
    wake_at: dict[int, datetime] = field(default_factory=dict)  # of a notification
    bodies: dict[int, bytes] = field(default_factory=dict)  # of a notification
    feeds: dict[str, Feed] = field(default_factory=dict)
    artifacts: dict[tuple[str, Stage, str], str] = field(default_factory=dict)  # the latest is the last
    deliveries: dict[tuple[str, str], Delivery] = field(default_factory=dict)
    history: list[tuple[str, HistoryEntry]] = field(default_factory=list)

    def remember(self, job: Job, event: str, reason: str, at: datetime) -> None:
        """A line of the timeline."""
        self.history.append((job.id, HistoryEntry(at, event, job.stage, job.status, reason)))

    def is_out(self, job: str) -> bool:
        """A result of the job is at a destination, or may be."""
        return any(d.job == job and d.is_out for d in self.deliveries.values())

    def require(self, claim: Claim) -> Job:
        """The claimed job, if it still is this claim's. Raises StaleClaim."""
        job = self.jobs[claim.job.id]
        if job.fence != claim.fence or job.status is not Status.RUNNING:
            raise StaleClaim(job.id)
        return job


class InMemoryLedger:
    """`ports.Ledger`."""

    def __init__(self, state: State, at: datetime) -> None:
        self._state = state
        self._at = at

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        with _all_or_nothing(self._state):
            yield

    def intake_position(self) -> int:
        return max(self._state.effects, default=0)

    def add_effect(self, effect: Effect) -> None:
        self._state.effects[effect.message] = replace(effect, at=self._at)

    def add_reply(self, reply: Reply) -> None:
        number = len(self._state.replies) + 1
        self._state.replies[number] = replace(reply, id=number)
        self._state.reply_wake_at[number] = self._at

    def add_notification(self, notification: Notification, body: bytes) -> bool:
        kept = list(self._state.notifications.values())
        of_it = notification.resource_type, notification.resource_id
        self._state.awaited -= {
            one.id
            for one in kept
            if (one.resource_type, one.resource_id) == of_it and notification.version_id in ("", one.version_id)
        }
        news, _ = news_among([notification], kept, lambda _: False)
        for one in news:
            self._keep(one, body)
        return bool(news)

    def add_changes(self, found: Sequence[Notification], awaited: Collection[Notification] = ()) -> Added:
        news, untold = news_among(found, self._state.notifications.values(), self._is_gone)
        for one in news:
            number = self._keep(one, b"")
            if one in untold and one in awaited:
                self._state.awaited.add(number)
        return Added(len(news), tuple(untold))

    def given_up(self, resource_type: str, before: datetime) -> int:
        kept = self._state.notifications.items()
        old = {n for n, one in kept if one.resource_type == resource_type and one.received and one.received < before}
        overdue = self._state.awaited & old
        self._state.awaited -= overdue
        return len(overdue)

    def _keep(self, notification: Notification, body: bytes) -> int:
        number = self._state.newest_notification = self._state.newest_notification + 1
        self._state.notifications[number] = replace(notification, id=number, received=self._at)
        self._state.bodies[number] = body
        self._state.wake_at[number] = self._at
        return number

    def _is_gone(self, deletion: Notification) -> bool:
        same = [
            kept.method
            for kept in self._state.notifications.values()
            if (kept.resource_type, kept.resource_id) == (deletion.resource_type, deletion.resource_id)
            and (kept.status != "quarantined" or kept.subscription == CATCH_UP)
        ]
        return same[-1:] == ["DELETE"]

    def settle_notification(
        self, notification: int, status: str, reason: str = "", wake_at: datetime | None = None
    ) -> None:
        known = self._state.notifications[notification]
        self._state.notifications[notification] = replace(
            known, status=status, reason=reason, attempts=known.attempts + 1
        )
        self._state.wake_at[notification] = wake_at or self._at

    def settle_told(self, resource_type: str, resource_id: str, up_to: int, status: str, reason: str = "") -> None:
        resource = resource_type, resource_id
        settles = ("ready", "quarantined") if status == "done" else ("ready",)
        for number, kept in list(self._state.notifications.items()):
            if number <= up_to and kept.status in settles and (kept.resource_type, kept.resource_id) == resource:
                self.settle_notification(number, status, reason)

    def replay_notification(self, notification: int) -> bool:
        known = self._state.notifications.get(notification)
        if known is None:
            return False
        self._state.notifications[notification] = replace(known, status="ready", reason="", attempts=0)
        self._state.wake_at[notification] = self._at
        return True

    def forget_notifications(self, before: datetime) -> int:
        kept = self._state.notifications.items()
        useless = {
            n for n, one in kept if one.status == "done" or (one.status == "quarantined" and not one.resource_type)
        }
        old = [number for number in useless if self._state.wake_at[number] < before]
        for number in old:
            for column in (self._state.notifications, self._state.bodies, self._state.wake_at):
                del column[number]
        return len(old)

    def feed(self, name: str) -> Feed:
        return self._state.feeds.get(name, Feed(name))

    def keep_feed(self, feed: Feed) -> None:
        self._state.feeds[feed.name] = feed

    def aliases_of(self, identifiers: Sequence[Identifier]) -> tuple[PatientAlias, ...]:
        found = (followed(identifier, self._alias) for identifier in identifiers)
        return tuple(alias for alias in found if alias)

    def _alias(self, former: Identifier) -> PatientAlias | None:
        return self._state.aliases.get(_key(former))

    def set_alias(self, alias: PatientAlias) -> bool:
        reverse = reversal(alias, self._alias)
        if is_stale(alias, reverse):
            return False
        if reverse:
            del self._state.aliases[_key(reverse.former)]
        self._state.aliases[_key(alias.former)] = alias
        return True

    def orders_of_patient(self, identifiers: Sequence[Identifier]) -> tuple[KnownOrder, ...]:
        jobs = self._state.jobs.values()
        return tuple(KnownOrder(job.order, job) for job in jobs if has_or_had(job.order.patient, identifiers))

    def orders_by_keys(self, keys: Sequence[OrderKey]) -> tuple[KnownOrder, ...]:
        found = {self._state.keys[key] for key in keys if key in self._state.keys}
        return tuple(KnownOrder(job.order, job) for job in self._state.jobs.values() if job.id in found)

    def add_order(self, order: Order, source: str, *, held: str = "", keys: Sequence[OrderKey] | None = None) -> str:
        status = Status.HELD if held else Status.READY
        job = Job(uuid.uuid4().hex, order, source, Stage.CONTEXT, status, held, 0, 0, self._at, self._at)
        self._state.jobs[job.id] = job
        self._claim_keys(job.id, order.keys() if keys is None else keys)
        self._state.remember(job, "received", held, self._at)
        return job.id

    def _claim_keys(self, job: str, keys: Sequence[OrderKey]) -> None:
        for key in keys:
            self._state.keys.setdefault(key, job)

    def update_order(self, job: str, order: Order) -> None:
        self._state.jobs[job] = replace(self._state.jobs[job], order=order, updated=self._at)
        self._claim_keys(job, order.keys())

    def release_key(self, job: str, key: OrderKey) -> None:
        if self._state.keys.get(key) == job:
            del self._state.keys[key]

    def happen(self, job: str, event: Event, reason: str = "", stage: Stage | None = None) -> bool:
        known = self._state.jobs.get(job)
        if known is None:
            return False
        stage = stage or known.stage
        wish = self._state.wishes.get(job, "")
        status, wish = from_outside(known.status, event, wish, out=self._state.is_out(job), stage=stage)
        self._state.wishes[job] = wish
        if status is None:
            return False
        moved = replace(
            known, status=status, stage=stage, reason=reason, attempts=0, memo="",
            wake_at=None, fence=known.fence + 1, updated=self._at,
        )  # fmt: skip
        self._state.jobs[job] = moved
        self._state.losses.pop(job, None)
        if event in (Event.CHANGE, Event.PATIENT, Event.REPLAY, Event.SIGN, Event.RETRACT):
            self._forget_from(job, moved.stage)
        self._state.remember(moved, event, reason, self._at)
        return True

    def _forget_from(self, job: str, stage: Stage) -> None:
        later = STAGES[STAGES.index(stage) :]
        for key in [key for key in self._state.artifacts if key[0] == job and key[1] in later]:
            del self._state.artifacts[key]
        for place, delivery in self._state.deliveries.items():
            if delivery.job == job and delivery.status == "delivered":
                self._state.deliveries[place] = replace(delivery, status="stale")

    def replace_artifact(self, job: str, stage: Stage, content: str, *, instead_of: str) -> bool:
        kept = {place: made for place, made in self._state.artifacts.items() if place[:2] == (job, stage)}
        if (list(kept.values()) or [""])[-1] != instead_of:
            return False
        for place in kept:
            del self._state.artifacts[place]
        self._state.artifacts[job, stage, instead_of] = content
        return True

    def note(self, job: str, event: str, reason: str = "") -> None:
        self._state.remember(self._state.jobs[job], event, reason, self._at)


class InMemoryStore:
    """`ports.JobStore`. Shares its `state` with `InMemoryQueue`."""

    def __init__(self, clock: Clock, state: State | None = None) -> None:
        self.state = state or State()
        self.lock = threading.RLock()
        self._clock = clock

    @contextmanager
    def transaction(self) -> Iterator[InMemoryLedger]:
        with self.lock, _all_or_nothing(self.state):
            yield InMemoryLedger(self.state, self._clock.now())

    def job(self, job: str) -> Job | None:
        return self.state.jobs.get(job)

    def jobs(self, statuses: Iterable[str] = (), limit: int = 1000) -> tuple[Job, ...]:
        wanted = tuple(statuses)
        newest_first = reversed(self.state.jobs.values())
        return tuple(job for job in newest_first if not wanted or job.status in wanted)[:limit]

    def job_counts(self) -> dict[str, int]:
        """Jobs by status."""
        statuses = [str(job.status) for job in self.state.jobs.values()]
        return {status: statuses.count(status) for status in statuses}

    def history(self, job: str) -> tuple[HistoryEntry, ...]:
        return tuple(entry for owner, entry in self.state.history if owner == job)

    def effects(self, messages: Sequence[int]) -> dict[int, Effect]:
        return {number: self.state.effects[number] for number in messages if number in self.state.effects}

    def failed_effects(self, limit: int = 100) -> tuple[Effect, ...]:
        failed = [effect for _, effect in sorted(self.state.effects.items()) if effect.outcome.code != "AA"]
        return tuple(reversed(failed))[:limit]

    def intake_position(self) -> int:
        return max(self.state.effects, default=0)

    def due_replies(self, limit: int = 20) -> tuple[Reply, ...]:
        first: dict[str, Reply] = {}
        for reply in self.state.replies.values():
            if reply.status == "ready":
                first.setdefault(reply.destination, reply)
        now = self._clock.now()
        return tuple(reply for reply in first.values() if self.state.reply_wake_at[reply.id] <= now)[:limit]

    def settle_reply(self, reply: int, status: str, reason: str = "", wake_at: datetime | None = None) -> None:
        with self.lock:
            known = self.state.replies[reply]
            self.state.replies[reply] = replace(known, status=status, reason=reason, attempts=known.attempts + 1)
            self.state.reply_wake_at[reply] = wake_at or self._clock.now()

    def due_notifications(self, limit: int = 20) -> tuple[Notification, ...]:
        now = self._clock.now()
        due = [n for n in self.state.notifications.values() if n.status == "ready" and self.state.wake_at[n.id] <= now]
        return tuple(sorted(due, key=lambda n: (self.state.wake_at[n.id], n.id)))[:limit]

    def notifications(self, statuses: Iterable[str] = (), limit: int = 200) -> tuple[Notification, ...]:
        wanted = tuple(statuses)
        newest_first = reversed(self.state.notifications.values())
        return tuple(n for n in newest_first if not wanted or n.status in wanted)[:limit]

    def notification(self, notification: int) -> Notification | None:
        return self.state.notifications.get(notification)

    def notification_body(self, notification: int) -> bytes | None:
        return self.state.bodies.get(notification)

    def notification_counts(self) -> dict[str, int]:
        return dict(Counter(n.status for n in self.state.notifications.values()))

    def feeds(self) -> tuple[Feed, ...]:
        return tuple(feed for _, feed in sorted(self.state.feeds.items()))

    def latest_artifact(self, job: str, stage: Stage) -> str | None:
        found = [content for key, content in self.state.artifacts.items() if key[:2] == (job, stage)]
        return found[-1] if found else None

    def deliveries(self, job: str) -> tuple[Delivery, ...]:
        return tuple(d for _, d in sorted(self.state.deliveries.items()) if d.job == job)

    def begin_delivery(self, claim: Claim, destination: str, content: str = "") -> Delivery:
        with self.lock:
            self.state.require(claim)
            fresh = Delivery(claim.job.id, destination, "pending")
            known = self.state.deliveries.get((claim.job.id, destination), fresh)
            if known.status == "delivered":
                return known
            begun = replace(
                known, status="sending", attempts=known.attempts + 1, reason="", updated=self._clock.now(),
                contents=with_content(known.contents, content),
            )  # fmt: skip
            self.state.deliveries[claim.job.id, destination] = begun
            return begun

    def end_delivery(self, claim: Claim, delivery: Delivery) -> None:
        with self.lock:
            self.state.require(claim)
            self.state.deliveries[delivery.job, delivery.destination] = replace(delivery, updated=self._clock.now())


def _key(identifier: Identifier) -> tuple[str, str]:
    return identifier.system or identifier.namespace, identifier.value


@contextmanager
def _all_or_nothing(state: State) -> Iterator[None]:
    before = copy.deepcopy(state.__dict__)
    done = False
    try:
        yield
        done = True
    finally:
        if not done:
            state.__dict__.update(before)
