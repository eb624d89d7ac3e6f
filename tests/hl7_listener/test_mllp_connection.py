"""A connection and its listener at the edges of the sockets: options, writes, and a process without file descriptors (items 1 and 6)."""

import asyncio
import errno
import socket
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

import hl7_listener.listener
from hl7_listener.acknowledgement import Outcome
from hl7_listener.answering import Answer
from hl7_listener.connection import Connection, Received
from hl7_listener.listener import Listener
from hl7_listener.policy import ListenerPolicy
from hl7_listener.wakeup import Wakeup
from tests.support.mllp_acceptors import ReadyAcceptor
from tests.support.mllp_peer import TIMEOUT_SECONDS, answers, block, msa, order

A, B = order("A"), order("B")


class Socket:
    def __init__(self) -> None:
        self.options: dict[int, int] = {}

    def setsockopt(self, _level: int, option: int, value: int) -> None:
        self.options[option] = value


class Transport(asyncio.Transport):
    """As much of a transport as a connection uses; every write is kept apart."""

    def __init__(self) -> None:
        super().__init__()
        self.socket = Socket()
        self.writes: list[bytes] = []
        self.is_aborted = False
        self.is_paused = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.socket if name == "socket" else default

    def write(self, data: Any) -> None:
        self.writes.append(bytes(data))

    def is_closing(self) -> bool:
        return self.is_aborted

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    def abort(self) -> None:
        self.is_aborted = True


async def converse(accept: Callable[[Received], Any], data: bytes) -> Transport:
    """Give a new connection these bytes in one read and let the loop turn until it is done."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, _context: None)
    listener = Listener(ListenerPolicy("orders"), accept, Wakeup(loop))
    shared, transport = listener._shared, Transport()
    connection = Connection(shared, listener, listener._traffic.of("peer"), "peer", 1)
    connection.connection_made(transport)
    shared.buffer[: len(data)] = data
    connection.buffer_updated(len(data))
    for _ in range(5):
        await asyncio.sleep(0)
    return transport


def test_a_connection_writes_at_once_and_finds_dead_peers() -> None:
    """Item 1: TCP_NODELAY. Item 6: TCP keepalive, within minutes, not the two hours of the system."""
    options = asyncio.run(converse(ReadyAcceptor(), b"")).socket.options

    assert options[socket.TCP_NODELAY] == options[socket.SO_KEEPALIVE] == 1
    assert options[socket.TCP_KEEPIDLE] + options[socket.TCP_KEEPINTVL] * options[socket.TCP_KEEPCNT] <= 240


def test_answers_that_are_due_together_leave_with_one_write() -> None:
    """Item 1."""
    [data] = asyncio.run(converse(ReadyAcceptor(), block(A) + block(B))).writes

    assert answers(data) == [("AA", "A"), ("AA", "B")]


def test_an_answer_that_cannot_be_made_ends_the_connection_rather_than_leave_its_peer_in_silence() -> None:
    def accept(_received: Received) -> "Future[Answer]":
        future: Future[Any] = Future()
        future.set_result("neither an outcome nor answers")
        return future

    transport = asyncio.run(converse(accept, block(A)))

    assert (transport.is_aborted, transport.writes) == (True, [])


class Exhausted(socket.socket):
    """A listening socket in a process whose file descriptors are used up, for the first time that it is asked."""

    is_exhausted = True

    def accept(self) -> tuple[socket.socket, Any]:
        if self.is_exhausted:
            self.is_exhausted = False
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


def test_a_listener_without_file_descriptors_takes_the_waiting_peer_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hl7_listener.listener, "_ACCEPT_AGAIN_SECONDS", 0.01)

    async def scenario() -> bytes:
        listener = Listener(ListenerPolicy("orders"), ReadyAcceptor(), Wakeup(asyncio.get_running_loop()))
        listening = Exhausted(fileno=socket.create_server(("127.0.0.1", 0)).detach())
        await listener.listen(listening)
        reader, writer = await asyncio.open_connection(*listening.getsockname())
        writer.write(block(A))
        answer = await asyncio.wait_for(reader.readuntil(b"\x1c\r"), TIMEOUT_SECONDS)
        writer.close()
        await writer.wait_closed()
        await listener.close()
        assert not listening.is_exhausted
        return answer

    assert msa(asyncio.run(scenario())[1:-2]) == ("AA", "A")


def test_an_outcome_that_needs_no_answer_writes_nothing() -> None:
    def accept(_received: Received) -> "Future[Outcome]":
        future: Future[Outcome] = Future()
        future.set_result(Outcome(""))
        return future

    assert asyncio.run(converse(accept, block(A))).writes == []
