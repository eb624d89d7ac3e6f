"""The client against a scripted receiver and our own listener: an answer counts only if it belongs to the message (item 34)."""

import socket
import ssl
from concurrent.futures import ThreadPoolExecutor

import pytest

from hl7_listener.acknowledgement import Outcome
from hl7_listener.client import MllpClient, NoAcknowledgement
from hl7_listener.refusal import MessageRefused
from hl7_listener.server import ListenerPolicy, MllpServer
from hl7_listener.tls import RenewedContext
from tests.support.mllp_acceptors import HoldingAcceptor, ReadyAcceptor
from tests.support.mllp_peer import TIMEOUT_SECONDS, ScriptedReceiver, block, wait_until


def message(control_id: str) -> bytes:
    return f"MSH|^~\\&|US||RIS||2026||ORU^R01|{control_id}|P|2.5\rPID|1||CANARY-1\r".encode()


def answer(control_id: str, code: str = "AA") -> bytes:
    return block(f"MSH|^~\\&|RIS||US||2026||ACK|9|P|2.5\rMSA|{code}|{control_id}\r".encode())


def client(receiver: ScriptedReceiver, timeout_seconds: float = TIMEOUT_SECONDS) -> MllpClient:
    return MllpClient(*receiver.address, timeout_seconds)


def test_messages_share_one_connection() -> None:
    with ScriptedReceiver([answer("1"), answer("2", "AE")]) as receiver, client(receiver) as sender:
        codes = [sender.send(message("1")).code, sender.send(message("2")).code]

    assert (codes, receiver.connections) == (["AA", "AE"], 1)
    assert receiver.received == [message("1"), message("2")]


@pytest.mark.parametrize("control_id", ["a\\T\\b", "ä", " 1 ", "1^2&3"])
def test_the_answer_is_matched_byte_for_byte(control_id: str) -> None:
    with ScriptedReceiver([answer(control_id)]) as receiver, client(receiver) as sender:
        assert sender.send(message(control_id)).control_id == control_id.encode()


@pytest.mark.parametrize(
    "noise",
    [
        answer("0"),
        answer("0", "AE") + answer("11"),
        block(b"MSH|^~\\&|RIS||||2026||ORU^R01|1|P|2.5\rPID|1\r"),
        block(b"not HL7"),
        b"\r\n\0",
        answer("1")[:20],
    ],
)
def test_what_does_not_belong_to_the_message_is_passed_over(noise: bytes) -> None:
    with ScriptedReceiver([noise + answer("1")]) as receiver, client(receiver) as sender:
        assert sender.send(message("1")).code == "AA"


@pytest.mark.parametrize(
    ("code", "positive"), [("AA", True), ("CA", True), ("AE", False), ("AR", False), ("CE", False), ("CR", False)]
)
def test_an_answer_that_refuses_is_no_success(code: str, positive: bool) -> None:
    """Item 34: any answer at all is not success."""
    with ScriptedReceiver([answer("1", code)]) as receiver, client(receiver) as sender:
        acknowledgement = sender.send(message("1"))

    assert (acknowledgement.code, acknowledgement.is_positive) == (code, positive)


@pytest.mark.parametrize("code", ["OK", "aa", ""])
def test_a_code_that_is_none_is_no_success(code: str) -> None:
    with ScriptedReceiver([answer("1", code)]) as receiver, client(receiver) as sender:
        assert not sender.send(message("1")).is_positive


def test_messages_of_many_threads_go_one_after_the_other() -> None:
    """Item 34: one in flight. A receiver that Camel runs keeps the first of several frames in one read and drops the rest."""
    acceptor = HoldingAcceptor()
    server = MllpServer(ListenerPolicy("orders", port=0), acceptor)
    ids = [str(number) for number in range(8)]
    with MllpClient(*server.start(), TIMEOUT_SECONDS) as sender, ThreadPoolExecutor(len(ids)) as pool:
        sent = [pool.submit(sender.send, message(control_id)) for control_id in ids]
        most = 0
        for _ in ids:
            _, future = acceptor.take()
            counts = server.statistics()
            most = max(most, counts["messages"] - sum(counts["acknowledgements"].values()))
            future.set_result(Outcome("AA"))
        answered = [one.result(TIMEOUT_SECONDS).control_id.decode() for one in sent]
    server.stop()

    assert (answered, most) == (ids, 1)


