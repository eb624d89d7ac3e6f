"""The store inside one transaction: `ports.Ledger` on SQL."""

import uuid
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, TypeVar

from sqlalchemy import (
    Connection,
    Select,
    and_,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from fhir_bridge import encoding
from fhir_bridge.adapters import sql_notifications
from fhir_bridge.adapters import sql_tables as t
from fhir_bridge.adapters.alias_chain import followed, is_stale, reversal
from fhir_bridge.adapters.sql_database import in_our_words
from fhir_bridge.adapters.sql_rows import (
    JOB_COLUMNS,
    URGENCY,
    add_history,
    alias_of,
    alias_row,
    feed_of,
    identifier_key,
    is_out,
    job_of,
    patient_key,
    words,
)
from fhir_bridge.feed import Feed
from fhir_bridge.job import STAGES, Event, Job, Stage, Status, from_outside
from fhir_bridge.journal import Effect, Reply, trace_as_text
from fhir_bridge.ports import Added, KnownOrder, Notification, PatientAlias
from fhir_bridge.rendezvous.survivor import has_or_had
from mappings.order import Identifier, Order, OrderKey

T = TypeVar("T")
_PORTION = 100

# The statements of every message, built once: building them costs more than SQLite takes to run them.
_K, _P, _A = t.order_key.c, t.patient_identifier.c, t.patient_alias.c


@lru_cache(maxsize=32)
def orders_by_keys_query(count: int) -> Select[Any]:
    """The orders of so many keys. A list of OR: for a list of row values SQLite reads the whole table, not its index."""
    same = [
        and_(_K.kind == bindparam(f"kind{n}"), _K.system == bindparam(f"system{n}"), _K.value == bindparam(f"value{n}"))
        for n in range(count)
    ]
    return select(*JOB_COLUMNS).where(t.job.c.id.in_(select(_K.job).where(or_(*same)))).order_by(t.job.c.sequence)


ALIAS_QUERY = select(t.patient_alias).where(
    _A.former_system == bindparam("system"), _A.former_value == bindparam("value")
)
_ORDERS_BY_PATIENT = (
    select(*JOB_COLUMNS)
    .join(t.patient_identifier, _P.job == t.job.c.id)
    .where(_P.value.in_(bindparam("values", expanding=True)))
    .distinct()
    .order_by(t.job.c.sequence)
)
_FEED = select(t.feed).where(t.feed.c.name == bindparam("name"))
_ADD_EFFECT = insert(t.effect)
_POSITION = select(func.max(t.effect.c.message))
_ADD_JOB = insert(t.job)
# the primary key of `order_key` is what makes one order one job: a key that another job has stays there
_CLAIM_KEYS = insert(t.order_key).prefix_with("OR IGNORE", dialect="sqlite")


@dataclass(frozen=True, slots=True)
class SqlLedger:
    """Valid only inside `SqlStore.transaction()`."""

    connection: Connection
    at: datetime

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        with in_our_words(), self.connection.begin_nested():
            yield

    def intake_position(self) -> int:
        return self.connection.execute(_POSITION).scalar() or 0

    def add_effect(self, effect: Effect) -> None:
        outcome = effect.outcome
        values = {
            "message": effect.message,
            "at": self.at,
            "answer": outcome.code,
            "error_number": outcome.error_code,
            "error_code": outcome.application_code,
            "error_where": outcome.location,
            "error_text": outcome.text,
            "orders": words([answer.control for answer in outcome.orders]),
            "jobs": words(effect.jobs),
            "warnings": words(effect.warnings),
            "trace": trace_as_text(effect.trace),
        }
        self.connection.execute(_ADD_EFFECT, values)

    def add_reply(self, reply: Reply) -> None:
        values = {
            "message": reply.message,
            "destination": reply.destination,
            "payload": reply.payload,
            "status": reply.status,
            "attempts": reply.attempts,
            "reason": reply.reason,
            "wake_at": self.at,
        }
        self.connection.execute(insert(t.reply), values)

    def add_notification(self, notification: Notification, body: bytes) -> bool:
        return sql_notifications.add(self.connection, self.at, notification, body)

    def add_changes(self, found: Sequence[Notification], awaited: Collection[Notification] = ()) -> Added:
        return sql_notifications.add_changes(self.connection, self.at, found, awaited)

    def given_up(self, resource_type: str, before: datetime) -> int:
        return sql_notifications.give_up(self.connection, resource_type, before)

    def settle_notification(
        self, notification: int, status: str, reason: str = "", wake_at: datetime | None = None
    ) -> None:
        sql_notifications.settle(self.connection, self.at, notification, status, reason, wake_at)

    def settle_told(self, resource_type: str, resource_id: str, up_to: int, status: str, reason: str = "") -> None:
        resource = resource_type, resource_id
        sql_notifications.settle_told(self.connection, self.at, resource, up_to, status, reason)

    def replay_notification(self, notification: int) -> bool:
        return sql_notifications.replay(self.connection, self.at, notification)

    def forget_notifications(self, before: datetime) -> int:
        return sql_notifications.forget(self.connection, before)

    def feed(self, name: str) -> Feed:
        row = self.connection.execute(_FEED, {"name": name}).first()
        return feed_of(row) if row else Feed(name)

    def keep_feed(self, feed: Feed) -> None:
        self.connection.execute(delete(t.feed).where(t.feed.c.name == feed.name))
        self.connection.execute(insert(t.feed).values(asdict(feed) | {"wanted": int(feed.wanted)}))

    def aliases_of(self, identifiers: Sequence[Identifier]) -> tuple[PatientAlias, ...]:
        found = (followed(identifier, self._alias) for identifier in identifiers)
        return tuple(alias for alias in found if alias)

    def _alias(self, former: Identifier) -> PatientAlias | None:
        system, value = identifier_key(former)
        row = self.connection.execute(ALIAS_QUERY, {"system": system, "value": value}).first()
        return alias_of(row) if row else None

    def set_alias(self, alias: PatientAlias) -> bool:
        reverse = reversal(alias, self._alias)
        if is_stale(alias, reverse):
            return False
        for former in (alias.former, *((reverse.former,) if reverse else ())):
            system, value = identifier_key(former)
            self.connection.execute(delete(t.patient_alias).where(_A.former_system == system, _A.former_value == value))
        self.connection.execute(insert(t.patient_alias), alias_row(alias))
        return True

    def orders_of_patient(self, identifiers: Sequence[Identifier]) -> tuple[KnownOrder, ...]:
        found: dict[str, Job] = {}
        for values in _portions(sorted({identifier.value for identifier in identifiers})):
            rows = self.connection.execute(_ORDERS_BY_PATIENT, {"values": values})
            found |= {row.id: job_of(row) for row in rows}
        jobs = found.values()
        return tuple(KnownOrder(job.order, job) for job in jobs if has_or_had(job.order.patient, identifiers))

    def orders_by_keys(self, keys: Sequence[OrderKey]) -> tuple[KnownOrder, ...]:
        found: dict[str, Job] = {}
        for few in _portions(keys):
            values = {f"{name}{n}": value for n, key in enumerate(few) for name, value in _values(key).items()}
            rows = self.connection.execute(orders_by_keys_query(len(few)), values)
            found |= {row.id: job_of(row) for row in rows}
        return tuple(KnownOrder(job.order, job) for job in found.values())

    def add_order(self, order: Order, source: str, *, held: str = "", keys: Sequence[OrderKey] | None = None) -> str:
        job = uuid.uuid4().hex
        status = Status.HELD if held else Status.READY
        values = {
            "id": job,
            "patient_key": patient_key(order.patient),
            "source": source,
            "order_json": encoding.dump(order).decode(),
            "stage": Stage.CONTEXT,
            "status": status,
            "reason": held,
            "memo": "",
            "wish": "",
            "models": "",
            "attempts": 0,
            "losses": 0,
            "urgency": URGENCY[order.priority],
            "fence": 0,
            "worker": "",
            "lease_until": None,
            "wake_at": None,
            "created": self.at,
            "updated": self.at,
        }
        self.connection.execute(_ADD_JOB, values)
        self._claim_keys(job, order.keys() if keys is None else keys)
        self._note_patient(job, order)
        add_history(self.connection, job, self.at, "received", Stage.CONTEXT, status, held)
        return job

    def _claim_keys(self, job: str, keys: Sequence[OrderKey]) -> None:
        if keys:
            self.connection.execute(_CLAIM_KEYS, [_values(key) | {"job": job} for key in keys])

    def _note_patient(self, job: str, order: Order) -> None:
        keys = {identifier_key(number) for number in (*order.patient.identifiers, *order.patient.former)}
        rows = [{"system": system, "value": value, "job": job} for system, value in keys]
        if rows:
            self.connection.execute(insert(t.patient_identifier), rows)

    def update_order(self, job: str, order: Order) -> None:
        self.connection.execute(
            update(t.job)
            .where(t.job.c.id == job)
            .values(
                order_json=encoding.dump(order).decode(),
                urgency=URGENCY[order.priority],
                patient_key=patient_key(order.patient),
                updated=self.at,
            )
        )
        self._claim_keys(job, order.keys())
        self.connection.execute(delete(t.patient_identifier).where(_P.job == job))
        self._note_patient(job, order)

    def release_key(self, job: str, key: OrderKey) -> None:
        same = _K.kind == key.kind, _K.system == key.system, _K.value == key.value
        self.connection.execute(delete(t.order_key).where(*same, _K.job == job))

    def happen(self, job: str, event: Event, reason: str = "", stage: Stage | None = None) -> bool:
        row = self.connection.execute(select(*JOB_COLUMNS).where(t.job.c.id == job)).first()
        if row is None:
            return False
        known = job_of(row)
        stage = stage or known.stage
        status, wish = from_outside(known.status, event, row.wish, out=is_out(self.connection, job), stage=stage)
        if status is None:
            if wish != row.wish:
                self.connection.execute(update(t.job).where(t.job.c.id == job).values(wish=wish))
            return False
        values = {
            "status": status,
            "stage": stage,
            "reason": reason,
            "attempts": 0,
            "losses": 0,
            "memo": "",
            "wish": wish,
            "wake_at": None,
        }
        # a new fence: what a worker of the old state still writes is refused
        fenced = update(t.job).where(t.job.c.id == job).values(**values, fence=t.job.c.fence + 1, updated=self.at)
        self.connection.execute(fenced)
        if event in (Event.CHANGE, Event.PATIENT, Event.REPLAY, Event.SIGN, Event.RETRACT):
            self._forget_from(job, stage)
        add_history(self.connection, job, self.at, event, stage, status, reason)
        return True

    def _forget_from(self, job: str, stage: Stage) -> None:
        """Steps from here on run anew, and their results go out anew."""
        later = STAGES[STAGES.index(stage) :]
        self.connection.execute(delete(t.artifact).where(t.artifact.c.job == job, t.artifact.c.stage.in_(later)))
        there = t.delivery.c.job == job, t.delivery.c.status == "delivered"
        self.connection.execute(update(t.delivery).where(*there).values(status="stale"))

    def replace_artifact(self, job: str, stage: Stage, content: str, *, instead_of: str) -> bool:
        a = t.artifact.c
        of_step = a.job == job, a.stage == stage
        latest = select(a.content).where(*of_step).order_by(a.created.desc(), a.id.desc()).limit(1)
        if (self.connection.execute(latest).scalar() or "") != instead_of:
            return False
        self.connection.execute(delete(t.artifact).where(*of_step))
        values = {"job": job, "stage": stage, "inputs": instead_of, "content": content, "created": self.at}
        self.connection.execute(insert(t.artifact).values(values))
        return True

    def note(self, job: str, event: str, reason: str = "") -> None:
        row = self.connection.execute(select(t.job.c.stage, t.job.c.status).where(t.job.c.id == job)).one()
        add_history(self.connection, job, self.at, event, row.stage, row.status, reason)


def _portions(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """As many as one statement surely takes: a message may name any number."""
    return (values[start : start + _PORTION] for start in range(0, len(values), _PORTION))


def _values(key: OrderKey) -> dict[str, object]:
    return {"kind": key.kind, "system": key.system, "value": key.value}
