"""The listener on real sockets: every whole message gets its own answer, in order, whatever the sender does."""

from collections.abc import Callable
from concurrent.futures import Future

import pytest

from hl7_listener.acknowledgement import Outcome
from hl7_listener.server import Acceptor, MllpServer, Received
from tests.support.mllp_acceptors import HoldingAcceptor, ReadyAcceptor
from tests.support.mllp_peer import RawPeer, answers, block, msa, order

Start = Callable[..., tuple[MllpServer, tuple[str, int]]]
A, B = order("A"), order("B")
BATCH = b"FHS|^~\\&|RIS\rBHS|^~\\&|RIS\r" + A + B + b"BTS|2\rFTS|1\r"
LATIN = b"M\xdcLLER"

# Bytes of the sender, then MSA-1 and MSA-2 of each answer. The cases are those on which existing listeners fail.
DIFFICULT = {
    "several messages on one connection": (block(A) + block(B), [("AA", "A"), ("AA", "B")]),
    "CR LF before VT": (b"\r\n" + block(A), [("AA", "A")]),
    "NUL before VT": (b"\0\0" + block(A), [("AA", "A")]),
    "junk before VT": (b"HELO\x1c" + block(A), [("AA", "A")]),
    "junk between blocks": (block(A) + b"\r\n\0junk" + block(B), [("AA", "A"), ("AA", "B")]),
    "FS without CR, then VT": (b"\x0b" + A + b"\x1c" + block(B), [("AA", "A"), ("AA", "B")]),
    "FS LF": (b"\x0b" + A + b"\x1c\n", [("AA", "A")]),
    "missing VT: dropped and counted, the next is taken": (A + b"\x1c\r" + block(B), [("AA", "B")]),
    "doubled framing": (b"\x0b" + block(A) + b"\x1c\r" + b"\x0b" + block(B) + b"\x1c\r", [("AA", "A"), ("AA", "B")]),
    "unfinished block, then VT": (b"\x0b" + A[:40] + block(B), [("AA", "B")]),
    "LF segments": (block(order("A", end=b"\n")), [("AA", "A")]),
    "CR LF segments": (block(order("A", end=b"\r\n")), [("AA", "A")]),
    "no last CR": (block(A[:-1]), [("AA", "A")]),
    "blank segment": (block(order("A", end=b"\r\r")), [("AA", "A")]),
    "byte order mark": (block(b"\xef\xbb\xbf" + A), [("AA", "A")]),
    "latin-1, declared": (block(order("A", charset="8859/1", name=LATIN)), [("AA", "A")]),
    "latin-1, not declared": (block(order("A", name=LATIN)), [("AA", "A")]),
    "UTF-8 declared, latin-1 sent": (block(order("A", charset="UNICODE UTF-8", name=LATIN)), [("AE", "A")]),
    "MSH-9 is ORM": (block(A.replace(b"ORM^O01", b"ORM")), [("AA", "A")]),
    "unknown type": (block(A.replace(b"ORM^O01", b"XYZ^Z99")), [("AR", "A")]),
    "MSH-10 empty": (block(order("")), [("AR", "")]),
    "text that is not HL7": (block(b"Hello, is this the fax?") + block(B), [("AR", ""), ("AA", "B")]),
    "empty block": (block(b"") + block(B), [("AR", ""), ("AA", "B")]),
    "batch in one block": (block(BATCH) + block(B), [("AR", ""), ("AA", "B")]),
    "70 kB": (block(order("A", name=b"x" * 70_000)), [("AA", "A")]),
    "over the limit": (block(order("A", name=b"x" * 2_000_000)) + block(B), [("AR", "A"), ("AA", "B")]),
    "the same MSH-10 twice": (block(A) + block(A), [("AA", "A"), ("AA", "A")]),
}  # fmt: skip


@pytest.mark.parametrize(("data", "expected"), DIFFICULT.values(), ids=DIFFICULT)
def test_difficult_input_is_answered(start: Start, data: bytes, expected: list[tuple[str, str]]) -> None:
    _, address = start(ReadyAcceptor())

    with RawPeer(address) as peer:
        peer.send(data)
        assert [msa(peer.answer()) for _ in expected] == expected
        peer.send(block(order("still there")))
        assert msa(peer.answer()) == ("AA", "still there")


