"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Messages, jobs, results."""
    _messages()
    _patients()
    _jobs()
    _results()


def _messages() -> None:
    op.create_table(
        "effect",
        sa.Column("message", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", sa.String(32), nullable=False),
        sa.Column("answer", sa.String(), nullable=False),
        sa.Column("error_number", sa.Integer(), nullable=False),
        sa.Column("error_code", sa.String(), nullable=False),
        sa.Column("error_where", sa.String(), nullable=False),
        sa.Column("error_text", sa.String(), nullable=False),
        sa.Column("orders", sa.Text(), nullable=False),
        sa.Column("jobs", sa.Text(), nullable=False),
        sa.Column("warnings", sa.Text(), nullable=False),
        sa.Column("trace", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("message"),
    )
    op.create_index("effect_answer", "effect", ["answer", "message"], unique=False)
    op.create_table(
        "reply",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("message", sa.Integer(), nullable=False),
        sa.Column("destination", sa.String(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("wake_at", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("reply_due", "reply", ["status", "destination", "id"], unique=False)
    op.create_table(
        "notification",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("subscription", sa.String(), nullable=False),
        sa.Column("method", sa.String(), nullable=False),
        sa.Column("resource_type", sa.String(), nullable=False),
        sa.Column("resource_id", sa.String(), nullable=False),
        sa.Column("version_id", sa.String(), nullable=False),
        sa.Column("received", sa.String(32), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("wake_at", sa.String(32), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("awaited", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "notification_awaited",
        "notification",
        ["resource_type", "received"],
        unique=False,
        sqlite_where=sa.text("awaited = 1"),
    )
    op.create_index("notification_due", "notification", ["status", "wake_at"], unique=False)
    op.create_index(
        "notification_version", "notification", ["resource_type", "resource_id", "version_id"], unique=False
    )


def _patients() -> None:
    op.create_table(
        "patient_alias",
        sa.Column("former_system", sa.String(), nullable=False),
        sa.Column("former_value", sa.String(), nullable=False),
        sa.Column("former_json", sa.Text(), nullable=False),
        sa.Column("survivor_json", sa.Text(), nullable=False),
        sa.Column("at", sa.String(32), nullable=True),
        sa.Column("clock", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("former_system", "former_value"),
    )
    op.create_table(
        "patient_identifier",
        sa.Column("value", sa.String(), nullable=False),
        sa.Column("system", sa.String(), nullable=False),
        sa.Column("job", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("value", "system", "job"),
    )
    op.create_index("patient_identifier_job", "patient_identifier", ["job"], unique=False)


def _jobs() -> None:
    op.create_table(
        "feed",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("wanted", sa.Integer(), nullable=False),
        sa.Column("heard", sa.String(32), nullable=True),
        sa.Column("event_number", sa.Integer(), nullable=False),
        sa.Column("gaps", sa.Integer(), nullable=False),
        sa.Column("resets", sa.Integer(), nullable=False),
        sa.Column("watermark", sa.String(32), nullable=True),
        sa.Column("caught_up", sa.String(32), nullable=True),
        sa.Column("trouble", sa.String(), nullable=False),
        sa.Column("asked_for", sa.String(32), nullable=True),
        sa.Column("missed", sa.Integer(), nullable=False),
        sa.Column("last_missed", sa.String(32), nullable=True),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("status_since", sa.String(32), nullable=True),
        sa.Column("reference", sa.String(), nullable=False),
        sa.Column("looked", sa.String(32), nullable=True),
        sa.Column("repairs", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "job",
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("patient_key", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("order_json", sa.Text(), nullable=False),
        sa.Column("stage", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("memo", sa.String(), nullable=False),
        sa.Column("wish", sa.String(), nullable=False),
        sa.Column("models", sa.String(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("losses", sa.Integer(), nullable=False),
        sa.Column("urgency", sa.Integer(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("worker", sa.String(), nullable=False),
        sa.Column("lease_until", sa.String(32), nullable=True),
        sa.Column("wake_at", sa.String(32), nullable=True),
        sa.Column("created", sa.String(32), nullable=False),
        sa.Column("updated", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("sequence"),
        sa.UniqueConstraint("id"),
    )
    op.create_index("job_patient", "job", ["patient_key", "status"], unique=False)
    op.create_index("job_ready", "job", ["status", "urgency", "sequence"], unique=False)
    op.create_index("job_wake", "job", ["status", "wake_at"], unique=False)
    op.create_table(
        "order_key",
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("system", sa.String(), nullable=False),
        sa.Column("value", sa.String(), nullable=False),
        sa.Column("job", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "system", "value"),
    )
    op.create_index(op.f("ix_order_key_job"), "order_key", ["job"], unique=False)


def _results() -> None:
    op.create_table(
        "artifact",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("job", sa.String(), nullable=False),
        sa.Column("stage", sa.String(), nullable=False),
        sa.Column("inputs", sa.String(), nullable=False),
        sa.Column("content", sa.String(), nullable=False),
        sa.Column("created", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("job", "stage", "inputs"),
    )
    op.create_table(
        "delivery",
        sa.Column("job", sa.String(), nullable=False),
        sa.Column("destination", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("reference", sa.String(), nullable=False),
        sa.Column("updated", sa.String(32), nullable=False),
        sa.Column("contents", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("job", "destination"),
    )
    op.create_table(
        "history",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("job", sa.String(), nullable=False),
        sa.Column("at", sa.String(32), nullable=False),
        sa.Column("event", sa.String(), nullable=False),
        sa.Column("stage", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_history_job"), "history", ["job"], unique=False)
