"""The RIS's end of the MLLP connection."""

import itertools
from types import TracebackType
from typing import Self

from fhir_bridge.errors import Unavailable
from hl7_listener.client import MllpClient, NoAcknowledgement

_TIMEOUT_SECONDS = 30.0


class RisSender:
    """Sends to one listener, one message in flight. Raises Unavailable `practice.mllp-failed`."""

    def __init__(self, host: str, port: int) -> None:
        self._client = MllpClient(host, port, _TIMEOUT_SECONDS)
        self._numbers = itertools.count(1)
        self._last = b""

    def next_control_id(self) -> str:
        """A fresh MSH-10."""
        return f"PRACTICE{next(self._numbers):04d}"

    def send(self, message: bytes) -> str:
        """MSA-1 of the answer."""
        self._last = message
        try:
            return self._client.send(message).code
        except NoAcknowledgement as failure:
            raise Unavailable("practice.mllp-failed", failure.where, failure.code) from None

    def send_again(self) -> str:
        """The last message once more, byte for byte."""
        return self.send(self._last)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()