def test_the_same_bytes_go_out_again_on_a_new_connection_after_a_timeout() -> None:
    """Item 34: same control ID on resend; the answer to the first attempt, late, would come on the old connection."""
    with ScriptedReceiver([b"", answer("1")]) as receiver, client(receiver, 0.3) as sender:
        with pytest.raises(NoAcknowledgement):
            sender.send(message("1"))

        assert sender.send(message("1")).code == "AA"
    assert (receiver.received, receiver.connections) == ([message("1")] * 2, 2)


def test_an_application_acknowledgement_behind_the_accept_acknowledgement_is_passed_over() -> None:
    """CA answers the message; the AA that some send on the same socket later answers nothing of ours."""
    script = [answer("1", "CA") + answer("1", "AA"), answer("2", "CA")]
    with ScriptedReceiver(script) as receiver, client(receiver) as sender:
        codes = [sender.send(message("1")).code, sender.send(message("2")).code]

    assert (codes, sender.discarded_answers) == (["CA", "CA"], 1)


def test_an_answer_that_came_late_is_not_taken_for_that_of_the_same_message_sent_again() -> None:
    """MSA-2 fits, and yet it is the refusal of the first attempt."""
    with ScriptedReceiver([answer("1") + answer("1", "AE"), answer("1", "CA")]) as receiver, client(receiver) as sender:
        sender.send(message("1"))

        assert sender.send(message("1")).code == "CA"


def test_half_a_late_answer_ends_the_connection() -> None:
    """Its other half would stand before the answer to the next message, or be taken for it."""
    with ScriptedReceiver([answer("1") + answer("1", "AE")[:30], answer("1")]) as receiver, client(receiver) as sender:
        sender.send(message("1"))

        assert sender.send(message("1")).code == "AA"
    assert receiver.connections == 2


def test_a_peer_that_closes_after_each_answer_gets_a_connection_for_each_message() -> None:
    with ScriptedReceiver([answer("1"), answer("2")], closes=True) as receiver, client(receiver) as sender:
        sender.send(message("1"))
        wait_until(lambda: receiver.closed == 1)

        assert sender.send(message("2")).code == "AA"
    assert receiver.connections == 2


def test_an_answer_with_lf_segments_is_read() -> None:
    """What Camel answers to a message of LF segments: the message, echoed."""
    with ScriptedReceiver([answer("1", "AE").replace(b"\r", b"\n", 2)]) as receiver, client(receiver) as sender:
        assert sender.send(message("1")).code == "AE"


def test_an_answer_that_came_beside_another_is_not_taken_for_the_next() -> None:
    with ScriptedReceiver([answer("1") + answer("1", "AE"), answer("2")]) as receiver, client(receiver) as sender:
        sender.send(message("1"))

        assert sender.send(message("2")).code == "AA"
        assert sender.discarded_answers == 1


@pytest.mark.parametrize("nothing", [b"", answer("other"), answer("1")[:-2]])
def test_no_answer_in_time_is_an_error_and_the_next_send_connects_anew(nothing: bytes) -> None:
    with ScriptedReceiver([nothing, answer("2")]) as receiver, client(receiver, 0.3) as sender:
        with pytest.raises(NoAcknowledgement) as caught:
            sender.send(message("1"))
        acknowledged = sender.send(message("2"))

    assert (caught.value.code, caught.value.may_have_arrived) == ("mllp.timeout", True)
    assert (acknowledged.control_id, receiver.connections) == (b"2", 2)


def test_a_connection_that_ends_before_the_answer_is_an_error() -> None:
    with ScriptedReceiver([None, answer("1")]) as receiver, client(receiver) as sender:
        with pytest.raises(NoAcknowledgement) as caught:
            sender.send(message("1"))

        assert (caught.value.code, caught.value.may_have_arrived) == ("mllp.closed", True)
        assert sender.send(message("1")).code == "AA"


