"""Acceptors for tests of the listener: one that judges at once, one that waits until the test lets it go."""

import queue
from concurrent.futures import Future

from hl7_listener.acknowledgement import Outcome, outcome_of
from hl7_listener.message import Message
from hl7_listener.refusal import MessageRefused
from hl7_listener.server import Received
from tests.support.mllp_peer import TIMEOUT_SECONDS


def judge(received: Received) -> Outcome:
    """A small acceptor's judgement, by the table of answers."""
    if received.oversize:
        return Outcome("AR", 207, text="too large")
    if received.header is None:
        assert received.refusal is not None
        return outcome_of(received.refusal)
    if not received.header.control_id:
        return Outcome("AR", 101, "MSH-10")
    if received.header.message_type not in ("ORM^O01", "ADT^A08"):
        return Outcome("AR", 200, "MSH-9")
    try:
        _ = Message(received.payload, "8859/1" if not received.header.charsets else "").segments
    except MessageRefused as refusal:
        return Outcome("AE", 102, refusal.where, refusal.explanation, refusal.code)
    return Outcome("AA")


class ReadyAcceptor:
    """Judges each message before it returns."""

    def __init__(self) -> None:
        self.received: list[Received] = []

    def __call__(self, received: Received) -> Future[Outcome]:
        self.received.append(received)
        future: Future[Outcome] = Future()
        future.set_result(judge(received))
        return future


class HoldingAcceptor:
    """Keeps every message until the test takes it and sets its outcome."""

    def __init__(self) -> None:
        self._held: queue.Queue[tuple[Received, Future[Outcome]]] = queue.Queue()

    def __call__(self, received: Received) -> Future[Outcome]:
        future: Future[Outcome] = Future()
        self._held.put((received, future))
        return future

    def take(self) -> tuple[Received, Future[Outcome]]:
        """The next message; waits for it."""
        return self._held.get(timeout=TIMEOUT_SECONDS)
