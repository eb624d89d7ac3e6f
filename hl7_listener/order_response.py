"""The answer to an order message, order by order (HL7 v2.5.1 §4.4.2, §4.4.4, §4.4.7, §4.4.9): which message it is, and its segments.

    ORM^O01 -> ORR^O02    [PID] { ORC [OBR ...] }       ORC is enough
    OMG^O19 -> ORG^O20    [PID] { ORC [OBR] ... }       ORC is enough
    OMI^O23 -> ORI^O24    [PID] { ORC OBR { IPC } }     OBR and IPC are repeated from the order
    OML^O21 -> ORL^O22    PID { ORC ... }               PID is repeated from the message

OSQ^Q06 asks for a status; OSR^Q06 is no order response. What is repeated is the sender's own, byte for byte.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from hl7_listener.header import Header
from hl7_listener.message import Message, Segment
from hl7_listener.outcome import OrderAnswer, Outcome
from hl7_listener.refusal import MessageRefused

_RESPONSES = {
    "ORM^O01": ("ORR", "O02"),
    "OMG^O19": ("ORG", "O20"),
    "OMI^O23": ("ORI", "O24"),
    "OML^O21": ("ORL", "O22"),
}
_APPLICATION_CODES = ("AA", "AE", "AR")
_ENDING_BYTES = b"\x0b\x1c\r\n"


@dataclass(slots=True)
class _Order:
    """What a message says of one order. An OBR beside another in one ORC group is an order of its own."""

    identifiers: set[tuple[bytes, bytes]] = field(default_factory=set)  # ORC-2 and -3, OBR-2 and -3
    details: list[Segment] = field(default_factory=list)  # OBR, IPC


def response_to(header: Header, outcome: Outcome) -> tuple[str, str] | None:
    """MSH-9.1 and MSH-9.2 of the order response; None where a plain acknowledgement is the answer."""
    if not outcome.orders or outcome.code not in _APPLICATION_CODES:
        return None
    return _RESPONSES.get(header.message_type)


def order_segments(header: Header, outcome: Outcome, message: bytes) -> bytes:
    """The segments behind MSA and ERR. Where `message` is empty or unreadable, each order has its ORC alone."""
    patient, orders = _content(message)
    code = header.message_code
    lines = [patient.content] if patient is not None and code == "OML" else []
    separator = header.delimiters.field.encode()
    for answer in outcome.orders:
        orc = separator.join((b"ORC", answer.control.encode("ascii", "replace"), answer.placer, answer.filler))
        lines.append(orc.rstrip(separator))
        if code == "OMI":
            lines += [segment.content for segment in _details(answer, orders)]
    return b"".join(line.translate(None, _ENDING_BYTES) + b"\r" for line in lines)


def _content(message: bytes) -> tuple[Segment | None, list[_Order]]:
    if not message:
        return None, []
    try:
        segments = Message(message, charset_default="8859/1").segments  # nothing is read as text
        patient = next((segment for segment in segments if segment.name == "PID"), None)
        return patient, list(_orders(segments))
    except MessageRefused:
        return None, []


def _orders(segments: tuple[Segment, ...]) -> Iterator[_Order]:
    order: _Order | None = None
    common: tuple[bytes, bytes] | None = None
    for segment in segments:
        if segment.name == "ORC":
            if order:
                yield order
            common = (segment.raw(2), segment.raw(3))
            order = _Order({common})
        elif segment.name == "OBR":
            if order is None or order.details:
                if order:
                    yield order
                order = _Order({common} if common else set())
            order.identifiers.add((segment.raw(2), segment.raw(3)))
            order.details.append(segment)
        elif segment.name == "IPC" and order:
            order.details.append(segment)
    if order:
        yield order


def _details(answer: OrderAnswer, orders: list[_Order]) -> list[Segment]:
    """The details of the order that an answer is about; each order is taken once."""
    for position, order in enumerate(orders):
        if any(_is_same(answer, placer, filler) for placer, filler in order.identifiers):
            return orders.pop(position).details
    return []


def _is_same(answer: OrderAnswer, placer: bytes, filler: bytes) -> bool:
    if answer.placer and placer:
        return answer.placer == placer
    return bool(answer.filler) and answer.filler == filler
