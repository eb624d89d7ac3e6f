"""How the bytes of one message become text: its character set (MSH-18), switches inside it, delimiters, escape sequences."""

import functools

from hl7_listener.charset import Charset, resolve
from hl7_listener.charset_switches import Switches, find_switches
from hl7_listener.delimiters import Delimiters, delimiters_named
from hl7_listener.escapes import unescape
from hl7_listener.header import Header, charset_names
from hl7_listener.refusal import MessageRefused

_ESC = b"\x1b"
_LONGEST_DECLARATION = 64  # bytes of MSH-18 worth remembering


def reading_of(raw: bytes, header: Header, default: str) -> "Reading":
    """The reading of a message. Nearly all messages are ASCII, and then theirs is the same as that of the sender's last one.

    Raises MessageRefused `hl7v2.charset` where the bytes fit neither MSH-18 nor the sender's default.
    """
    switches = find_switches(raw, header.delimiters)
    declared = header.raw(18)
    if switches is None and raw.isascii() and raw.find(_ESC) < 0 and len(declared) <= _LONGEST_DECLARATION:
        return _ascii_reading(header.raw(1), header.raw(2), declared, default)
    charset = resolve(switches.blanked(raw) if switches else raw, header.charsets, default)
    return Reading(header.delimiters, charset, switches)


@functools.lru_cache(maxsize=256)
def _ascii_reading(field: bytes, encoding: bytes, declared: bytes, default: str) -> "Reading":
    delimiters = delimiters_named(field, encoding)
    return Reading(delimiters, resolve(b"", charset_names(declared, delimiters), default), None, is_ascii=True)


class Reading:
    """What the bytes of a message mean. Every character set here is ASCII in its lower half, so a field that is decoded can be parted."""

    __slots__ = ("_is_guarded", "_mark", "_switches", "charset", "codec", "delimiters")

    def __init__(
        self, delimiters: Delimiters, charset: Charset, switches: Switches | None, *, is_ascii: bool = False
    ) -> None:
        self.delimiters = delimiters
        self.charset = charset
        self._mark = delimiters.field.encode()
        self._switches = switches
        self._is_guarded = switches is not None or (charset.needs_guard and not is_ascii)
        self.codec = "ascii" if is_ascii else "" if self._is_guarded else charset.codec  # empty: only `decode` knows

    def fields(self, segment: bytes) -> list[bytes]:
        """The name and the fields of a segment."""
        if not self._is_guarded:
            return segment.split(self._mark)
        blanked = self._switches.blanked(segment, multi_byte_only=True) if self._switches else segment
        fields, position = [], 0
        for guarded in self.charset.guard(blanked).split(self._mark):
            fields.append(segment[position : position + len(guarded)])
            position += len(guarded) + 1
        return fields

    def decode(self, field: bytes) -> str:
        """A field, or less, as text; escape sequences and delimiters as they are. Raises MessageRefused `hl7v2.charset`."""
        if self.codec:
            return field.decode(self.codec)
        try:
            return self._switches.decode(field, self.charset.decode) if self._switches else self.charset.decode(field)
        except UnicodeDecodeError:
            raise MessageRefused("hl7v2.charset", "MSH-18", "a text does not fit its character set") from None

    def unescape(self, text: str) -> str:
        """What the escape sequences of a text stand for."""
        return unescape(text, self.delimiters, self.charset.codec)
