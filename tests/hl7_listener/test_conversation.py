"""The messages of one connection without a socket: whatever finishes first, the answers keep the order of the messages (item 4)."""

from concurrent.futures import Future

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hl7_listener.acknowledgement import Outcome
from hl7_listener.answering import Answering
from hl7_listener.conversation import Conversation, Received, Shared
from hl7_listener.framing import Decoder, Frame, frame
from hl7_listener.memory import Memory
from hl7_listener.policy import ListenerPolicy
from hl7_listener.traffic import PeerTraffic
from tests.support.mllp_peer import answers, order

MARKED = st.one_of(
    st.sampled_from([b"\x0b", b"\x1c", b"\x1c\r", b"\x1c\n", b"\r", b"MSH|", order("1"), order("2")[:40], b"\x0b\x0b"]),
    st.binary(max_size=8),
)
STREAMS = st.lists(MARKED, max_size=12).map(b"".join)


class Peer:
    """One connection: what it is given, what it answers, how often it asks to go on."""

    def __init__(self, max_in_flight: int = 1000) -> None:
        self.given: list[tuple[Received, Future[Outcome]]] = []
        self.memory = Memory(10**9)
        self.traffic = PeerTraffic()
        self.woken = 0
        policy = ListenerPolicy("orders", max_in_flight=max_in_flight)
        unused = (self.wake_another, memoryview(b""))
        shared = Shared(policy, self.accept, Answering(policy), self.memory, *unused)  # type: ignore[arg-type]
        self.messages = Conversation(shared, self.traffic, "10.0.0.1:5", self.wake)

    def accept(self, received: Received) -> "Future[Outcome]":
        future: Future[Outcome] = Future()
        self.given.append((received, future))
        return future

    def wake(self) -> None:
        self.woken += 1

    def wake_another(self, _connection: object) -> None:
        raise AssertionError


@settings(deadline=None)
@given(st.permutations(range(6)), st.integers(1, 6))
def test_answers_keep_the_order_of_the_messages_whatever_finishes_first(finished: list[int], in_flight: int) -> None:
    peer = Peer(in_flight)
    peer.messages.add([Frame(order(str(number))) for number in range(6)])
    stream = b""
    while peer.messages.give_on() or peer.given:
        open_now = [future for _, future in peer.given]
        for number in finished:
            if number < len(open_now):
                open_now[number].set_result(Outcome("AA"))
        peer.given.clear()
        stream += peer.messages.answers()

    assert answers(stream) == [("AA", str(number)) for number in range(6)]
    assert (peer.messages.is_over, peer.memory.held_bytes) == (True, 0)


@settings(deadline=None)
@given(STREAMS, st.lists(st.integers(1, 40)))
def test_every_message_of_a_stream_gets_one_answer_and_the_last_is_always_found(stream: bytes, cuts: list[int]) -> None:
    """Item 2: whatever came before, a whole block behind it is a message."""
    peer, decoder = Peer(), Decoder(10_000)
    stream += frame(order("last"))
    while stream:
        cut = cuts.pop() if cuts else len(stream)
        peer.messages.add(decoder.feed(stream[:cut]))
        stream = stream[cut:]
    peer.messages.give_on()
    for _, future in peer.given:
        future.set_result(Outcome("AA"))

    found = answers(peer.messages.answers())

    assert len(found) == len(peer.given)
    assert found[-1] == ("AA", "last")
    assert peer.memory.held_bytes == 0


def test_no_more_messages_are_in_flight_than_allowed() -> None:
    """Item 4: backpressure."""
    peer = Peer(max_in_flight=2)
    peer.messages.add([Frame(order(str(number))) for number in range(3)])

    peer.messages.give_on()

    assert (len(peer.given), peer.messages.can_take_more) == (2, False)


def test_each_outcome_wakes_the_connection() -> None:
    peer = Peer()
    peer.messages.add([Frame(order("1")), Frame(order("2"))])
    peer.messages.give_on()

    for _, future in peer.given:
        future.set_result(Outcome("AA"))

    assert peer.woken == 2


def test_an_acceptor_that_raises_is_reported_and_its_message_answered() -> None:
    class Failing(Peer):
        def accept(self, received: Received) -> "Future[Outcome]":
            raise RuntimeError

    peer = Failing()
    peer.messages.add([Frame(order("1"))])
    with pytest.raises(RuntimeError):
        peer.messages.give_on()

    assert peer.woken == 1
    assert answers(peer.messages.answers()) == [("AR", "1")]


def test_what_was_not_given_on_is_counted_when_the_connection_ends() -> None:
    peer = Peer(max_in_flight=1)
    peer.messages.add([Frame(order("1")), Frame(order("2"))])
    peer.messages.give_on()

    peer.messages.drop_waiting("connection-lost")

    assert peer.traffic.discarded == {"connection-lost": len(order("2"))}
    assert peer.memory.held_bytes == len(order("1"))
