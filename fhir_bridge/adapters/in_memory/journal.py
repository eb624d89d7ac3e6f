"""The twin of `sqlite_journal`: the same contract on a list."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime

from fhir_bridge.journal import JournalEntry, MessageKey, MessageState, StoredMessage
from fhir_bridge.ports import Clock

_POSITIVE = ("AA", "CA")


@dataclass(slots=True)
class InMemoryPage:
    """`journal.JournalPage`."""

    kept: list[StoredMessage]
    at: datetime
    fresh: list[StoredMessage] = field(default_factory=list)

    def expect(self, control_ids: Collection[str]) -> None:
        """Everything is at hand here."""

    def find(self, key: MessageKey) -> StoredMessage | None:
        found = (m for m in reversed(self.kept + self.fresh) if m.entry.key == key)
        positive = next((m for m in found if m.entry.outcome.code in _POSITIVE), None)
        return positive.without_content() if positive else None

    def find_refusal(self, key: MessageKey, code: str) -> int | None:
        refused = (m for m in reversed(self.kept) if m.entry.key == key and m.entry.state is MessageState.REFUSED)
        return next((m.id for m in refused if m.entry.outcome.application_code == code), None)

    def is_restarted(self, key: MessageKey) -> bool:
        same = (
            m.entry.key
            for m in self.kept + self.fresh
            if replace(m.entry.key, content_hash="") == replace(key, content_hash="")
        )
        return any(known != key for known in same)

    def last_sequence_number(self, key: MessageKey) -> int | None:
        wanted = (key.listener, key.sending_application, key.sending_facility)
        for message in reversed(self.kept + self.fresh):
            known = message.entry.key
            of_sender = (known.listener, known.sending_application, known.sending_facility) == wanted
            if of_sender and message.entry.sequence_number is not None:
                return message.entry.sequence_number
        return None

    def add(self, entry: JournalEntry) -> int:
        number = len(self.kept) + len(self.fresh) + 1
        self.fresh.append(StoredMessage(number, self.at, entry))
        return number


class InMemoryJournal:
    """`journal.MessageJournal`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kept: list[StoredMessage] = []

    @contextmanager
    def transaction(self) -> Iterator[InMemoryPage]:
        page = InMemoryPage(self._kept, self._clock.now())
        yield page
        self._kept = self._kept + page.fresh

    def after(self, message: int, limit: int = 64) -> tuple[StoredMessage, ...]:
        return tuple(m for m in self._kept if m.id > message and m.entry.state is MessageState.ACCEPTED)[:limit]

    def backlog(self, message: int) -> int:
        return sum(m.id > message and m.entry.state is MessageState.ACCEPTED for m in self._kept)

    def message(self, message: int) -> StoredMessage | None:
        return next((known for known in self._kept if known.id == message), None)

    def messages(
        self, limit: int = 100, *, state: MessageState | None = None, before: int | None = None
    ) -> tuple[StoredMessage, ...]:
        found = (
            m.without_content()
            for m in reversed(self._kept)
            if (state is None or m.entry.state is state) and (before is None or m.id < before)
        )
        return tuple(found)[:limit]

    def counts(self) -> dict[MessageState, int]:
        states = [message.entry.state for message in self._kept]
        return {state: states.count(state) for state in MessageState if state in states}
