"""What asking costs the database: a page is one look and one write, by an index, however many notifications there are."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event
from sqlalchemy.dialects import sqlite

from fhir_bridge.adapters.sql_database import SqlDatabase
from fhir_bridge.adapters.sql_ledger import SqlLedger
from fhir_bridge.adapters.sql_notifications import TOLD_BEFORE_QUERY
from fhir_bridge.adapters.sql_store import DUE_NOTIFICATIONS
from fhir_bridge.ports import CATCH_UP, Notification

PAGE = [Notification(0, CATCH_UP, "PUT", "ServiceRequest", str(n), "1", "ready") for n in range(50)]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SqlDatabase]:
    database = SqlDatabase.in_folder(tmp_path)
    database.migrate()
    yield database
    database.close()


def statements(connection: Connection) -> list[str]:
    seen: list[str] = []
    event.listen(connection, "before_cursor_execute", lambda *args: seen.append(str(args[2])))
    return seen


def steps(connection: Connection, statement: str, parameters: Any) -> list[str]:
    return [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)]


def test_a_page_of_fifty_changes_is_one_look_and_one_write(database: SqlDatabase) -> None:
    with database.writing() as connection:
        seen = statements(connection)
        SqlLedger(connection, datetime.now(UTC)).add_changes(PAGE)
    assert [statement.partition(" ")[0] for statement in seen] == ["SELECT", "INSERT"]


def test_a_page_that_is_known_is_one_look(database: SqlDatabase) -> None:
    with database.writing() as connection:
        ledger = SqlLedger(connection, datetime.now(UTC))
        ledger.add_changes(PAGE)
        seen = statements(connection)
        ledger.add_changes(PAGE)
    assert [statement.partition(" ")[0] for statement in seen] == ["SELECT"]


def test_versions_are_looked_up_by_their_index(database: SqlDatabase) -> None:
    values = {"resource_type": "ServiceRequest", "ids": ["1", "2"], "versions": ["1", "2"]}
    bound = TOLD_BEFORE_QUERY.params(values)
    compiled = bound.compile(dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True})
    with database.reading() as connection:
        plan = steps(connection, str(compiled), ())
    wanted = "USING INDEX notification_version (resource_type=? AND resource_id=? AND version_id=?)"
    assert [step.removeprefix("SEARCH notification ") for step in plan] == [wanted]


def test_what_is_due_is_read_in_the_order_of_its_index(database: SqlDatabase) -> None:
    compiled = DUE_NOTIFICATIONS.compile(dialect=sqlite.dialect(paramstyle="named"))
    values = {**compiled.params, "now": "2026", "limit": 20}
    with database.reading() as connection:
        plan = steps(connection, str(compiled), values)
    assert plan == ["SEARCH notification USING INDEX notification_due (status=? AND wake_at<?)"]


def test_the_awaited_ones_are_found_by_an_index_of_their_own(database: SqlDatabase) -> None:
    with database.writing() as connection:
        seen: list[tuple[str, Any]] = []
        event.listen(connection, "before_cursor_execute", lambda *args: seen.append((str(args[2]), args[3])))
        SqlLedger(connection, datetime.now(UTC)).given_up("ServiceRequest", datetime.now(UTC))
        plan = steps(connection, *seen[0])
    assert [step for step in plan if "notification_awaited" in step] == plan
