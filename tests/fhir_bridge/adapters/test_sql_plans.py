"""What intake asks for every message goes by an index: a hundred thousand jobs must not slow it down."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Select
from sqlalchemy.dialects import sqlite

from fhir_bridge.adapters.sql_database import SqlDatabase
from fhir_bridge.adapters.sql_ledger import ALIAS_QUERY, orders_by_keys_query
from fhir_bridge.adapters.sql_store import FAILED_EFFECTS


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SqlDatabase]:
    database = SqlDatabase.in_folder(tmp_path)
    database.migrate()
    yield database
    database.close()


def plan(database: SqlDatabase, query: Select[Any]) -> list[str]:
    """How SQLite would answer it."""
    compiled = query.compile(dialect=sqlite.dialect(paramstyle="named"))
    with database.reading() as connection:
        rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}", dict.fromkeys(compiled.params, ""))
        return [row[3] for row in rows]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_orders_are_found_by_their_keys_without_reading_all_jobs(database: SqlDatabase, count: int) -> None:
    steps = plan(database, orders_by_keys_query(count))
    assert [step for step in steps if step.startswith("SCAN")] == []
    assert any("order_key" in step and "kind=? AND system=? AND value=?" in step for step in steps)


@pytest.mark.parametrize("query", [ALIAS_QUERY, FAILED_EFFECTS], ids=["merges", "failed effects"])
def test_neither_merges_nor_failed_messages_are_found_by_reading_all(database: SqlDatabase, query: Select[Any]) -> None:
    assert [step for step in plan(database, query) if step.startswith("SCAN")] == []
