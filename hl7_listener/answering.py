"""From an outcome to the bytes that go back: the acknowledgement in its block, and the commit blocks of MLLP Release 2.

Release 2 separates the transport's answer from HL7's: `<VT> ACK <FS> <CR>` says that the message is kept, and the HL7 answer
follows in a block of its own; `<VT> NAK <FS> <CR>` says that it is not, and nothing follows, for the sender will send it again and
must not take this answer for that of its next attempt.
"""

import itertools
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from hl7_listener.acknowledgement import acknowledge, parse_acknowledgement
from hl7_listener.framing import frame
from hl7_listener.header import Header
from hl7_listener.outcome import POSITIVE, Outcome
from hl7_listener.policy import ListenerPolicy
from hl7_listener.refusal import MessageRefused

# What an acceptor's future gives: an outcome, or whole answers in their order, without blocks (those to a batch).
Answer = Outcome | tuple[bytes, ...]

COMMITTED, NOT_COMMITTED = b"\x06", b"\x15"  # ACK and NAK of ISO 646
_NOT_KEPT = 207  # table 0357: our own trouble, or too large; any other message is kept, refused ones too


class Written(NamedTuple):
    """The bytes of an answer, ready to send, and what to count: MSA-1 of each acknowledgement, or `NAK`, `batch`."""

    data: bytes
    codes: tuple[str, ...]


class Answering:
    """Writes the answers of one listener, each with an MSH-10 of its own."""

    def __init__(self, policy: ListenerPolicy) -> None:
        self._policy = policy
        self._control_ids = _control_ids()

    def write(self, header: Header | None, message: bytes, answer: Answer) -> Written:
        """The answer to a message with this header. Raises MessageRefused `mllp.control-byte` where a ready-made answer fits no block."""
        if isinstance(answer, Outcome):
            written = self._of_outcome(header, message, answer)
        else:
            written = Written(b"".join(map(frame, answer)), tuple(map(_code, answer)))
        if self._policy.mllp_release == 1:
            return written
        if isinstance(answer, Outcome) and answer.error_code == _NOT_KEPT and answer.code not in POSITIVE:
            return Written(frame(NOT_COMMITTED), ("NAK",))
        return Written(frame(COMMITTED) + written.data, written.codes)

    def _of_outcome(self, header: Header | None, message: bytes, outcome: Outcome) -> Written:
        acknowledgement = acknowledge(
            header,
            outcome,
            application=self._policy.application,
            facility=self._policy.facility,
            control_id=next(self._control_ids),
            at=datetime.now(UTC),
            message=message,
        )
        return Written(frame(acknowledgement), (outcome.code,)) if acknowledgement else Written(b"", ())


def _control_ids() -> Iterator[str]:
    """Unlike any that were used before a restart, and at most 20 characters (MSH-10 up to v2.6)."""
    start = secrets.token_hex(5)
    return (f"{start}{number:08X}" for number in itertools.count(1))


def _code(answer: bytes) -> str:
    try:
        return parse_acknowledgement(answer).code
    except MessageRefused:
        return "batch"
