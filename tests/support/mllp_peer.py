"""The far end of an MLLP connection for tests: raw bytes out, blocks in, read by code that shares nothing with ours."""

import socket
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

TIMEOUT_SECONDS = 20.0


def wait_until(condition: Callable[[], bool]) -> None:
    """For what happens on the listener's thread without an answer."""
    end = time.monotonic() + TIMEOUT_SECONDS
    while not condition():
        assert time.monotonic() < end, "it did not happen"


def block(message: bytes) -> bytes:
    """A block as the standard has it."""
    return b"\x0b" + message + b"\x1c\r"


class RawPeer:
    """A client that sends whatever a test wants and reads whole blocks."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, TIMEOUT_SECONDS)
        self._buffer = b""

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def finish_sending(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)

    def answer(self) -> bytes:
        """The next block's content. Fails where the connection ends first."""
        while b"\x1c\r" not in self._buffer:
            data = self.socket.recv(65536)
            assert data, "the connection ended without an answer"
            self._buffer += data
        content, self._buffer = self._buffer.split(b"\x1c\r", 1)
        assert content[:1] == b"\x0b", "bytes outside a block"
        return content[1:]

    def rest(self) -> bytes:
        """Everything until the other side closes."""
        try:
            while data := self.socket.recv(65536):
                self._buffer += data
        except ConnectionResetError:
            pass
        return self._buffer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()


def msa(answer: bytes) -> tuple[str, str]:
    """MSA-1 and MSA-2, by splitting alone."""
    separator = answer[3:4]
    line = next(line for line in answer.split(b"\r") if line.startswith(b"MSA" + separator))
    fields = [*line.split(separator), b"", b""]
    return fields[1].decode("ascii"), fields[2].decode("utf-8", "surrogateescape")


class ScriptedReceiver:
    """A listener for one client: for each message that arrives it sends the next scripted bytes; None closes the connection.

    An empty script entry is silence. Connections are served one after the other; with `closes`, each ends after an answer.
    """

    def __init__(self, script: Sequence[bytes | None], *, closes: bool = False) -> None:
        self._script = list(script)
        self._closes = closes
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._listening.getsockname()[:2]
        self.received: list[bytes] = []
        self.connections = self.closed = 0
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while self._script:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            with connection:
                self._converse(connection)
            self.closed += 1

    def _converse(self, connection: socket.socket) -> None:
        buffer = b""
        while self._script:
            while b"\x1c\r" not in buffer:
                data = connection.recv(65536)
                if not data:
                    return
                buffer += data
            message, buffer = buffer.split(b"\x1c\r", 1)
            self.received.append(message[1:])
            answer = self._script.pop(0)
            if answer is None:
                return
            connection.sendall(answer)
            if self._closes:
                return
        connection.recv(1)  # stay until the client goes

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listening.close()
        self._thread.join(TIMEOUT_SECONDS)


def answers(stream: bytes) -> list[tuple[str, str]]:
    """MSA-1 and MSA-2 of every block in a stream."""
    return [msa(part[1:]) for part in stream.split(b"\x1c\r")[:-1]]


def order(control_id: str = "1", *, charset: str = "", name: bytes = b"CANARY^ZEBRA", end: bytes = b"\r") -> bytes:
    """A small order."""
    msh = f"MSH|^~\\&|RIS|HOSP|||20260302||ORM^O01|{control_id}|P|2.5||||||{charset}".encode()
    return end.join((msh, b"PID|1||CANARY-1||" + name, b"ORC|NW|CANARY-P1", b""))
