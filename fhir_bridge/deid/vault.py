"""The vault: the only way from a pseudonym back to a patient, and only for the job that owns it.

SQLite of its own under `phi/`, WAL, `synchronous=FULL`. Originals are sealed under a data key per patient, which is wrapped by
the master key; the master key comes from outside and is never stored with the data. Every look is logged in a chain.
Raises Refused `deid.foreign-pseudonym`, `deid.vault-tampered`, `deid.key-wrong`; Unavailable `deid.vault-unavailable`.
"""

import hmac
import json
import secrets
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from fhir_bridge.deid.sealing import KEY_BYTES, joined, load_or_create_key, seal, subkey, tag_of, tampered, unseal
from fhir_bridge.deid.subject import Mapped
from fhir_bridge.deid.vault_schema import SCHEMA
from fhir_bridge.errors import Refused, Unavailable

__all__ = ["Vault", "load_or_create_key"]

_BUSY_SECONDS = 30.0
_SIGNING = "signing-key"


def _now() -> datetime:
    return datetime.now(UTC)


class Vault:
    """Mappings by job. Safe for several threads and processes; what `remember` returned from survives a power cut."""

    def __init__(self, path: Path, master_key: bytes, now: Callable[[], datetime] = _now) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._wrapping_key = subkey(master_key, "wrapping")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600, exist_ok=True)
        self._connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        with _reported():
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON"):
                self._connection.execute(f"PRAGMA {pragma}").fetchall()
            self._connection.executescript(SCHEMA)
        self._signing_key = self._open_signing_key()

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def remember(self, job: str, project: str, patient: str, mapped: Sequence[Mapped]) -> None:
        """From now on the job may resolve these pseudonyms of one patient, and no others. On disk when it returns."""
        with self._transaction() as connection:
            key = self._patient_key(connection, project, patient)
            connection.execute("DELETE FROM binding WHERE job = ?", (job,))
            for entry in mapped:
                associated = joined(project, patient, entry.kind, entry.pseudonym)
                sealed = seal(key, entry.original.encode("utf-8", "surrogatepass"), associated)
                connection.execute(
                    "INSERT OR REPLACE INTO mapping VALUES (?, ?, ?, ?, ?)",
                    (project, patient, entry.pseudonym, entry.kind, sealed),
                )
                row = (job, entry.pseudonym, project, patient, entry.kind)
                connection.execute("INSERT INTO binding VALUES (?, ?, ?, ?, ?, ?)", (*row, self._binding_tag(*row)))
            self._log(connection, "remember", job, [entry.pseudonym for entry in mapped])

    def resolve(self, job: str, wanted: Sequence[tuple[str, str]]) -> Mapping[tuple[str, str], str]:
        """The originals of (kind, pseudonym) pairs. One that is not this very job's, or of another kind, refuses them all."""
        with self._transaction() as connection:
            originals = {pair: self._resolve_one(connection, job, *pair) for pair in wanted}
            refused = None in originals.values()
            self._log(connection, "refuse" if refused else "resolve", job, [pseudonym for _, pseudonym in originals])
        if refused:
            raise Refused("deid.foreign-pseudonym", "prediction", "a pseudonym is not one of this job's")
        return {pair: original for pair, original in originals.items() if original is not None}

    def forget(self, project: str, patient: str) -> None:
        """Destroy the patient's data key and mappings: no pseudonym leads back any more (crypto-shredding)."""
        with self._transaction() as connection:
            for table in ("patient_key", "mapping", "binding"):
                connection.execute(f"DELETE FROM {table} WHERE project = ? AND patient = ?", (project, patient))  # noqa: S608 - our own names
            self._log(connection, "forget", "", [patient])
        with self._lock, _reported():
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def rotate(self, new_master_key: bytes) -> None:
        """Wrap every key anew; originals stay as they are. Other processes must open the vault again with the new key."""
        wrapping = subkey(new_master_key, "wrapping")
        with self._transaction() as connection:
            rows = connection.execute("SELECT project, patient, wrapped FROM patient_key").fetchall()
            for project, patient, wrapped in rows:
                key = unseal(self._wrapping_key, wrapped, joined(project, patient))
                again = seal(wrapping, key, joined(project, patient))
                connection.execute(
                    "UPDATE patient_key SET wrapped = ? WHERE project = ? AND patient = ?", (again, project, patient)
                )
            signing = seal(wrapping, self._signing_key, _SIGNING.encode())
            connection.execute("UPDATE meta SET value = ? WHERE name = ?", (signing, _SIGNING))
            self._log(connection, "rotate", "", [])
        self._wrapping_key = wrapping

    def check_log(self) -> int:
        """The number of entries of the access log, or Refused `deid.vault-tampered` where the chain is broken.

        Entries cut off at the end leave no trace in the chain: keep the number elsewhere to see them missing.
        """
        with self._transaction() as connection:
            return self._check_log(connection)

    def _check_log(self, connection: sqlite3.Connection) -> int:
        before, count = b"", 0
        rows = connection.execute("SELECT number, at, action, job, pseudonyms, hash FROM access_log ORDER BY number")
        for count, (number, *fields, found) in enumerate(rows, start=1):
            before = self._chained(before, count, fields)
            if number != count or not hmac.compare_digest(before, found):
                raise tampered("the access log")
        return count

    def _chained(self, before: bytes, number: int, fields: Sequence[str]) -> bytes:
        return tag_of(self._signing_key, "log", before.hex(), str(number), *fields)

    def _log(self, connection: sqlite3.Connection, action: str, job: str, pseudonyms: Sequence[str]) -> None:
        last = connection.execute("SELECT number, hash FROM access_log ORDER BY number DESC LIMIT 1").fetchone()
        number, before = last or (0, b"")
        fields = (self._now().isoformat(), action, job, json.dumps(sorted(pseudonyms)))
        row = (number + 1, *fields, self._chained(before, number + 1, fields))
        connection.execute("INSERT INTO access_log VALUES (?, ?, ?, ?, ?, ?)", row)

    def _resolve_one(self, connection: sqlite3.Connection, job: str, kind: str, pseudonym: str) -> str | None:
        bound = connection.execute(
            "SELECT project, patient, kind, tag FROM binding WHERE job = ? AND pseudonym = ?", (job, pseudonym)
        ).fetchone()
        if bound is None or bound[2] != kind:
            return None
        project, patient, _, tag = bound
        if not hmac.compare_digest(tag, self._binding_tag(job, pseudonym, project, patient, kind)):
            raise tampered("a binding")
        sealed = connection.execute(
            "SELECT sealed FROM mapping WHERE project = ? AND patient = ? AND pseudonym = ?",
            (project, patient, pseudonym),
        ).fetchone()
        wrapped = self._wrapped_key(connection, project, patient)
        if sealed is None or wrapped is None:
            raise tampered("a mapping")
        key = unseal(self._wrapping_key, wrapped, joined(project, patient))
        return unseal(key, sealed[0], joined(project, patient, kind, pseudonym)).decode("utf-8", "surrogatepass")

    def _binding_tag(self, *row: str) -> bytes:
        return tag_of(self._signing_key, "binding", *row)

    def _wrapped_key(self, connection: sqlite3.Connection, project: str, patient: str) -> bytes | None:
        row = connection.execute(
            "SELECT wrapped FROM patient_key WHERE project = ? AND patient = ?", (project, patient)
        ).fetchone()
        return None if row is None else bytes(row[0])

    def _patient_key(self, connection: sqlite3.Connection, project: str, patient: str) -> bytes:
        wrapped = self._wrapped_key(connection, project, patient)
        if wrapped is not None:
            return unseal(self._wrapping_key, wrapped, joined(project, patient))
        key = secrets.token_bytes(KEY_BYTES)
        sealed = seal(self._wrapping_key, key, joined(project, patient))
        connection.execute("INSERT INTO patient_key VALUES (?, ?, ?)", (project, patient, sealed))
        return key

    def _open_signing_key(self) -> bytes:
        """The key of tags and log, made with the vault; that it opens shows that the master key is the right one."""
        with self._transaction() as connection:
            row = connection.execute("SELECT value FROM meta WHERE name = ?", (_SIGNING,)).fetchone()
            if row is None:
                key = secrets.token_bytes(KEY_BYTES)
                sealed = seal(self._wrapping_key, key, _SIGNING.encode())
                connection.execute("INSERT INTO meta VALUES (?, ?)", (_SIGNING, sealed))
                return key
        try:
            return unseal(self._wrapping_key, row[0], _SIGNING.encode())
        except Refused:
            raise Refused("deid.key-wrong", "vault", "the vault was made with another master key") from None

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All of it, on disk, or nothing; one thread at a time, other processes wait their turn."""
        with self._lock, _reported():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise


@contextmanager
def _reported() -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        # its text may quote a statement; its class says enough
        raise Unavailable(
            "deid.vault-unavailable", type(error).__name__, "the vault cannot be read or written now"
        ) from None
