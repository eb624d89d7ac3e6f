"""The messages of one connection: given to the acceptor in the order of the frames, answered in the same order."""

import concurrent.futures
import contextlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from hl7_listener.answering import COMMITTED, NOT_COMMITTED, Answer, Answering, Written
from hl7_listener.framing import Discarded, Frame, FramingEvent, Oversize
from hl7_listener.header import Header, read_header
from hl7_listener.memory import Memory
from hl7_listener.outcome import Outcome
from hl7_listener.policy import ListenerPolicy
from hl7_listener.refusal import MessageRefused
from hl7_listener.traffic import PeerTraffic
from hl7_listener.wakeup import Wakeup

_COMMITS = {COMMITTED: "ACK", NOT_COMMITTED: "NAK"}


@dataclass(frozen=True, slots=True)
class Received:
    """A message as it came. `header` is None where it cannot be read, and `refusal` says why.

    Of an oversize message `payload` is only the first bytes; it was `crowded_out` where it is not too long in itself: the memory for
    unfinished messages was used up, and it may be sent again. `tolerances` are names of `hl7_listener.framing.Tolerance`.
    """

    listener: str
    peer: str
    payload: bytes = field(repr=False)
    header: Header | None
    refusal: MessageRefused | None = None
    tolerances: tuple[str, ...] = ()
    oversize: bool = False
    crowded_out: bool = False
    batch: str = ""  # its place in a batch that was taken apart (`B7#3`), which stands in for a missing MSH-10


Future = concurrent.futures.Future[Outcome] | concurrent.futures.Future[Answer]
Acceptor = Callable[[Received], Future]


@dataclass(frozen=True, slots=True)
class Shared:
    """What the connections of one listener have in common. `buffer` takes what is read, and is empty again before the next read."""

    policy: ListenerPolicy
    accept: Acceptor
    answering: Answering
    memory: Memory
    wakeup: Wakeup
    buffer: memoryview


class _Pending(NamedTuple):
    """A message that waits for its outcome. `future` is None where the acceptor raised instead of giving one."""

    received: Received
    future: Future | None


class Conversation:
    """On the loop's thread, but for `wake`: it is called on the thread that finishes an outcome."""

    def __init__(self, shared: Shared, traffic: PeerTraffic, peer: str, wake: Callable[[], None]) -> None:
        self._policy = shared.policy
        self._accept = shared.accept
        self._answering = shared.answering
        self._memory = shared.memory
        self._traffic = traffic
        self._peer = peer
        self._wake = wake
        self._waiting: deque[FramingEvent] = deque()  # read, but not yet given to the acceptor
        self._pending: deque[_Pending] = deque()  # given to the acceptor
        self.is_ended = False  # by policy: a message was too large

    @property
    def is_over(self) -> bool:
        """Whether everything that was read is answered."""
        return not (self._waiting or self._pending)

    @property
    def can_take_more(self) -> bool:
        """Whether what is read next could be given on at once."""
        return not self._waiting and len(self._pending) < self._policy.max_in_flight

    def add(self, events: list[FramingEvent]) -> None:
        """What was read."""
        for event in events:
            self._memory.hold(_size(event))
        self._waiting.extend(events)

    def give_on(self) -> bool:
        """Give the acceptor what it may have at a time; whether it was given anything.

        An acceptor that raises is our bug, and what it raised goes on to the caller; its message is answered all the same.
        """
        before = len(self._waiting)
        while self._waiting and len(self._pending) < self._policy.max_in_flight:
            self._take(self._waiting.popleft())
        return len(self._waiting) < before

    def answers(self) -> bytes:
        """The answers that are due: those at the head of the line whose outcome is there."""
        due = []
        while self._pending:
            received, future = self._pending[0]
            if future is not None and not future.done():
                break
            self._pending.popleft()
            self._memory.release(len(received.payload))
            written = self._written(received, future)
            for code in written.codes:
                self._traffic.acknowledgements[code] += 1
            due.append(written.data)
        return due[0] if len(due) == 1 else b"".join(due)

    def drop_waiting(self, reason: str) -> None:
        """Forget what the acceptor does not have yet: the connection is over."""
        for event in self._waiting:
            self._memory.release(_size(event))
            if isinstance(event, Discarded):
                self._traffic.discarded[event.reason] += event.count
            else:
                self._traffic.discarded[reason] += _size(event)
        self._waiting.clear()

    def _take(self, event: FramingEvent) -> None:
        if isinstance(event, Discarded):
            self._traffic.discarded[event.reason] += event.count
        elif self._policy.mllp_release == 2 and isinstance(event, Frame) and event.payload in _COMMITS:
            self._traffic.commits[_COMMITS[event.payload]] += 1
            self._memory.release(_size(event))
        else:
            self._ask(self._received(event))

    def _ask(self, received: Received) -> None:
        self._traffic.note_message(received.tolerances, oversize=received.oversize)
        future = None
        try:
            future = self._accept(received)
        finally:
            self._pending.append(_Pending(received, future))
            if future is None:
                self._wake()
        if not future.done():
            future.add_done_callback(self._on_done)
        if received.oversize and self._policy.close_after_oversize:
            self.drop_waiting("after-close")
            self.is_ended = True

    def _on_done(self, _future: object) -> None:
        self._wake()

    def _received(self, event: Frame | Oversize) -> Received:
        is_whole = isinstance(event, Frame)
        payload = event.payload if isinstance(event, Frame) else event.head
        header, refusal = None, None
        try:
            header = read_header(payload)
        except MessageRefused as error:
            refusal = error
        crowded_out = isinstance(event, Oversize) and event.crowded_out
        return Received(
            self._policy.name, self._peer, payload, header, refusal, event.tolerances, not is_whole, crowded_out
        )

    def _written(self, received: Received, future: Future | None) -> Written:
        """The acceptor's answer; where it failed, that of our own trouble, which the sender may try again."""
        if future is not None and not future.cancelled() and future.exception() is None:
            with contextlib.suppress(MessageRefused):  # a ready-made answer that no block can carry
                return self._answering.write(received.header, received.payload, future.result())
        self._traffic.acceptor_failures += 1
        return self._answering.write(received.header, received.payload, self._policy.internal_error)


def _size(event: FramingEvent) -> int:
    """What it keeps in memory."""
    if isinstance(event, Frame):
        return len(event.payload)
    return len(event.head) if isinstance(event, Oversize) else 0
