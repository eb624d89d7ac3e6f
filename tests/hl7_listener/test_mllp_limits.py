"""The listener's limits and its end, on real sockets (items 5, 6 and 7)."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from hl7_listener.acknowledgement import Outcome
from hl7_listener.server import ListenerPolicy, MllpServer
from tests.support.mllp_acceptors import HoldingAcceptor, ReadyAcceptor
from tests.support.mllp_peer import TIMEOUT_SECONDS, RawPeer, answers, block, msa, order

Start = Callable[..., tuple[MllpServer, tuple[str, int]]]
A, B = order("A"), order("B")


def test_more_connections_than_allowed_are_closed(start: Start) -> None:
    server, address = start(ReadyAcceptor(), max_connections=1)

    with RawPeer(address) as first:
        first.send(block(A))
        first.answer()
        with RawPeer(address) as second:
            assert second.rest() == b""
        first.send(block(B))
        assert msa(first.answer()) == ("AA", "B")
    assert server.statistics()["connections_refused"] == {"too-many-connections": 1}


def test_a_silent_connection_is_closed_after_the_idle_timeout(start: Start) -> None:
    server, address = start(ReadyAcceptor(), idle_timeout_seconds=0.05)

    with RawPeer(address) as peer:
        assert peer.rest() == b""
    assert server.statistics()["closed"] == {"idle-timeout": 1}


def test_a_message_in_the_acceptor_s_hands_is_not_idleness(start: Start) -> None:
    acceptor = HoldingAcceptor()
    _, address = start(acceptor, idle_timeout_seconds=0.05)

    with RawPeer(address) as busy, RawPeer(address) as idle:
        busy.send(block(A))
        _, future = acceptor.take()
        idle.rest()  # closed: the timeout is over
        future.set_result(Outcome("AA"))

        assert msa(busy.answer()) == ("AA", "A")


@pytest.mark.parametrize(
    ("data", "expected"),
    [(b"\x0b" + A[:30], []), (b"\x0b" + A + b"\x1c", [("AA", "A")])],
    ids=["half", "whole but for CR"],
)
def test_a_block_that_does_not_end_is_given_up_after_its_time(start: Start, data: bytes, expected: list[Any]) -> None:
    server, address = start(ReadyAcceptor(), max_partial_age_seconds=0.05)

    with RawPeer(address) as peer:
        peer.send(data)
        assert answers(peer.rest()) == expected
    assert server.statistics()["closed"] == {"partial-timeout": 1}


def test_a_sender_that_does_not_read_its_answers_is_cut_off(start: Start) -> None:
    server, address = start(ReadyAcceptor(), write_timeout_seconds=0.2)
    long_answers = block(order("x" * 60_000)) * 20

    with RawPeer(address) as peer, pytest.raises(OSError):
        for _ in range(200):
            peer.send(long_answers)

    assert server.statistics()["closed"] == {"write-timeout": 1}


def test_draining_answers_what_was_read_and_takes_no_more(start: Start) -> None:
    acceptor = HoldingAcceptor()
    server, address = start(acceptor)
    with RawPeer(address) as peer:
        peer.send(block(A) + b"\x0b" + B[:20])
        _, future = acceptor.take()
        drained: Future[bool] = Future()
        thread = threading.Thread(target=lambda: drained.set_result(server.drain(TIMEOUT_SECONDS)))
        thread.start()
        future.set_result(Outcome("AA"))

        assert answers(peer.rest()) == [("AA", "A")]
        assert drained.result(TIMEOUT_SECONDS)
        thread.join()
    with pytest.raises(ConnectionRefusedError):
        RawPeer(address)


def test_draining_gives_up_after_its_time(start: Start) -> None:
    acceptor = HoldingAcceptor()
    server, address = start(acceptor)

    with RawPeer(address) as peer:
        peer.send(block(A))
        acceptor.take()

        assert not server.drain(0.05)


def test_stopping_closes_at_once_and_a_late_outcome_does_no_harm(start: Start) -> None:
    acceptor = HoldingAcceptor()
    server, address = start(acceptor)
    with RawPeer(address) as peer:
        peer.send(block(A))
        _, future = acceptor.take()

        server.stop()
        future.set_result(Outcome("AA"))
        server.stop()

        assert peer.rest() == b""


def test_an_address_in_use_is_an_error_of_start(start: Start) -> None:
    _, (_, port) = start(ReadyAcceptor())

    with pytest.raises(OSError, match="in use"):
        start(ReadyAcceptor(), port=port)


def test_a_server_that_was_never_started_can_be_stopped() -> None:
    server = MllpServer(ListenerPolicy("orders", port=0), ReadyAcceptor())

    assert server.drain(1)
    server.stop()
