"""Which worker runs which job when, on SQLite: `ports.JobQueue`.

One process claims and hands work to its threads (facts: many processes polling one file are slower than one).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Select, and_, bindparam, delete, exists, insert, or_, select, update

from fhir_bridge.adapters import sql_tables as t
from fhir_bridge.adapters.sql_database import SqlDatabase
from fhir_bridge.adapters.sql_rows import JOB_COLUMNS, add_history, is_out, job_of, words
from fhir_bridge.adapters.sql_store import check_fence
from fhir_bridge.job import Event, Job, Stage, Status, after
from fhir_bridge.ports import Claim, Clock, Move, StepArtifact


@dataclass(frozen=True, slots=True)
class SqliteQueue:
    """`lease_seconds`: a worker that does not renew for so long has lost its job. `max_losses`: see settings."""

    database: SqlDatabase
    clock: Clock
    lease_seconds: float = 300
    max_losses: int = 50

    def claim(self, worker: str) -> Claim | None:
        now = self.clock.now()
        with self.database.reading() as connection:  # an idle worker writes nothing
            if connection.execute(_claimable(now)).first() is None:
                return None
        with self.database.writing() as connection:
            self._take_over_expired(connection, now)
            connection.execute(_WAKE_DUE, {"now": now})
            row = connection.execute(_READY).first()
            if row is None:
                return None
            return self._lease(connection, row, worker, now)

    def _lease(self, connection: Connection, row: Any, worker: str, now: datetime) -> Claim:
        known = job_of(row)
        fence, status = known.fence + 1, after(known.status, Event.CLAIM)
        values = {"status": status, "fence": fence, "worker": worker, "updated": now, "wake_at": None}
        lease_until = now + timedelta(seconds=self.lease_seconds)
        connection.execute(update(t.job).where(t.job.c.id == known.id).values(**values, lease_until=lease_until))
        add_history(connection, known.id, now, Event.CLAIM, known.stage, status)
        return Claim(replace(known, status=status, fence=fence, wake_at=None), fence)

    def renew(self, claim: Claim) -> None:
        until = self.clock.now() + timedelta(seconds=self.lease_seconds)
        with self.database.writing() as connection:
            check_fence(connection, claim)
            connection.execute(update(t.job).where(t.job.c.id == claim.job.id).values(lease_until=until))

    def record(self, claim: Claim, move: Move) -> None:
        job, now = claim.job.id, self.clock.now()
        with self.database.writing() as connection:
            wish = check_fence(connection, claim)
            if move.artifact:
                _add_artifact(connection, claim, move.artifact, now)
            if wish and move.event is not Event.FINISH and not is_out(connection, job):
                move = Move(Event.CANCEL, move.stage, "order.cancelled")
            status = after(Status.RUNNING, move.event)
            values = {
                "status": status,
                "stage": move.stage,
                "reason": move.reason,
                "attempts": move.attempts,
                "memo": move.memo,
                "wake_at": move.wake_at,
                "lease_until": None,
                "updated": now,
            }
            if move.event is not Event.WAIT:
                values["losses"] = 0
            if move.models is not None:
                values["models"] = words(move.models)
            connection.execute(update(t.job).where(t.job.c.id == job).values(values))
            add_history(connection, job, now, move.event, move.stage, status, move.reason)

    def take_over(self) -> int:
        """All running jobs are nobody's: for the one process that holds the data folder, at its start. Returns how many."""
        now = self.clock.now()
        with self.database.writing() as connection:
            rows = connection.execute(select(*JOB_COLUMNS).where(t.job.c.status == Status.RUNNING)).all()
            self._lose(connection, rows, now)
        return len(rows)

    def _take_over_expired(self, connection: Connection, now: datetime) -> None:
        expired = and_(t.job.c.status == Status.RUNNING, t.job.c.lease_until < now)
        self._lose(connection, connection.execute(select(*JOB_COLUMNS).where(expired)).all(), now)

    def _lose(self, connection: Connection, rows: Iterable[Any], now: datetime) -> None:
        for row in rows:
            known: Job = job_of(row)
            # a job that takes its process down again and again becomes a dead letter
            event = Event.EXHAUST if row.losses >= self.max_losses else Event.LOSE
            reason = "job.lost-too-often" if event is Event.EXHAUST else ""
            status = after(known.status, event)
            values = {"status": status, "reason": reason, "losses": row.losses + 1, "lease_until": None, "updated": now}
            fenced = update(t.job).where(t.job.c.id == known.id).values(**values, fence=known.fence + 1)
            connection.execute(fenced)
            add_history(connection, known.id, now, event, Stage(known.stage), status, reason)


def _add_artifact(connection: Connection, claim: Claim, artifact: StepArtifact, now: datetime) -> None:
    """In place of one made of the same inputs before."""
    stage, a = claim.job.stage, t.artifact.c
    same = a.job == claim.job.id, a.stage == stage, a.inputs == artifact.inputs
    connection.execute(delete(t.artifact).where(*same))
    values = {
        "job": claim.job.id,
        "stage": stage,
        "inputs": artifact.inputs,
        "content": artifact.content,
        "created": now,
    }
    connection.execute(insert(t.artifact).values(values))


_OTHER = t.job.alias()
_BUSY = exists().where(_OTHER.c.patient_key == t.job.c.patient_key, _OTHER.c.status == Status.RUNNING)
# The most urgent, oldest job that may run and whose patient has no other one running: read in the order of the index, up to the first.
_READY = (
    select(*JOB_COLUMNS)
    .where(t.job.c.status == Status.READY, ~_BUSY)
    .order_by(t.job.c.urgency, t.job.c.sequence)
    .limit(1)
)
_WAKE_DUE = (
    update(t.job)
    .where(t.job.c.status == Status.WAITING, t.job.c.wake_at <= bindparam("now"))
    .values(status=after(Status.WAITING, Event.WAKE), wake_at=None)
)


def _claimable(now: datetime) -> Select[Any]:
    """Anything to do at all? Three index look-ups."""
    c = t.job.c
    due = or_(
        c.status == Status.READY,
        and_(c.status == Status.WAITING, c.wake_at <= now),
        and_(c.status == Status.RUNNING, c.lease_until < now),
    )
    return select(c.id).where(due).limit(1)
