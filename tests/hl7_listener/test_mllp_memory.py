"""What a listener's connections hold in memory stays under one limit (items 4 and 5)."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from hl7_listener.acknowledgement import Outcome
from hl7_listener.memory import Memory
from hl7_listener.server import MllpServer, Received
from tests.support.mllp_acceptors import HoldingAcceptor, ReadyAcceptor
from tests.support.mllp_peer import TIMEOUT_SECONDS, RawPeer, block, msa, order, wait_until

Start = Callable[..., tuple[MllpServer, tuple[str, int]]]
MEBIBYTE = 1024 * 1024
READ = 65536


class Holder:
    """A connection with an open block of so many bytes, whose head is ten."""

    def __init__(self, memory: Memory, count: int = 0) -> None:
        self.memory = memory
        self.count = count
        self.went_on = 0
        self.note(count)

    def note(self, count: int) -> None:
        self.count = count
        self.memory.note_unfinished(self, count)

    def crowd_out(self) -> int:
        self.count = min(self.count, 10)
        return self.count

    def go_on(self) -> None:
        self.went_on += 1


def test_the_largest_unfinished_block_is_cut_down_first() -> None:
    memory = Memory(100)
    small, large = Holder(memory, 30), Holder(memory, 60)

    Holder(memory, 20)

    assert (small.count, large.count) == (30, 10)


def test_as_many_blocks_are_cut_down_as_it_takes() -> None:
    memory = Memory(100)

    holders = [Holder(memory, count) for count in (40, 50, 95)]

    assert [holder.count for holder in holders] == [40, 50, 10]
    holders[2].note(95)
    assert sum(holder.count for holder in holders) <= 100


def test_heads_alone_are_left_alone() -> None:
    memory = Memory(15)

    holders = [Holder(memory, 10) for _ in range(3)]

    assert [holder.count for holder in holders] == [10, 10, 10]


def test_while_answers_are_due_reading_stops_and_nothing_is_cut_down() -> None:
    memory = Memory(100)
    memory.hold(60)

    holder = Holder(memory, 50)

    assert not memory.has_room(holder)
    assert (holder.count, holder.went_on) == (50, 0)


def test_an_answer_lets_the_readers_go_on() -> None:
    memory = Memory(100)
    memory.hold(60)
    memory.hold(50)
    holder = Holder(memory)
    memory.has_room(holder)

    memory.release(50)

    assert (holder.went_on, memory.has_room(holder)) == (1, True)


def test_the_last_answer_lets_them_go_on_even_where_blocks_fill_the_memory() -> None:
    memory = Memory(100)
    memory.hold(10)
    holder = Holder(memory, 100)
    memory.has_room(holder)

    memory.release(10)

    assert (holder.went_on, holder.count) == (1, 100)


def test_a_connection_that_is_gone_holds_nothing() -> None:
    memory = Memory(100)
    gone = Holder(memory, 90)

    memory.forget(gone)

    assert Holder(memory, 90).count == 90


def test_of_two_unfinished_messages_the_larger_is_given_up_and_still_answered(start: Start) -> None:
    """Item 5: the total memory cap. Its sender is told, with its own MSH-10, and the other's message is taken whole."""
    acceptor = ReadyAcceptor()
    server, address = start(acceptor, max_message_mebibytes=2, max_buffered_mebibytes=1)
    large, small = (order(name, name=b"x" * count) for name, count in (("large", 700_000), ("small", 400_000)))

    with RawPeer(address) as first, RawPeer(address) as second:
        first.send(b"\x0b" + large)
        wait_until(lambda: server.statistics()["buffered_bytes"] == len(large))
        second.send(block(small))
        assert msa(second.answer()) == ("AA", "small")
        first.send(b"\x1c\r" + block(order("next")))
        assert [msa(first.answer()), msa(first.answer())] == [("AR", "large"), ("AA", "next")]

    given_up = next(one for one in acceptor.received if one.oversize)
    assert (given_up.crowded_out, len(given_up.payload)) == (True, 8192)
    assert (server.statistics()["crowded_out"], server.statistics()["oversize"]) == (1, 1)


def test_messages_that_wait_for_their_answers_stop_the_reading(start: Start) -> None:
    """Items 4 and 5: a store that stands still costs the limit and one read at most; nothing is dropped."""
    acceptor = HoldingAcceptor()
    server, address = start(acceptor, max_buffered_mebibytes=1, max_in_flight=100)
    messages = [order(str(number), name=b"x" * 200_000) for number in range(30)]

    with RawPeer(address) as peer, ThreadPoolExecutor(1) as pool:
        sent = pool.submit(peer.send, b"".join(map(block, messages)))
        most = 0
        for _ in range(6):
            held = [acceptor.take() for _ in range(5)]
            most = max(most, server.statistics()["buffered_bytes"])
            for _, future in held:
                future.set_result(Outcome("AA"))
        sent.result(TIMEOUT_SECONDS)

        assert [msa(peer.answer())[1] for _ in messages] == [str(number) for number in range(30)]
    assert most <= MEBIBYTE + READ
    assert server.statistics()["crowded_out"] == 0


@pytest.mark.parametrize("is_last", [False, True])
def test_a_connection_may_end_after_a_message_that_is_too_large(start: Start, is_last: bool) -> None:
    """Item 5: keep or close, by policy."""
    server, address = start(ReadyAcceptor(), close_after_oversize=is_last)

    with RawPeer(address) as peer:
        peer.send(block(order("A", name=b"x" * 2_000_000)) + block(order("B")))
        assert msa(peer.answer()) == ("AR", "A")
        if is_last:
            assert peer.rest() == b""
        else:
            assert msa(peer.answer()) == ("AA", "B")
    assert server.statistics()["closed"] == ({"oversize": 1} if is_last else {})


def raised(received: Received) -> Any:
    raise RuntimeError


def test_a_message_whose_acceptor_fails_holds_no_memory(start: Start) -> None:
    server, address = start(raised, max_buffered_mebibytes=1)
    message = block(order("A", name=b"x" * 400_000))

    with RawPeer(address) as peer:
        for _ in range(5):
            peer.send(message)
            assert msa(peer.answer()) == ("AR", "A")
    assert server.statistics()["buffered_bytes"] == 0
