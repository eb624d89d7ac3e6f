"""The RIS's connection, against our own MLLP server."""

import socket
from collections.abc import Iterator
from concurrent.futures import Future
from datetime import UTC, datetime

import pytest

from fhir_bridge.errors import BridgeError
from fhir_bridge.practice.ris import GARBAGE, order_message
from fhir_bridge.practice.ris_sender import RisSender
from fhir_bridge.practice.story import STORIES
from hl7_listener.acknowledgement import Outcome
from hl7_listener.server import ListenerPolicy, MllpServer, Received

AT = datetime(2026, 11, 2, 9, 15, tzinfo=UTC)


@pytest.fixture
def received() -> list[bytes]:
    return []


@pytest.fixture
def ris(received: list[bytes]) -> Iterator[RisSender]:
    """A sender to a server that says AR to what has no MSH, AA to the rest."""

    def accept(message: Received) -> Future[Outcome]:
        received.append(message.payload)
        answer: Future[Outcome] = Future()
        answer.set_result(Outcome("AR") if message.header is None else Outcome("AA"))
        return answer

    server = MllpServer(ListenerPolicy("practice", "127.0.0.1", 0), accept)
    with RisSender(*server.start()) as sender:
        yield sender
    server.stop()


def test_an_order_is_answered(ris, received) -> None:
    message = order_message(STORIES[0], "NW", ris.next_control_id(), AT)
    assert ris.send(message) == "AA"
    assert received == [message]


def test_the_same_message_goes_out_byte_for_byte(ris, received) -> None:
    ris.send(order_message(STORIES[0], "NW", ris.next_control_id(), AT))
    assert ris.send_again() == "AA"
    assert received[0] == received[1]


def test_garbage_is_answered_although_it_names_no_control_id(ris) -> None:
    assert ris.send(GARBAGE) == "AR"


def test_no_control_id_is_used_twice(ris) -> None:
    assert ris.next_control_id() != ris.next_control_id()


def test_a_listener_that_is_not_there_is_a_coded_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with RisSender("127.0.0.1", port) as sender, pytest.raises(BridgeError) as caught:
        sender.send(order_message(STORIES[0], "NW", "1", AT))
    assert caught.value.code == "practice.mllp-failed"
    assert caught.value.explanation == "mllp.unreachable"
