"""A lossless, lazy reader of ER7 text (HL7 v2.5.1 §2.5-2.7): the raw bytes and offsets into them.

Nothing is changed or checked against a structure: whatever a sender wrote, in whatever order, is still there. Fields, components
and repetitions count from 1 as in the standard; MSH-1 (FHS-1, BHS-1) is the field separator itself. A segment is taken apart when
its first field is asked for, and a field is decoded when its text is. A segment that goes on in ADD segments (§2.10.2) is one.
`Message` fits `mappings.hl7v2_message.MessageView`, and a test holds it to that.
"""

import re
from collections.abc import Iterator

from hl7_listener.charset import CharsetNote
from hl7_listener.delimiters import Delimiters
from hl7_listener.header import Header, header_start, read_header
from hl7_listener.reading import Reading, reading_of

_HEADERS = frozenset({"MSH", "FHS", "BHS"})  # their fields 1 and 2 hold the delimiters themselves
_LF_SEGMENT = re.compile(rb"[^\r\n]+")
_BLANK = "\r\n\0 \t"  # of a line that is no segment; any other byte is text, and kept


class Segment:
    """One segment: a stretch of the message's bytes, from `start` to `end`; `name` is its identifier, at most three characters."""

    __slots__ = ("_fields", "_raw", "_reading", "continuations", "end", "name", "start")

    def __init__(self, raw: bytes, reading: Reading, start: int, end: int, name: str) -> None:
        self._raw = raw
        self._reading = reading
        self.start = start
        self.end = end
        self.name = name
        self.continuations: tuple[tuple[int, int], ...] = ()  # where the ADD segments lie that this one goes on in
        self._fields: list[bytes] | None = None  # the name, then the fields

    @property
    def content(self) -> bytes:
        """The segment's bytes without the line's end, continuations joined."""
        raw = self._raw
        content = raw[self.start : self.end]
        if self.continuations:
            content += b"".join(raw[start + len("ADD|") : end] for start, end in self.continuations)
        return content

    @property
    def field_count(self) -> int:
        """The number of the last field that is written, even if empty."""
        return len(self._fields or self._split()) - 1

    def repetitions(self, field: int) -> int:
        """How many repetitions the field has; 0 where it is empty or missing."""
        whole = self.raw(field)
        if not whole:
            return 0
        return 1 if self._names_delimiters(field) else len(self._reading.pieces(whole, self._reading.repetition))

    def value(self, field: int, component: int = 1, subcomponent: int = 1, repetition: int = 1) -> str:
        """Decoded, unescaped text; empty where missing; two double quotes where the sender wrote the HL7 null.

        Raises MessageRefused `hl7v2.charset`.
        """
        piece = self.raw(field)
        if not piece:
            return ""
        reading = self._reading
        if field <= 2 and self.name in _HEADERS:
            return reading.text(piece) if component == subcomponent == repetition == 1 else ""
        if repetition != 1 or reading.repetition in piece:
            piece = reading.part(piece, reading.repetition, repetition)
        if component != 1 or reading.component in piece:
            piece = reading.part(piece, reading.component, component)
        if subcomponent != 1 or reading.subcomponent in piece:
            piece = reading.part(piece, reading.subcomponent, subcomponent)
        return reading.text(piece)

    def text(self, field: int, repetition: int = 1) -> str:
        """A repetition as one text: for fields of free text, where senders leave `^` and `&` unescaped."""
        piece = self.raw(field)
        if not self._names_delimiters(field):
            piece = self._reading.part(piece, self._reading.repetition, repetition)
        return self._reading.text(piece)

    def raw(self, field: int) -> bytes:
        """The field byte for byte, with all repetitions; empty where missing."""
        fields = self._fields or self._split()
        if field < 1:
            raise ValueError("fields count from 1")
        return fields[field] if field < len(fields) else b""

    def _split(self) -> list[bytes]:
        mark = self._reading.field
        self._fields = fields = self._reading.pieces(self.content, mark)
        if self.name in _HEADERS and len(fields[0]) == len(self.name) and len(fields) > 1:
            fields.insert(1, mark)
        return fields

    def _names_delimiters(self, field: int) -> bool:
        return field <= 2 and self.name in _HEADERS


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
        position = header_start(raw)
        for line, end in _lines(raw, position):
            start = end - len(line)
            name = line[:3].decode("latin-1")
            if name[0] in _BLANK and not line.strip(_BLANK.encode()):
                continue
            if name == "ADD" and len(segments) > 1:  # behind MSH it continues another message
                segments[-1].continuations += ((start, end),)
            else:
                segments.append(Segment(raw, reading, start, end, name))
        return segments


def _lines(raw: bytes, position: int) -> Iterator[tuple[bytes, int]]:
    """The lines that are not empty, with their end. Where CR ends a line, an LF belongs to its field, except right behind the CR."""
    line_feed = raw.find(b"\n", position)
    if line_feed >= 0 and raw.find(b"\r", position, line_feed) < 0:
        for match in _LF_SEGMENT.finditer(raw, position):
            yield match[0], match.end()
        return
    for line in (raw[position:] if position else raw).split(b"\r"):
        end = position + len(line)
        position = end + 1
        if line.startswith(b"\n"):
            line = line[1:]
        if line:
            yield line, end
