"""One SQLite database: durable settings, short write transactions, migrations, errors in our words."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError

from fhir_bridge.adapters.turns import Turns
from fhir_bridge.errors import Refused, Unavailable

HEAD = "0001"  # the newest step in migrations/versions; a test holds it


class NewerDatabase(Refused):
    """`store.newer-schema`: the database was written by a newer program, and this one must not touch it."""


class SqlDatabase:
    """Write transactions one at a time (SQLite has one writer anyway; `Turns` is fairer than its busy loop); reads beside them.

    `synchronous=FULL`: one fsync a commit, so what is committed survives a power cut.
    """

    def __init__(self, url: str) -> None:
        self._writer = _engine(url, "BEGIN IMMEDIATE")
        self._reader = _engine(url, "BEGIN")
        self._turns = Turns()

    @classmethod
    def in_folder(cls, folder: Path) -> "SqlDatabase":
        """The default database of a data folder."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return cls(f"sqlite:///{folder / 'bridge.db'}")

    @contextmanager
    def writing(self, *, intake: bool = False) -> Iterator[Connection]:
        """All of it is on disk when the block ends, or nothing is. Raises Unavailable `store.unavailable`."""
        with self._turns.turn(intake=intake), in_our_words(), self._writer.begin() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A consistent view. Raises Unavailable `store.unavailable`."""
        with in_our_words(), self._reader.begin() as connection:
            yield connection

    def migrate(self) -> None:
        """To the newest schema, forward only. Raises NewerDatabase."""
        with self.writing() as connection:
            current = _revision(connection)
            if current == HEAD:
                return
            if current > HEAD:
                why = f"the database is at schema {current}, this program knows {HEAD}"
                raise NewerDatabase("store.newer-schema", "store", why)
            _upgrade(connection)

    def close(self) -> None:
        """Give back the connections."""
        self._writer.dispose()
        self._reader.dispose()


def _engine(url: str, begin: str) -> Engine:
    engine = create_engine(url)

    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _: object) -> None:
        connection.isolation_level = None  # the driver must not begin transactions of its own
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=10000"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


@contextmanager
def in_our_words() -> Iterator[None]:
    """A failure of the database as Unavailable `store.unavailable`."""
    try:
        yield
    except DBAPIError as error:
        # the statement's parameters are patient data: only the kind of the failure goes on
        raise Unavailable("store.unavailable", "store", type(error.orig).__name__) from None


def _revision(connection: Connection) -> str:
    known = connection.execute(text("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'")).first()
    if known is None:
        return ""
    return str(connection.execute(text("SELECT version_num FROM alembic_version")).scalar() or "")


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
