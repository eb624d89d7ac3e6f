"""Outcome to acknowledgement: MSH, MSA, ERR (HL7 v2.5.1 §2.9.2, §2.15.5, §2.15.8). Written byte by byte, not by a parser, so that
a message no parser takes still gets its answer.

    MSA-1  original mode  AA taken    AE the content is wrong   AR the message is not acceptable, or we cannot now
           enhanced mode  CA          CE                        CR
    MSA-3  the text, below v2.5 only (withdrawn in v2.7; HAPI refuses it there)
    ERR    below v2.5 in ERR-1, and never beside AA; from v2.5 in ERR-2 to ERR-8

Whatever comes from the sender goes back byte for byte, less the bytes that would end the block or the segment.
"""

import functools
import re
from dataclasses import dataclass, field
from datetime import datetime

from hl7_listener.delimiters import Delimiters, delimiters_named
from hl7_listener.error_segment import error_segment
from hl7_listener.escapes import encoded
from hl7_listener.header import Header
from hl7_listener.message import Message, Segment
from hl7_listener.order_response import order_segments, response_to
from hl7_listener.outcome import ERROR_CODES, POSITIVE, OrderAnswer, Outcome
from hl7_listener.refusal import MessageRefused
from hl7_listener.version import answer_version, at_least

__all__ = [
    "ERROR_CODES",
    "POSITIVE",
    "Acknowledgement",
    "OrderAnswer",
    "Outcome",
    "acknowledge",
    "outcome_of",
    "parse_acknowledgement",
]

_EVENT = re.compile(r"[A-Z0-9]{3}")
_ENDING_BYTES = b"\x0b\x1c\r\n"
_NO_HEADER = Header(Delimiters(), (b"|", b"^~\\&"))
_LONGEST_SHAPE = 512  # bytes of the sender's worth remembering


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """An answer as read. `control_id` is MSA-2 byte for byte; `text` comes from the peer and may hold anything."""

    code: str
    control_id: bytes
    error_code: str = ""
    location: str = ""
    text: str = field(default="", repr=False)
    payload: bytes = field(default=b"", repr=False)

    @property
    def is_positive(self) -> bool:
        return self.code in POSITIVE


def outcome_of(refusal: MessageRefused, style: str = "original") -> Outcome:
    """The answer to a message whose header cannot be read: AR (CR), error 100."""
    code = "CR" if style == "enhanced" else "AR"
    return Outcome(code, 100, refusal.where, refusal.explanation, refusal.code)


def acknowledge(
    header: Header | None,
    outcome: Outcome,
    *,
    application: str,
    facility: str,
    control_id: str,
    at: datetime,
    message: bytes = b"",
    conditions: tuple[str, str] = ("", ""),
) -> bytes:
    """The acknowledgement's bytes, without the block around them; empty where nothing is to be sent.

    `header` is None where it could not be read; then MSA-2 is empty. `message` is the message answered: an order response repeats
    what its structure requires (see `order_response`). `conditions` are MSH-15 and MSH-16, empty unless the answer is a message of
    its own (`modes`). Raises ValueError where `at` has no time zone.
    """
    if at.tzinfo is None:
        raise ValueError("MSH-7 needs a time zone")
    if not outcome.code or (header is not None and header.is_answer):
        return b""
    asked = header or _NO_HEADER
    delimiters, version = asked.delimiters, asked.version
    response = response_to(asked, outcome)
    echoed = (asked.raw(1), asked.raw(2), asked.raw(3), asked.raw(4), asked.raw(11), asked.raw(18))
    size = sum(map(len, echoed)) + len(asked.raw(9)) + len(asked.raw(12))
    shape = _shape if size <= _LONGEST_SHAPE else _shape.__wrapped__
    event = response[1] if response else asked.trigger_event
    code = response[0] if response else "ACK" if outcome.short_type else ""
    opening, middle, closing = shape(application, facility, version, echoed, code, event, conditions)
    own_id = encoded(control_id, delimiters)
    msa_and_err = _segments(outcome, delimiters, answer_version(version), _clean(asked.raw(10)))
    answer = b"".join((opening, time_stamp(at), middle, own_id, closing, msa_and_err))
    return answer + order_segments(asked, outcome, message) if response else answer


