"""The check before release, by other code than the engine: pydicom reads, PS3.15 Table E.1-1 judges, known identifiers are sought.

Raises Refused `deid.residual-identifier` with the tag of the element, never its value; `deid.unverifiable`.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from pydicom.uid import UID_dictionary

from fhir_bridge.deid.allow_list import read_table
from fhir_bridge.deid.elements import name_of
from fhir_bridge.deid.gates import code_meaning
from fhir_bridge.deid.identifiers import SHORTEST_PHRASE, KnownIdentifiers, encoded_forms, folded
from fhir_bridge.deid.second_reader import PYDICOM_ERRORS, all_items, all_leaves, all_tags, read_back
from fhir_bridge.deid.text import vocabulary
from fhir_bridge.errors import Refused
from fhir_bridge.study import Resource

_TABLE = "ps3.15_e1-1_2026c.csv"
TABLE_EDITION = "2026c"
_FREE_TEXT = frozenset({"PN", "LO", "SH", "LT", "ST", "UT", "UC", "UR", "AE"})
_PLAIN_NUMBERS = frozenset({"DS", "IS", "TM"})
_SHORTEST_IN_NUMBERS, _SHORTEST_NUMBER_IN_PIXELS, _SHORTEST_IN_UID = 7, 8, 10
# our own marks, and codes, which `_check_meanings` compares with the standard
_NOT_SEARCHED = frozenset({0x00020012, 0x00020013, 0x00120063, 0x00080100, 0x00080102, 0x00080104})
_PIXEL_DATA, _CODE_MEANING = 0x7FE00010, 0x00080104
_DATE_TIME = re.compile(r"\d{4}-\d{2}-\d{2}(T[0-9:.+Z-]+)?")  # moved: it may fall on any day, the birth date too
_UID = re.compile(rb"2\.25\.[1-9][0-9]{0,38}")


_Bytes = np.ndarray[Any, np.dtype[np.uint8]]
_Flags = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True, slots=True)
class Action:
    """A row of Table E.1-1: the Basic Profile's action and the options that overrule it here."""

    basic: str
    keep_characteristics: bool
    modify_dates: bool
    clean_descriptors: bool


@cache
def table() -> Mapping[str, Action]:
    """Table E.1-1 by tag; repeating groups as `50XX,XXXX`."""
    return {
        row["tag"]: Action(
            row["basic"],
            row["patient_characteristics"] == "K",
            row["modified_dates"] == "C",
            row["clean_descriptors"] == "C",
        )
        for row in read_table(_TABLE)
    }


def verify_instance(output: bytes, originals: Mapping[int, set[bytes]], search: "IdentifierSearch") -> None:
    """Refuse a de-identified file in which anything of the original identity is left."""
    if output[:128] != bytes(128):
        raise _residual("preamble")
    try:
        data_set = read_back(output)
        _check_structure(data_set)
        for tag, vr, value in all_leaves(data_set):
            _check_value(tag, vr, value.strip(b" \0"), originals.get(tag, set()))
            search.element(tag, vr, value)
        _check_meanings(data_set)
    except PYDICOM_ERRORS:
        raise Refused("deid.unverifiable", "file", "the de-identified file cannot be read back") from None


def verify_resource(resource: Resource, search: "IdentifierSearch") -> None:
    """Refuse a de-identified resource that holds a known identifier of six or more characters, whole or encoded."""
    for path, value in _strings_of(resource, str(resource.get("resourceType"))):
        if _DATE_TIME.fullmatch(value) is None and search.holds(value.encode("utf-8", "surrogatepass")):
            raise _residual(path)


