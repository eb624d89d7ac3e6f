"""The fields of MSH that an answer needs, read from bytes before anything is decoded (HL7 v2.5.1 §2.15.9).

The delimiters are 7-bit in every character set of the standard, so the header can be read, and the message answered, even where
the rest is unreadable.
"""

import functools
import hashlib
import re
from dataclasses import dataclass, field

from hl7_listener.delimiters import Delimiters, read_delimiters
from hl7_listener.framing import BYTE_ORDER_MARK
from hl7_listener.refusal import MessageRefused

_LEADING = b"\r\n\0 "
_ONLY_EVENT = {"ORM": "O01", "OMG": "O19", "OMI": "O23"}  # message codes with one trigger event (table 0354)
# What answers a message must not be answered itself, or two systems answer each other for ever (§2.9.2): the codes whose
# structures all require MSA, and NMD, network data nobody here asked for.
_ANSWER_CODES = (
    "ACK ADR ARD BRP BRT CCI CQU DOC EDR ERP MCF MFK MFR NMD NMR OPR ORA ORB ORD ORF ORG ORI ORL ORN ORP ORR ORS ORX OSR OSU PPT "
    "PPV PRR PTR QCK RAR RCI RCL RDR RDY RER RGR ROR RPA RPI RPL RPR RRA RRD RRE RRG RRO RSP RTB SQR SRR TBR VXR VXX"
)
_ANSWERS = frozenset(_ANSWER_CODES.split())
_LONGEST_MESSAGE_TYPE = 64  # bytes of MSH-9 worth remembering
_NUMBER = re.compile(r"-?\d{1,15}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Header:
    """One MSH. `raw` gives fields byte for byte; the properties are text, read as UTF-8 or else as ISO 8859-1."""

    delimiters: Delimiters
    fields: tuple[bytes, ...] = field(repr=False)  # MSH-1 first
    inferred_event: str = ""

    def raw(self, number: int) -> bytes:
        """MSH-`number` as it was sent; empty where missing."""
        return self.fields[number - 1] if number <= len(self.fields) else b""

    def component(self, number: int, component: int = 1) -> str:
        """A component of the first repetition of a field, without surrounding blanks."""
        raw = self.raw(number)
        if not raw:
            return ""
        first = raw.split(self.delimiters.repetition.encode(), 1)[0]
        parts = first.split(self.delimiters.component.encode())
        return _text(parts[component - 1]).strip() if component <= len(parts) else ""

    @property
    def sending_application(self) -> str:
        return _text(self.raw(3))

    @property
    def sending_facility(self) -> str:
        return _text(self.raw(4))

    @property
    def receiving_application(self) -> str:
        return _text(self.raw(5))

    @property
    def receiving_facility(self) -> str:
        return _text(self.raw(6))

    @property
    def date_time(self) -> str:
        return _text(self.raw(7))

    @property
    def message_code(self) -> str:
        """MSH-9.1 in upper case: `ORM`."""
        return _code_and_event(self)[0]

    @property
    def trigger_event(self) -> str:
        """MSH-9.2 in upper case, or what follows from MSH-9.1 or EVN-1 where the sender leaves it out."""
        return _code_and_event(self)[1] or self.inferred_event

    @property
    def message_type(self) -> str:
        """`ORM^O01`: code and event, whatever delimiters and structure the sender wrote. Route on this."""
        code, event = _code_and_event(self)
        event = event or self.inferred_event
        return f"{code}^{event}" if event else code

    @property
    def control_id(self) -> str:
        """MSH-10. For an answer take `raw(10)`: it goes back byte for byte."""
        return _text(self.raw(10))

    @property
    def processing_id(self) -> str:
        """MSH-11.1: P, T or D; empty in a fifth of real messages."""
        return self.component(11).upper()

    @property
    def version(self) -> str:
        """MSH-12.1."""
        return self.component(12)

    @property
    def sequence_number(self) -> str:
        """MSH-13 as text; `sequence_number(header)` gives the number."""
        return self.component(13)

    @property
    def continuation_pointer(self) -> str:
        """MSH-14: set in every fragment of a message but the first (§2.10.2)."""
        return self.component(14)

    @property
    def accept_acknowledgement(self) -> str:
        """MSH-15 (table 0155): AL, NE, ER, SU or empty."""
        return self.component(15).upper()

    @property
    def application_acknowledgement(self) -> str:
        """MSH-16 (table 0155)."""
        return self.component(16).upper()

    @property
    def charsets(self) -> tuple[str, ...]:
        """The repetitions of MSH-18."""
        return charset_names(self.raw(18), self.delimiters)

    @property
    def is_answer(self) -> bool:
        """Whether this message answers another: such a message is never answered."""
        return self.message_code in _ANSWERS


def read_header(payload: bytes) -> Header:
    """The header of a message; a missing MSH-10 is not refused here, it shows as an empty `control_id`.

    Raises MessageRefused `hl7v2.no-header` (the text does not start with MSH), `hl7v2.batch` (it starts a batch, FHS or BHS),
    `hl7v2.delimiters` (MSH-1 or MSH-2 unusable).
    """
    start, end = _header_span(payload)
    header = read_segment_header(payload[start:end])
    code, event = _code_and_event(header)
    if event:
        return header
    inferred = _ONLY_EVENT.get(code) or _event_of_evn(payload, end, header.fields[0])
    return Header(header.delimiters, header.fields, inferred) if inferred else header


def read_segment_header(segment: bytes) -> Header:
    """A segment MSH, FHS or BHS: their first twelve fields are built alike. Raises MessageRefused `hl7v2.delimiters`."""
    separator = segment[3:4]
    delimiters = read_delimiters(segment)
    fields = segment.split(separator)
    fields[0] = separator
    return Header(delimiters, tuple(fields))


def charset_names(declared: bytes, delimiters: Delimiters) -> tuple[str, ...]:
    """The repetitions of MSH-18 that are not empty."""
    names = declared.split(delimiters.repetition.encode()) if declared else ()
    return tuple(_text(name).strip() for name in names if name.strip())


def sequence_number(header: Header) -> int | None:
    """MSH-13 as a number (§2.10.1; `000000001` is 1, -1 and 0 are commands); None where it is empty or no whole number."""
    text = header.sequence_number
    return int(text) if _NUMBER.fullmatch(text) else None


def is_fragment(header: Header, payload: bytes) -> bool:
    """Whether this is a part of a message only (§2.10.2): it goes on in another (DSC-1, or an ADD without a field), or it continues
    another (MSH-14) and so brings no patient of its own. Many senders fill MSH-14 in whole messages.
    """
    if header.continuation_pointer and not _begins_a_patient(header.delimiters.field).search(payload):
        return True
    if b"DSC" not in payload and b"ADD" not in payload:
        return False
    return _goes_on(header.delimiters.field).search(payload) is not None


def content_hash(payload: bytes) -> str:
    """SHA-256 (lower-case hex) of the message without MSH-7, which senders restamp when they send a message again."""
    start, end = _time_span(payload)
    digest = hashlib.sha256(memoryview(payload)[:start])
    digest.update(memoryview(payload)[end:])
    return digest.hexdigest()


def header_start(payload: bytes) -> int:
    """The offset of the first segment, behind a byte order mark and blank lines."""
    start = len(BYTE_ORDER_MARK) if payload.startswith(BYTE_ORDER_MARK) else 0
    while payload[start : start + 1] and payload[start] in _LEADING:
        start += 1
    return start


def _header_span(payload: bytes) -> tuple[int, int]:
    start = 0 if payload.startswith(b"MSH") else header_start(payload)
    if not payload.startswith(b"MSH", start):
        name = payload[start : start + 3]
        if name in (b"FHS", b"BHS"):
            raise MessageRefused("hl7v2.batch", name.decode("ascii"), "a batch inside one block is not accepted here")
        raise MessageRefused("hl7v2.no-header", "MSH", "the text does not begin with a segment MSH")
    end = payload.find(b"\r", start)
    if end < 0:
        end = len(payload)
    line_feed = payload.find(b"\n", start, end)
    return start, end if line_feed < 0 else line_feed


def _time_span(payload: bytes) -> tuple[int, int]:
    """Where MSH-7 lies; an empty span at the end where there is none."""
    nowhere = len(payload), len(payload)
    try:
        start, end = _header_span(payload)
    except MessageRefused:
        return nowhere
    separator = payload[start + 3 : start + 4]
    if not separator:
        return nowhere
    begin = start
    for _ in range(6):
        begin = payload.find(separator, begin, end) + 1
        if not begin:
            return nowhere
    stop = payload.find(separator, begin, end)
    return begin, end if stop < 0 else stop


def _code_and_event(header: Header) -> tuple[str, str]:
    """MSH-9.1 and MSH-9.2 in upper case. A sender has few types, so what a field means is remembered."""
    raw, delimiters = header.raw(9), header.delimiters
    if len(raw) > _LONGEST_MESSAGE_TYPE:
        return _two_components.__wrapped__(raw, delimiters.component, delimiters.repetition)
    return _two_components(raw, delimiters.component, delimiters.repetition)


@functools.lru_cache(maxsize=32)
def _begins_a_patient(separator: str) -> re.Pattern[bytes]:
    return re.compile(rb"[\r\n]PID" + re.escape(separator.encode()))


@functools.lru_cache(maxsize=32)
def _goes_on(separator: str) -> re.Pattern[bytes]:
    mark = re.escape(separator.encode())
    return re.compile(rb"[\r\n](?:DSC" + mark + rb"(?!" + mark + rb'|"")[^\s]|ADD(?=[\r\n]|\Z))')


@functools.lru_cache(maxsize=256)
def _two_components(raw: bytes, component: str, repetition: str) -> tuple[str, str]:
    parts = raw.split(repetition.encode(), 1)[0].split(component.encode(), 2)
    return _text(parts[0]).strip().upper(), _text(parts[1]).strip().upper() if len(parts) > 1 else ""


def _event_of_evn(payload: bytes, position: int, separator: bytes) -> str:
    """EVN-1, withdrawn in v2.7 but all that a one-component `ADT` has."""
    found = re.compile(rb"[\r\n]EVN" + re.escape(separator) + rb"([A-Za-z0-9]{1,3})\b").search(payload, position)
    return found[1].decode("ascii").upper() if found else ""


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("iso8859-1")
