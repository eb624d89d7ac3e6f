"""One writer thread before the journal: what waits shares a commit, and an answer is given only after the commit that covers it."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from fhir_bridge import log
from fhir_bridge.errors import attempt
from fhir_bridge.journal import JournalPage, MessageJournal
from fhir_bridge.judgement import Taken, own_trouble, take
from fhir_bridge.senders import Senders
from hl7_listener.acknowledgement import Outcome
from hl7_listener.connection import Received


@dataclass(frozen=True, slots=True)
class _Waiting:
    received: Received
    future: "Future[Outcome]" = field(default_factory=Future)


class JournalWriter:
    """Messages are judged in the order in which they were submitted. `on_commit` is called after each commit."""

    def __init__(
        self, journal: MessageJournal, senders: Senders, on_commit: Callable[[], None], *, max_group: int = 512
    ) -> None:
        self._journal = journal
        self._senders = senders
        self._on_commit = on_commit
        self._max_group = max_group
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._loop, name="journal-writer")

    def start(self) -> None:
        """Begin to commit."""
        self._thread.start()

    def stop(self) -> None:
        """Commit what was submitted, then end."""
        self._queue.put(None)
        self._thread.join()

    def submit(self, received: Received) -> "Future[Outcome]":
        """The message's answer, once it is on disk. Where we could not keep it: that it may come again."""
        waiting = _Waiting(received)
        self._queue.put(waiting)
        return waiting.future

    def _loop(self) -> None:
        ending = False
        while not ending:
            group: list[_Waiting] = []
            first = self._queue.get()
            while first is not None:
                group.append(first)
                if len(group) == self._max_group or self._queue.empty():
                    break
                first = self._queue.get()
            ending = first is None
            if group:
                self._commit(group)

    def _commit(self, group: list[_Waiting]) -> None:
        done = attempt(lambda: self._in_one_transaction(group))
        if done.value is None:
            log.event("intake.group-not-committed", count=len(group), code=done.error.code if done.error else "")
        taken = done.value or [None] * len(group)
        for waiting, each in zip(group, taken, strict=True):
            waiting.future.set_result(each.outcome if each else own_trouble(waiting.received, self._senders))
        self._on_commit()

    def _in_one_transaction(self, group: list[_Waiting]) -> list[Taken | None]:
        with self._journal.transaction() as page:
            return [self._one(page, waiting.received) for waiting in group]

    def _one(self, page: JournalPage, received: Received) -> Taken | None:
        """None where judging has a bug: that message fails alone."""
        tried = attempt(lambda: take(received, page, self._senders))
        if tried.error is not None:
            log.event("intake.bug", error_id=tried.error.error_id, frames=tried.error.frames)
        return tried.value