def test_where_nobody_listens_nothing_can_have_arrived() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]

    with pytest.raises(NoAcknowledgement) as caught:
        MllpClient("127.0.0.1", port, 5).send(message("1"))

    assert (caught.value.code, caught.value.may_have_arrived) == ("mllp.unreachable", False)
    assert caught.value.where == f"127.0.0.1:{port}"


def test_an_error_does_not_show_the_message() -> None:
    with ScriptedReceiver([block(b"CANARY")]) as receiver, client(receiver, 0.2) as sender:
        with pytest.raises(NoAcknowledgement) as caught:
            sender.send(message("1"))

        assert "CANARY" not in str(caught.value)


def test_a_message_that_no_block_can_carry_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(MessageRefused) as caught:
        MllpClient("127.0.0.1", 1, 1).send(b"MSH|\x1c\r")

    assert caught.value.code == "mllp.control-byte"


def test_our_own_listener_answers_even_garbage() -> None:
    server = MllpServer(ListenerPolicy("orders", port=0), ReadyAcceptor())
    with MllpClient(*server.start(), TIMEOUT_SECONDS) as sender:
        codes = [sender.send(raw).code for raw in (message("1").replace(b"ORU^R01", b"ORM"), b"hello", message(""))]
    server.stop()

    assert codes == ["AA", "AR", "AR"]


def test_a_listener_that_was_restarted_is_found_again() -> None:
    first = MllpServer(ListenerPolicy("orders", port=0), ReadyAcceptor())
    host, port = first.start()
    with MllpClient(host, port, TIMEOUT_SECONDS) as sender:
        sender.send(message("1"))
        first.stop()
        second = MllpServer(ListenerPolicy("orders", port=port), ReadyAcceptor())
        second.start()

        assert sender.send(message("2")).control_id == b"2"
    second.stop()


def test_messages_travel_under_tls(tls: tuple[RenewedContext, RenewedContext]) -> None:
    ours, theirs = tls
    server = MllpServer(ListenerPolicy("orders", port=0, tls=ours), ReadyAcceptor())
    _, port = server.start()
    with MllpClient("localhost", port, TIMEOUT_SECONDS, theirs.current) as sender:
        answers = [sender.send(message(control_id)).control_id for control_id in ("1", "2")]
    server.stop()

    assert answers == [b"1", b"2"]


def test_a_certificate_that_is_not_trusted_is_an_error(tls: tuple[RenewedContext, RenewedContext]) -> None:
    server = MllpServer(ListenerPolicy("orders", port=0, tls=tls[0]), ReadyAcceptor())
    _, port = server.start()

    with pytest.raises(NoAcknowledgement) as caught:
        MllpClient("localhost", port, TIMEOUT_SECONDS, ssl.create_default_context()).send(message("1"))
    server.stop()

    assert caught.value.code == "mllp.unreachable"


def test_a_renewed_context_counts_from_the_next_connection_on(tls: tuple[RenewedContext, RenewedContext]) -> None:
    ours, theirs = tls
    contexts = iter([ssl.create_default_context(), theirs.current()])  # at first the certificate is not trusted
    server = MllpServer(ListenerPolicy("orders", port=0, tls=ours), ReadyAcceptor())
    _, port = server.start()
    with MllpClient("localhost", port, TIMEOUT_SECONDS, lambda: next(contexts)) as sender:
        with pytest.raises(NoAcknowledgement):
            sender.send(message("1"))
        answers = [sender.send(message(control_id)).control_id for control_id in ("1", "2")]
    server.stop()

    assert answers == [b"1", b"2"]


def test_a_ping_opens_the_connection_that_the_next_message_takes() -> None:
    with ScriptedReceiver([answer("1")]) as receiver, client(receiver) as sender:
        sender.ping()
        sender.send(message("1"))

    assert (receiver.received, receiver.connections) == ([message("1")], 1)
