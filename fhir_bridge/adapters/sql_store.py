"""Orders, jobs, messages, artifacts' index and deliveries on SQL: `ports.JobStore`."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, func, insert, or_, select, update

from fhir_bridge.adapters import sql_tables as t
from fhir_bridge.adapters.sql_database import SqlDatabase
from fhir_bridge.adapters.sql_ledger import SqlLedger
from fhir_bridge.adapters.sql_rows import (
    JOB_COLUMNS,
    NOTIFICATION_COLUMNS,
    delivery_of,
    effect_of,
    feed_of,
    job_of,
    notification_of,
    reply_of,
    words,
)
from fhir_bridge.errors import StaleClaim
from fhir_bridge.feed import Feed
from fhir_bridge.job import Job, Stage, Status
from fhir_bridge.journal import Effect, Reply
from fhir_bridge.ports import Claim, Clock, Delivery, HistoryEntry, Notification, with_content


class SqlStore:
    """Raises Unavailable `store.unavailable` wherever the database does not answer, StaleClaim where a fence is old."""

    def __init__(self, database: SqlDatabase, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    @contextmanager
    def transaction(self) -> Iterator[SqlLedger]:
        with self._database.writing(intake=True) as connection:
            yield SqlLedger(connection, self._clock.now())

    def job(self, job: str) -> Job | None:
        with self._database.reading() as connection:
            row = connection.execute(select(*JOB_COLUMNS).where(t.job.c.id == job)).first()
        return job_of(row) if row else None

    def jobs(self, statuses: Iterable[str] = (), limit: int = 1000) -> tuple[Job, ...]:
        query = select(*JOB_COLUMNS).order_by(t.job.c.sequence.desc()).limit(limit)
        if wanted := tuple(statuses):
            query = query.where(t.job.c.status.in_(wanted))
        with self._database.reading() as connection:
            return tuple(job_of(row) for row in connection.execute(query))

    def job_counts(self) -> dict[str, int]:
        """Jobs by status."""
        query = select(t.job.c.status, func.count()).group_by(t.job.c.status)
        with self._database.reading() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def history(self, job: str) -> tuple[HistoryEntry, ...]:
        query = select(t.history).where(t.history.c.job == job).order_by(t.history.c.id)
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        return tuple(HistoryEntry(row.at, row.event, row.stage, row.status, row.reason) for row in rows)

    def effects(self, messages: Sequence[int]) -> dict[int, Effect]:
        query = select(t.effect).where(t.effect.c.message.in_(messages))
        with self._database.reading() as connection:
            return {row.message: effect_of(row) for row in connection.execute(query)}

    def failed_effects(self, limit: int = 100) -> tuple[Effect, ...]:
        with self._database.reading() as connection:
            return tuple(effect_of(row) for row in connection.execute(FAILED_EFFECTS.limit(limit)))

    def intake_position(self) -> int:
        with self._database.reading() as connection:
            return connection.execute(select(func.max(t.effect.c.message))).scalar() or 0

    def due_replies(self, limit: int = 20) -> tuple[Reply, ...]:
        r = t.reply.c
        first = select(func.min(r.id)).where(r.status == "ready").group_by(r.destination)
        query = select(t.reply).where(r.id.in_(first), r.wake_at <= self._clock.now()).order_by(r.id).limit(limit)
        with self._database.reading() as connection:
            return tuple(reply_of(row) for row in connection.execute(query))

    def settle_reply(self, reply: int, status: str, reason: str = "", wake_at: datetime | None = None) -> None:
        r = t.reply.c
        values = {
            "status": status,
            "reason": reason,
            "wake_at": wake_at or self._clock.now(),
            "attempts": r.attempts + 1,
        }
        with self._database.writing() as connection:
            connection.execute(update(t.reply).where(r.id == reply).values(values))

    def due_notifications(self, limit: int = 20) -> tuple[Notification, ...]:
        with self._database.reading() as connection:
            rows = connection.execute(DUE_NOTIFICATIONS, {"now": self._clock.now(), "limit": limit})
            return tuple(notification_of(row) for row in rows)

    def notifications(self, statuses: Iterable[str] = (), limit: int = 200) -> tuple[Notification, ...]:
        query = select(*NOTIFICATION_COLUMNS).order_by(t.notification.c.id.desc()).limit(limit)
        if wanted := tuple(statuses):
            query = query.where(t.notification.c.status.in_(wanted))
        with self._database.reading() as connection:
            return tuple(notification_of(row) for row in connection.execute(query))

    def notification(self, notification: int) -> Notification | None:
        query = select(*NOTIFICATION_COLUMNS).where(t.notification.c.id == notification)
        with self._database.reading() as connection:
            row = connection.execute(query).first()
        return notification_of(row) if row else None

    def notification_body(self, notification: int) -> bytes | None:
        query = select(t.notification.c.body).where(t.notification.c.id == notification)
        with self._database.reading() as connection:
            body: bytes | None = connection.execute(query).scalar()
        return body

    def notification_counts(self) -> dict[str, int]:
        query = select(t.notification.c.status, func.count()).group_by(t.notification.c.status)
        with self._database.reading() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def feeds(self) -> tuple[Feed, ...]:
        with self._database.reading() as connection:
            return tuple(feed_of(row) for row in connection.execute(select(t.feed).order_by(t.feed.c.name)))

    def latest_artifact(self, job: str, stage: Stage) -> str | None:
        a = t.artifact.c
        query = select(a.content).where(a.job == job, a.stage == stage).order_by(a.created.desc(), a.id.desc()).limit(1)
        with self._database.reading() as connection:
            return connection.execute(query).scalar()

    def deliveries(self, job: str) -> tuple[Delivery, ...]:
        query = select(t.delivery).where(t.delivery.c.job == job).order_by(t.delivery.c.destination)
        with self._database.reading() as connection:
            return tuple(delivery_of(row) for row in connection.execute(query))

    def begin_delivery(self, claim: Claim, destination: str, content: str = "") -> Delivery:
        d, now = t.delivery.c, self._clock.now()
        row_is = d.job == claim.job.id, d.destination == destination
        with self._database.writing() as connection:
            check_fence(connection, claim)
            row = connection.execute(select(t.delivery).where(*row_is)).first()
            if row is not None and row.status == "delivered":
                return delivery_of(row)
            attempts = (row.attempts if row else 0) + 1
            before = delivery_of(row) if row else Delivery(claim.job.id, destination, "pending")
            contents = with_content(before.contents, content)
            fresh = replace(before, status="sending", attempts=attempts, reason="", updated=now, contents=contents)
            values = {
                "status": "sending",
                "attempts": attempts,
                "reason": "",
                "updated": now,
                "contents": words(contents),
            }
            if row is not None:
                connection.execute(update(t.delivery).where(*row_is).values(values))
            else:
                values |= {"job": claim.job.id, "destination": destination, "reference": ""}
                connection.execute(insert(t.delivery).values(values))
        return fresh

    def end_delivery(self, claim: Claim, delivery: Delivery) -> None:
        d = t.delivery.c
        values = {
            "status": delivery.status,
            "reason": delivery.reason,
            "reference": delivery.reference,
            "contents": words(delivery.contents),
        }
        with self._database.writing() as connection:
            check_fence(connection, claim)
            connection.execute(
                update(t.delivery)
                .where(d.job == delivery.job, d.destination == delivery.destination)
                .values(**values, attempts=delivery.attempts, updated=self._clock.now())
            )


# by its index, in its order: a hundred thousand that wait are not sorted for each twenty
_N = t.notification.c
DUE_NOTIFICATIONS = (
    select(*NOTIFICATION_COLUMNS)
    .where(_N.status == "ready", _N.wake_at <= bindparam("now"))
    .order_by(_N.wake_at, _N.id)
    .limit(bindparam("limit"))
)
# by name, not as "other than AA": that would read every effect there is
_ANSWER = t.effect.c.answer
FAILED_EFFECTS = select(t.effect).where(or_(_ANSWER == "AE", _ANSWER == "AR")).order_by(t.effect.c.message.desc())
_FENCE = select(t.job.c.fence, t.job.c.status, t.job.c.wish, t.job.c.losses, t.job.c.models).where(
    t.job.c.id == bindparam("this")
)


def check_fence(connection: Connection, claim: Claim) -> Any:
    """The job's row: wish, losses, models. Raises StaleClaim where the job is no longer this claim's."""
    row = connection.execute(_FENCE, {"this": claim.job.id}).first()
    if row is None or row.fence != claim.fence or row.status != Status.RUNNING:
        raise StaleClaim(claim.job.id)
    return row
