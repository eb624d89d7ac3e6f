"""Which worker runs which job when, on SQLite: `ports.JobQueue`.

One process claims and hands work to its threads (facts: many processes polling one file are slower than one).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BindParameter, Connection, and_, bindparam, delete, exists, insert, or_, select, update

from fhir_bridge.adapters import sql_tables as t
from fhir_bridge.adapters.sql_database import SqlDatabase
from fhir_bridge.adapters.sql_rows import JOB_COLUMNS, add_history, is_out, job_of, words
from fhir_bridge.adapters.sql_store import check_fence
from fhir_bridge.job import Event, Job, Stage, Status, after
from fhir_bridge.ports import Claim, Clock, Move, StepArtifact

# The statements of every step, built once: building them costs more than SQLite takes to run them.
_J, _OTHER = t.job.c, t.job.alias()
_NOW: BindParameter[Any] = bindparam("now")
_WAITS = and_(_J.status == Status.WAITING, _J.wake_at <= _NOW)
_EXPIRED = and_(_J.status == Status.RUNNING, _J.lease_until < _NOW)
_BUSY = exists().where(_OTHER.c.patient_key == _J.patient_key, _OTHER.c.status == Status.RUNNING)
_ANYTHING = select(_J.id).where(or_(_J.status == Status.READY, _WAITS, _EXPIRED)).limit(1)
_WAKE_DUE = update(t.job).where(_WAITS).values(status=after(Status.WAITING, Event.WAKE), wake_at=None)
_SELECT_EXPIRED = select(*JOB_COLUMNS).where(_EXPIRED)
_SELECT_RUNNING = select(*JOB_COLUMNS).where(_J.status == Status.RUNNING)
# The most urgent, oldest job that may run and whose patient has no other one running: read in the order of the index, up to the first.
_READY = select(*JOB_COLUMNS).where(_J.status == Status.READY, ~_BUSY).order_by(_J.urgency, _J.sequence).limit(1)
_THIS = _J.id == bindparam("this")
_LEASE = (
    update(t.job)
    .where(_THIS)
    .values({name: bindparam(name) for name in ("status", "fence", "worker", "updated", "wake_at", "lease_until")})
)
_RENEW = update(t.job).where(_THIS).values(lease_until=bindparam("until"))
_RECORD = (
    update(t.job)
    .where(_THIS)
    .values({name: bindparam(name) for name in
             ("status", "stage", "reason", "attempts", "memo", "wake_at", "lease_until", "updated", "losses", "models")})
)  # fmt: skip
_A = t.artifact.c
_FORGET_ARTIFACT = delete(t.artifact).where(
    _A.job == bindparam("job"), _A.stage == bindparam("stage"), _A.inputs == bindparam("inputs")
)
_ADD_ARTIFACT = insert(t.artifact)


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
            if connection.execute(_ANYTHING, {"now": now}).first() is None:
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
        connection.execute(_LEASE, values | {"this": known.id, "lease_until": lease_until})
        add_history(connection, known.id, now, Event.CLAIM, known.stage, status)
        return Claim(replace(known, status=status, fence=fence, wake_at=None), fence)

    def renew(self, claim: Claim) -> None:
        until = self.clock.now() + timedelta(seconds=self.lease_seconds)
        with self.database.writing() as connection:
            check_fence(connection, claim)
            connection.execute(_RENEW, {"this": claim.job.id, "until": until})

    def record(self, claim: Claim, move: Move) -> None:
        job, now = claim.job.id, self.clock.now()
        with self.database.writing() as connection:
            fenced = check_fence(connection, claim)
            if move.artifact:
                _add_artifact(connection, claim, move.artifact, now)
            if fenced.wish == Event.CANCEL and move.event is not Event.FINISH and not is_out(connection, job):
                move = Move(Event.CANCEL, move.stage, "order.cancelled")
            status = after(Status.RUNNING, move.event)
            values = {
                "this": job,
                "status": status,
                "stage": move.stage,
                "reason": move.reason,
                "attempts": move.attempts,
                "memo": move.memo,
                "wake_at": move.wake_at,
                "lease_until": None,
                "updated": now,
                "losses": fenced.losses if move.event is Event.WAIT else 0,
                "models": fenced.models if move.models is None else words(move.models),
            }
            connection.execute(_RECORD, values)
            add_history(connection, job, now, move.event, move.stage, status, move.reason)

    def take_over(self) -> int:
        """All running jobs are nobody's: for the one process that holds the data folder, at its start. Returns how many."""
        now = self.clock.now()
        with self.database.writing() as connection:
            rows = connection.execute(_SELECT_RUNNING).all()
            self._lose(connection, rows, now)
        return len(rows)

    def _take_over_expired(self, connection: Connection, now: datetime) -> None:
        self._lose(connection, connection.execute(_SELECT_EXPIRED, {"now": now}).all(), now)

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
    place = {"job": claim.job.id, "stage": claim.job.stage, "inputs": artifact.inputs}
    connection.execute(_FORGET_ARTIFACT, place)
    connection.execute(_ADD_ARTIFACT, place | {"content": artifact.content, "created": now})
