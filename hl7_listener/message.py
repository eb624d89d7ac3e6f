"""A lossless, lazy reader of ER7 text (HL7 v2.5.1 §2.5-2.7): the raw bytes and offsets into them.

Nothing is copied, changed or checked against a structure: whatever a sender wrote, in whatever order, is still there. Fields,
components and repetitions count from 1 as in the standard; MSH-1 (FHS-1, BHS-1) is the field separator itself.
`Message` fits `mappings.hl7v2_message.MessageView`, and a test holds it to that.
"""

import functools
import re

from hl7_listener.charset import Charset, resolve
from hl7_listener.delimiters import Delimiters
from hl7_listener.escapes import unescape
from hl7_listener.header import Header, header_start, read_header

Span = tuple[int, int]
_HEADERS = (b"MSH", b"FHS", b"BHS")
_FIRST_END = re.compile(rb"[\r\n]")
_CR_SEGMENT = re.compile(rb"\n?([^\r]+)")  # an LF inside a field belongs to it, one after the CR does not
_LF_SEGMENT = re.compile(rb"([^\r\n]+)")

_BLANK = b"\r\n\0 \t"  # of a line that is no segment; any other byte is text, and kept


class Segment:
    """One segment: a stretch of the message's bytes."""

    __slots__ = ("_fields", "_guarded", "_is_header", "_message", "end", "start")

    def __init__(self, message: "Message", start: int, end: int) -> None:
        self._message = message
        self._guarded = message.guarded
        self.start = start
        self.end = end
        self._is_header = self._guarded[start : start + 3] in _HEADERS  # fields 1 and 2 hold the delimiters themselves
        self._fields: list[Span] | None = None

    @property
    def name(self) -> str:
        """The segment's identifier, at most three characters."""
        return self._guarded[self.start : min(self.start + 3, self.end)].decode("iso8859-1")

    @property
    def content(self) -> bytes:
        """The segment byte for byte, without the line's end."""
        return self._message.raw[self.start : self.end]

    @property
    def field_count(self) -> int:
        """The number of the last field that is written, even if empty."""
        return len(self._spans) - 1

    def repetitions(self, field: int) -> int:
        """How many repetitions the field has; 0 where it is empty or missing."""
        start, end = self.span(field)
        if start == end:
            return 0
        if self._is_header and field <= 2:
            return 1
        return self._guarded.count(self._message.repetition_mark, start, end) + 1

    def value(self, field: int, component: int = 1, subcomponent: int = 1, repetition: int = 1) -> str:
        """Decoded, unescaped text; empty where missing; two double quotes where the sender wrote the HL7 null.

        Raises MessageRefused `hl7v2.charset`.
        """
        span = self.span(field)
        if span[0] == span[1]:
            return ""
        message = self._message
        if self._is_header and field <= 2:
            return message.text_of(span) if component == subcomponent == repetition == 1 else ""
        span = self._part(span, message.repetition_mark, repetition)
        span = self._part(span, message.component_mark, component)
        return message.text_of(self._part(span, message.subcomponent_mark, subcomponent))

    def text(self, field: int, repetition: int = 1) -> str:
        """A repetition as one text: for fields of free text, where senders leave `^` and `&` unescaped."""
        whole = self.span(field)
        if not (self._is_header and field <= 2):
            whole = self._part(whole, self._message.repetition_mark, repetition)
        return self._message.text_of(whole)

    def raw(self, field: int) -> bytes:
        """The field byte for byte, with all repetitions."""
        start, end = self.span(field)
        return self._message.raw[start:end]

    def span(self, field: int) -> Span:
        """Where in the message's bytes the field lies; an empty span at the segment's end where it is missing."""
        if field < 1:
            raise ValueError("fields count from 1")
        return self._spans[field] if field < len(self._spans) else (self.end, self.end)

    @property
    def _spans(self) -> list[Span]:
        """The name at 0, then the fields."""
        if self._fields is None:
            spans = []
            start = self.start
            separator = self._message.field_mark
            while (stop := self._guarded.find(separator, start, self.end)) >= 0:
                spans.append((start, stop))
                start = stop + 1
            spans.append((start, self.end))
            if self._is_header and len(spans) > 1:
                spans.insert(1, (spans[0][1], spans[0][1] + 1))
            self._fields = spans
        return self._fields

    def _part(self, span: Span, mark: bytes, number: int) -> Span:
        """The `number`th piece of a span; an empty span where there are fewer."""
        if number < 1:
            raise ValueError("components and repetitions count from 1")
        start, end = span
        if not mark:
            return span if number == 1 else (end, end)
        for _ in range(number - 1):
            stop = self._guarded.find(mark, start, end)
            if stop < 0:
                return end, end
            start = stop + 1
        stop = self._guarded.find(mark, start, end)
        return start, end if stop < 0 else stop


class Message:
    """One message. `raw` stays as received; the character set is decided when the first text is asked for.

    Raises MessageRefused as `hl7_listener.header.read_header` does; `charset_default` is the sender's, for messages with an empty
    MSH-18 that are not UTF-8.
    """

    def __init__(self, raw: bytes, charset_default: str = "") -> None:
        self.raw = raw
        self.header: Header = read_header(raw)
        self.delimiters: Delimiters = self.header.delimiters
        self.field_mark = self.delimiters.field.encode()
        self.component_mark = self.delimiters.component.encode()
        self.repetition_mark = self.delimiters.repetition.encode()
        self.subcomponent_mark = self.delimiters.subcomponent.encode()
        self._charset_default = charset_default

    @functools.cached_property
    def _charset(self) -> Charset:
        return resolve(self.raw, self.header.charsets, self._charset_default)

    @property
    def charset(self) -> str:
        """The Python codec in which the message is read. Raises MessageRefused `hl7v2.charset`."""
        return self._charset.codec

    @property
    def charset_note(self) -> str:
        """One of `CharsetNote` where MSH-18 was not taken at its word."""
        return self._charset.note

    @functools.cached_property
    def guarded(self) -> bytes:
        """`raw`, safe to search for delimiters. Raises MessageRefused `hl7v2.charset`."""
        return self._charset.guard(self.raw)

    @functools.cached_property
    def segments(self) -> tuple[Segment, ...]:
        """All segments in order, blank lines left out. Raises MessageRefused `hl7v2.charset`."""
        first = _FIRST_END.search(self.raw, header_start(self.raw))
        pattern = _LF_SEGMENT if first and first[0] == b"\n" else _CR_SEGMENT
        spans = (match.span(1) for match in pattern.finditer(self.guarded, header_start(self.raw)))
        return tuple(Segment(self, start, end) for start, end in spans if self.raw[start:end].strip(_BLANK))

    def text_of(self, span: Span) -> str:
        """The decoded, unescaped text of some of the bytes."""
        text = self._charset.decode(self.raw[span[0] : span[1]])
        return unescape(text, self.delimiters, self._charset.codec)