def time_stamp(at: datetime) -> bytes:
    """`20260302093005+0100`: seconds and a zone, which every peer takes; finer ones they do not."""
    text = at.isoformat(timespec="seconds").encode()
    return text[:19].translate(None, b"-T:") + text[19:25].translate(None, b":")


@functools.lru_cache(maxsize=256)
def _shape(
    application: str,
    facility: str,
    version: str,
    echoed: tuple[bytes, ...],
    code: str,
    event: str,
    conditions: tuple[str, str],
) -> tuple[bytes, bytes, bytes]:
    """MSH in three parts: up to its time, from there to its control ID, and the rest. A sender has few of them: remembered."""
    separator, encoding, *others = echoed
    sending_application, sending_facility, processing_id, charset = map(_clean, others)
    delimiters, version = delimiters_named(separator, encoding), answer_version(version)
    ours = [encoded(name, delimiters) for name in (application, facility)]
    before = [b"MSH", encoding, *ours, sending_application, sending_facility, b""]
    between = [b"", b"", _message_type(delimiters, version, code, event), b""]
    behind = [b"", processing_id or b"P", version.encode(), b"", b"", *(part.encode() for part in conditions), b""]
    behind.append(charset if at_least(version, "2.3") else b"")
    return separator.join(before), separator.join(between), separator.join(behind).rstrip(separator) + b"\r"


def _message_type(delimiters: Delimiters, version: str, code: str, event: str) -> bytes:
    """`ACK^O01^ACK`, `ORR^O02^ORR_O02`; without the structure below v2.3.1; `ACK` alone if `code` says so or the event is no event."""
    if code == "ACK" or not _EVENT.fullmatch(event):
        return b"ACK"
    parts = (code, event, f"{code}_{event}") if code else ("ACK", event, "ACK")
    return delimiters.component.join(parts if at_least(version, "2.3.1") else parts[:2]).encode()


def _segments(outcome: Outcome, delimiters: Delimiters, version: str, asked_id: bytes) -> bytes:
    """MSA and ERR."""
    separator = delimiters.field.encode()
    msa = [b"MSA", outcome.code.encode(), asked_id, b""]
    if outcome.text and not at_least(version, "2.5"):
        msa[3] = encoded(outcome.text, delimiters)
    if outcome.expected_sequence is not None:
        msa.append(b"%d" % outcome.expected_sequence)
    lines = separator.join(msa).rstrip(separator) + b"\r"
    if outcome.error_code or outcome.code not in POSITIVE:
        err = error_segment(outcome, delimiters, version)
        lines += separator.join(err).rstrip(separator) + b"\r" if err else b""
    return lines


def _clean(raw: bytes) -> bytes:
    """The sender's bytes, less those that would end the block or the segment."""
    return raw.translate(None, _ENDING_BYTES)


def parse_acknowledgement(payload: bytes) -> Acknowledgement:
    """An answer of a peer. Raises MessageRefused `hl7v2.no-acknowledgement` where it has no MSA, or as `Message` does."""
    message = Message(payload, charset_default="8859/1")  # a text for people: better a wrong letter than no answer
    by_name = {segment.name: segment for segment in reversed(message.segments)}
    msa = by_name.get("MSA")
    if msa is None:
        raise MessageRefused("hl7v2.no-acknowledgement", "MSA", "the answer has no segment MSA")
    err = by_name.get("ERR")
    code, location, text = _read_error(err) if err else ("", "", "")
    return Acknowledgement(msa.value(1), msa.raw(2), code, location, msa.text(3) or text, payload)


def _read_error(err: Segment) -> tuple[str, str, str]:
    if err.value(3):
        parts = [err.value(2, component) for component in range(1, 7)]
        return err.value(3), "^".join(parts).rstrip("^"), err.text(8) or err.text(7) or err.value(3, 2)
    parts = [err.value(1, component) for component in range(1, 4)]
    return err.value(1, 4), "^".join(parts).rstrip("^"), err.value(1, 4, 2)
