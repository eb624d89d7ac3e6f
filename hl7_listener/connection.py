"""One MLLP connection on the event loop: frames in, answers out in the order of the frames (MLLP Release 1).

A peer may send the next message before it has the answer to the last. Answers keep the order; a peer that runs too far ahead, or
does not read its answers, is slowed down by not being read, never by dropping a message.
"""

import asyncio
import secrets
import socket
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol, cast

from hl7_listener.acknowledgement import Outcome, acknowledge
from hl7_listener.framing import Decoder, Discarded, Frame, FramingEvent, Oversize, frame
from hl7_listener.header import Header, read_header
from hl7_listener.policy import ListenerPolicy
from hl7_listener.refusal import MessageRefused
from hl7_listener.traffic import Traffic


@dataclass(frozen=True, slots=True)
class Received:
    """A message as it came. `header` is None where it cannot be read, and `refusal` says why.

    Of an oversize message `payload` is only the first bytes. `tolerances` are names of `hl7_listener.framing.Tolerance`.
    """

    listener: str
    peer: str
    payload: bytes = field(repr=False)
    header: Header | None
    refusal: MessageRefused | None = None
    tolerances: tuple[str, ...] = ()
    oversize: bool = False


class Owner(Protocol):
    """Who opened the connection and knows the acceptor: the listener."""

    def opened(self, connection: "Connection") -> bool: ...

    def closed(self, connection: "Connection") -> None: ...

    def answer(self, received: Received) -> "asyncio.Task[Outcome]": ...


@dataclass(frozen=True, slots=True)
class _Pending:
    """A message that waits for its outcome."""

    header: Header | None
    outcome: "asyncio.Task[Outcome]"


