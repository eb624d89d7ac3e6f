"""One writer thread before the journal: what waits shares a commit, and an answer is given only after the commit that covers it."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime

from fhir_bridge import log
from fhir_bridge.adapters.grouping_writer import GroupingWriter
from fhir_bridge.adapters.waiting_answers import WaitingAnswers
from fhir_bridge.batch_answers import batch_answers
from fhir_bridge.errors import attempt
from fhir_bridge.intake import Names
from fhir_bridge.journal import JournalPage, MessageJournal
from fhir_bridge.judgement import Taken, own_trouble, take
from fhir_bridge.senders import Senders
from hl7_listener.acknowledgement import Outcome
from hl7_listener.answering import Answer
from hl7_listener.connection import Received


@dataclass(frozen=True, slots=True)
class _Submitted:
    received: Received
    answer: "Future[Answer]" = field(default_factory=Future)


class JournalWriter:
    """Messages are judged in the order in which they were submitted.

    `names`: how each listener is called in MSH-3 and MSH-4 of an answer. `waiting` keeps the answers of senders that want to know
    what became of their message; without it they are told that it is kept. `on_commit` is called after each commit with the ids of
    the messages that wait. `together`: inside it, many answers wake the listener once.
    """

    def __init__(
        self,
        journal: MessageJournal,
        senders: Senders,
        names: Names,
        *,
        waiting: WaitingAnswers | None = None,
        on_commit: Callable[[Sequence[int]], None] = lambda _: None,
        together: Callable[[], AbstractContextManager[object]] = nullcontext,
        max_group: int = 512,
    ) -> None:
        self._journal = journal
        self._senders = senders
        self._names = names
        self._waiting = waiting
        self._on_commit = on_commit
        self._together = together
        self._group = GroupingWriter[_Submitted]("journal-writer", self._commit, max_group)
        self.can_write = True  # whether the last commit went well

    def start(self) -> None:
        """Begin to commit."""
        self._group.start()

    def stop(self) -> None:
        """Commit what was submitted, then end."""
        self._group.stop()

    def submit(self, received: Received) -> "Future[Answer]":
        """The message's answer, once it is on disk. Where we could not keep it: that it may come again."""
        submitted = _Submitted(received)
        self._group.put(submitted)
        return submitted.answer

    def _commit(self, group: list[_Submitted]) -> None:
        done = attempt(lambda: self._in_one_transaction(group))
        self.can_write = done.value is not None
        if done.error is not None:
            log.event("mllp.group-not-committed", count=len(group), code=done.error.code, error_id=done.error.error_id)
        taken = done.value or [None] * len(group)
        with self._together():
            waits = [self._answer(*pair) for pair in zip(group, taken, strict=True)]
        self._on_commit([message for message in waits if message])

    def _answer(self, submitted: _Submitted, taken: Taken | None) -> int:
        """Give the answer; the message's id where it must wait."""
        if taken is None:
            submitted.answer.set_result(own_trouble(submitted.received, self._senders))
        elif taken.parts:
            submitted.answer.set_result(self._to_batch(taken))
        elif taken.waits and self._waiting is not None:
            self._waiting.keep(taken.message, taken.outcome, taken.rules, submitted.answer)
            return taken.message
        else:
            submitted.answer.set_result(taken.outcome)
        return 0

    def _to_batch(self, taken: Taken) -> Answer:
        """A batch whose answer cannot be written is kept all the same: it is answered like a message."""
        application, facility = self._names.get(taken.received.listener, ("", ""))
        tried = attempt(
            lambda: batch_answers(
                taken, self._senders, application=application, facility=facility, at=datetime.now(UTC)
            )
        )
        if tried.error is not None:
            log.event("mllp.bug", error_id=tried.error.error_id, frames=tried.error.frames)
        return Outcome("AA") if tried.value is None else tried.value

    def _in_one_transaction(self, group: list[_Submitted]) -> list[Taken | None]:
        with self._journal.transaction() as page:
            page.expect([each.received.header.control_id for each in group if each.received.header])
            return [self._one(page, submitted.received) for submitted in group]

    def _one(self, page: JournalPage, received: Received) -> Taken | None:
        """None where judging has a bug: that message fails alone."""
        tried = attempt(lambda: take(received, page, self._senders))
        if tried.error is not None:
            log.event("mllp.bug", error_id=tried.error.error_id, frames=tried.error.frames)
        return tried.value
