"""How the bytes of one message become text: its character set (MSH-18), switches inside it, delimiters, escape sequences."""

import functools

from hl7_listener.charset import Charset, resolve
from hl7_listener.charset_switches import Switches, find_switches
from hl7_listener.delimiters import Delimiters
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
    if switches is None and raw.isascii() and _ESC not in raw and len(declared) <= _LONGEST_DECLARATION:
        return _ascii_reading(header.delimiters, declared, default)
    charset = resolve(switches.blanked(raw) if switches else raw, header.charsets, default)
    return Reading(header.delimiters, charset, switches)


@functools.lru_cache(maxsize=256)
def _ascii_reading(delimiters: Delimiters, declared: bytes, default: str) -> "Reading":
    return Reading(delimiters, resolve(b"", charset_names(declared, delimiters), default), None, is_ascii=True)


class Reading:
    """The delimiters as bytes, and what they part as text."""

    __slots__ = (
        "_codec",
        "_delimiters",
        "_escape",
        "_is_guarded",
        "_switches",
        "charset",
        "component",
        "field",
        "repetition",
        "subcomponent",
    )

    def __init__(
        self, delimiters: Delimiters, charset: Charset, switches: Switches | None, *, is_ascii: bool = False
    ) -> None:
        self.field = delimiters.field.encode()
        self.component = delimiters.component.encode()
        self.repetition = delimiters.repetition.encode()
        self.subcomponent = delimiters.subcomponent.encode()
        self.charset = charset
        self._delimiters = delimiters
        self._escape = delimiters.escape
        self._switches = switches
        self._is_guarded = switches is not None or (charset.needs_guard and not is_ascii)
        self._codec = "ascii" if is_ascii else "" if self._is_guarded else charset.codec  # empty: by `charset`

    def text(self, piece: bytes) -> str:
        """The decoded, unescaped text of some of the message's bytes. Raises MessageRefused `hl7v2.charset`."""
        try:
            if self._codec:
                text = piece.decode(self._codec)
            elif self._switches:
                text = self._switches.decode(piece, self.charset.decode)
            else:
                text = self.charset.decode(piece)
        except UnicodeDecodeError:
            raise MessageRefused("hl7v2.charset", "MSH-18", "a text does not fit its character set") from None
        return unescape(text, self._delimiters, self.charset.codec) if self._escape in text else text

    def pieces(self, whole: bytes, mark: bytes) -> list[bytes]:
        """What lies between the marks."""
        if not mark:
            return [whole]
        if not self._is_guarded:
            return whole.split(mark)
        pieces, position = [], 0
        for guarded in self._guard(whole).split(mark):
            pieces.append(whole[position : position + len(guarded)])
            position += len(guarded) + len(mark)
        return pieces

    def part(self, whole: bytes, mark: bytes, number: int) -> bytes:
        """The `number`th piece, from 1; empty where there are fewer."""
        if number < 1:
            raise ValueError("components and repetitions count from 1")
        if not mark or mark not in whole:
            return whole if number == 1 else b""
        pieces = self.pieces(whole, mark)
        return pieces[number - 1] if number <= len(pieces) else b""

    def _guard(self, whole: bytes) -> bytes:
        """Safe to search for delimiters: as many bytes, none of them part of a longer character."""
        return self.charset.guard(self._switches.blanked(whole, multi_byte_only=True) if self._switches else whole)
