"""One destination by MLLP for many threads: one message in flight, and no waiting for a dead one."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fhir_bridge.adapters.mllp_destination import MllpDestination, destination_of
from fhir_bridge.errors import BridgeError, Refused, Unavailable
from fhir_bridge.sections import ClientTls, Destination
from hl7_listener.client import MllpClient
from tests.support.mllp_peer import TIMEOUT_SECONDS, ScriptedReceiver
from tests.support.mllp_receiver import MllpReceiver, acknowledgement


def message(control_id: str) -> bytes:
    return f"MSH|^~\\&|US||RIS||2026||ORU^R01|{control_id}|P|2.5\rPID|1||CANARY-1\r".encode()


class Ticks:
    """A monotonic clock that the test moves."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def failure(destination: MllpDestination, control_id: str) -> BridgeError:
    with pytest.raises(BridgeError) as caught:
        destination.send(message(control_id))
    return caught.value


def test_one_message_is_in_flight_whichever_thread_sends() -> None:
    """item 34: one in flight per destination, across all jobs."""
    with MllpReceiver() as ris:
        destination = MllpDestination("ris", MllpClient(*ris.address, TIMEOUT_SECONDS))
        with ThreadPoolExecutor(8) as pool:
            codes = list(pool.map(lambda n: destination.send(message(str(n))).control_id, range(40)))
        destination.close()
    assert codes == [str(n).encode() for n in range(40)]
    assert (ris.most_at_once, ris.connections, len(ris.results())) == (1, 1, 40)


def test_one_that_failed_rests_and_nobody_waits_for_it_meanwhile() -> None:
    """facts §5: a dead destination must not hold up the workers."""
    ticks = Ticks()
    with ScriptedReceiver([None, None, acknowledgement(message("3"))]) as ris:
        destination = MllpDestination("ris", MllpClient(*ris.address, TIMEOUT_SECONDS), ticks)
        codes = [failure(destination, "1").code]
        resting = failure(destination, "2")
        ticks.seconds += 2
        codes.append(failure(destination, "1").code)  # the second failure in a row: four seconds
        ticks.seconds += 3
        codes.append(failure(destination, "2").code)
        ticks.seconds += 1
        destination.send(message("3"))
        destination.close()
    assert codes == ["mllp.closed", "mllp.closed", "mllp.resting"]
    assert isinstance(resting, Unavailable)
    assert (resting.code, resting.where, resting.retry_after) == ("mllp.resting", "ris", 2.0)
    assert ris.received == [message("1"), message("1"), message("3")]


def test_one_that_answers_again_is_as_if_nothing_had_been() -> None:
    ticks = Ticks()
    script = [None, *(acknowledgement(message(str(n))) for n in range(2, 5))]
    with ScriptedReceiver(script) as ris:
        destination = MllpDestination("ris", MllpClient(*ris.address, TIMEOUT_SECONDS), ticks)
        failure(destination, "1")
        ticks.seconds += 2
        codes = [destination.send(message(str(n))).code for n in range(2, 5)]
        destination.close()
    assert codes == ["AA"] * 3


def test_the_rest_has_an_end() -> None:
    ticks = Ticks()
    with ScriptedReceiver([None] * 12) as ris:
        destination = MllpDestination("ris", MllpClient(*ris.address, TIMEOUT_SECONDS), ticks)
        for _ in range(12):
            failure(destination, "1")
            ticks.seconds += 60
        destination.close()
    assert len(ris.received) == 12


def test_while_one_tries_whether_it_answers_again_the_others_do_not_wait() -> None:
    ticks, arrived, go_on = Ticks(), threading.Event(), threading.Event()

    def answer(received: bytes) -> bytes:
        if b"|2|P" in received:
            arrived.set()
            assert go_on.wait(TIMEOUT_SECONDS)
        return acknowledgement(received, of=b"nobody" if b"|1|P" in received else None)

    with MllpReceiver(answer) as ris, ThreadPoolExecutor(1) as pool:
        destination = MllpDestination("ris", MllpClient(*ris.address, 1), ticks)
        failure(destination, "1")
        ticks.seconds += 2
        trying = pool.submit(destination.send, message("2"))
        assert arrived.wait(TIMEOUT_SECONDS)
        other = failure(destination, "3")
        go_on.set()
        assert (other.code, trying.result(TIMEOUT_SECONDS).code) == ("mllp.resting", "AA")
        destination.close()


def test_who_waited_behind_a_message_that_failed_is_told_at_once() -> None:
    arrived, go_on = threading.Event(), threading.Event()

    def answer(received: bytes) -> bytes:
        arrived.set()
        assert go_on.wait(TIMEOUT_SECONDS)
        return acknowledgement(received, of=b"nobody")

    with MllpReceiver(answer) as ris, ThreadPoolExecutor(2) as pool:
        destination = MllpDestination("ris", MllpClient(*ris.address, 1), Ticks())
        first = pool.submit(failure, destination, "1")
        assert arrived.wait(TIMEOUT_SECONDS)
        second = pool.submit(failure, destination, "2")
        go_on.set()
        assert (first.result(TIMEOUT_SECONDS).code, second.result(TIMEOUT_SECONDS).code) == (
            "mllp.timeout",
            "mllp.resting",
        )
        destination.close()
    assert len(ris.received) == 1


def test_a_ping_connects_and_sends_nothing() -> None:
    with MllpReceiver() as ris:
        destination = destination_of("ris", Destination(host=ris.address[0], port=ris.address[1]))
        destination.ping()
        destination.close()
    assert ris.received == []


def test_a_ping_tells_that_nobody_listens() -> None:
    with MllpReceiver() as gone:
        pass
    with pytest.raises(Unavailable) as caught:
        destination_of("ris", Destination(host="127.0.0.1", port=gone.address[1])).ping()
    assert (caught.value.code, caught.value.where) == ("mllp.unreachable", "ris")


def test_a_destination_that_does_not_speak_tls_where_it_should_gets_nothing() -> None:
    with MllpReceiver() as ris:
        section = Destination(host="localhost", port=ris.address[1], use_tls=True, timeout_seconds=2)
        destination = destination_of("ris", section)
        assert failure(destination, "1").code == "mllp.unreachable"
        destination.close()
    assert ris.received == []


def test_a_certificate_that_cannot_be_read_is_refused_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    section = Destination(host="localhost", port=1, use_tls=True, tls=ClientTls(ca_file=tmp_path / "ca.pem"))
    with pytest.raises(Refused) as caught:
        destination_of("ris", section)
    assert caught.value.code == "mllp.certificate-unusable"
