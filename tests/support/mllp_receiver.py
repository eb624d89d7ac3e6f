"""A system that takes HL7 v2 by MLLP: any number of connections, one thread each. By default it answers AA, reading by splitting alone."""

import contextlib
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from tests.support.mllp_peer import TIMEOUT_SECONDS, block


def control_id(message: bytes) -> bytes:
    """MSH-10."""
    return message.split(b"\r", 1)[0].split(b"|")[9]


def acknowledgement(message: bytes, code: str = "AA", *, of: bytes | None = None, more: bytes = b"") -> bytes:
    """A block with MSA-1 `code` and the message's MSH-10, or `of`; `more` are further segments."""
    msa = b"MSA|" + code.encode() + b"|" + (control_id(message) if of is None else of)
    return block(b"MSH|^~\\&|RIS|HOSP|FHIR-BRIDGE||2026||ACK^R01^ACK|9|P|2.5.1\r" + msa + b"\r" + more)


class MllpReceiver:
    """`answer` gives the bytes to send back; `most_at_once` counts messages that waited for their answers at the same time."""

    def __init__(self, answer: Callable[[bytes], bytes] = acknowledgement) -> None:
        self.answer = answer
        self.received: list[bytes] = []
        self.connections = 0
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._listening.getsockname()[:2]
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def results(self) -> set[bytes]:
        """As a receiver that knows repeats keeps them: one message per control ID."""
        return {control_id(message) for message in self.received}

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with self._lock:
                self.connections += 1
                self._open.append(connection)
            thread = threading.Thread(target=self._converse, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _converse(self, connection: socket.socket) -> None:
        buffer = b""
        with connection:
            while True:
                try:
                    data = connection.recv(65536)
                except OSError:
                    return
                if not data:
                    return
                buffer += data
                while b"\x1c\r" in buffer:
                    message, buffer = buffer.split(b"\x1c\r", 1)
                    self._take(connection, message[1:])

    def _take(self, connection: socket.socket, message: bytes) -> None:
        with self._lock:
            self.received.append(message)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        answer = self.answer(message)
        with self._lock:
            self._at_once -= 1
        connection.sendall(answer)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):  # ended already
                    connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(TIMEOUT_SECONDS)
