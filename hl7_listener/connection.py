"""One MLLP connection on the event loop: bytes in, answers out (MLLP Release 1).

A peer may send the next message before it has the answer to the last. Answers keep the order; a peer that runs too far ahead, or
does not read its answers, is slowed down by not being read, never by dropping a message.
"""

import asyncio
import socket
from typing import Protocol, cast

from hl7_listener.answering import Answer
from hl7_listener.conversation import Acceptor, Conversation, Received, Shared
from hl7_listener.framing import Decoder, FramingEvent
from hl7_listener.traffic import PeerTraffic

__all__ = ["Acceptor", "Answer", "Connection", "Owner", "Received", "Shared"]

_KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 8}  # a dead peer is found in three minutes


class Owner(Protocol):
    """Who opened the connection: the listener."""

    def opened(self, connection: "Connection") -> None: ...

    def closed(self, connection: "Connection") -> None: ...


class Connection(asyncio.BufferedProtocol):
    """The server's end of one connection, on the loop's thread.

    What there is to do is done in `_proceed`, a callback of its own: an acceptor that raises there is our bug and is reported by the
    loop, where in `buffer_updated` it would also end the connection.
    """

    def __init__(self, shared: Shared, owner: Owner, traffic: PeerTraffic, host: str, port: int) -> None:
        self.host = host
        self._policy = shared.policy
        self._memory = shared.memory
        self._buffer = shared.buffer
        self._owner = owner
        self._traffic = traffic
        self._decoder = Decoder(self._policy.max_message_bytes, bare_messages=self._policy.bare_messages)
        self._unfinished_bytes = 0
        self._messages = Conversation(shared, traffic, f"{host}:{port}", lambda: shared.wakeup(self))
        self._is_scheduled = False
        self._is_reading = True
        self._is_last = False  # nothing more is read: close after the last answer
        self._write_blocked_since: float | None = None
        self._block_open_since: float | None = None
        self._loop = asyncio.get_running_loop()
        self._last_active = self._loop.time()
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # a stream server gets no other kind
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, seconds in _KEEPALIVE.items():
            if hasattr(socket, name):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), seconds)
        self._owner.opened(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        """One for all connections of the listener: to make one for each read costs more than the rest of it."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._is_last:
            self._traffic.discarded["after-close"] += nbytes
            return
        self._last_active = self._loop.time()
        self._take_in(self._decoder.feed(bytes(self._buffer[:nbytes])))

    def eof_received(self) -> bool:
        """The peer sends no more, but may still read: answer what it sent. TLS knows no half-open connection."""
        self.drain()
        return self._transport.can_write_eof()

    def pause_writing(self) -> None:
        self._write_blocked_since = self._loop.time()

    def resume_writing(self) -> None:
        self._write_blocked_since = None
        self.go_on()

    def connection_lost(self, exc: Exception | None) -> None:
        """What was given to the acceptor stays its own; the peer will ask again and get the same answer."""
        if not self._is_last:
            self._stop_reading()
        self._messages.drop_waiting("connection-lost")
        self._memory.forget(self)
        self._owner.closed(self)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way: no message, no part of one, and the end is not near either."""
        return self._messages.is_over and not (self._decoder.is_open or self._is_last)

    @property
    def is_over(self) -> bool:
        """Whether nothing is left but to close."""
        return self._messages.is_over and self._is_last

    def drain(self) -> None:
        """Read nothing more, answer what was read, close."""
        if not self._is_last:
            self._stop_reading()
            self.go_on()

    def end(self, reason: str) -> None:
        """Drain for a reason that is counted."""
        self._traffic.closed[reason] += 1
        self.drain()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def go_on(self) -> None:
        """Do what there is to do, soon."""
        if not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._proceed)

    def crowd_out(self) -> int:
        """Keep only the head of the open block, for there is no memory for the rest; how many bytes that leaves."""
        before = self._unfinished_bytes
        self._decoder.crowd_out()
        self._unfinished_bytes = self._decoder.kept_bytes
        self._traffic.crowded_out += self._unfinished_bytes < before
        return self._unfinished_bytes

    def check_time(self, now: float) -> None:
        """Apply the limits of the policy; called again and again by the listener."""
        policy = self._policy
        if _is_over(self._write_blocked_since, policy.write_timeout_seconds, now):
            self._traffic.closed["write-timeout"] += 1
            self.abort()
        elif self._is_reading and _is_over(self._block_open_since, policy.max_partial_age_seconds, now):
            self.end("partial-timeout")
        elif self.is_idle and _is_over(self._last_active, policy.idle_timeout_seconds, now):
            self.end("idle-timeout")

    def _take_in(self, events: list[FramingEvent]) -> None:
        is_open = self._decoder.is_open
        if events or not is_open:
            self._block_open_since = None
        if is_open and self._block_open_since is None:
            self._block_open_since = self._last_active
        self._note_unfinished()
        if events:
            self._messages.add(events)
            self.go_on()

    def _note_unfinished(self) -> None:
        if self._decoder.kept_bytes != self._unfinished_bytes:
            self._unfinished_bytes = self._decoder.kept_bytes
            self._memory.note_unfinished(self, self._unfinished_bytes)
            if not self._memory.has_room(self):
                self._pause_reading()

    def _stop_reading(self) -> None:
        self._is_last = True
        self._pause_reading()
        self._take_in(self._decoder.end())

    def _proceed(self) -> None:
        """Write the answers that are due, give on what was read, and read more only if there is room."""
        self._is_scheduled = False
        self._write_answers()
        while self._write_blocked_since is None and self._messages.give_on():
            self._write_answers()
        if self._messages.is_ended and not self._is_last:
            self._traffic.closed["oversize"] += 1
            self._is_last = True
            self._pause_reading()
        if self._is_last:
            if self._messages.is_over:
                self._close()
        elif self._write_blocked_since is None and self._messages.can_take_more and self._memory.has_room(self):
            self._resume_reading()
        else:
            self._pause_reading()

    def _write_answers(self) -> None:
        """All that are due with one write. Where they cannot be made, which is our bug, the connection ends: never silence."""
        is_made = False
        try:
            data = self._messages.answers()
            is_made = True
        finally:
            if not is_made:
                self.abort()
        if data and not self._transport.is_closing():
            self._last_active = self._loop.time()
            self._transport.write(data)

    def _pause_reading(self) -> None:
        if self._is_reading:
            self._is_reading = False
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if not self._is_reading:
            self._is_reading = True
            self._transport.resume_reading()
            if self._block_open_since is not None:
                self._block_open_since = self._loop.time()  # the peer could not go on while it was not read

    def _close(self) -> None:
        """Close once everything is written, but do not wait for ever for a peer that does not read."""
        if not self._transport.is_closing() and self._transport.get_write_buffer_size():
            self._write_blocked_since = self._loop.time()
        self._transport.close()


def _is_over(since: float | None, limit_seconds: float, now: float) -> bool:
    return since is not None and limit_seconds > 0 and now - since > limit_seconds