@pytest.mark.parametrize("data", [data for data, _ in DIFFICULT.values() if len(data) < 2000])
def test_a_stream_that_comes_byte_by_byte_is_answered_alike(start: Start, data: bytes) -> None:
    _, address = start(ReadyAcceptor())
    with RawPeer(address) as whole, RawPeer(address) as trickle:
        whole.send(data)
        for byte in data:
            trickle.send(bytes([byte]))
        whole.finish_sending()
        trickle.finish_sending()

        assert answers(trickle.rest()) == answers(whole.rest())


def test_ten_megabytes_arrive_whole(start: Start) -> None:
    acceptor = ReadyAcceptor()
    _, address = start(acceptor, max_message_mebibytes=20)
    message = order("A", name=b"x" * 10_000_000)

    with RawPeer(address) as peer:
        peer.send(block(message))
        assert msa(peer.answer()) == ("AA", "A")

    assert acceptor.received[0].payload == message


def test_the_acceptor_gets_the_bytes_as_they_came(start: Start) -> None:
    acceptor = ReadyAcceptor()
    _, address = start(acceptor)

    with RawPeer(address) as peer:
        peer.send(b"junk" + block(A[:-1]))
        peer.answer()
        host, port = peer.socket.getsockname()

    [received] = acceptor.received
    assert (received.listener, received.peer, received.payload) == ("orders", f"{host}:{port}", A[:-1])
    assert received.tolerances == ("junk-before-start", "no-last-cr")
    assert "CANARY" not in repr(received)


def test_of_an_oversize_message_the_head_reaches_the_acceptor(start: Start) -> None:
    acceptor = ReadyAcceptor()
    server, address = start(acceptor)

    with RawPeer(address) as peer:
        peer.send(block(order("A", name=b"x" * 2_000_000)))
        peer.answer()

    [received] = acceptor.received
    assert (received.oversize, len(received.payload)) == (True, 8192)
    assert server.statistics()["oversize"] == 1


def test_answers_keep_the_order_of_the_messages(start: Start) -> None:
    acceptor = HoldingAcceptor()
    _, address = start(acceptor)

    with RawPeer(address) as peer:
        peer.send(block(A) + block(B))
        (_, first), (_, second) = acceptor.take(), acceptor.take()
        second.set_result(Outcome("AE", 101))
        first.set_result(Outcome("AA"))

        assert [msa(peer.answer()), msa(peer.answer())] == [("AA", "A"), ("AE", "B")]


def test_one_connection_does_not_wait_for_another(start: Start) -> None:
    acceptor = HoldingAcceptor()
    _, address = start(acceptor)

    with RawPeer(address) as slow, RawPeer(address) as fast:
        slow.send(block(A))
        acceptor.take()
        fast.send(block(B))
        acceptor.take()[1].set_result(Outcome("AA"))

        assert msa(fast.answer()) == ("AA", "B")


def test_no_answer_leaves_before_the_acceptor_is_done(start: Start) -> None:
    acceptor = HoldingAcceptor()
    server, address = start(acceptor)

    with RawPeer(address) as peer:
        peer.send(block(A))
        _, future = acceptor.take()
        before = server.statistics()["acknowledgements"]
        future.set_result(Outcome("AA"))
        peer.answer()

    assert (before, server.statistics()["acknowledgements"]) == ({}, {"AA": 1})


def test_a_sender_that_runs_ahead_is_not_read_but_loses_nothing(start: Start) -> None:
    acceptor = HoldingAcceptor()
    server, address = start(acceptor, max_in_flight=2)
    ids = [str(number) for number in range(40)]

    with RawPeer(address) as peer:
        peer.send(b"".join(block(order(control_id)) for control_id in ids))
        most = 0
        for _ in ids:
            _, future = acceptor.take()
            counts = server.statistics()
            most = max(most, counts["messages"] - sum(counts["acknowledgements"].values()))
            future.set_result(Outcome("AA"))

        assert [msa(peer.answer())[1] for _ in ids] == ids
    assert most <= 2


