"""A peer that answers nothing is left alone for a while, instead of holding up every caller until its deadline.

    closed ──failures in a row──> open ──seconds later──> one call tries ──an answer──> closed
                                   ^                            │
                                   └─────────no answer──────────┘

Own code, since PyPI's pybreaker holds its lock during the call, which would make all calls to a server wait for one another, and
reads a clock that no test can move.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from fhir_bridge.errors import Unavailable


@dataclass(slots=True)
class Passage:
    """One call. `heard`: whether its last attempt got an answer, a refusal or any other; None where none was made."""

    tries: bool = False  # the one call that finds out whether the peer is back
    heard: bool | None = None


class Circuit:
    """Of one peer; threads share it."""

    def __init__(self, failures: int, seconds: float, monotonic: Callable[[], float]) -> None:
        self._limit = failures
        self._seconds = seconds
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._missed = 0
        self._next_try: float | None = None  # None while closed
        self._trying = False

    @contextmanager
    def call(self, where: str) -> Iterator[Passage]:
        """Around a call that sets `heard`. Raises Unavailable `fhir.circuit-open` at once where the peer is left alone."""
        passage = self._enter(where)
        try:
            yield passage
        finally:
            self._leave(passage)

    def _enter(self, where: str) -> Passage:
        with self._lock:
            if self._next_try is None:
                return Passage()
            wait = self._next_try - self._monotonic()
            if wait > 0 or self._trying:
                raise Unavailable(
                    "fhir.circuit-open", where, "the server did not answer and is left alone", max(wait, 1.0)
                )
            self._trying = True
            return Passage(tries=True)

    def _leave(self, passage: Passage) -> None:
        with self._lock:
            if passage.tries:
                self._trying = False
            if passage.heard:
                self._missed, self._next_try = 0, None
            elif passage.heard is False:
                self._missed += 1
                if passage.tries or self._missed >= self._limit:
                    self._next_try = self._monotonic() + self._seconds
