"""Rows to values and back, shared by ledger, store and queue."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, or_, select

from fhir_bridge import encoding
from fhir_bridge.adapters import sql_tables as t
from fhir_bridge.feed import Feed
from fhir_bridge.job import Job, Stage, Status
from fhir_bridge.journal import Effect, Reply, trace_from_text
from fhir_bridge.ports import OUT, Delivery, Notification, PatientAlias
from hl7_listener.acknowledgement import OrderAnswer, Outcome
from mappings.order import EventTime, Identifier, Order, PatientIdentity, Priority

URGENCY = {Priority.STAT: 0, Priority.ASAP: 1, Priority.URGENT: 2, Priority.ROUTINE: 3}

JOB_COLUMNS = (
    t.job.c.id, t.job.c.order_json, t.job.c.source, t.job.c.stage, t.job.c.status, t.job.c.reason, t.job.c.attempts,
    t.job.c.fence, t.job.c.created, t.job.c.updated, t.job.c.wake_at, t.job.c.models, t.job.c.memo, t.job.c.losses,
    t.job.c.wish,
)  # fmt: skip

NOTIFICATION_COLUMNS = tuple(column for column in t.notification.c if column.name not in ("body", "awaited"))

_ADD_HISTORY = insert(t.history)


def job_of(row: Any) -> Job:
    """A job from JOB_COLUMNS."""
    return Job(
        id=row.id,
        order=encoding.load(Order, row.order_json.encode()),
        source=row.source,
        stage=Stage(row.stage),
        status=Status(row.status),
        reason=row.reason,
        attempts=row.attempts,
        fence=row.fence,
        created=row.created,
        updated=row.updated,
        wake_at=row.wake_at,
        models=tuple(row.models.split()),
        memo=row.memo,
    )


def effect_of(row: Any) -> Effect:
    """What became of a message. The numbers of the orders in its answer are in the message itself, not here."""
    orders = tuple(OrderAnswer(control) for control in row.orders.split())
    outcome = Outcome(row.answer, row.error_number, row.error_where, row.error_text, row.error_code, orders=orders)
    jobs, warnings = tuple(row.jobs.split()), tuple(row.warnings.split())
    return Effect(row.message, outcome, jobs, warnings, row.at, trace_from_text(row.trace))


def reply_of(row: Any) -> Reply:
    """An application acknowledgement on its way."""
    return Reply(row.id, row.message, row.destination, row.payload, row.status, row.attempts, row.reason)


def alias_of(row: Any) -> PatientAlias:
    """A merge."""
    former, survivor = (encoding.load(Identifier, text.encode()) for text in (row.former_json, row.survivor_json))
    return PatientAlias(former, survivor, EventTime(row.at, row.clock) if row.at else None)


def alias_row(alias: PatientAlias) -> dict[str, object]:
    """A merge as it is kept."""
    system, value = identifier_key(alias.former)
    return {
        "former_system": system,
        "former_value": value,
        "former_json": encoding.dump(alias.former).decode(),
        "survivor_json": encoding.dump(alias.survivor).decode(),
        "at": alias.at.at if alias.at else None,
        "clock": alias.at.clock if alias.at else "",
    }


def identifier_key(identifier: Identifier) -> tuple[str, str]:
    """By what a patient identifier is found: its system, else the namespace of its authority, and its value."""
    return identifier.system or identifier.namespace, identifier.value


def notification_of(row: Any) -> Notification:
    """A hook call."""
    return Notification(
        row.id, row.subscription, row.method, row.resource_type, row.resource_id, row.version_id, row.status, row.attempts, row.reason,
        row.received,
    )  # fmt: skip


def feed_of(row: Any) -> Feed:
    """How we hear of one kind of resource."""
    return Feed(**{**row._mapping, "wanted": bool(row.wanted)})


def delivery_of(row: Any) -> Delivery:
    """A destination's state."""
    contents = tuple(row.contents.split())
    return Delivery(
        row.job, row.destination, row.status, row.attempts, row.reason, row.reference, row.updated, contents
    )


def patient_key(patient: PatientIdentity) -> str:
    """By which one patient's jobs run one after the other."""
    for identifier in patient.identifiers:
        return f"{identifier.system}|{identifier.value}"
    return patient.reference


def add_history(
    connection: Connection, job: str, at: datetime, event: str, stage: str, status: str, reason: str = ""
) -> None:
    """A line of the timeline."""
    values = {"job": job, "at": at, "event": event, "stage": stage, "status": status, "reason": reason}
    connection.execute(_ADD_HISTORY, values)


def is_out(connection: Connection, job: str) -> bool:
    """A result of the job is at a destination, or may be: a cancel comes too late."""
    d = t.delivery.c
    there = or_(d.status.in_(OUT), d.contents != "")
    query = select(d.job).where(d.job == job, there).limit(1)
    return connection.execute(query).first() is not None


def words(values: Sequence[str]) -> str:
    """Blank-separated; ids and model names hold no blanks."""
    return " ".join(values)
