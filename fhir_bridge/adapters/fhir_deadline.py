"""Connections whose answers end by a deadline, whatever they consist of: status lines, headers, frames of chunks, a body.

A socket's own time-out bounds each silence; a peer that sends a byte now and then never is silent.
"""

import http.client
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

_LEAST_SECONDS = 0.1  # an answer that is on its way may come
_remaining: ContextVar[Callable[[], float]] = ContextVar("remaining")


class TooSlow(Exception):
    """The deadline passed while the answer came."""


@contextmanager
def within(remaining: Callable[[], float]) -> Iterator[None]:
    """What this thread reads of answers meanwhile raises TooSlow once no seconds remain."""
    before = _remaining.set(remaining)
    try:
        yield
    finally:
        _remaining.reset(before)


class _Reader(io.RawIOBase):
    def __init__(self, raw: io.RawIOBase, sock: Any) -> None:
        self._raw, self._sock, self._silence = raw, sock, sock.gettimeout()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        seconds = _remaining.get()()
        if seconds <= 0:
            raise TooSlow
        self._sock.settimeout(min(max(seconds, _LEAST_SECONDS), self._silence))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Answer(http.client.HTTPResponse):
    def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_Reader(self.fp.detach(), sock))


class _Plain(HTTPConnection):
    response_class = _Answer


class _Secure(HTTPSConnection):
    response_class = _Answer


class PlainPool(HTTPConnectionPool):
    """Of `http`."""

    ConnectionCls = _Plain


class SecurePool(HTTPSConnectionPool):
    """Of `https`."""

    ConnectionCls = _Secure
