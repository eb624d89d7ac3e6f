"""Escape sequences of ER7 text (HL7 v2.5.1 §2.7, v2.9 §2.6): delimiters, hexadecimal bytes, highlighting, formatting.

What is unknown, local (`\\Z..\\`) or not closed stays as it came: real data holds lone escape characters.
The switches of character set (`\\C..\\`, `\\M..\\`) are read before: `charset_switches`.
"""

import functools
import re

from hl7_listener.delimiters import Delimiters

_LINE_BREAKS = {".br": "\n", ".ce": "\n"}
_REPEATED = {".sp": "\n", ".sk": " "}
_INVISIBLE = ("H", "N", ".fi", ".nf", ".in", ".ti")  # highlighting and layout: no text of their own


def unescape(text: str, delimiters: Delimiters, charset: str) -> str:
    """The text a sequence stands for. `charset` is the Python codec of the bytes in `\\X..\\`."""
    if not delimiters.escape or delimiters.escape not in text:
        return text

    def replace(match: re.Match[str]) -> str:
        return _meaning(match, delimiters, charset)

    return _pattern(delimiters.escape).sub(replace, text)


def escape(text: str, delimiters: Delimiters) -> str:
    """Text that may stand in a field. Where the sender has no escape character, delimiters become spaces."""
    return text if text.isalnum() else text.translate(_escaped(delimiters))  # a delimiter is no letter and no digit


def encoded(text: str, delimiters: Delimiters) -> bytes:
    """Text of ours as the bytes of a field: escaped, ASCII (a question mark for the rest), nothing that would end the block."""
    return escape(text, delimiters).encode("ascii", "replace").translate(None, b"\x0b\x1c")


@functools.lru_cache(maxsize=32)
def _escaped(delimiters: Delimiters) -> dict[int, str]:
    mark = delimiters.escape
    letters = {
        delimiters.field: "F",
        delimiters.component: "S",
        delimiters.subcomponent: "T",
        delimiters.repetition: "R",
        mark: "E",
        "\r": ".br",
        "\n": ".br",
    }
    return {ord(c): f"{mark}{letter}{mark}" if mark else " " for c, letter in letters.items() if c}


@functools.lru_cache(maxsize=32)
def _pattern(mark: str) -> re.Pattern[str]:
    """Only sequences that are known: an unknown one must not swallow the escape character that opens the next."""
    quoted = re.escape(mark)
    return re.compile(
        rf"(?P<bytes>(?:{quoted}X(?:[0-9A-Fa-f]{{2}})+{quoted})+)"
        rf"|{quoted}(?P<word>[FSTREPHN]|\.br|\.ce|\.fi|\.nf){quoted}"
        rf"|{quoted}(?P<command>\.sp|\.sk|\.in|\.ti) *(?P<count>[+-]?[0-9]{{0,2}}) *{quoted}"
    )


def _meaning(match: re.Match[str], delimiters: Delimiters, charset: str) -> str:
    if match["bytes"]:
        return _hexadecimal(match["bytes"], delimiters.escape, charset)
    word = match["word"] or match["command"]
    if word in _REPEATED:
        return _REPEATED[word] * max(1, int(match["count"] or 1))
    if word in _INVISIBLE:
        return ""
    if word in _LINE_BREAKS:
        return _LINE_BREAKS[word]
    named = {
        "F": delimiters.field,
        "S": delimiters.component,
        "T": delimiters.subcomponent,
        "R": delimiters.repetition,
        "E": delimiters.escape,
        "P": delimiters.truncation,
    }
    return named[word] or match[0]


def _hexadecimal(sequences: str, mark: str, charset: str) -> str:
    """Neighbouring sequences are decoded together: one may hold half a character."""
    data = b"".join(bytes.fromhex(part[1:]) for part in sequences.split(mark) if part)
    try:
        return data.decode(charset)
    except UnicodeDecodeError:
        return sequences
