"""The delimiters a sender declares in MSH-1 and MSH-2 (HL7 v2.5.1 §2.5.4, v2.7 adds the truncation character)."""

import functools
from dataclasses import dataclass

from hl7_listener.refusal import MessageRefused


@dataclass(frozen=True, slots=True)
class Delimiters:
    """One character each, 7-bit; an empty string where MSH-2 is too short to name it."""

    field: str = "|"
    component: str = "^"
    repetition: str = "~"
    escape: str = "\\"
    subcomponent: str = "&"
    truncation: str = ""

    @property
    def encoding_characters(self) -> str:
        """MSH-2 as it was sent."""
        return self.component + self.repetition + self.escape + self.subcomponent + self.truncation


def read_delimiters(header: bytes) -> Delimiters:
    """From the bytes of a segment MSH, FHS or BHS.

    Raises MessageRefused `hl7v2.delimiters` where there are not 2 to 5 encoding characters, or one of them is a letter, a
    digit, a blank, beyond ASCII or used twice.
    """
    field = header[3:4]
    return delimiters_named(field, header[4:].split(field, 1)[0] if field else b"")


@functools.lru_cache(maxsize=64)
def delimiters_named(field: bytes, encoding: bytes) -> Delimiters:
    """From MSH-1 and MSH-2. Raises MessageRefused as `read_delimiters`."""
    _check(field, "MSH-1")
    if not 2 <= len(encoding) <= 5:
        raise MessageRefused("hl7v2.delimiters", "MSH-2", "MSH-2 must hold 2 to 5 encoding characters")
    _check(encoding, "MSH-2")
    names = (*encoding.decode("ascii"), "", "", "")
    return Delimiters(field.decode("ascii"), *names[:5])


def _check(characters: bytes, where: str) -> None:
    if not characters or any(c <= 0x20 or c >= 0x7F for c in characters) or any(chr(c).isalnum() for c in characters):
        raise MessageRefused(
            "hl7v2.delimiters", where, "a delimiter must be a printable ASCII mark, no letter or digit"
        )
    if len(set(characters)) < len(characters):
        raise MessageRefused("hl7v2.delimiters", where, "a delimiter is used twice")
