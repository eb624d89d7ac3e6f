"""Put a message together again from what the reader found, to see that nothing was lost."""

from hl7_listener.message import Message, Segment

_BLANK = b"\r\n\0 \t"


def rebuilt(message: Message) -> bytes:
    """Line ends, segments and fields in order. Fails where text lies outside every segment."""
    pieces, position = [], 0
    for segment in message.segments:
        pieces += [_gap(message, position, segment.start), _line(message, segment)]
        position = segment.end
    return b"".join((*pieces, _gap(message, position, len(message.raw))))


def _gap(message: Message, start: int, end: int) -> bytes:
    gap = message.raw[start:end]
    assert not gap.removeprefix(b"\xef\xbb\xbf").strip(_BLANK), "text outside every segment"
    return gap


def _line(message: Message, segment: Segment) -> bytes:
    fields = [segment.raw(number) for number in range(1, segment.field_count + 1)]
    if segment.name in ("MSH", "FHS", "BHS") and segment.raw(1) == message.delimiters.field.encode():
        return segment.name.encode() + b"".join(fields[:1]) + b"".join(fields[:1]).join(fields[1:])
    separator = message.delimiters.field.encode()
    name = message.raw[segment.start : segment.end].split(separator, 1)[0]
    return separator.join([name, *fields])
