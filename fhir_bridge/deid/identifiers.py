"""What is known to identify the patient of a job: collected from the FHIR Patient and the original headers, looked for later."""

import base64
import itertools
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from typing import Any

from pydicom.datadict import dictionary_VR

from fhir_bridge.deid.elements import PIXEL_DATA, Element
from fhir_bridge.study import Resource

_SHORTEST_WORD, SHORTEST_PHRASE = 3, 6
_IDENTIFYING_TEXT = frozenset(
    {
        0x00080050,
        0x00100020,
        0x00101000,
        0x00101040,
        0x00101090,
        0x00102154,
        0x00102155,
        0x00200010,
        0x00380010,
        0x00401001,
        0x00402016,
        0x00402017,
        0x00080081,
        0x00080080,
        0x00081010,
        0x00181000,
        0x00100050,
        0x00104000,
    }
)  # fmt: skip - accession, ids, address, phone, Study ID, admission, procedure and order numbers, institution, station, serial, comments
_BIRTH_DATE = 0x00100030
_SPLIT = re.compile(r"[^\w]+")


@dataclass(slots=True)
class KnownIdentifiers:
    """`words` are looked for as whole words in text, `phrases` (six characters and more) anywhere. Upper case, folded to ASCII."""

    words: set[str] = field(default_factory=set, repr=False)
    phrases: set[str] = field(default_factory=set, repr=False)

    def add_name(self, text: str) -> None:
        """A name: every part of it, and neighbours written together, in both orders."""
        parts = [part for part in _SPLIT.split(folded(text)) if part]
        for part in parts:
            self.add(part)
        for one, two in itertools.pairwise(parts):
            for joined in (one + two, two + one):
                self._phrase(joined)

    def add(self, text: str) -> None:
        """An identifier: as it is, and without what only separates."""
        whole = folded(text).strip()
        for form in (whole, _SPLIT.sub("", whole).replace("_", "")):
            if len(form) >= _SHORTEST_WORD and len(set(form)) > 1:
                self.words.add(form)
            self._phrase(form)

    def add_birth_date(self, day: date) -> None:
        """A birth date in the orders and separators of the world."""
        year, month, number = f"{day:%Y}", f"{day:%m}", f"{day:%d}"
        for separator in ("", "-", ".", "/"):
            for parts in ((year, month, number), (number, month, year), (month, number, year)):
                self._phrase(separator.join(parts))

    def _phrase(self, form: str) -> None:
        if len(form) >= SHORTEST_PHRASE and len(set(form)) > 1:
            self.phrases.add(form)


def folded(text: str) -> str:
    """Upper case without diacritics, so that one form stands for all spellings of a name."""
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(mark for mark in decomposed if not unicodedata.combining(mark)).upper()


def encoded_forms(phrase: str) -> Iterator[bytes]:
    """The phrase as base64 hides it: at each of the three alignments, without the characters that its neighbours share."""
    for spelling in {phrase, phrase.lower(), phrase.title()}:
        raw = spelling.encode("utf-8")
        for offset in range(3):
            code = base64.b64encode(bytes(offset) + raw)
            yield code[-(-8 * offset // 6) : 8 * (offset + len(raw)) // 6]


def collect_from_patient(known: KnownIdentifiers, patient: Resource) -> None:
    """Names, identifiers, telecom, address, birth date and id of a FHIR Patient, contacts and links included."""
    for key, value in patient.items():
        if key == "birthDate" and isinstance(value, str):
            _birth_date(known, value.replace("-", ""))
        elif key == "id" and isinstance(value, str):
            known.add(value)
        elif key in ("name", "contact"):
            for text in _strings(value, ("family", "given", "text", "value", "line", "city", "postalCode")):
                known.add_name(text)
        elif key in ("identifier", "telecom", "address"):
            for text in _strings(value, ("value", "text", "line", "city", "postalCode")):
                known.add(text)


def _strings(value: Any, keys: tuple[str, ...], wanted: bool = False) -> Iterator[str]:
    if isinstance(value, str):
        if wanted:
            yield value
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item, keys, wanted)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _strings(item, keys, key in keys)


def original_values(elements: Mapping[int, Element]) -> dict[int, set[bytes]]:
    """Every value of an original data set by tag, whatever its depth, without padding; Pixel Data left out.

    Read by the engine's own reader: what it does not see cannot come out. (pydicom would log values: of a character set, say.)
    """
    found: dict[int, set[bytes]] = {}
    _collect_values(elements, found)
    return found


def _collect_values(elements: Mapping[int, Element], found: dict[int, set[bytes]]) -> None:
    for tag, element in elements.items():
        if tag == PIXEL_DATA:
            continue
        if element.vr == "SQ" or element.undefined_length or (element.vr in ("", "UN") and _dictionary_vr(tag) == "SQ"):
            for item in element.items():
                _collect_values(item, found)
        else:
            found.setdefault(tag, set()).add(bytes(element.value).strip(b" \0"))


def collect_from_header(known: KnownIdentifiers, values: dict[int, set[bytes]]) -> None:
    """Every name, and the identifiers, addresses and birth date of an original header."""
    for tag, found in values.items():
        for value in found:
            _from_value(known, tag, _decoded(value))


def _decoded(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _from_value(known: KnownIdentifiers, tag: int, text: str) -> None:
    if tag == _BIRTH_DATE:
        _birth_date(known, text)
    elif tag in _IDENTIFYING_TEXT:
        for part in text.split("\\"):
            known.add(part)
    elif not tag >> 16 & 1 and _dictionary_vr(tag) == "PN":
        known.add_name(text)


@cache
def _dictionary_vr(tag: int) -> str:
    try:
        return str(dictionary_VR(tag))
    except KeyError:
        return ""


def _birth_date(known: KnownIdentifiers, digits: str) -> None:
    try:
        known.add_birth_date(date(int(digits[:4]), int(digits[4:6]), int(digits[6:8])))
    except ValueError:
        return
