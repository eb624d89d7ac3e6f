"""The journal of HL7 v2 messages: what came in, how it was answered, what became of it.

The door writes a message and its answer down and only then answers; intake reads the journal in its order and applies what was
accepted. Two files, two processes: however busy the jobs are, no sender waits for them.
"""

from collections.abc import Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from hl7_listener.acknowledgement import Outcome


@dataclass(frozen=True, slots=True)
class MessageKey:
    """How a repeated message is known: (listener, MSH-3, MSH-4, MSH-10) and the hash of the message without MSH-7."""

    listener: str
    sending_application: str
    sending_facility: str
    control_id: str
    content_hash: str


class MessageState(StrEnum):
    """What happens to a message after its answer."""

    ACCEPTED = "accepted"  # intake applies it to orders and patients
    REFUSED = "refused"  # kept for a person, and for a replay once the rules were mended
    NO_EFFECT = "no-effect"  # answered, or an answer itself: nothing for intake to do


Trace = tuple[tuple[str, str], ...]  # element, and which field it came from by which rule


def trace_as_text(trace: Trace) -> str:
    """For a column: a line each. Both are words of ours, without tabs and line ends."""
    return "\n".join(map("\t".join, trace))


def trace_from_text(text: str) -> Trace:
    """The trace again."""
    pairs = (line.partition("\t") for line in text.split("\n") if line)
    return tuple((element, source) for element, _, source in pairs)


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """A received message with its answer, as it is written down before the answer leaves.

    `sender` names the rules that held; `tolerances` what was forgiven (framing, character set); `trace` which element came from which
    field, by which rule, free of values, where answering needed to know it; `batch` the batch it came in (BHS-11 or a name of ours) and its place there (`B7#3`);
    `replay_of` the message that a person put in again.
    """

    key: MessageKey
    raw: bytes = field(repr=False)
    peer: str
    message_type: str
    state: MessageState
    outcome: Outcome
    sender: str = ""
    tolerances: tuple[str, ...] = ()
    trace: Trace = ()
    batch: str = ""
    sequence_number: int | None = None
    replay_of: int = 0


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A received message as kept. Its id grows in the order of the commits."""

    id: int
    received: datetime
    entry: JournalEntry

    def without_content(self) -> "StoredMessage":
        """For lists: a message may be as long as fifty million bytes."""
        return replace(self, entry=replace(self.entry, raw=b""))


@dataclass(frozen=True, slots=True)
class Effect:
    """What intake made of an accepted message: the application-level answer (AA, AE or AR), the jobs it made or touched, and what
    somebody should look at (slugs). `trace` as in JournalEntry, of the message as it was applied."""

    message: int
    outcome: Outcome
    jobs: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    at: datetime | None = None
    trace: Trace = ()


@dataclass(frozen=True, slots=True)
class Reply:
    """An application acknowledgement on its way to its sender (HL7 v2.5.1 §2.9.3.2). `payload` is sent again byte for byte."""

    id: int
    message: int
    destination: str
    payload: bytes = field(repr=False)
    status: str = "ready"
    attempts: int = 0
    reason: str = ""


class JournalPage(Protocol):
    """The journal inside one transaction: written by the door, before anything is answered."""

    def expect(self, control_ids: Collection[str]) -> None:
        """A hint that saves questions: messages with these control IDs are judged next."""

    def find(self, key: MessageKey) -> StoredMessage | None:
        """The last message of this key that was answered AA or CA; its raw bytes are left out."""

    def find_refusal(self, key: MessageKey, code: str) -> int | None:
        """The last message of this key that was refused with this code, before this transaction."""

    def is_restarted(self, key: MessageKey) -> bool:
        """Whether the sender used this control ID for other content before: its counter was reset."""

    def last_sequence_number(self, key: MessageKey) -> int | None:
        """MSH-13 of the last message of this listener, application and facility that was written down with one."""

    def add(self, entry: JournalEntry) -> int: ...


class MessageJournal(Protocol):
    """Every received message with its answer, on disk before the answer leaves. Raises Unavailable `store.unavailable`."""

    def transaction(self) -> AbstractContextManager[JournalPage]: ...

    def after(self, message: int, limit: int = 64) -> tuple[StoredMessage, ...]:
        """The next messages for intake, oldest first: those ACCEPTED, with their raw bytes."""

    def backlog(self, message: int) -> int:
        """How many ACCEPTED messages come after this one."""

    def message(self, message: int) -> StoredMessage | None: ...

    def messages(
        self, limit: int = 100, *, state: MessageState | None = None, before: int | None = None
    ) -> tuple[StoredMessage, ...]:
        """Newest first, without the raw bytes."""

    def counts(self) -> dict[MessageState, int]: ...
