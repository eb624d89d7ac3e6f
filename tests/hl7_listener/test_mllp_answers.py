"""What goes back on the wire: one block for each answer, ready-made ones, and the commit blocks of MLLP Release 2 (item 1)."""

from collections.abc import Callable
from concurrent.futures import Future

import pytest

from hl7_listener.acknowledgement import Outcome
from hl7_listener.answering import Answer, Answering
from hl7_listener.framing import Decoder, Frame
from hl7_listener.header import read_header
from hl7_listener.server import ListenerPolicy, MllpServer, Received
from tests.support.mllp_acceptors import ReadyAcceptor
from tests.support.mllp_peer import RawPeer, block, msa, order

Start = Callable[..., tuple[MllpServer, tuple[str, int]]]
A, B = order("A"), order("B")
ACK, NAK = block(b"\x06"), block(b"\x15")
ANSWERS = tuple(
    f"MSH|^~\\&|US||RIS||2026||ACK|{n}|P|2.5\rMSA|AA|{id_}\r".encode() for n, id_ in enumerate(("B1", "B2"))
)


def give(answer: Answer) -> Callable[[Received], "Future[Answer]"]:
    """An acceptor that gives the same answer to everything but B."""

    def accept(received: Received) -> "Future[Answer]":
        future: Future[Answer] = Future()
        future.set_result(answer if received.payload != B else Outcome("AA"))
        return future

    return accept


def written(policy: ListenerPolicy, answer: Answer, message: bytes = A) -> bytes:
    return Answering(policy).write(read_header(message), message, answer).data


def blocks(data: bytes) -> list[bytes]:
    return [event.payload for event in Decoder(10**6).feed(data) if isinstance(event, Frame)]


def test_an_answer_is_one_block_and_nothing_else() -> None:
    """Item 1; an ACK that Camel and HAPI both take has nothing outside its block."""
    data = written(ListenerPolicy("orders"), Outcome("AA"))

    assert (data[:4], data[-3:], data.count(b"\x0b"), data.count(b"\x1c")) == (b"\x0bMSH", b"\r\x1c\r", 1, 1)


def test_each_answer_has_a_control_id_of_its_own() -> None:
    answering = Answering(ListenerPolicy("orders"))
    others = Answering(ListenerPolicy("orders"))

    ids = [
        one.write(read_header(A), A, Outcome("AA")).data.split(b"|")[9]
        for one in (answering, others)
        for _ in range(100)
    ]

    assert len(set(ids)) == 200
    assert max(map(len, ids)) <= 20  # MSH-10 is an ST of 20 characters up to v2.6


def test_ready_made_answers_go_out_each_in_its_block_and_in_order(start: Start) -> None:
    """Item 24, its transport: a batch is answered by its acceptor."""
    server, address = start(give(ANSWERS))

    with RawPeer(address) as peer:
        peer.send(block(A) + block(B))
        assert [peer.answer(), peer.answer()] == list(ANSWERS)
        assert msa(peer.answer()) == ("AA", "B")
    assert server.statistics()["acknowledgements"] == {"AA": 3}


def test_no_ready_made_answers_are_silence(start: Start) -> None:
    _, address = start(give(()))

    with RawPeer(address) as peer:
        peer.send(block(A) + block(B))
        assert msa(peer.answer()) == ("AA", "B")


def test_a_batch_of_answers_is_counted_as_one(start: Start) -> None:
    server, address = start(give((b"BHS|^~\\&|US\r" + ANSWERS[0] + b"BTS|1\r",)))

    with RawPeer(address) as peer:
        peer.send(block(A))
        assert peer.answer().startswith(b"BHS")
    assert server.statistics()["acknowledgements"] == {"batch": 1}


def test_a_ready_made_answer_that_fits_no_block_is_our_own_trouble(start: Start) -> None:
    server, address = start(give((b"MSH|\x1c\r",)))

    with RawPeer(address) as peer:
        peer.send(block(A))
        assert msa(peer.answer()) == ("AR", "A")
    assert server.statistics()["acceptor_failures"] == 1


@pytest.mark.parametrize(
    "outcome",
    [Outcome("AA"), Outcome("CA"), Outcome("AE", 101, "PID-3"), Outcome("AR", 202, "MSH-11"), Outcome("CE", 100)],
    ids=lambda outcome: outcome.code,
)
def test_in_release_2_what_is_kept_is_committed_before_it_is_answered(outcome: Outcome) -> None:
    """Item 1: MLLP Release 2. What is refused is kept, too."""
    commit, answer = blocks(written(ListenerPolicy("orders", mllp_release=2), outcome))

    assert (commit, msa(answer)) == (b"\x06", (outcome.code, "A"))


@pytest.mark.parametrize("outcome", [Outcome("AR", 207), Outcome("AE", 207), Outcome("CE", 207)])
def test_in_release_2_what_is_not_kept_is_not_committed_and_not_answered(outcome: Outcome) -> None:
    """The sender will send it again, and must not take this answer for that of its next attempt."""
    assert written(ListenerPolicy("orders", mllp_release=2), outcome) == NAK


def test_in_release_2_a_message_that_asks_for_no_answer_is_committed_all_the_same() -> None:
    assert written(ListenerPolicy("orders", mllp_release=2), Outcome("")) == ACK


def test_in_release_2_an_answer_that_comes_to_us_is_committed_and_not_answered() -> None:
    message = b"MSH|^~\\&|RIS||||2026||ACK|77|P|2.5\rMSA|AA|1\r"

    assert written(ListenerPolicy("orders", mllp_release=2), Outcome("AA"), message) == ACK


def test_in_release_2_a_conversation_goes_on_after_the_peer_s_commits(start: Start) -> None:
    """The peer commits our answers with blocks of its own; they are no messages."""
    acceptor = ReadyAcceptor()
    server, address = start(acceptor, mllp_release=2)

    with RawPeer(address) as peer:
        for message, control_id in ((A, "A"), (B, "B")):
            peer.send(block(message))
            assert (peer.answer(), msa(peer.answer())) == (b"\x06", ("AA", control_id))
            peer.send(ACK)
        peer.send(NAK + block(order("C")))
        peer.answer()
        peer.answer()

    assert [one.payload for one in acceptor.received] == [A, B, order("C")]
    assert server.statistics()["commits"] == {"ACK": 2, "NAK": 1}
    assert server.statistics()["buffered_bytes"] == 0


def test_in_release_2_an_acceptor_that_fails_commits_nothing(start: Start) -> None:
    def accept(received: Received) -> "Future[Outcome]":
        raise OSError

    server, address = start(accept, mllp_release=2)

    with RawPeer(address) as peer:
        peer.send(block(A) + block(B))
        assert [peer.answer(), peer.answer()] == [b"\x15", b"\x15"]
    assert server.statistics()["acknowledgements"] == {"NAK": 2}


def test_release_1_knows_no_commits(start: Start) -> None:
    """By default a lone ACK byte is text that is not HL7."""
    _, address = start(ReadyAcceptor())

    with RawPeer(address) as peer:
        peer.send(ACK)
        assert msa(peer.answer()) == ("AR", "")
