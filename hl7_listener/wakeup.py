"""From the thread that finishes a message to the event loop: one wake-up for all that finish together."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from typing import Protocol


class Sleeper(Protocol):
    """Who waits: a connection."""

    def go_on(self) -> None:
        """Called on the loop's thread."""


class Wakeup:
    """Tells connections that an outcome is there. Called from any thread; the connections go on on the loop's thread.

    To wake the loop costs a system call and hands it the interpreter: a writer that finishes a hundred messages with one commit
    does so inside `together`, and the loop wakes once.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self._ready: dict[Sleeper, None] = {}
        self._held = 0
        self._is_called = False

    def __call__(self, sleeper: Sleeper) -> None:
        """An outcome of this connection is there."""
        with self._lock:
            self._ready[sleeper] = None
            must_call = self._must_call()
        if must_call:
            self._call()

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Outcomes that are set inside reach their senders with one wake-up, at the end."""
        with self._lock:
            self._held += 1
        try:
            yield
        finally:
            with self._lock:
                self._held -= 1
                must_call = self._must_call()
            if must_call:
                self._call()

    def _must_call(self) -> bool:
        if self._is_called or self._held or not self._ready:
            return False
        self._is_called = True
        return True

    def _call(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._run)

    def _run(self) -> None:
        with self._lock:
            ready, self._ready = self._ready, {}
            self._is_called = False
        for sleeper in ready:
            sleeper.go_on()
