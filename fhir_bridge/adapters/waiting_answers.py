"""Answers that are kept back until intake says what became of their messages: `sender.wait_for_intake`, `sender.order_responses`."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from fhir_bridge import log
from fhir_bridge.judgement import in_words_of
from fhir_bridge.senders import SenderRules
from hl7_listener.answering import Answer
from hl7_listener.outcome import Outcome

PATIENCE_SECONDS = 4.0  # Mirth gives up after 5 s, HAPI after 10, Camel after 15


@dataclass(frozen=True, slots=True)
class _Kept:
    outcome: Outcome
    until: float
    rules: SenderRules
    answer: "Future[Answer]" = field(repr=False)


class WaitingAnswers:
    """Whoever has waited for `seconds` is told that the message is kept, which it is; intake applies it later.

    Used by three threads: the writer keeps, the reader of the parent's lines settles, the reporter lets expire.
    """

    def __init__(self, seconds: float = PATIENCE_SECONDS, now: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._now = now
        self._lock = threading.Lock()
        self._kept: dict[int, list[_Kept]] = {}

    def keep(self, message: int, outcome: Outcome, rules: SenderRules, answer: "Future[Answer]") -> None:
        """`outcome` is the answer that says no more than that the message is kept."""
        with self._lock:
            self._kept.setdefault(message, []).append(_Kept(outcome, self._now() + self._seconds, rules, answer))

    def settle(self, message: int, effect: Outcome) -> None:
        """Give the answers that wait for this message; nobody may wait any more."""
        with self._lock:
            kept = self._kept.pop(message, [])
        for each in kept:
            each.answer.set_result(in_words_of(each.rules, effect, each.outcome))

    def expire(self) -> None:
        """Give the answers that have waited long enough."""
        now = self._now()
        with self._lock:
            over = [(message, each) for message, kept in self._kept.items() for each in kept if each.until <= now]
            for message, each in over:
                self._kept[message].remove(each)
                if not self._kept[message]:
                    del self._kept[message]
        for message, each in over:
            log.event("mllp.answered-before-its-effect", message=message)
            each.answer.set_result(each.outcome)

    def __len__(self) -> int:
        with self._lock:
            return sum(len(kept) for kept in self._kept.values())
