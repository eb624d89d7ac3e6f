"""Which character set a message is really in (MSH-18, HL7 v2.5.1 §2.15.9.18, table 0211).

MSH-18 is often empty or wrong, so the bytes are asked too, and whatever was decided against the letter of the message is recorded
as a note. Nothing is ever decoded with replacement characters: a name that cannot be read is refused, not mutilated.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from hl7_listener.refusal import MessageRefused

_UTF8, _JAPANESE = "utf-8", "iso2022_jp_2"
_CODECS = {
    "UNICODEUTF8": _UTF8,
    "UNICODE": _UTF8,
    "UTF8": _UTF8,
    **{f"{prefix}8859{n}": f"iso8859-{n}" for prefix in ("", "ISO") for n in (*range(1, 12), *range(13, 17))},
    "LATIN1": "iso8859-1",
    **{f"{prefix}125{n}": f"cp125{n}" for prefix in ("WINDOWS", "CP") for n in range(9)},
    "ISOIR14": _JAPANESE,
    "ISOIR87": _JAPANESE,
    "ISOIR159": _JAPANESE,
    "GB180302000": "gb18030",
    "GB18030": "gb18030",
    "KSX1001": "euc_kr",
    "BIG5": "big5",
    "SHIFTJIS": "shift_jis",
}
_ASCII_NAMES = ("ASCII", "ISOIR6", "USASCII")  # ISO IR6 beside ISO IR87 means Japanese: the other repetition decides
_SINGLE_BYTE = ("iso8859", "cp125")

# Characters whose later bytes may look like a delimiter. Everything else is safe to split byte by byte.
_GUARDED = {
    "gb18030": re.compile(rb"[\x81-\xfe](?:[\x30-\x39][\x81-\xfe][\x30-\x39]|[\x40-\xfe])"),
    "big5": re.compile(rb"[\x81-\xfe][\x40-\xfe]"),
    "shift_jis": re.compile(rb"[\x81-\x9f\xe0-\xfc][\x40-\xfc]"),
    _JAPANESE: re.compile(rb"\x1b\$(?:[@B]|\(D)[^\x1b\r\n]*"),
}
_JAPANESE_SHIFT = re.compile(rb"(\x1b\$(?:[@B]|\(D)|\x1b\([BJI])")
_ESC = b"\x1b"


class CharsetNote:
    """What was decided against MSH-18; an empty note means that the message was taken at its word."""

    UNDECLARED_UTF8 = "undeclared-utf-8"  # empty MSH-18 means ASCII by the book
    UNDECLARED_DEFAULT = "undeclared-default"  # the sender's configured default
    SINGLE_BYTE_IS_UTF8 = "declared-single-byte-is-utf-8"
    DECLARED_DOES_NOT_FIT = "declared-does-not-fit"
    UNKNOWN_NAME = "unknown-name"

    # what a strict receiver may answer with AE: the bytes contradict MSH-18. A configured default is an agreement, no contradiction
    CONTRADICTIONS = frozenset({UNDECLARED_UTF8, SINGLE_BYTE_IS_UTF8, DECLARED_DOES_NOT_FIT, UNKNOWN_NAME})


@dataclass(frozen=True, slots=True)
class Charset:
    """A Python codec, and why it was chosen where MSH-18 says otherwise."""

    codec: str
    note: str = ""

    def decode(self, data: bytes) -> str:
        """Strictly. Raises UnicodeDecodeError."""
        if self.codec == _JAPANESE:
            return _decode_japanese(data)
        return data.decode(self.codec)

    @property
    def needs_guard(self) -> bool:
        """Whether a character may hold a delimiter's byte."""
        return self.codec in _GUARDED

    def guard(self, data: bytes) -> bytes:
        """As many bytes, with every character that may hold a delimiter's byte blanked out: where to look for delimiters."""
        pattern = _GUARDED.get(self.codec)
        return data if pattern is None else pattern.sub(lambda match: b"\xff" * len(match[0]), data)


def resolve(raw: bytes, declared: Sequence[str], default: str = "") -> Charset:
    """The character set of a message that declares the repetitions of MSH-18; `default` is used where it declares none.

    Raises MessageRefused `hl7v2.charset` where the bytes fit neither, ValueError where the default is no known name.
    """
    fallback = codec_named(default) if default else ""
    codec, note = _declared_codec(declared)
    if raw.isascii() and _ESC not in raw:
        return Charset(codec or fallback or _UTF8, note)
    is_utf8 = not raw.isascii() and _fits(raw, _UTF8)
    candidates: tuple[tuple[str, str], ...]
    if not codec:
        candidates = ((_UTF8, note or CharsetNote.UNDECLARED_UTF8), (fallback, note or CharsetNote.UNDECLARED_DEFAULT))
    elif is_utf8 and codec.startswith(_SINGLE_BYTE):
        return Charset(_UTF8, CharsetNote.SINGLE_BYTE_IS_UTF8)
    else:
        misfit = CharsetNote.DECLARED_DOES_NOT_FIT
        candidates = ((codec, note), (_UTF8, misfit), (fallback, misfit))
    for candidate, reason in candidates:
        if candidate and _fits(raw, candidate):
            return Charset(candidate, reason)
    raise MessageRefused("hl7v2.charset", "MSH-18", "the bytes do not fit the declared or the configured character set")


def codec_named(name: str) -> str:
    """The Python codec for a name of table 0211 or one of its usual misspellings. Raises ValueError where there is none."""
    try:
        return _CODECS[_normal(name)]
    except KeyError:
        raise ValueError("not a known character set") from None


def _declared_codec(declared: Sequence[str]) -> tuple[str, str]:
    names = [_normal(name) for name in declared if name.strip()]
    found = [_CODECS[name] for name in names if name in _CODECS]
    unknown = any(name not in _CODECS and name not in _ASCII_NAMES for name in names)
    return (found[0] if found else ""), (CharsetNote.UNKNOWN_NAME if unknown else "")


def _normal(name: str) -> str:
    return "".join(c for c in name.upper() if c.isalnum())


def _fits(raw: bytes, codec: str) -> bool:
    try:
        Charset(codec).decode(raw)
    except UnicodeDecodeError:
        return False
    return True


def _decode_japanese(data: bytes) -> str:
    """ISO 2022 with JIS X 0201 in G0 and G1 (half-width katakana, 8-bit) and JIS X 0208 or 0212 in G0."""
    parts = _JAPANESE_SHIFT.split(data)
    text = [parts[0].decode("shift_jis")]
    for shift, run in zip(parts[1::2], parts[2::2], strict=True):
        if shift.startswith(b"\x1b$"):
            text.append((shift + run).decode(_JAPANESE))
        elif shift == b"\x1b(I":
            text.append((shift + run).decode("iso2022_jp_ext"))
        else:
            text.append(run.decode("shift_jis"))
    return "".join(text)
