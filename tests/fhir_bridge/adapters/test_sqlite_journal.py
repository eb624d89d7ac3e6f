"""What only the journal on disk can do: be read by another process, survive, be in trouble, keep its log short."""

import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from fhir_bridge.adapters.sql_database import SqlDatabase
from fhir_bridge.adapters.sql_store import SqlStore
from fhir_bridge.adapters.sqlite_journal import SqliteJournal, applied_up_to
from fhir_bridge.errors import Unavailable
from fhir_bridge.journal import Effect
from hl7_listener.outcome import Outcome
from tests.support.frozen_clock import FrozenClock
from tests.support.journal_entries import an_entry

MEBIBYTE = 2**20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "phi" / "journal.db"


@pytest.fixture
def journal(path: Path, clock: FrozenClock) -> Iterator[SqliteJournal]:
    journal = SqliteJournal(path, clock)
    yield journal
    journal.close()


def test_a_second_process_reads_what_is_committed(path: Path, journal: SqliteJournal) -> None:
    with journal.transaction() as page:
        page.add(an_entry(1))
    program = f"""
from pathlib import Path
from fhir_bridge.adapters.sql_database import SqlDatabase
from fhir_bridge.adapters.sql_store import SqlStore
from fhir_bridge.adapters.sqlite_journal import SqliteJournal, applied_up_to
from fhir_bridge.compose import SystemClock
print(len(SqliteJournal(Path({str(path)!r}), SystemClock()).after(0)))
"""
    read = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert read.stdout == "1\n"


def test_the_file_is_its_owners_alone(path: Path, journal: SqliteJournal) -> None:
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_a_commit_that_finds_no_room_is_unavailable_and_the_next_one_works(path: Path, journal: SqliteJournal) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    log = path.with_name(path.name + "-wal")
    resource.setrlimit(resource.RLIMIT_FSIZE, (log.stat().st_size + 1000, hard))
    try:
        with pytest.raises(Unavailable) as caught, journal.transaction() as page:
            page.add(an_entry(1, raw=bytes(MEBIBYTE)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.code == "store.unavailable"
    with journal.transaction() as page:
        page.add(an_entry(2))
    assert [message.entry.key.control_id for message in journal.messages()] == [an_entry(2).key.control_id]


def test_a_checkpoint_lets_the_log_begin_anew(path: Path, journal: SqliteJournal) -> None:
    log = path.with_name(path.name + "-wal")
    sizes = []
    for number in range(40):
        with journal.transaction() as page:
            page.add(an_entry(number, raw=bytes(MEBIBYTE)))
        journal.checkpoint()
        sizes.append(log.stat().st_size)
    assert max(sizes) < 30 * MEBIBYTE
    assert len(journal.messages()) == 40


def test_a_log_of_full_length_holds_what_was_committed_and_nothing_else(
    path: Path, journal: SqliteJournal, clock: FrozenClock
) -> None:
    journal.prepare()
    with journal.transaction() as page:
        page.add(an_entry(1))
    log = path.with_name(path.name + "-wal").read_bytes()
    copy = path.parent / "copy" / path.name  # as a killed process leaves it
    copy.parent.mkdir()
    copy.write_bytes(path.read_bytes())
    copy.with_name(copy.name + "-wal").write_bytes(log)
    left = SqliteJournal(copy, clock)
    found = [message.entry.key.control_id for message in left.messages()]
    left.close()
    assert (len(log), found) == (32 * MEBIBYTE, [an_entry(1).key.control_id])


def test_a_log_takes_no_room_in_advance_where_there_is_little(
    path: Path, journal: SqliteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else could be written on a disk that it filled."""
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=100 * MEBIBYTE))
    journal.prepare()
    assert path.with_name(path.name + "-wal").stat().st_size < MEBIBYTE


def test_a_journal_that_was_lost_goes_on_above_what_intake_has_applied(tmp_path: Path, clock: FrozenClock) -> None:
    """Else what is acknowledged now would lie behind intake, and never be applied."""
    store = tmp_path / "bridge.db"
    database = SqlDatabase(f"sqlite:///{store}")
    database.migrate()
    with SqlStore(database, clock).transaction() as ledger:
        ledger.add_effect(Effect(41, Outcome("AA")))
    database.close()
    journal = SqliteJournal(tmp_path / "journal.db", clock, applied_up_to(store))
    with journal.transaction() as page:
        number = page.add(an_entry(1))
    found = [message.id for message in journal.after(41)]
    journal.close()
    assert (number, found) == (42, [42])


def test_without_a_store_a_journal_begins_at_one(tmp_path: Path) -> None:
    assert applied_up_to(tmp_path / "bridge.db") == 0
