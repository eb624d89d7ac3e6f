from pathlib import Path

import pytest
from sqlalchemy import text

from fhir_bridge.adapters import sql_tables
from fhir_bridge.adapters.sql_database import HEAD, NewerDatabase, SqlDatabase
from fhir_bridge.errors import Unavailable


@pytest.fixture
def database(tmp_path: Path):  # type: ignore[no-untyped-def]
    database = SqlDatabase.in_folder(tmp_path)
    database.migrate()
    yield database
    database.close()


def test_every_commit_reaches_the_disk(database: SqlDatabase) -> None:
    with database.writing() as connection:
        modes = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")]
    assert modes == ["wal", 2]  # SQLite: 2 is FULL


def test_the_migrations_make_the_tables_of_the_program(database: SqlDatabase) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with database.reading() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), sql_tables.metadata)
    assert differences == []


def test_the_newest_migration_is_the_one_the_program_asks_for(database: SqlDatabase) -> None:
    with database.reading() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == HEAD


def test_a_database_of_a_newer_program_is_refused(database: SqlDatabase) -> None:
    with database.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(NewerDatabase):
        database.migrate()


def test_a_database_that_cannot_be_opened_is_unavailable(tmp_path: Path) -> None:
    database = SqlDatabase(f"sqlite:///{tmp_path / 'missing' / 'bridge.db'}")
    with pytest.raises(Unavailable) as caught, database.reading():
        pass
    assert caught.value.code == "store.unavailable"


def test_a_full_disk_is_unavailable_and_names_no_value(database: SqlDatabase) -> None:
    with database.writing() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
    with pytest.raises(Unavailable) as caught, database.writing() as connection:
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
        connection.execute(
            text("INSERT INTO order_key VALUES ('k', 's', :value, 'j')"),
            [{"value": f"CANARY-{'x' * 900}{n}"} for n in range(99)],
        )
    assert "CANARY" not in str(caught.value)
