"""The schema's history (Alembic, forward only)."""