def _strings_of(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Strings and numbers of a resource but for the names that the allow-list itself gives."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key not in ("resourceType", "system"):
                yield from _strings_of(item, f"{path}.{key}")
    elif isinstance(value, list):
        for item in value:
            yield from _strings_of(item, path)
    else:
        yield path, str(value)


def _check_structure(data_set: Any) -> None:
    for tag in all_tags(data_set):
        group = tag >> 16
        if group & 1 or 0x5000 <= group < 0x5100 or 0x6000 <= group < 0x6100 or tag & 0xFFFF == 0:
            raise _residual(name_of(tag))
        if tag > _PIXEL_DATA:
            raise _residual(name_of(tag))
    if data_set.get("PatientIdentityRemoved") != "YES":
        raise Refused("deid.unverifiable", "0012,0062", "the file is not marked as de-identified")


def _check_value(tag: int, vr: str, value: bytes, originals: set[bytes]) -> None:
    if vr == "UI" and value and not _may_stay_uid(value, originals):
        raise _residual(name_of(tag))
    action = table().get(name_of(tag))
    if not value or value not in originals or (action is None and vr not in ("PN", "DA", "DT")):
        return
    if action is not None:
        characteristic = (
            action.keep_characteristics and vr not in _FREE_TEXT
        )  # sex, age, size; not the words on ethnicity
        retained = characteristic or (action.modify_dates and vr == "TM")
        cleaned = action.clean_descriptors and all(
            word in vocabulary() for word in value.decode("ascii", "replace").split()
        )
        if retained or cleaned:
            return
    if vr != "UI":
        raise _residual(name_of(tag))


def _may_stay_uid(value: bytes, originals: set[bytes]) -> bool:
    return value.decode("ascii", "replace") in UID_dictionary or (
        _UID.fullmatch(value) is not None and value not in originals
    )


def _check_meanings(data_set: Any) -> None:
    """Codes are exempt from the search because each must be the standard's own, its meaning in the standard's own words."""
    for item in all_items(data_set):
        if _CODE_MEANING in item:
            triplet = (str(item.get("CodeValue", "")), str(item.get("CodingSchemeDesignator", "")))
            if item.CodeMeaning != code_meaning(*triplet):
                raise _residual(name_of(_CODE_MEANING))
        elif "CodeValue" in item or "CodingSchemeDesignator" in item:
            raise _residual("0008,0100")


class IdentifierSearch:
    """Known identifiers in raw bytes: case-folded, name parts in any order, UTF-16, base64."""

    def __init__(self, known: KnownIdentifiers) -> None:
        self._words = known.words
        self._phrases = known.phrases
        numbers = sorted(phrase for phrase in known.phrases if phrase.isdecimal() and phrase.isascii())
        self._numbers = _whole_numbers(numbers)
        # noise of a narrow range spells short numbers: an eight-bit image has a million chances
        self._long_numbers = _whole_numbers([number for number in numbers if len(number) >= _SHORTEST_NUMBER_IN_PIXELS])
        self._plain = [form for phrase in known.phrases for form in _spellings(phrase, phrase in numbers)]
        self._encoded = [form for phrase in known.phrases for form in encoded_forms(phrase)]

    def element(self, tag: int, vr: str, value: bytes) -> None:
        """Refuse an element that holds a known identifier, as its kind of value can hold one."""
        if tag in _NOT_SEARCHED or vr in ("DA", "DT", "AS"):
            return
        if tag == _PIXEL_DATA:
            runs = printable_runs(value)
            found = bool(runs) and self._holds(runs, self._long_numbers)
        elif vr == "UI":
            found = any(phrase.encode() in value for phrase in self._phrases if len(phrase) >= _SHORTEST_IN_UID)
        elif vr in _PLAIN_NUMBERS:
            parts = set(value.decode("ascii", "replace").replace(".", "\\").split("\\"))
            found = any(part.strip() in self._phrases for part in parts if len(part) >= _SHORTEST_IN_NUMBERS)
        elif vr == "CS":
            found = self.holds(value) and not _is_defined_term(value)
        else:
            text = vr in _FREE_TEXT
            found = self.holds(value) or (text and (self._has_word(value) or not value.isascii()))
        if found:
            raise _residual(name_of(tag))

    def holds(self, content: bytes) -> bool:
        """Whether a phrase is anywhere in the bytes."""
        return self._holds(content, self._numbers)

    def _holds(self, content: bytes, numbers: re.Pattern[bytes] | None) -> bool:
        upper = content.upper()
        if any(form in upper for form in self._plain) or any(form in content for form in self._encoded):
            return True
        return numbers is not None and numbers.search(content) is not None

    def _has_word(self, value: bytes) -> bool:
        words = re.split(r"[^\w]+", folded(value.decode("utf-8", "replace")))
        return not self._words.isdisjoint(words)


def _whole_numbers(numbers: list[str]) -> re.Pattern[bytes] | None:
    """A number counts as a whole only: six given digits turn up by chance inside longer ones."""
    return re.compile(rf"(?<![0-9])(?:{'|'.join(numbers)})(?![0-9])".encode()) if numbers else None


def _spellings(phrase: str, is_number: bool) -> Iterator[bytes]:
    for codec in ("utf-16-le", "utf-16-be") if is_number else ("utf-8", "utf-16-le", "utf-16-be"):
        yield phrase.encode(codec, "surrogatepass")


@cache
def _defined_terms() -> frozenset[str]:
    return frozenset(term for row in read_table("cr_dx.csv") for term in row["values"].split("|") if term)


def _is_defined_term(value: bytes) -> bool:
    terms = [part.strip() for part in value.decode("ascii", "replace").split("\\")]
    known = _defined_terms()
    return all(not term or term in known or set(term.split()) <= vocabulary() for term in terms)


def printable_runs(content: bytes) -> bytes:
    """The runs of six or more printable characters, of one byte or of two: all that a text in pixel data can lie in."""
    pixels = np.frombuffer(content, np.uint8)
    printable, zero = (pixels >= 0x20) & (pixels < 0x7F), pixels == 0
    runs = [_runs(pixels, printable)]
    for start in (0, 1):
        end = start + (len(pixels) - start) // 2 * 2
        for text, other in ((start, start + 1), (start + 1, start)):
            runs.append(_runs(pixels[text:end:2], printable[text:end:2] & zero[other:end:2]))
    return b"\n".join(filter(None, runs))


def _runs(characters: _Bytes, printable: _Flags) -> bytes:
    twos = printable[:-1] & printable[1:]
    fours = twos[:-2] & twos[2:]
    if not (fours[:-2] & twos[4:]).any():  # no six in a row, as in most images
        return b""
    padded = np.concatenate(([False], printable, [False]))
    edges = np.flatnonzero(padded[1:] != padded[:-1])
    starts, ends = edges[::2], edges[1::2]
    long_enough = ends - starts >= SHORTEST_PHRASE
    return b"\n".join(characters[a:b].tobytes() for a, b in zip(starts[long_enough], ends[long_enough], strict=True))


def _residual(where: str) -> Refused:
    return Refused(
        "deid.residual-identifier", where, "something of the patient's identity was left; nothing is released"
    )
