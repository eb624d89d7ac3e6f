"""Several listeners on one event loop, each with a policy of its own, and outcomes that are finished together (items 4 and 7)."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest

from hl7_listener.acknowledgement import Outcome
from hl7_listener.server import ListenerPolicy, MllpServer
from hl7_listener.wakeup import Wakeup
from tests.support.mllp_acceptors import HoldingAcceptor, ReadyAcceptor
from tests.support.mllp_peer import TIMEOUT_SECONDS, RawPeer, answers, block, msa, order, wait_until

A, B = order("A"), order("B")


def policies(**second: Any) -> list[ListenerPolicy]:
    return [ListenerPolicy("orders", port=0), ListenerPolicy("adt", port=0, **second)]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_each_feed_has_its_own_port_name_and_policy(stack: ExitStack) -> None:
    """Item 7: one listener per feed."""
    acceptor = ReadyAcceptor()
    server = MllpServer(policies(application="ADT-BRIDGE", bare_messages=True), acceptor)
    stack.callback(server.stop)
    first = server.start()

    with RawPeer(server.addresses["orders"]) as orders, RawPeer(server.addresses["adt"]) as adt:
        orders.send(A + b"\x1c\r" + block(A))  # without VT: not taken here
        adt.send(B + b"\x1c\r")
        found = [orders.answer(), adt.answer()]

    assert first == server.addresses["orders"] != server.addresses["adt"]
    assert [msa(answer) for answer in found] == [("AA", "A"), ("AA", "B")]
    assert [answer.split(b"|")[2] for answer in found] == [b"FHIR-BRIDGE", b"ADT-BRIDGE"]
    assert {(one.listener, one.payload) for one in acceptor.received} == {("orders", A), ("adt", B)}


def test_each_feed_is_counted_apart(stack: ExitStack) -> None:
    server = MllpServer(policies(), ReadyAcceptor())
    stack.callback(server.stop)
    server.start()

    with RawPeer(server.addresses["adt"]) as adt:
        adt.send(block(A))
        adt.answer()

    assert [server.statistics(name)["messages"] for name in ("orders", "adt")] == [0, 1]
    assert server.statistics() == server.statistics("orders")


def test_all_listeners_share_one_thread(stack: ExitStack) -> None:
    threads = threading.active_count()
    server = MllpServer(policies(), ReadyAcceptor())
    stack.callback(server.stop)

    server.start()

    assert threading.active_count() == threads + 1


def test_where_one_address_is_taken_none_listens(stack: ExitStack) -> None:
    taken = MllpServer(ListenerPolicy("taken", port=0), ReadyAcceptor())
    stack.callback(taken.stop)
    host, port = taken.start()
    free = ListenerPolicy("orders", port=0)
    server = MllpServer([free, ListenerPolicy("adt", host, port)], ReadyAcceptor())
    stack.callback(server.stop)

    with pytest.raises(OSError, match="in use"):
        server.start()
    taken.stop()

    assert server.start()[1] > 0  # and it may be tried again


@pytest.mark.parametrize("names", [[], ["orders", "orders"]])
def test_listeners_need_names_of_their_own(names: list[str]) -> None:
    with pytest.raises(ValueError, match="name of its own"):
        MllpServer([ListenerPolicy(name, port=0) for name in names], ReadyAcceptor())


def test_draining_drains_them_all(stack: ExitStack) -> None:
    """Item 7: a graceful stop."""
    acceptor = HoldingAcceptor()
    server = MllpServer(policies(), acceptor)
    stack.callback(server.stop)
    server.start()

    with (
        ThreadPoolExecutor(1) as pool,
        RawPeer(server.addresses["orders"]) as orders,
        RawPeer(server.addresses["adt"]) as adt,
    ):
        for peer in (orders, adt):
            peer.send(block(A))
        futures = [acceptor.take()[1] for _ in range(2)]
        drained = pool.submit(server.drain, TIMEOUT_SECONDS)
        for future in futures:
            future.set_result(Outcome("AA"))

        assert [answers(peer.rest()) for peer in (orders, adt)] == [[("AA", "A")]] * 2
        assert drained.result(TIMEOUT_SECONDS)
    for address in server.addresses.values():
        with pytest.raises(ConnectionRefusedError):
            RawPeer(address)


def test_outcomes_that_are_set_together_wait_for_the_end_of_the_set(stack: ExitStack) -> None:
    acceptor = HoldingAcceptor()
    server = MllpServer(ListenerPolicy("orders", port=0), acceptor)
    stack.callback(server.stop)
    address = server.start()
    with RawPeer(address) as first, RawPeer(address) as second:
        for peer in (first, second):
            peer.send(block(A))
        futures = [acceptor.take()[1] for _ in range(2)]

        with server.together():
            for future in futures:
                future.set_result(Outcome("AA"))
            with RawPeer(address):  # the loop has turned meanwhile
                wait_until(lambda: server.statistics()["connections"] == 3)
            before = server.statistics()["acknowledgements"]

        assert [msa(first.answer()), msa(second.answer())] == [("AA", "A")] * 2
    assert before == {}


class LoopThatCounts:
    """As much of an event loop as a wake-up needs: calls run when the test says so."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def call_soon_threadsafe(self, call: Any) -> None:
        self.calls.append(call)


class Waiting:
    def __init__(self) -> None:
        self.times = 0

    def go_on(self) -> None:
        self.times += 1


def test_a_commit_of_many_wakes_the_loop_once() -> None:
    loop = LoopThatCounts()
    wakeup = Wakeup(loop)  # type: ignore[arg-type]
    waiting = [Waiting() for _ in range(100)]

    with wakeup.together():
        for one in waiting:
            wakeup(one)
    [call] = loop.calls
    call()

    assert {one.times for one in waiting} == {1}


def test_what_finishes_before_the_loop_has_turned_shares_its_wake_up() -> None:
    loop = LoopThatCounts()
    wakeup = Wakeup(loop)  # type: ignore[arg-type]
    first, second = Waiting(), Waiting()

    wakeup(first)
    wakeup(second)
    wakeup(second)
    loop.calls.pop()()
    wakeup(first)
    [call] = loop.calls
    call()

    assert (first.times, second.times) == (2, 1)


def test_nothing_to_wake_for_wakes_nobody() -> None:
    loop = LoopThatCounts()

    with Wakeup(loop).together():  # type: ignore[arg-type]
        pass

    assert loop.calls == []


def test_outcomes_from_many_threads_all_arrive(stack: ExitStack) -> None:
    acceptor = HoldingAcceptor()
    server = MllpServer(ListenerPolicy("orders", port=0, max_in_flight=1000), acceptor)
    stack.callback(server.stop)
    ids = [str(number) for number in range(200)]

    def finish(future: "Future[Outcome]") -> None:
        with server.together():
            future.set_result(Outcome("AA"))

    with RawPeer(server.start()) as peer, ThreadPoolExecutor(4) as pool:
        peer.send(b"".join(block(order(control_id)) for control_id in ids))
        futures = [acceptor.take()[1] for _ in ids]
        list(pool.map(finish, reversed(futures)))

        assert [msa(peer.answer())[1] for _ in ids] == ids
