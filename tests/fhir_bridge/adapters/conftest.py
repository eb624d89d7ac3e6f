"""What the tests of the FHIR adapters share: a scripted server, a clock that only waiting moves, a real server. And a store with its
queue, real and twin, for the contract tests."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fhir_bridge.adapters.fhir_client import FhirClient
from fhir_bridge.adapters.in_memory.queue import InMemoryQueue
from fhir_bridge.adapters.in_memory.store import InMemoryStore
from fhir_bridge.adapters.sql_database import SqlDatabase
from fhir_bridge.adapters.sql_store import SqlStore
from fhir_bridge.adapters.sqlite_queue import SqliteQueue
from fhir_bridge.practice.fhir_peer import FhirPeer
from tests.support.frozen_clock import FrozenClock
from tests.support.hapi import running_peer
from tests.support.scripted_http import Scripted, ScriptedServer, in_turn
from tests.support.store_house import LEASE, MAX_LOSSES, House
from tests.support.waiting_time import WaitingTime


@pytest.fixture
def waiting() -> WaitingTime:
    return WaitingTime()


@pytest.fixture
def servers() -> Iterator[list[ScriptedServer]]:
    """Those that `serve` started."""
    started: list[ScriptedServer] = []
    yield started
    for server in started:
        server.close()


@pytest.fixture
def serve(servers: list[ScriptedServer], waiting: WaitingTime) -> Iterator[Callable[..., FhirClient]]:
    """Starts a server that gives these answers in turn; returns a client of it."""
    clients = []

    def start(*answers: Scripted, **options: Any) -> FhirClient:
        servers.append(ScriptedServer(in_turn(*answers)))
        clients.append(FhirClient(f"{servers[-1].url}/fhir", timing=waiting.timing(), **options))
        return clients[-1]

    yield start
    for client in clients:
        client.close()


@pytest.fixture(scope="session")
def sekmet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FhirPeer]:
    """A real, small FHIR server. Use an identifier system of your own in each test."""
    yield from running_peer("sekmet", tmp_path_factory.mktemp("sekmet"))


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new database, made once and copied for every test."""
    folder = tmp_path_factory.mktemp("migrated")
    database = SqlDatabase.in_folder(folder)
    database.migrate()
    database.close()
    return folder / "bridge.db"


@pytest.fixture(params=["sqlite", "in-memory"])
def house(request: pytest.FixtureRequest, tmp_path: Path, clock: FrozenClock, migrated: Path) -> Iterator[House]:
    if request.param == "in-memory":
        store = InMemoryStore(clock)
        yield House(store, InMemoryQueue(store, clock, LEASE, MAX_LOSSES), clock)
        return
    shutil.copy(migrated, tmp_path)
    database = SqlDatabase.in_folder(tmp_path)
    yield House(SqlStore(database, clock), SqliteQueue(database, clock, LEASE, MAX_LOSSES), clock)
    database.close()
