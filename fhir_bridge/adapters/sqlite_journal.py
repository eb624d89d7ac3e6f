"""The journal on a SQLite file of its own: `journal.MessageJournal`. Plain `sqlite3`, since every acknowledgement waits for it.

WAL, `synchronous=FULL`: one fsync a commit, so what is committed survives a power cut. The log has its length from the start
(`prepare`), and goes into the database beside the commits (`checkpoint`), not inside one: that would be two more fsyncs that senders
wait for.
"""

import os
import shutil
import sqlite3
import threading
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fhir_bridge.errors import Unavailable
from fhir_bridge.journal import JournalEntry, MessageKey, MessageState, StoredMessage, trace_as_text, trace_from_text
from fhir_bridge.ports import Clock
from hl7_listener.outcome import POSITIVE, Outcome

SCHEMA_VERSION = 1
_AT_ONCE = 500  # control IDs in one question
_BUSY_SECONDS = 10.0
_CHECKPOINT_SECONDS = 0.2  # the longest that a checkpoint may hold up senders
_CHECKPOINT_BYTES = 8 * 2**20  # less is not worth a checkpoint
_COMMIT_BYTES = 16 * 2**10  # pages of a commit beside the messages themselves, about
_LONGEST_LOG_BYTES = (
    24 * 2**20
)  # grown so far under load without a pause, the log begins anew: senders wait for that once
_LOG_BYTES = (
    32 * 2**20
)  # made so long at the start: to write over bytes costs the disk half of what it costs to append them
_ROOM = 8
_ZEROS = bytes(2**20)
_SCHEMA = """
CREATE TABLE IF NOT EXISTS message (
    id INTEGER PRIMARY KEY,
    listener TEXT NOT NULL, sending_application TEXT NOT NULL, sending_facility TEXT NOT NULL, control_id TEXT NOT NULL,
    content_hash TEXT NOT NULL,
    peer TEXT NOT NULL, received TEXT NOT NULL, message_type TEXT NOT NULL, state TEXT NOT NULL, sender TEXT NOT NULL,
    answer TEXT NOT NULL, error_number INTEGER NOT NULL, error_code TEXT NOT NULL, error_where TEXT NOT NULL, error_text TEXT NOT NULL,
    tolerances TEXT NOT NULL, trace TEXT NOT NULL, batch TEXT NOT NULL, sequence_number INTEGER, replay_of INTEGER NOT NULL,
    raw BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS message_key ON message (control_id, content_hash, listener);
CREATE INDEX IF NOT EXISTS message_state ON message (state, id);
CREATE INDEX IF NOT EXISTS message_sequence ON message (listener, sending_application, sending_facility, id)
    WHERE sequence_number IS NOT NULL;
"""
_COLUMNS = (
    "id, listener, sending_application, sending_facility, control_id, content_hash, peer, received, message_type, state, sender, "
    "answer, error_number, error_code, error_where, error_text, tolerances, trace, batch, sequence_number, replay_of"
)
_OF_KEY = "control_id = ? AND listener = ? AND sending_application = ? AND sending_facility = ?"
_FIND = (
    f"SELECT {_COLUMNS} FROM message WHERE {_OF_KEY} AND content_hash = ? AND answer IN ('AA', 'CA') "  # noqa: S608 - constants
    "ORDER BY id DESC LIMIT 1"
)
_FIND_REFUSAL = (
    f"SELECT id FROM message WHERE {_OF_KEY} AND content_hash = ? AND state = 'refused' AND error_code = ? "  # noqa: S608 - constants
    "ORDER BY id DESC LIMIT 1"
)
_NEXT = "SELECT coalesce(max(id), 0) + 1 FROM message"
_RESTARTED = f"SELECT 1 FROM message WHERE {_OF_KEY} AND content_hash <> ? LIMIT 1"  # noqa: S608 - constants
_LAST_SEQUENCE = (
    "SELECT sequence_number FROM message WHERE listener = ? AND sending_application = ? AND sending_facility = ? "
    "AND sequence_number IS NOT NULL ORDER BY id DESC LIMIT 1"
)
_ADD = (
    "INSERT INTO message (id, listener, sending_application, sending_facility, control_id, content_hash, peer, received, message_type, "
    "state, sender, answer, error_number, error_code, error_where, error_text, tolerances, trace, batch, sequence_number, replay_of, "
    "raw) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


class SqlitePage:
    """`journal.JournalPage`; valid only inside `SqliteJournal.transaction()`.

    What is added is written at the end, all at once: each statement gives the interpreter to the other threads.
    """

    def __init__(self, connection: sqlite3.Connection, at: datetime, above: int = 0) -> None:
        self._connection = connection
        self._at = at
        self._next = max(above + 1, int(self._execute(_NEXT).fetchone()[0]))
        self._added: list[StoredMessage] = []
        self._answered: dict[MessageKey, StoredMessage] = {}  # of those added, with a positive answer
        self._contents: dict[
            MessageKey, set[str]
        ] = {}  # of those added: the hashes of what came under a key without its hash
        self._numbers: dict[tuple[str, str, str], int] = {}  # MSH-13 of each sender's last one
        self._unused: set[str] = set()  # control IDs of no stored message

    def expect(self, control_ids: Collection[str]) -> None:
        wanted = [*set(control_ids)]
        for start in range(0, len(wanted), _AT_ONCE):
            some = wanted[start : start + _AT_ONCE]
            marks = ", ".join("?" * len(some))
            used = self._execute(f"SELECT control_id FROM message WHERE control_id IN ({marks})", tuple(some))  # noqa: S608 - question marks
            self._unused |= {*some} - {row[0] for row in used}

    def find(self, key: MessageKey) -> StoredMessage | None:
        if key in self._answered:
            message = self._answered[key]
            return replace(message, entry=replace(message.entry, raw=b""))
        if key.control_id in self._unused:
            return None
        row = self._execute(_FIND, _values(key)).fetchone()
        return _stored(row) if row else None

    def find_refusal(self, key: MessageKey, code: str) -> int | None:
        row = self._execute(_FIND_REFUSAL, (*_values(key), code)).fetchone()
        return row[0] if row else None

    def is_restarted(self, key: MessageKey) -> bool:
        contents = self._contents.get(replace(key, content_hash=""), set())
        if len(contents) > (key.content_hash in contents):
            return True
        return key.control_id not in self._unused and self._execute(_RESTARTED, _values(key)).fetchone() is not None

    def last_sequence_number(self, key: MessageKey) -> int | None:
        sender = _sender_of(key)
        if sender in self._numbers:
            return self._numbers[sender]
        row = self._execute(_LAST_SEQUENCE, sender).fetchone()
        return row[0] if row else None

    def add(self, entry: JournalEntry) -> int:
        message = StoredMessage(self._next, self._at, entry)
        self._next += 1
        self._added.append(message)
        if entry.outcome.code in POSITIVE:
            self._answered[entry.key] = message
        self._contents.setdefault(replace(entry.key, content_hash=""), set()).add(entry.key.content_hash)
        if entry.sequence_number is not None:
            self._numbers[_sender_of(entry.key)] = entry.sequence_number
        return message.id

    @property
    def size(self) -> int:
        """Bytes of the messages that were added."""
        return sum(len(message.entry.raw) for message in self._added)

    def write(self) -> None:
        """Hand everything to the database; the commit is the caller's."""
        at = self._at.isoformat(timespec="microseconds")
        try:
            self._connection.executemany(_ADD, [_row(message, at) for message in self._added])
        except sqlite3.Error as error:
            raise _unavailable(error) from None

    def _execute(self, statement: str, values: tuple[Any, ...] = ()) -> sqlite3.Cursor:
        try:
            return self._connection.execute(statement, values)
        except sqlite3.Error as error:
            raise _unavailable(error) from None


def _row(message: StoredMessage, at: str) -> tuple[Any, ...]:
    entry = message.entry
    key, outcome = entry.key, entry.outcome
    return (
        message.id, key.listener, key.sending_application, key.sending_facility, key.control_id, key.content_hash, entry.peer, at,
        entry.message_type, entry.state, entry.sender, outcome.code, outcome.error_code, outcome.application_code, outcome.location,
        outcome.text, " ".join(entry.tolerances), trace_as_text(entry.trace), entry.batch, entry.sequence_number, entry.replay_of,
        entry.raw,
    )  # fmt: skip


def _sender_of(key: MessageKey) -> tuple[str, str, str]:
    return (key.listener, key.sending_application, key.sending_facility)


def _values(key: MessageKey) -> tuple[str, ...]:
    return (key.control_id, key.listener, key.sending_application, key.sending_facility, key.content_hash)


class SqliteJournal:
    """One writer in this process; other processes may read, and a person's replay may write.

    `above`: intake has applied everything up to this id. A journal that was lost, or put back from an older copy, must not give ids
    out again that intake believes to be behind it.
    """

    def __init__(self, path: Path, clock: Clock, above: int = 0) -> None:
        self._clock = clock
        self._above = above
        self._log = path.with_name(path.name + "-wal")
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600, exist_ok=True)
        self._writing, self._reading = threading.Lock(), threading.Lock()
        self._written = 0  # bytes since the last checkpoint, about
        with _in_our_words():
            self._writer, self._reader = _connect(path), _connect(path)
            self._checkpointer = _connect(path, _CHECKPOINT_SECONDS)
            self._writer.execute("PRAGMA wal_autocheckpoint=0")
            self._page_bytes = self._writer.execute("PRAGMA page_size").fetchone()[0]
            if not self._writer.execute("PRAGMA user_version").fetchone()[0]:
                self._writer.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version={SCHEMA_VERSION}; COMMIT;")

    def close(self) -> None:
        """Give back the connections."""
        for connection in (self._writer, self._checkpointer, self._reader):
            connection.close()

    @contextmanager
    def transaction(self) -> Iterator[SqlitePage]:
        with self._writing, _in_our_words():
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                page = SqlitePage(self._writer, self._clock.now(), self._above)
                yield page
                page.write()
                self._writer.execute("COMMIT")
                self._written += _COMMIT_BYTES + page.size
            except BaseException:
                if self._writer.in_transaction:  # SQLite itself rolls back where the disk is full
                    self._writer.execute("ROLLBACK")
                raise

    def prepare(self) -> None:
        """Give the log its length, before the first sender waits for it, where the disk has room for many of that length.

        What SQLite has not written itself it does not take for frames: checksums and salts are wrong (SQLite file format §4.4).
        """
        if shutil.disk_usage(self._log.parent).free < _ROOM * _LOG_BYTES:
            return
        with self._writing, _in_our_words():
            self._writer.execute("BEGIN IMMEDIATE")  # nobody writes to the log meanwhile
            try:
                self._lengthen()
            except OSError:
                pass  # a full disk is found out, and answered, by the next message
            finally:
                self._writer.execute("ROLLBACK")

    def _lengthen(self) -> None:
        with self._log.open("r+b", buffering=0) as log:
            position = log.seek(0, os.SEEK_END)
            while position < _LOG_BYTES:
                position += log.write(_ZEROS[: _LOG_BYTES - position])
            os.fsync(log.fileno())

    def checkpoint(self) -> None:
        """Move what is committed from the log into the database, where it is worth it. Commits go on beside it; call it now and then."""
        if self._written < _CHECKPOINT_BYTES:
            return
        self._written = 0
        with _in_our_words():
            _, pages, _ = self._checkpointer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            if pages * self._page_bytes > _LONGEST_LOG_BYTES:
                self._checkpointer.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()

    def after(self, message: int, limit: int = 64) -> tuple[StoredMessage, ...]:
        where = "state = 'accepted' AND id > ? ORDER BY id LIMIT ?"
        return tuple(_stored(row, row[-1]) for row in self._rows(f"{_COLUMNS}, raw", where, (message, limit)))

    def backlog(self, message: int) -> int:
        where = "SELECT count(*) FROM message WHERE state = 'accepted' AND id > ?"
        with self._reading, _in_our_words():
            return int(self._reader.execute(where, (message,)).fetchone()[0])

    def message(self, message: int) -> StoredMessage | None:
        rows = self._rows(f"{_COLUMNS}, raw", "id = ?", (message,))
        return _stored(rows[0], rows[0][-1]) if rows else None

    def messages(
        self, limit: int = 100, *, state: MessageState | None = None, before: int | None = None
    ) -> tuple[StoredMessage, ...]:
        where = "(?1 IS NULL OR state = ?1) AND (?2 IS NULL OR id < ?2) ORDER BY id DESC LIMIT ?3"
        return tuple(_stored(row) for row in self._rows(_COLUMNS, where, (state, before, limit)))

    def counts(self) -> dict[MessageState, int]:
        with self._reading, _in_our_words():
            rows = self._reader.execute("SELECT state, count(*) FROM message GROUP BY state").fetchall()
        return {MessageState(state): count for state, count in rows}

    def _rows(self, columns: str, where: str, values: tuple[Any, ...]) -> list[Any]:
        with self._reading, _in_our_words():
            return self._reader.execute(f"SELECT {columns} FROM message WHERE {where}", values).fetchall()  # noqa: S608


