"""The error tree, by what to do next and not by where it arose.

    BridgeError
    ├── Refused       this input will never work: the job is held
    ├── Unavailable   a peer, or our store, cannot now: try again later
    ├── Uncertain     the peer may have done it: look first, then try again
    └── StaleClaim    this worker lost its job (lease over, cancelled): stop, write nothing

Anything else is our bug. Every error has a stable `code` (a slug, listed in docs/operations.md), a `where`, and a text free of
patient data: it may be logged, shown and sent. The libraries raise errors of their own with `code` and `where`; `classify` reads them.
"""

import traceback
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from hl7_listener.refusal import MessageRefused
from inference.refusal import InferenceRefused
from mappings.refusal import MappingRefused

T = TypeVar("T")


class BridgeError(Exception):
    """The root. `where` names a field, a peer or a step; neither it nor `explanation` carries a patient's value.

    `may_be_done`: whether the peer may have done what we asked, or a part of it, all the same.
    """

    may_be_done = False

    def __init__(self, code: str, where: str = "", explanation: str = "") -> None:
        super().__init__(f"{code} at {where}: {explanation}" if where else f"{code}: {explanation}")
        self.code = code
        self.where = where
        self.explanation = explanation


class Refused(BridgeError):
    """This input will never work."""


class Unavailable(BridgeError):
    """A peer, or our own store, cannot now. `retry_after` is the peer's own wish in seconds, if it gave one."""

    def __init__(self, code: str, where: str = "", explanation: str = "", retry_after: float | None = None) -> None:
        super().__init__(code, where, explanation)
        self.retry_after = retry_after


class Uncertain(BridgeError):
    """The peer may have done what we asked: look first, then try again."""

    may_be_done = True


class StaleClaim(BridgeError):
    """The job is no longer this worker's: its lease is over, or it was cancelled."""

    def __init__(self, job: str) -> None:
        super().__init__("job.stale-claim", job, "the job is no longer this worker's")


class Disposition(StrEnum):
    """What to do after an error."""

    REFUSED = "refused"
    UNAVAILABLE = "unavailable"
    UNCERTAIN = "uncertain"
    STALE = "stale"
    BUG = "bug"


@dataclass(frozen=True, slots=True)
class Classified:
    """An error, reduced to what may be written down."""

    disposition: Disposition
    code: str
    where: str = ""
    explanation: str = ""
    retry_after: float | None = None
    error_id: str = ""  # of a bug: the log line that holds its frames
    frames: tuple[str, ...] = ()  # file:line of a bug, innermost last


_DISPOSITIONS: tuple[tuple[type[BridgeError], Disposition], ...] = (
    (Refused, Disposition.REFUSED),
    (Unavailable, Disposition.UNAVAILABLE),
    (Uncertain, Disposition.UNCERTAIN),
    (StaleClaim, Disposition.STALE),
)


def classify(error: Exception) -> Classified:
    """The one place that decides what an error means. The text of an unknown error is dropped: it may hold patient data."""
    if isinstance(error, BridgeError):
        for kind, disposition in _DISPOSITIONS:
            if isinstance(error, kind):
                retry_after = error.retry_after if isinstance(error, Unavailable) else None
                return Classified(disposition, error.code, error.where, error.explanation, retry_after)
    if isinstance(error, MessageRefused | MappingRefused | InferenceRefused):
        return Classified(Disposition.REFUSED, error.code, error.where, error.explanation)
    frames = tuple(
        f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)
    )
    text = "an error nobody foresaw: see the log by its error id"
    return Classified(Disposition.BUG, "internal.bug", type(error).__name__, text, None, uuid.uuid4().hex[:12], frames)


@dataclass(frozen=True, slots=True)
class Attempt(Generic[T]):
    """What came of a call: its value, or its error reduced to what may be written down."""

    value: T | None
    error: Classified | None


def attempt(call: Callable[[], T]) -> Attempt[T]:
    """The one place that catches everything. A bug in one message or one step must not stop the others."""
    try:
        return Attempt(call(), None)
    except Exception as error:  # noqa: BLE001 - see above; `classify` keeps type and frames, and drops the text
        return Attempt(None, classify(error))
