"""The RIS's end of the MLLP connection."""

import itertools
import socket
from types import TracebackType
from typing import Self

from hl7_listener.client import MllpClient

from fhir_bridge.errors import Unavailable

_TIMEOUT_SECONDS = 30.0
_START, _END = b"\x0b", b"\x1c\r"


class RisSender:
    """Sends to one listener, one message in flight. Raises Unavailable `practice.mllp-failed`."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._client = MllpClient(host, port, _TIMEOUT_SECONDS)
        self._numbers = itertools.count(1)
        self._last = b""

    def next_control_id(self) -> str:
        """A fresh MSH-10."""
        return f"PRACTICE{next(self._numbers):04d}"

    def send(self, message: bytes) -> str:
        """MSA-1 of the answer."""
        self._last = message
        return self._client.send(message).code

    def send_again(self) -> str:
        """The last message once more, byte for byte."""
        return self.send(self._last)

    def send_unreadable(self, content: bytes) -> str:
        """MSA-1 of the answer to bytes that name no MSH-10: no client could match it, so the frame is read here."""
        try:
            with socket.create_connection(self._address, _TIMEOUT_SECONDS) as connection:
                connection.sendall(_START + content + _END)
                answer = b""
                while not answer.endswith(_END):
                    received = connection.recv(65536)
                    if not received:
                        raise Unavailable("practice.mllp-failed", "garbage", "closed without an answer")
                    answer += received
        except OSError as error:
            raise Unavailable("practice.mllp-failed", "garbage", type(error).__name__) from None
        acknowledgement = next(line for line in answer.split(b"\r") if line.startswith(b"MSA"))
        return acknowledgement.split(b"|")[1].decode("ascii")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()
