"""Value gates: what may stay of a value, by the rule of its attribute. None means: it does not pass.

Values are read as bytes and written as the bytes of what was understood, never as they came. Identity hides in any Value
Representation that takes text, so a CS passes only from its own value set, a code only if PS3.16 knows it (its meaning is
written anew), and a descriptor word by word.
"""

import re
from collections.abc import Callable, Mapping
from datetime import date
from functools import cache

from pydicom.sr._concepts_dict import concepts  # generated from PS3.16; the public face finds codes by keyword only
from pydicom.sr._snomed_dict import mapping as snomed_codes
from pydicom.uid import UID_dictionary

from fhir_bridge.deid.allow_list import Rule
from fhir_bridge.deid.elements import Element, Encoding, write_element, write_items
from fhir_bridge.deid.pseudonym import shifted
from fhir_bridge.deid.subject import Subject
from fhir_bridge.deid.text import known_words

_DECIMAL = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([Ee][+-]?[0-9]{1,3})?")
_INTEGER = re.compile(r"[+-]?[0-9]{1,11}")
_DATE = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})|([0-9]{4})\.([0-9]{2})\.([0-9]{2})")  # the second form: ACR-NEMA
_TIME = re.compile(r"(?:[01][0-9]|2[0-3])(?::?[0-5][0-9](?::?(?:[0-5][0-9]|60)(?:\.[0-9]{1,6})?)?)?")
_DATE_TIME = re.compile(r"([0-9]{8})([0-9]{2}[0-9.]*)?([+-](?:0[0-9]|1[0-4])[0-5][0-9])?")
_UID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+")
_BINARY_SIZES = {"US": 2, "SS": 2, "UL": 4, "SL": 4, "FL": 4, "FD": 8, "AT": 4}
_LONGEST_DS, _LONGEST_CS, _LONGEST_UID = 16, 16, 64
_CODE_VALUE, _CODING_SCHEME, _CODE_MEANING = 0x00080100, 0x00080102, 0x00080104
_MODIFIERS = (0x00082220, 0x00540222)  # Anatomic Region Modifier Sequence, View Modifier Code Sequence
_SCHEMES = {"DCM": "DCM", "SCT": "SCT", "LN": "LN", "UCUM": "UCUM"}
_SNOMED_OLD = ("SRT", "SNM3", "99SDM")  # designators of SNOMED-RT style codes

Gate = Callable[[str, Rule, Subject], str | None]


def plain_text(element: Element) -> str | None:
    """The value as ASCII without its padding; None where it holds anything else."""
    try:
        return bytes(element.value).decode("ascii").strip(" \0")
    except UnicodeDecodeError:
        return None


def parse_date(text: str) -> date | None:
    """A DA value; None where it is not a day of the calendar."""
    match = _DATE.fullmatch(text)
    if match is None:
        return None
    try:
        return date(*(int(part) for part in match.groups() if part is not None))
    except ValueError:
        return None


def binary_numbers(element: Element, rule: Rule, vr: str) -> bytes | None:
    """US, SS, UL, SL, FL, FD, AT: the length must agree with the Value Multiplicity of PS3.6."""
    size = _BINARY_SIZES[vr]
    count, rest = divmod(len(element.value), size)
    return bytes(element.value) if not rest and rule.fewest <= count <= rule.most else None


def is_binary(vr: str) -> bool:
    """Whether `binary_numbers` is the gate of this VR."""
    return vr in _BINARY_SIZES


def _number(text: str, rule: Rule, _: Subject) -> str | None:
    parts = [part.strip() for part in text.split("\\")]
    if not rule.fewest <= len(parts) <= rule.most:
        return None
    if rule.vrs == ("IS",):
        valid = all(_INTEGER.fullmatch(part) and abs(int(part)) < 1 << 31 for part in parts)
    else:
        valid = all(_DECIMAL.fullmatch(part) and len(part) <= _LONGEST_DS for part in parts)
    return "\\".join(parts) if valid else None


def _value_set(text: str, rule: Rule, _: Subject) -> str | None:
    parts = [part.strip() for part in text.split("\\")]
    valid = rule.fewest <= len(parts) <= rule.most and all(part in rule.values for part in parts)
    return "\\".join(parts) if valid else None


def _image_type(text: str, rule: Rule, _: Subject) -> str | None:
    parts = [part.strip() for part in text.split("\\")]
    known = "\\".join(part if part in rule.values else "" for part in parts[: rule.most])
    return known.rstrip("\\")


def _vendor(text: str, rule: Rule, subject: Subject) -> str | None:
    upper = text.upper()
    found = [
        name for name in rule.values if re.match(rf"{name}\b", upper) and not subject.identifying & set(name.split())
    ]
    return max(found, key=len, default=None)


def _text(text: str, _: Rule, subject: Subject) -> str | None:
    return known_words(text, subject.identifying) or None


