"""The tables, alike on every SQL database. The whole file is identifying: it lies under `phi/`."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    Column,
    Dialect,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)

metadata = MetaData()


class Instant(TypeDecorator[datetime]):
    """An aware UTC time as fixed-width text, so that it sorts as it reads."""

    impl = String(32)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:
        """To text; microseconds always written."""
        return None if value is None else value.astimezone(UTC).isoformat(timespec="microseconds")

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """From text."""
        return None if value is None else datetime.fromisoformat(value)


effect = Table(
    "effect",
    metadata,
    Column("message", Integer, primary_key=True, autoincrement=False),  # id in the journal
    Column("at", Instant, nullable=False),
    Column("answer", String, nullable=False),  # at application level: AA, AE, AR
    Column("error_number", Integer, nullable=False),  # table 0357
    Column("error_code", String, nullable=False),
    Column("error_where", String, nullable=False),
    Column("error_text", String, nullable=False),
    Column("orders", Text, nullable=False),  # ORC-1 of the order-level answers, blank-separated
    Column("jobs", Text, nullable=False),  # ids, blank-separated
    Column("warnings", Text, nullable=False),  # slugs, blank-separated
    Column("trace", Text, nullable=False),  # journal.trace_as_text
    Index("effect_answer", "answer", "message"),
)

reply = Table(
    "reply",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("message", Integer, nullable=False),
    Column("destination", String, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("status", String, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("reason", String, nullable=False),
    Column("wake_at", Instant, nullable=False),
    Index("reply_due", "status", "destination", "id"),
)

patient_alias = Table(
    "patient_alias",
    metadata,
    Column("former_system", String, primary_key=True),  # FHIR identifier system, else HD.1, else empty
    Column("former_value", String, primary_key=True),
    Column("former_json", Text, nullable=False),
    Column("survivor_json", Text, nullable=False),
    Column("at", Instant),  # when its sender recorded the merge
    Column("clock", String, nullable=False),  # by whose clock
)

patient_identifier = Table(
    "patient_identifier",
    metadata,
    Column("value", String, primary_key=True),  # of a number that the patient of the order has or had
    Column("system", String, primary_key=True),  # as in patient_alias
    Column("job", String, primary_key=True),
    Index("patient_identifier_job", "job"),
)

notification = Table(
    "notification",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("subscription", String, nullable=False),
    Column("method", String, nullable=False),
    Column("resource_type", String, nullable=False),
    Column("resource_id", String, nullable=False),
    Column("version_id", String, nullable=False),
    Column("received", Instant, nullable=False),
    Column("status", String, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("reason", String, nullable=False),
    Column("wake_at", Instant, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("awaited", Integer, nullable=False),  # 1: asking found it, and a Subscription has yet to tell it
    Index("notification_due", "status", "wake_at"),
    Index("notification_version", "resource_type", "resource_id", "version_id"),
    Index("notification_awaited", "resource_type", "received", sqlite_where=text("awaited = 1")),
)

feed = Table(
    "feed",
    metadata,
    Column("name", String, primary_key=True),
    Column("wanted", Integer, nullable=False),
    Column("heard", Instant),
    Column("event_number", Integer, nullable=False),
    Column("gaps", Integer, nullable=False),
    Column("resets", Integer, nullable=False),
    Column("watermark", Instant),
    Column("caught_up", Instant),
    Column("trouble", String, nullable=False),
    Column("asked_for", Instant),
    Column("missed", Integer, nullable=False),
    Column("last_missed", Instant),
    Column("status", String, nullable=False),
    Column("status_since", Instant),
    Column("reference", String, nullable=False),
    Column("looked", Instant),
    Column("repairs", Integer, nullable=False),
)

job = Table(
    "job",
    metadata,
    Column("sequence", Integer, primary_key=True),
    Column("id", String, nullable=False, unique=True),
    Column("patient_key", String, nullable=False),
    Column("source", String, nullable=False),
    Column("order_json", Text, nullable=False),
    Column("stage", String, nullable=False),
    Column("status", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("memo", String, nullable=False),
    Column("wish", String, nullable=False),  # `cancel`, `suspend`: asked for, and still to come; see job.from_outside
    Column("models", String, nullable=False),  # names, blank-separated
    Column("attempts", Integer, nullable=False),
    Column("losses", Integer, nullable=False),
    Column("urgency", Integer, nullable=False),  # 0 = STAT
    Column("fence", Integer, nullable=False),
    Column("worker", String, nullable=False),
    Column("lease_until", Instant),
    Column("wake_at", Instant),
    Column("created", Instant, nullable=False),
    Column("updated", Instant, nullable=False),
    Index("job_ready", "status", "urgency", "sequence"),
    Index("job_wake", "status", "wake_at"),
    Index("job_patient", "patient_key", "status"),
)

order_key = Table(
    "order_key",
    metadata,
    Column("kind", String, primary_key=True),
    Column("system", String, primary_key=True),
    Column("value", String, primary_key=True),
    Column("job", String, nullable=False, index=True),
)

artifact = Table(
    "artifact",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("job", String, nullable=False),
    Column("stage", String, nullable=False),
    Column("inputs", String, nullable=False),
    Column("content", String, nullable=False),
    Column("created", Instant, nullable=False),
    UniqueConstraint("job", "stage", "inputs"),
)

delivery = Table(
    "delivery",
    metadata,
    Column("job", String, primary_key=True),
    Column("destination", String, primary_key=True),
    Column("status", String, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("reason", String, nullable=False),
    Column("reference", String, nullable=False),
    Column("updated", Instant, nullable=False),
    Column("contents", Text, nullable=False),  # digests of the reports that are there, or may be, blank-separated
)

history = Table(
    "history",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("job", String, nullable=False, index=True),
    Column("at", Instant, nullable=False),
    Column("event", String, nullable=False),
    Column("stage", String, nullable=False),
    Column("status", String, nullable=False),
    Column("reason", String, nullable=False),
)
