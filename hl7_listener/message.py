"""A lossless, lazy reader of ER7 text (HL7 v2.5.1 §2.5-2.7): the raw bytes and offsets into them.

Nothing is changed or checked against a structure: whatever a sender wrote, in whatever order, is still there. Fields, components
and repetitions count from 1 as in the standard; MSH-1 (FHS-1, BHS-1) is the field separator itself. A segment is taken apart when
its first field is asked for, and a field is decoded when its text is. A segment that goes on in ADD segments (§2.10.2) is one.
`Message` fits `mappings.hl7v2_message.MessageView`, and a test holds it to that.
"""

import itertools
import re
from collections.abc import Set

from hl7_listener.charset import CharsetNote
from hl7_listener.delimiters import Delimiters
from hl7_listener.header import Header, header_start, read_header
from hl7_listener.reading import Reading, reading_of

_HEADERS = frozenset({"MSH", "FHS", "BHS"})  # their fields 1 and 2 hold the delimiters themselves
_NAME_LENGTH = 3
_LINE_END = re.compile(rb"[\r\n]")
_BLANK = b"\r\n\0 \t"  # of a line that is no segment; any other byte is text, and kept


class Segment:
    """One segment: a stretch of the message's bytes, from `start` to `end`; `name` is its identifier, at most three characters."""

    __slots__ = ("_fields", "_raw", "_reading", "end", "name", "start")
    continuations: tuple[tuple[int, int], ...] = ()  # where the ADD segments lie that this one goes on in

    def __init__(self, raw: bytes, reading: Reading, start: int, end: int, name: str) -> None:
        self._raw = raw
        self._reading = reading
        self.start = start
        self.end = end
        self.name = name
        self._fields: list[bytes] | None = None  # the name, then the fields

    @property
    def content(self) -> bytes:
        """The segment's bytes without the line's end, continuations joined."""
        return self._raw[self.start : self.end]

    def continued(self, start: int, end: int) -> "Segment":
        """The same segment with the ADD segment that lies there."""
        longer = _ContinuedSegment(self._raw, self._reading, self.start, self.end, self.name)
        longer.continuations = (*self.continuations, (start, end))
        if len(self.name) < _NAME_LENGTH:  # split inside the name
            longer.name = longer.content[:_NAME_LENGTH].decode("latin-1")
        return longer

    @property
    def filled(self) -> Set[int]:
        """The numbers of the fields that hold something; 0 is the name."""
        fields = self._fields or self._split()
        return set(itertools.compress(itertools.count(), fields))

    @property
    def field_count(self) -> int:
        """The number of the last field that is written, even if empty."""
        return len(self._fields or self._split()) - 1

    def repetitions(self, field: int) -> int:
        """How many repetitions the field has; 0 where it is empty or missing."""
        whole = self.raw(field)
        if not whole:
            return 0
        mark = self._reading.delimiters.repetition
        return self._reading.decode(whole).count(mark) + 1 if mark and not self._names_delimiters(field) else 1

    def value(self, field: int, component: int = 1, subcomponent: int = 1, repetition: int = 1) -> str:
        """Decoded, unescaped text; empty where missing; two double quotes where the sender wrote the HL7 null.

        Raises MessageRefused `hl7v2.charset`.
        """
        fields = self._fields or self._split()
        whole = fields[field] if 0 < field < len(fields) else self.raw(field)
        if not whole:
            return ""
        reading = self._reading
        text = whole.decode(reading.codec) if reading.codec else reading.decode(whole)
        if field <= 2 and self.name in _HEADERS:
            return text if component == subcomponent == repetition == 1 else ""
        marks = reading.delimiters
        if repetition != 1 or marks.repetition in text:
            text = _part(text, marks.repetition, repetition)
        if component != 1 or marks.component in text:
            text = _part(text, marks.component, component)
        if subcomponent != 1 or marks.subcomponent in text:
            text = _part(text, marks.subcomponent, subcomponent)
        return reading.unescape(text) if marks.escape in text else text

    def components(self, field: int) -> list[list[str]]:
        """A whole field at once: the components of each repetition, as `value` has them. Nothing where the field is empty.

        Raises MessageRefused `hl7v2.charset`.
        """
        fields = self._fields or self._split()
        whole = fields[field] if 0 < field < len(fields) else self.raw(field)
        if not whole:
            return []
        reading = self._reading
        text = whole.decode(reading.codec) if reading.codec else reading.decode(whole)
        if text.isalnum() or (field <= 2 and self.name in _HEADERS):
            return [[text]]  # no letter and no digit is a delimiter
        marks = reading.delimiters
        if marks.repetition in text:
            found = [repetition.split(marks.component) for repetition in text.split(marks.repetition)]
        else:
            found = [text.split(marks.component)]
        if marks.subcomponent and marks.subcomponent in text:
            found = [[part.split(marks.subcomponent, 1)[0] for part in parts] for parts in found]
        if marks.escape and marks.escape in text:
            found = [[reading.unescape(part) for part in parts] for parts in found]
        return found

    def text(self, field: int, repetition: int = 1) -> str:
        """A repetition as one text: for fields of free text, where senders leave `^` and `&` unescaped."""
        text = self._reading.decode(self.raw(field))
        if self._names_delimiters(field):
            return text
        return self._reading.unescape(_part(text, self._reading.delimiters.repetition, repetition))

    def raw(self, field: int) -> bytes:
        """The field byte for byte, with all repetitions; empty where missing."""
        fields = self._fields or self._split()
        if field < 1:
            raise ValueError("fields count from 1")
        return fields[field] if field < len(fields) else b""

    def _split(self) -> list[bytes]:
        fields = self._fields = self._reading.fields(self.content)
        if self.name in _HEADERS and len(fields[0]) == len(self.name) and len(fields) > 1:
            fields.insert(1, self._reading.delimiters.field.encode())
        return fields

    def _names_delimiters(self, field: int) -> bool:
        return field <= 2 and self.name in _HEADERS