def _body_part(text: str, _: Rule, __: Subject) -> str | None:
    """A body part says nothing of who has it, not even where somebody is called so."""
    words = known_words(text)
    return words if 0 < len(words) <= _LONGEST_CS else None


def _day(text: str, _: Rule, subject: Subject) -> str | None:
    day = parse_date(text)
    moved = day and shifted(day, subject.shift)
    return f"{moved:%Y%m%d}".zfill(8) if moved else None


def _time(text: str, _: Rule, __: Subject) -> str | None:
    return text.replace(":", "") if _TIME.fullmatch(text) else None


def _date_time(text: str, rule: Rule, subject: Subject) -> str | None:
    match = _DATE_TIME.fullmatch(text)
    day = _day(match[1], rule, subject) if match else None
    if match is None or day is None or (match[2] and not _TIME.fullmatch(match[2])):
        return None
    return day + (match[2] or "") + (match[3] or "")


def valid_uid(text: str) -> bool:
    """PS3.5 §9.1."""
    return len(text) <= _LONGEST_UID and _UID.fullmatch(text) is not None


def is_standard_uid(text: str) -> bool:
    """Whether DICOM itself registered the UID (PS3.6 Annex A): only those stay as they are."""
    return text in UID_dictionary


def _standard_uid(text: str, _: Rule, __: Subject) -> str | None:
    return text if is_standard_uid(text) else None


def _uid_of(kind: str) -> Gate:
    def gate(text: str, _: Rule, subject: Subject) -> str | None:
        if is_standard_uid(text):  # a well-known frame of reference
            return text
        return subject.uid(text, kind) if valid_uid(text) else None

    return gate


def _short_identifier(text: str, rule: Rule, subject: Subject) -> str | None:
    kind = "accession" if rule.tag == 0x00080050 else "study-id"
    return subject.identifier(kind, text) if text else None


def _age(_: str, __: Rule, subject: Subject) -> str | None:
    return subject.age.age_string if subject.age else None


def _patient(_: str, __: Rule, subject: Subject) -> str | None:
    return subject.pseudonym


def _empty(_: str, __: Rule, ___: Subject) -> str | None:
    return None


GATES: Mapping[str, Gate] = {
    "number": _number,
    "value-set": _value_set,
    "image-type": _image_type,
    "vendor": _vendor,
    "text": _text,
    "body-part": _body_part,
    "date": _day,
    "time": _time,
    "datetime": _date_time,
    "standard-uid": _standard_uid,
    "uid": _uid_of("uid"),
    "frame-uid": _uid_of("uid"),
    "study-uid": _uid_of("study"),
    "series-uid": _uid_of("series"),
    "instance-uid": _uid_of("instance"),
    "pseudonym": _short_identifier,
    "age": _age,
    "patient-name": _patient,
    "patient-id": _patient,
    "empty": _empty,
}


def codes(element: Element, encoding: Encoding) -> bytes | None:
    """A code sequence (PS3.3 §8.8): the items whose code PS3.16 knows, with the meaning it gives; None where none is left."""
    items = [item for item in (_code_item(found, encoding) for found in element.items()) if item is not None]
    return write_items(items, encoding) if items else None


def _code_item(item: Mapping[int, Element], encoding: Encoding) -> bytes | None:
    value, scheme = (plain_text(item[tag]) if tag in item else None for tag in (_CODE_VALUE, _CODING_SCHEME))
    meaning = code_meaning(value or "", scheme or "")
    if value is None or scheme is None or meaning is None:
        return None
    parts = write_element(_CODE_VALUE, "SH", value.encode("ascii"), encoding)
    parts += write_element(_CODING_SCHEME, "SH", scheme.encode("ascii"), encoding)
    parts += write_element(_CODE_MEANING, "LO", meaning.encode("ascii"), encoding)
    for tag in sorted(_MODIFIERS):
        modifiers = codes(item[tag], encoding) if tag in item else None
        if modifiers is not None:
            parts += write_element(tag, "SQ", modifiers, encoding)
    return b"".join(parts)


def code_meaning(value: str, scheme: str) -> str | None:
    """The meaning that PS3.16 gives to a code; None for a code it does not hold."""
    if scheme in _SNOMED_OLD:
        value, scheme = snomed_codes["SRT"].get(value, ""), "SCT"
    return _meanings(scheme).get(value) if scheme in _SCHEMES else None


@cache
def _meanings(scheme: str) -> Mapping[str, str]:
    """PS3.16 uses some codes under two meanings: the shorter one is the plainer."""
    named = [entry for by_code in concepts[scheme].values() for entry in by_code.items()]
    named.sort(key=lambda entry: (-len(entry[1][0]), entry[1][0]))
    return {code: meaning for code, (meaning, _) in named if meaning.isascii() and len(meaning) <= 64}
