"""An MLLP client: send one message, wait for the answer whose MSA-2 is our MSH-10.

One message is in flight at a time. Whatever goes wrong closes the connection, so that a late answer can never be taken for the
answer to the next message; the next `send` connects anew. What came before a message was written is no answer to it either, not
even where MSA-2 fits: a message sent again keeps its MSH-10.
"""

import contextlib
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

from hl7_listener.acknowledgement import Acknowledgement, parse_acknowledgement
from hl7_listener.framing import Decoder, Discarded, Frame, FramingEvent, frame
from hl7_listener.header import read_header
from hl7_listener.refusal import MessageRefused

_MAX_ANSWER_BYTES = 1024 * 1024
_READ_BYTES = 65536


class NoAcknowledgement(OSError):
    """No answer that belongs to the message. `may_have_arrived`: the peer may have it all the same, so look before repeating.

    `code`: `mllp.unreachable` (no connection), `mllp.closed` (the connection ended), `mllp.timeout` (no answer in time).
    """

    def __init__(self, code: str, where: str, explanation: str, *, may_have_arrived: bool) -> None:
        super().__init__(f"{code} at {where}: {explanation}")
        self.code = code
        self.where = where
        self.explanation = explanation
        self.may_have_arrived = may_have_arrived


class MllpClient:
    """A persistent connection to one listener. `timeout_seconds` covers a whole `send`, connecting included.

    `ssl_context` may be a function: it is then asked for each new connection, so that a renewed certificate counts.
    """

    def __init__(
        self,
        host: str,
        port: int,
        timeout_seconds: float,
        ssl_context: ssl.SSLContext | Callable[[], ssl.SSLContext] | None = None,
    ) -> None:
        self._host = host
        self._port = port
        self._timeout_seconds = timeout_seconds
        self._ssl_context = ssl_context
        self._connection: socket.socket | None = None
        self._decoder = Decoder(_MAX_ANSWER_BYTES)
        self._events: deque[FramingEvent] = deque()
        self._lock = threading.Lock()
        self.discarded_answers = 0

    def send(self, message: bytes) -> Acknowledgement:
        """Send the bytes as they are; the peer's answer, positive or not.

        Raises NoAcknowledgement, and MessageRefused `mllp.control-byte` where the message cannot stand in a block.
        """
        block = frame(message)
        expected = _control_id(message)
        with self._lock:
            deadline = time.monotonic() + self._timeout_seconds
            answered = False
            try:
                connection = self._connect(deadline)
                self._write(connection, block, deadline)
                acknowledgement = self._wait(connection, expected, deadline)
                answered = True
                return acknowledgement
            finally:
                if not answered:
                    self._disconnect()

    def ping(self) -> None:
        """Connect, TLS included, and send nothing. Raises NoAcknowledgement `mllp.unreachable`."""
        with self._lock:
            self._connect(time.monotonic() + self._timeout_seconds)

    def close(self) -> None:
        """End the connection; a later `send` opens another."""
        with self._lock:
            self._disconnect()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _connect(self, deadline: float) -> socket.socket:
        if self._connection is not None and not self._is_fit(self._connection):
            self._disconnect()
        if self._connection is None:
            try:
                self._connection = self._open(_left(deadline))
            except (OSError, UnicodeError) as error:  # a name that is none cannot be looked up
                raise self._failure("mllp.unreachable", type(error).__name__, may_have_arrived=False) from None
        return self._connection

    def _open(self, timeout_seconds: float) -> socket.socket:
        connection = socket.create_connection((self._host, self._port), timeout_seconds)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if self._ssl_context is None:
            return connection
        context = self._ssl_context() if callable(self._ssl_context) else self._ssl_context
        try:
            return context.wrap_socket(connection, server_hostname=self._host)
        except (OSError, UnicodeError):
            connection.close()
            raise

    def _is_fit(self, connection: socket.socket) -> bool:
        """Whether the peer still holds an idle connection, better known before a message is written into it. Drops what came late."""
        connection.settimeout(0)
        try:
            while data := connection.recv(_READ_BYTES):
                self._events.extend(self._decoder.feed(data))
        except (BlockingIOError, ssl.SSLWantReadError):
            self.discarded_answers += sum(not isinstance(event, Discarded) for event in self._events)
            self._events.clear()
            return not self._decoder.is_open  # half a late answer: the rest must not reach the next message
        except OSError:
            return False
        return False

    def _write(self, connection: socket.socket, block: bytes, deadline: float) -> None:
        connection.settimeout(_left(deadline))
        try:
            connection.sendall(block)
        except TimeoutError:
            raise self._failure("mllp.timeout", "the message could not be written in time") from None
        except OSError as error:
            raise self._failure("mllp.closed", type(error).__name__) from None

    def _wait(self, connection: socket.socket, expected: bytes, deadline: float) -> Acknowledgement:
        while True:
            while self._events:
                acknowledgement = self._matching(self._events.popleft(), expected)
                if acknowledgement is not None:
                    return acknowledgement
            self._events.extend(self._decoder.feed(self._read(connection, deadline)))

    def _read(self, connection: socket.socket, deadline: float) -> bytes:
        if deadline <= time.monotonic():
            raise self._failure("mllp.timeout", "no answer in time")
        connection.settimeout(_left(deadline))
        try:
            data = connection.recv(_READ_BYTES)
        except TimeoutError:
            raise self._failure("mllp.timeout", "no answer in time") from None
        except OSError as error:
            raise self._failure("mllp.closed", type(error).__name__) from None
        if not data:
            raise self._failure("mllp.closed", "the peer closed the connection before its answer")
        return data

    def _matching(self, event: FramingEvent, expected: bytes) -> Acknowledgement | None:
        """The answer in this frame if it is ours; anything else is counted and dropped."""
        if isinstance(event, Frame):
            with contextlib.suppress(MessageRefused):
                acknowledgement = parse_acknowledgement(event.payload)
                if acknowledgement.control_id == expected:
                    return acknowledgement
        if not isinstance(event, Discarded):
            self.discarded_answers += 1
        return None

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        self._decoder = Decoder(_MAX_ANSWER_BYTES)
        self._events.clear()

    def _failure(self, code: str, explanation: str, *, may_have_arrived: bool = True) -> NoAcknowledgement:
        return NoAcknowledgement(code, f"{self._host}:{self._port}", explanation, may_have_arrived=may_have_arrived)


def _control_id(message: bytes) -> bytes:
    """Our MSH-10; empty where it cannot be read, which is also what MSA-2 then is."""
    try:
        return read_header(message).raw(10)
    except MessageRefused:
        return b""


def _left(deadline: float) -> float:
    return max(0.001, deadline - time.monotonic())
