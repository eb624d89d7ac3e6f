"""Listeners that are stopped when their test is over, and an authority for TLS."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hl7_listener.server import Acceptor, ListenerPolicy, MllpServer
from hl7_listener.tls import RenewedContext, client_context, server_context
from tests.support.certificates import Authority

POLICY = ListenerPolicy("orders", port=0, max_message_mebibytes=1)
Start = Callable[..., tuple[MllpServer, tuple[str, int]]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a listener; it is stopped when the test is over."""
    with ExitStack() as stack:

        def starter(accept: Acceptor, **limits: Any) -> tuple[MllpServer, tuple[str, int]]:
            server = MllpServer(replace(POLICY, **limits), accept)
            stack.callback(server.stop)
            return server, server.start()

        yield starter


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "certificates")


@pytest.fixture
def tls(authority: Authority) -> tuple[RenewedContext, RenewedContext]:
    """The listener's context, and that of a client that trusts it."""
    ours = RenewedContext(server_context, *authority.sign("localhost"))
    return ours, RenewedContext(client_context, authority.ca_file)
