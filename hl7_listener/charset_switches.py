"""Switches of character set inside a text: `\\Cxxyy\\` and `\\Mxxyyzz\\` (HL7 v2.5.1 §2.7.2; table 0356, "2.3").

A switch holds for the text behind it, up to the next one or the end of its component. A text of a multi-byte set is 7-bit, so it may
hold any delimiter's byte: it must be closed by a switch, on the same line; one that is not is no switch.
"""

import functools
import re
from collections.abc import Callable

from hl7_listener.delimiters import Delimiters

_SINGLE_BYTE = {
    b"C2842": "ascii",  # ISO IR6
    b"C2D41": "iso8859-1",  # ISO IR100
    b"C2D42": "iso8859-2",  # ISO IR101
    b"C2D43": "iso8859-3",  # ISO IR109
    b"C2D44": "iso8859-4",  # ISO IR110
    b"C2D4C": "iso8859-5",  # ISO IR144, Cyrillic
    b"C2D47": "iso8859-6",  # ISO IR127, Arabic
    b"C2D46": "iso8859-7",  # ISO IR126, Greek
    b"C2D48": "iso8859-8",  # ISO IR138, Hebrew
    b"C2D4D": "iso8859-9",  # ISO IR148, Turkish
    b"C284A": "shift_jis",  # ISO IR14, JIS X 0201 Romaji
    b"C2949": "shift_jis",  # ISO IR13, JIS X 0201 Katakana
}
_MULTI_BYTE = {b"M2442": b"\x1b$B", b"M242844": b"\x1b$(D"}  # ISO IR87 and 159, and their ISO 2022 escape sequences
_PLAIN = b"x"  # a letter is never a delimiter


def find_switches(raw: bytes, delimiters: Delimiters) -> "Switches | None":
    """The reader of a message's switches; None where it has none, as nearly every message."""
    escape = delimiters.escape.encode()
    if escape and (escape + b"C2" in raw or escape + b"M24" in raw):
        return Switches(escape, delimiters.field.encode())
    return None


class Switches:
    """The switches of a message with this escape character and field separator."""

    __slots__ = ("_escape", "_field")

    def __init__(self, escape: bytes, field: bytes) -> None:
        self._escape = escape
        self._field = field

    def blanked(self, raw: bytes, *, multi_byte_only: bool = False) -> bytes:
        """As many bytes, with a letter for every byte of switched text: what is left is in the character set of MSH-18, and a
        delimiter is a delimiter."""
        text = bytearray(raw)
        for start, end, is_multi_byte in self._runs(raw):
            if is_multi_byte or not multi_byte_only:
                text[start:end] = _PLAIN * (end - start)
        return bytes(text)

    def decode(self, piece: bytes, decode: Callable[[bytes], str]) -> str:
        """A component as text; `decode` is for what is not switched. Raises UnicodeDecodeError."""
        texts, position = [], 0
        for start, end, _ in self._runs(piece):
            opening = piece.rindex(self._escape, 0, piece.rindex(self._escape, 0, start))
            texts.append(decode(piece[position:opening]))
            texts.append(_decode(piece[opening + 1 : start - 1], piece[start:end]))
            position = end
        return "".join((*texts, decode(piece[position:])))

    def _runs(self, raw: bytes) -> list[tuple[int, int, bool]]:
        """Where switched text lies, and whether it is of a multi-byte set."""
        pattern = _pattern(self._escape)
        found = list(pattern.finditer(raw))
        runs = []
        for number, match in enumerate(found):
            following = found[number + 1].start() if number + 1 < len(found) else len(raw)
            is_multi_byte = match[1] in _MULTI_BYTE
            ends = [
                raw.find(mark, match.end(), following)
                for mark in (b"\r", b"\n", b"" if is_multi_byte else self._field)
                if mark
            ]
            end = min((end for end in ends if end >= 0), default=following)
            if not is_multi_byte or end == following < len(raw):
                runs.append((match.end(), end, is_multi_byte))
        return runs


def _decode(switch: bytes, text: bytes) -> str:
    if switch in _MULTI_BYTE:
        return (_MULTI_BYTE[switch] + text).decode("iso2022_jp_2")
    return text.decode(_SINGLE_BYTE[switch])


@functools.lru_cache(maxsize=32)
def _pattern(escape: bytes) -> re.Pattern[bytes]:
    mark = re.escape(escape)
    return re.compile(mark + b"(" + b"|".join((*_SINGLE_BYTE, *_MULTI_BYTE)) + b")" + mark)
