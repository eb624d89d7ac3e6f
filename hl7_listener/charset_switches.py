"""Switches of character set inside a text: `\\Cxxyy\\` and `\\Mxxyyzz\\` (HL7 v2.5.1 §2.7.2; table 0356, "2.3").

A switch holds for the text behind it, up to the next one or the end of its component. A text of a multi-byte set is 7-bit, so it may
hold any delimiter's byte: it must be closed by a switch, on the same line, and be text of that set; what is not is no switch.
"""

import functools
import itertools
import re
from collections.abc import Callable

from hl7_listener.delimiters import Delimiters

_BACK = b"C2842"  # ISO IR6, ASCII in the lower half: back to the message's own set, which is ASCII there
_SINGLE_BYTE = {
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
_LINE_END = re.compile(rb"[\r\n]")
_PLAIN = b"x"  # a letter is never a delimiter


def find_switches(raw: bytes, delimiters: Delimiters) -> "Switches | None":
    """The reader of a message's switches; None where it has none, as nearly every message."""
    if delimiters.escape and _any(delimiters.escape).search(raw):
        return Switches(delimiters)
    return None


class Switches:
    """The switches of a message with these delimiters."""

    __slots__ = ("_end", "_pattern")

    def __init__(self, delimiters: Delimiters) -> None:
        marks = (delimiters.field, delimiters.component, delimiters.repetition, delimiters.subcomponent)
        self._end = re.compile(b"[" + re.escape("".join(marks).encode()) + rb"\r\n]")
        self._pattern = _pattern(delimiters.escape)

    def blanked(self, raw: bytes, *, multi_byte_only: bool = False) -> bytes:
        """As many bytes, with a letter for every byte of switched text: what is left is in the character set of MSH-18, and a
        delimiter is a delimiter."""
        text = bytearray(raw)
        for switch, end in self._runs(raw):
            if switch[1] in _MULTI_BYTE or (switch[1] != _BACK and not multi_byte_only):
                text[switch.end() : end] = _PLAIN * (end - switch.end())
        return bytes(text)

    def decode(self, field: bytes, decode: Callable[[bytes], str]) -> str:
        """A field as text, without its switches; `decode` is for what is not switched. Raises UnicodeDecodeError."""
        texts, position = [], 0
        for switch, end in self._runs(field):
            texts.append(decode(field[position : switch.start()]))
            switched = field[switch.end() : end]
            texts.append(decode(switched) if switch[1] == _BACK else _decode(switch[1], switched))
            position = end
        return "".join((*texts, decode(field[position:])))

    def _runs(self, raw: bytes) -> list[tuple[re.Match[bytes], int]]:
        """The switches, each with the end of the text that it switches."""
        found = list(self._pattern.finditer(raw))
        runs = []
        for switch, following in itertools.zip_longest(found, found[1:]):
            last = following.start() if following else len(raw)
            if switch[1] in _MULTI_BYTE:
                if following and _is_multi_byte_text(switch[1], raw[switch.end() : last]):
                    runs.append((switch, last))
            else:
                end = self._end.search(raw, switch.end(), last)
                runs.append((switch, end.start() if end else last))
        return runs


def _is_multi_byte_text(switch: bytes, text: bytes) -> bool:
    if _LINE_END.search(text):
        return False
    try:
        _decode(switch, text)
    except UnicodeDecodeError:
        return False
    return True


def _decode(switch: bytes, text: bytes) -> str:
    if switch in _MULTI_BYTE:
        return (_MULTI_BYTE[switch] + text).decode("iso2022_jp_2")
    return text.decode(_SINGLE_BYTE[switch])


@functools.lru_cache(maxsize=32)
def _any(escape: str) -> re.Pattern[bytes]:
    """Faster than the pattern of all of them."""
    return re.compile(re.escape(escape.encode()) + b"(?:C2|M24)")


@functools.lru_cache(maxsize=32)
def _pattern(escape: str) -> re.Pattern[bytes]:
    mark = re.escape(escape.encode())
    return re.compile(mark + b"(" + b"|".join((_BACK, *_SINGLE_BYTE, *_MULTI_BYTE)) + b")" + mark)