def raise_error(received: Received) -> Future[Outcome]:
    raise RuntimeError("CANARY")


def fail(received: Received) -> Future[Outcome]:
    future: Future[Outcome] = Future()
    future.set_exception(OSError("CANARY"))
    return future


def cancel(received: Received) -> Future[Outcome]:
    future: Future[Outcome] = Future()
    future.cancel()
    return future


@pytest.mark.parametrize("accept", [raise_error, fail, cancel])
@pytest.mark.parametrize(("style", "code"), [("original", "AR"), ("enhanced", "CE")])
def test_an_acceptor_that_fails_is_answered_as_our_own_trouble(
    start: Start, accept: Acceptor, style: str, code: str
) -> None:
    server, address = start(accept, style=style)

    with RawPeer(address) as peer:
        peer.send(block(A) + block(B))
        answer = peer.answer()
        assert (msa(answer), msa(peer.answer())) == ((code, "A"), (code, "B"))

    assert b"|207^Application internal error^HL70357|E|" in answer
    assert server.statistics()["acceptor_failures"] == 2


def test_an_acceptor_that_fails_later_is_answered_too(start: Start) -> None:
    acceptor = HoldingAcceptor()
    _, address = start(acceptor)

    with RawPeer(address) as peer:
        peer.send(block(A))
        acceptor.take()[1].set_exception(OSError("disk full"))

        assert msa(peer.answer()) == ("AR", "A")


def test_half_a_message_before_the_end_gets_no_answer(start: Start) -> None:
    acceptor = ReadyAcceptor()
    server, address = start(acceptor)

    with RawPeer(address) as peer:
        peer.send(block(A) + b"\x0b" + B[:30])
        peer.finish_sending()

        assert answers(peer.rest()) == [("AA", "A")]
    assert len(acceptor.received) == 1
    assert server.statistics()["discarded"] == {"unfinished-block": 30}


def test_a_sender_that_closes_its_half_still_gets_its_answers(start: Start) -> None:
    acceptor = HoldingAcceptor()
    _, address = start(acceptor)

    with RawPeer(address) as peer:
        peer.send(block(A) + b"\x0b" + B + b"\x1c")
        peer.finish_sending()
        for _ in range(2):
            acceptor.take()[1].set_result(Outcome("AA"))

        assert answers(peer.rest()) == [("AA", "A"), ("AA", "B")]


def test_a_sender_that_goes_away_does_not_disturb_the_acceptor(start: Start) -> None:
    acceptor = HoldingAcceptor()
    _, address = start(acceptor)
    with RawPeer(address) as peer:
        peer.send(block(A))
        _, abandoned = acceptor.take()

    abandoned.set_result(Outcome("AA"))

    with RawPeer(address) as peer:
        peer.send(block(A))
        acceptor.take()[1].set_result(Outcome("AA"))
        assert msa(peer.answer()) == ("AA", "A")


def test_an_answer_is_never_answered(start: Start) -> None:
    _, address = start(ReadyAcceptor())

    with RawPeer(address) as peer:
        peer.send(block(b"MSH|^~\\&|RIS||||2026||ACK|77|P|2.5\rMSA|AA|1\r") + block(A))

        assert msa(peer.answer()) == ("AA", "A")


def test_what_was_tolerated_is_counted_by_name(start: Start) -> None:
    server, address = start(ReadyAcceptor())

    with RawPeer(address) as peer:
        peer.send(b"junk" + block(A) + b"\r\n" + block(order("B", end=b"\r\n")) + block(b"hello"))
        for _ in range(3):
            peer.answer()
        counts = server.statistics()

    assert (counts["connections"], counts["connections_accepted"], counts["messages"]) == (1, 1, 3)
    assert counts["acknowledgements"] == {"AA": 2, "AR": 1}
    assert counts["tolerances"] == {
        "junk-before-start": 1, "blank-before-start": 1, "crlf-segments": 1, "no-last-cr": 1,
    }  # fmt: skip
    assert counts["discarded"] == {"junk-before-start": 4, "blank-before-start": 2}
