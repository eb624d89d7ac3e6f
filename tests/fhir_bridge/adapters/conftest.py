"""What the tests of the FHIR adapters share: a scripted server, a clock that only waiting moves, a real server."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fhir_bridge.adapters.fhir_client import FhirClient
from fhir_bridge.practice.fhir_peer import FhirPeer
from tests.support.hapi import running_peer
from tests.support.scripted_http import Scripted, ScriptedServer, in_turn
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