class Connection(asyncio.Protocol):
    """The server's end of one connection. Everything happens on the loop's thread."""

    def __init__(self, policy: ListenerPolicy, owner: Owner, traffic: Traffic) -> None:
        self._policy = policy
        self._owner = owner
        self._traffic = traffic
        self._decoder = Decoder(policy.max_message_bytes)
        self._waiting: deque[FramingEvent] = deque()  # read, but not yet given to the acceptor
        self._pending: deque[_Pending] = deque()  # given to the acceptor, in the order of the frames
        self._is_last = False  # nothing more is read: close after the last answer
        self._write_blocked_since: float | None = None
        self._block_open_since: float | None = None
        self._loop = asyncio.get_running_loop()
        self._last_active = self._loop.time()
        self._transport: asyncio.Transport
        self._peer = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # a stream server gets no other kind
        if not self._owner.opened(self):
            self._is_last = True
            self._transport.abort()
            return
        host, port = (transport.get_extra_info("peername") or ("", 0))[:2]
        self._peer = f"{host}:{port}"
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        if self._is_last:
            self._traffic.discarded["after-close"] += len(data)
            return
        self._last_active = self._loop.time()
        events = self._decoder.feed(data)
        if events or not self._decoder.is_open:
            self._block_open_since = None
        if self._decoder.is_open and self._block_open_since is None:
            self._block_open_since = self._last_active
        self._waiting.extend(events)
        self._proceed()

    def eof_received(self) -> bool:
        """The peer sends no more, but may still read: answer what it sent. TLS knows no half-open connection."""
        self._finish_reading()
        return self._transport.can_write_eof()

    def pause_writing(self) -> None:
        self._write_blocked_since = self._loop.time()

    def resume_writing(self) -> None:
        self._write_blocked_since = None
        self._proceed()

    def connection_lost(self, exc: Exception | None) -> None:
        """What was given to the acceptor stays its own; the peer will ask again and get the same answer."""
        if not self._is_last:
            self._is_last = True
            self._note_discarded(self._decoder.end())
        self._waiting.clear()
        self._owner.closed(self)

    def drain(self) -> None:
        """Read nothing more, answer what was read, close."""
        if not self._transport.is_closing():
            self._finish_reading()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def check_time(self, now: float) -> None:
        """Apply the limits of the policy; called again and again by the server."""
        policy = self._policy
        if _is_over(self._write_blocked_since, policy.write_timeout_seconds, now):
            self._traffic.closed["write-timeout"] += 1
            self.abort()
        elif self._is_last:
            return
        elif self._has_room and _is_over(self._block_open_since, policy.max_partial_age_seconds, now):
            self._time_out("partial-timeout")
        elif not (self._pending or self._waiting) and _is_over(self._last_active, policy.idle_timeout_seconds, now):
            self._time_out("idle-timeout")

    def _time_out(self, reason: str) -> None:
        self._traffic.closed[reason] += 1
        self._finish_reading()

    def _finish_reading(self) -> None:
        self._is_last = True
        self._block_open_since = None
        self._transport.pause_reading()
        self._waiting.extend(self._decoder.end())
        self._proceed()

    def _proceed(self) -> None:
        """Write the answers that are due, give on what was read, and read more only if there is room."""
        self._write_answers()
        while self._waiting and self._has_room:
            self._take(self._waiting.popleft())
        if self._is_last:
            if not (self._waiting or self._pending):
                self._close()
        elif self._has_room and not self._waiting:
            self._read_on()
        else:
            self._transport.pause_reading()

    def _read_on(self) -> None:
        if not self._transport.is_reading() and self._block_open_since is not None:
            self._block_open_since = self._loop.time()  # the peer could not go on while it was not read
        self._transport.resume_reading()

    def _close(self) -> None:
        """Close once everything is written, but do not wait for ever for a peer that does not read."""
        if not self._transport.is_closing() and self._transport.get_write_buffer_size():
            self._write_blocked_since = self._loop.time()
        self._transport.close()

    @property
    def _has_room(self) -> bool:
        return len(self._pending) < self._policy.max_in_flight and self._write_blocked_since is None

    def _take(self, event: FramingEvent) -> None:
        if isinstance(event, Discarded):
            self._note_discarded([event])
            return
        received = self._received(event)
        self._traffic.note_message(received.tolerances, oversize=received.oversize)
        outcome = self._owner.answer(received)
        self._pending.append(_Pending(received.header, outcome))
        outcome.add_done_callback(lambda _: self._proceed())

    def _received(self, event: Frame | Oversize) -> Received:
        payload = event.payload if isinstance(event, Frame) else event.head
        header, refusal = None, None
        try:
            header = read_header(payload)
        except MessageRefused as error:
            refusal = error
        oversize = isinstance(event, Oversize)
        return Received(self._policy.name, self._peer, payload, header, refusal, event.tolerances, oversize)

    def _write_answers(self) -> None:
        while self._pending and self._pending[0].outcome.done():
            pending = self._pending.popleft()
            outcome = self._outcome_of(pending.outcome)
            if self._transport.is_closing():
                continue
            answer = acknowledge(
                pending.header,
                outcome,
                application=self._policy.application,
                facility=self._policy.facility,
                control_id=secrets.token_hex(10),
                at=datetime.now(UTC),
            )
            if answer:
                self._last_active = self._loop.time()
                self._traffic.acknowledgements[outcome.code] += 1
                self._transport.write(frame(answer))

    def _outcome_of(self, task: "asyncio.Task[Outcome]") -> Outcome:
        """The acceptor's outcome; where it failed, that of our own trouble, which the sender may try again."""
        if not task.cancelled() and task.exception() is None:
            return task.result()
        self._traffic.acceptor_failures += 1
        return self._policy.internal_error

    def _note_discarded(self, events: list[FramingEvent]) -> None:
        for event in events:
            if isinstance(event, Discarded):
                self._traffic.discarded[event.reason] += event.count


def _is_over(since: float | None, limit_seconds: float | None, now: float) -> bool:
    return since is not None and limit_seconds is not None and now - since > limit_seconds
