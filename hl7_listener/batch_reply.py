"""The answers to a batch, one by one or as a batch themselves (HL7 v2.5.1 §2.10.3.3)."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Literal

from hl7_listener.acknowledgement import time_stamp
from hl7_listener.batch import BatchFile
from hl7_listener.delimiters import Delimiters
from hl7_listener.escapes import encoded
from hl7_listener.header import Header
from hl7_listener.outcome import POSITIVE, Outcome

Reply = Literal["each", "batch", "errors"]
_ENDING_BYTES = b"\x0b\x1c\r\n"


def replies(
    batch: BatchFile,
    answers: Sequence[tuple[Outcome, bytes]],
    how: Reply,
    *,
    application: str,
    facility: str,
    control_id: str,
    at: datetime,
) -> tuple[bytes, ...]:
    """What goes back for a batch: an answer `each`, one `batch` of all answers, or a batch of the `errors` alone (§2.10.3.3).

    A batch without errors says that every message was taken. `answers` are in the order of `batch.messages()`; an empty one is
    left out. Raises ValueError where their number differs.
    """
    if how == "each":
        return tuple(answer for _, answer in answers if answer)
    chosen = [answer if how == "batch" or outcome.code not in POSITIVE else b"" for outcome, answer in answers]
    return (batch_of_answers(batch, chosen, application=application, facility=facility, control_id=control_id, at=at),)


def batch_of_answers(
    batch: BatchFile, answers: Iterable[bytes], *, application: str, facility: str, control_id: str, at: datetime
) -> bytes:
    """The answers to a batch in one FHS, BHS ... BTS, FTS as the sender wrote them; BHS-12 and FHS-12 name what is answered.

    BHS-11 is the control ID with the batch's number behind it where there are several. Raises ValueError where `at` has no time
    zone, or the number of answers is not that of the messages.
    """
    if at.tzinfo is None:
        raise ValueError("BHS-7 needs a time zone")
    remaining = list(answers)
    if len(remaining) != sum(len(part.spans) for part in batch.batches):
        raise ValueError("there must be one answer, maybe empty, for each message")
    lines: list[bytes] = []
    for number, part in enumerate(batch.batches, 1):
        given = [answer for answer in remaining[: len(part.spans)] if answer]
        del remaining[: len(part.spans)]
        own = f"{control_id}-{number}" if len(batch.batches) > 1 else control_id
        lines.append(_opening(b"BHS", part.header, application, facility, own, at))
        lines += given
        lines.append(_closing(b"BTS", part.header, len(given)))
    if batch.header:
        lines.insert(0, _opening(b"FHS", batch.header, application, facility, control_id, at))
        lines.append(_closing(b"FTS", batch.header, len(batch.batches)))
    return b"".join(lines)


def _opening(
    name: bytes, asked: Header | None, application: str, facility: str, control_id: str, at: datetime
) -> bytes:
    delimiters = asked.delimiters if asked else Delimiters()
    sender = [asked.raw(3), asked.raw(4)] if asked else [b"", b""]
    ours = [encoded(text, delimiters) for text in (application, facility)]
    fields = [
        name,
        delimiters.encoding_characters.encode(),
        *(ours + sender),
        time_stamp(at),
        *(b"", b"", b""),
        encoded(control_id, delimiters),
        asked.raw(11) if asked else b"",
    ]
    return _line(fields, delimiters)


def _closing(name: bytes, asked: Header | None, count: int) -> bytes:
    return _line([name, b"%d" % count], asked.delimiters if asked else Delimiters())


def _line(fields: list[bytes], delimiters: Delimiters) -> bytes:
    separator = delimiters.field.encode()
    return separator.join(fields).rstrip(separator).translate(None, _ENDING_BYTES) + b"\r"