def applied_up_to(store: Path) -> int:
    """The id up to which the store at this path holds the effects; 0 where there is no store yet. Raises Unavailable."""
    if not store.is_file():
        return 0
    with (
        _in_our_words(),
        closing(sqlite3.connect(f"file:{quote(str(store))}?mode=ro", uri=True, timeout=_BUSY_SECONDS)) as connection,
    ):
        if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'effect'").fetchone() is None:
            return 0
        return int(connection.execute("SELECT coalesce(max(message), 0) FROM effect").fetchone()[0])


def _connect(path: Path, busy_seconds: float = _BUSY_SECONDS) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=busy_seconds, isolation_level=None, check_same_thread=False)
    for pragma in ("journal_mode=WAL", "synchronous=FULL"):
        connection.execute(f"PRAGMA {pragma}").fetchall()
    return connection


def _stored(row: Any, raw: bytes = b"") -> StoredMessage:
    (
        number, listener, application, facility, control_id, content_hash, peer, received, message_type, state, sender,
        answer, error_number, error_code, error_where, error_text, tolerances, trace, batch, sequence_number, replay_of,
    ) = row[:21]  # fmt: skip
    entry = JournalEntry(
        MessageKey(listener, application, facility, control_id, content_hash), raw, peer, message_type, MessageState(state),
        Outcome(answer, error_number, error_where, error_text, error_code), sender, tuple(tolerances.split()),
        trace_from_text(trace), batch, sequence_number, replay_of,
    )  # fmt: skip
    return StoredMessage(number, datetime.fromisoformat(received).astimezone(UTC), entry)


@contextmanager
def _in_our_words() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise _unavailable(error) from None


def _unavailable(error: sqlite3.Error) -> Unavailable:
    """Without the text of the failure, which may hold values."""
    return Unavailable("store.unavailable", "journal", type(error).__name__)
