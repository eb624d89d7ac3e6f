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

from hl7_listener.delimiters import Delimiters
from hl7_listener.escapes import escape
from hl7_listener.header import Header
from hl7_listener.message import Message, Segment
from hl7_listener.order_response import order_segments, response_to
from hl7_listener.outcome import ERROR_CODES, POSITIVE, OrderAnswer, Outcome
from hl7_listener.refusal import MessageRefused

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

# HAPI refuses 2.8.2, 2.9 and everything later in our answer: MSH-12 stops at 2.8.1.
_VERSIONS = ("2.1", "2.2", "2.3", "2.3.1", "2.4", "2.5", "2.5.1", "2.6", "2.7", "2.7.1", "2.8", "2.8.1")
_VERSION_UNKNOWN = "2.5.1"
_ENDING_BYTES = b"\x0b\x1c\r\n"
_LOCATION = re.compile(r"([A-Z][A-Z0-9]{2})(?:-(\d+)(?:\.(\d+))?(?:\.(\d+))?|((?:\^\d*){1,5}))?")


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
    delimiters = header.delimiters if header else Delimiters()
    version = _version(header)
    response = response_to(header, outcome) if header else None
    msh = [
        b"MSH",
        delimiters.encoding_characters.encode(),
        *(_text(name, delimiters) for name in (application, facility)),
        _echo(header, 3),
        _echo(header, 4),
        at.strftime("%Y%m%d%H%M%S%z").encode(),
        b"",
        _message_type(header, outcome, response, version),
        _text(control_id, delimiters),
        _echo(header, 11) or b"P",
        version.encode(),
        b"",
        b"",
        *(condition.encode() for condition in conditions),
        b"",
        _echo(header, 18) if _at_least(version, "2.3") else b"",
    ]
    msa = [b"MSA", outcome.code.encode(), _echo(header, 10)]
    msa.append(b"" if _at_least(version, "2.5") else _text(outcome.text, delimiters))
    if outcome.expected_sequence is not None:
        msa.append(b"%d" % outcome.expected_sequence)
    segments = (msh, msa, _error_segment(outcome, delimiters, version))
    separator = delimiters.field.encode()
    answer = b"".join(separator.join(fields).rstrip(separator) + b"\r" for fields in segments if fields)
    return answer + order_segments(header, outcome, message) if header and response else answer


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


def _echo(header: Header | None, field: int) -> bytes:
    return header.raw(field).translate(None, _ENDING_BYTES) if header else b""


def _text(text: str, delimiters: Delimiters) -> bytes:
    return escape(text, delimiters).encode("ascii", "replace").translate(None, _ENDING_BYTES)


def _version(header: Header | None) -> str:
    """The sender's, or the nearest lower that every peer takes."""
    asked = _numbers(header.version) if header else ()
    if not asked:
        return _VERSION_UNKNOWN
    return next((known for known in reversed(_VERSIONS) if _numbers(known) <= asked), _VERSIONS[0])


@functools.lru_cache(maxsize=64)
def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split("."))) if re.fullmatch(r"\d{1,3}(\.\d{1,3}){1,3}", version, re.ASCII) else ()


def _at_least(version: str, other: str) -> bool:
    return _numbers(version) >= _numbers(other)


def _message_type(header: Header | None, outcome: Outcome, response: tuple[str, str] | None, version: str) -> bytes:
    """`ACK^O01^ACK`; without the structure below v2.3.1, `ACK` alone where the event is no event."""
    code, event = response or ("ACK", header.trigger_event if header else "")
    if header is None or not re.fullmatch(r"[A-Z0-9]{3}", event) or (outcome.short_type and not response):
        return b"ACK"
    structure = f"{code}_{event}" if response else code
    parts = (code, event, structure) if _at_least(version, "2.3.1") else (code, event)
    return header.delimiters.component.join(parts).encode()


def _error_segment(outcome: Outcome, delimiters: Delimiters, version: str) -> list[bytes]:
    if _at_least(version, "2.5"):
        return _error_from_2_5(outcome, delimiters) if outcome.error_code or outcome.code not in POSITIVE else []
    return [] if outcome.code in POSITIVE else _error_before_2_5(outcome, delimiters)


def _error_from_2_5(outcome: Outcome, delimiters: Delimiters) -> list[bytes]:
    component = delimiters.component.encode()
    name = _text(ERROR_CODES[outcome.error_code], delimiters)
    condition = component.join((b"%d" % outcome.error_code, name, b"HL70357"))
    own = _text(outcome.application_code, delimiters)
    return [
        b"ERR",
        b"",  # ERR-1 is withdrawn
        component.join(part.encode() for part in _located(outcome.location)),
        condition,
        outcome.severity.encode(),
        component.join((own, b"", b"L")) if own else b"",
        b"",
        b"",
        _text(outcome.text, delimiters),
    ]


def _error_before_2_5(outcome: Outcome, delimiters: Delimiters) -> list[bytes]:
    """ERR-1 is an ELD: segment ^ sequence ^ field ^ code & text & table; code alone where MSH-2 names no sub-component mark."""
    name = _text(ERROR_CODES[outcome.error_code], delimiters)
    condition = [b"%d" % outcome.error_code, name, b"HL70357"]
    coded = delimiters.subcomponent.encode().join(condition) if delimiters.subcomponent else condition[0]
    place = [part.encode() for part in (*_located(outcome.location), "", "", "")[:3]]
    return [b"ERR", delimiters.component.encode().join((*place, coded))]


def _located(location: str) -> list[str]:
    """`PID-3.1` or `PID^1^3` as the parts of an ERL: segment, sequence, field, repetition, component, sub-component."""
    match = _LOCATION.fullmatch(location)
    if match is None:
        return []
    segment, number, component, subcomponent, rest = match.groups()
    if rest:
        return [segment, *rest.split("^")[1:]]
    if not number:
        return [segment]
    parts = [segment, "1", number, "1" if component else "", component or "", subcomponent or ""]
    while not parts[-1]:
        parts.pop()
    return parts