class _ContinuedSegment(Segment):
    """A segment with ADD segments behind it."""

    __slots__ = ("continuations",)

    @property
    def content(self) -> bytes:
        rest = [self._raw[start + len("ADD|") : end] for start, end in self.continuations]
        return b"".join((self._raw[self.start : self.end], *rest))


class Message:
    """One message. `raw` stays as received; the character set is decided when the first field is asked for.

    Raises MessageRefused as `hl7_listener.header.read_header` does; `charset_default` is the sender's, for messages with an empty
    MSH-18 that are not UTF-8.
    """

    __slots__ = ("_charset_default", "_reading", "_segments", "header", "raw")

    def __init__(self, raw: bytes, charset_default: str = "") -> None:
        self.raw = raw
        self.header: Header = read_header(raw)
        self._charset_default = charset_default
        self._reading: Reading | None = None
        self._segments: tuple[Segment, ...] | None = None

    @property
    def delimiters(self) -> Delimiters:
        return self.header.delimiters

    @property
    def reading(self) -> Reading:
        """How the bytes become text. Raises MessageRefused `hl7v2.charset`."""
        if self._reading is None:
            self._reading = reading_of(self.raw, self.header, self._charset_default)
        return self._reading

    @property
    def charset(self) -> str:
        """The Python codec in which the message is read. Raises MessageRefused `hl7v2.charset`."""
        return self.reading.charset.codec

    @property
    def charset_note(self) -> str:
        """One of `CharsetNote` where MSH-18 was not taken at its word. Raises MessageRefused `hl7v2.charset`."""
        return self.reading.charset.note

    @property
    def contradicts_charset(self) -> bool:
        """Whether the bytes contradict MSH-18: what a strict receiver refuses. Raises MessageRefused `hl7v2.charset`."""
        return self.charset_note in CharsetNote.CONTRADICTIONS

    @property
    def segments(self) -> tuple[Segment, ...]:
        """All segments in order, blank lines left out; ADD is part of the segment before it.

        Raises MessageRefused `hl7v2.charset`: what cannot be read as a whole is not read in part.
        """
        if self._segments is None:
            self._segments = tuple(self._read_segments())
        return self._segments

    def _read_segments(self) -> list[Segment]:
        segments: list[Segment] = []
        raw, reading = self.raw, self.reading
        end = header_start(raw) - 1
        for line in _lines(raw, end + 1):
            start, end = end + 1, end + 1 + len(line)
            name = line[:_NAME_LENGTH].decode("latin-1")
            if name[:1] <= " ":  # empty, or a blank first
                if not line.strip(_BLANK):
                    continue
                if name[0] == "\n":  # the CR before it ends the line
                    start, name = start + 1, line[1 : 1 + _NAME_LENGTH].decode("latin-1")
            if name == "ADD" and len(segments) > 1:  # behind MSH it continues another message
                segments[-1] = segments[-1].continued(start, end)
            else:
                segments.append(Segment(raw, reading, start, end, name))
        return segments


def _part(text: str, mark: str, number: int) -> str:
    """The `number`th piece, from 1; empty where there are fewer. A mark that the sender does not have parts nothing."""
    if number < 1:
        raise ValueError("components and repetitions count from 1")
    if not mark:
        return text if number == 1 else ""
    parts = text.split(mark, number)
    return parts[number - 1] if number <= len(parts) else ""


def _lines(raw: bytes, position: int) -> list[bytes]:
    """The lines, each without the one byte that ends it. Where CR ends a line, an LF belongs to its field, except behind a CR."""
    line_feed = raw.find(b"\n", position)
    if line_feed >= 0 and raw.find(b"\r", position, line_feed) < 0:
        return _LINE_END.split(raw[position:])
    return (raw[position:] if position else raw).split(b"\r")
