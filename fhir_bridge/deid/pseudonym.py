"""Pseudonyms and the date shift: keyed, stable across processes, different for every project.

`HMAC-SHA256(sub-key, kind ‖ value)`; the sub-keys come from the project key by HKDF (RFC 5869). Never an unkeyed hash: a
seven-digit record number is found again in seconds.
"""

import base64
import hashlib
import hmac
import uuid
from datetime import date, timedelta

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_KEY_BYTES = 32
_PSEUDONYM_CHARACTERS = 16  # 80 bits of base32; the Value Representations SH and LO both hold them
_SHORTEST_SHIFT_WEEKS, _LONGEST_SHIFT_WEEKS = 53, 521  # 371 to 3,647 days: between one and ten years


class ProjectKeys:
    """The sub-keys of one project. `project_key` is 32 bytes. Raises ValueError otherwise."""

    __slots__ = ("_date", "_id", "_text", "_uid", "project")

    def __init__(self, project_key: bytes) -> None:
        if len(project_key) != _KEY_BYTES:
            raise ValueError("a project key has 32 bytes")
        self._uid, self._id, self._date, self._text = (
            _subkey(project_key, use) for use in ("uid", "id", "date", "text")
        )
        self.project = _subkey(project_key, "project")[:8].hex()

    def __repr__(self) -> str:
        return f"ProjectKeys(project={self.project!r})"

    def pseudonym(self, kind: str, value: str) -> str:
        """Sixteen base32 characters for an identifier; `kind` keeps equal values of different kinds apart."""
        digest = _hmac(self._id, kind, value)
        return base64.b32encode(digest)[:_PSEUDONYM_CHARACTERS].decode("ascii")

    def uid(self, value: str) -> str:
        """A UID under `2.25.` (PS3.5 §B.2): the HMAC as a version 8 UUID (RFC 9562), so at most 44 characters."""
        digest = _hmac(self._uid, "uid", value)
        return f"2.25.{_uuid8(digest[:16]).int}"

    def shift(self, patient: str) -> timedelta:
        """How far this patient's dates move: whole weeks back, so that the day of the week stays; never zero."""
        number = int.from_bytes(_hmac(self._date, "shift", patient)[:8], "big")
        weeks = _SHORTEST_SHIFT_WEEKS + number % (_LONGEST_SHIFT_WEEKS - _SHORTEST_SHIFT_WEEKS + 1)
        return timedelta(weeks=-weeks)

    def digest(self, content: bytes) -> str:
        """A keyed digest of an input, for the manifest: it proves which input it was, to the key's holder only."""
        return _hmac(self._text, "input", hashlib.sha256(content).hexdigest()).hex()


def shifted(day: date, shift: timedelta) -> date | None:
    """The date moved by the shift; None where the calendar has no such day."""
    try:
        return day + shift
    except OverflowError:
        return None


def _subkey(project_key: bytes, use: str) -> bytes:
    return HKDF(SHA256(), 32, salt=None, info=f"fhir-bridge deid {use}".encode()).derive(project_key)


def _hmac(key: bytes, kind: str, value: str) -> bytes:
    return hmac.digest(key, f"{kind}\0{value}".encode("utf-8", "surrogatepass"), "sha256")


def _uuid8(random: bytes) -> uuid.UUID:
    number = int.from_bytes(random, "big")
    number = number & ~(0xF << 76) | 8 << 76  # version
    number = number & ~(0x3 << 62) | 2 << 62  # variant
    return uuid.UUID(int=number)
