"""Rows to values and back, shared by ledger, store and queue."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select

from fhir_bridge import encoding
from fhir_bridge.adapters import sql_tables as t
from fhir_bridge.job import Job, Stage, Status
from fhir_bridge.ports import Delivery, MessageKey, Notification, StoredMessage
from mappings.order import Order, PatientIdentity, Priority

URGENCY = {Priority.STAT: 0, Priority.ASAP: 1, Priority.URGENT: 2, Priority.ROUTINE: 3}

JOB_COLUMNS = (
    t.job.c.id, t.job.c.order_json, t.job.c.source, t.job.c.stage, t.job.c.status, t.job.c.reason, t.job.c.attempts,
    t.job.c.fence, t.job.c.created, t.job.c.updated, t.job.c.wake_at, t.job.c.models, t.job.c.memo, t.job.c.losses,
)  # fmt: skip


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


def message_of(row: Any, *, with_raw: bool = False) -> StoredMessage:
    """A received message."""
    key = MessageKey(row.listener, row.sending_application, row.sending_facility, row.control_id, row.content_hash)
    return StoredMessage(
        row.id, key, row.received, row.message_type, row.answer, row.error_code, row.error_where, tuple(row.jobs.split()),
        row.raw if with_raw else b"",
    )  # fmt: skip


def notification_of(row: Any) -> Notification:
    """A hook call."""
    return Notification(
        row.id, row.subscription, row.method, row.resource_type, row.resource_id, row.version_id, row.status, row.attempts, row.reason
    )  # fmt: skip


def delivery_of(row: Any) -> Delivery:
    """A destination's state."""
    return Delivery(row.job, row.destination, row.status, row.attempts, row.reason, row.reference, row.updated)


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
    query = select(d.job).where(d.job == job, d.status.in_(("sending", "delivered", "stale"))).limit(1)
    return connection.execute(query).first() is not None


def words(values: Sequence[str]) -> str:
    """Blank-separated; ids and model names hold no blanks."""
    return " ".join(values)
