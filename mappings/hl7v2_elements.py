"""HL7 v2 data types as FHIR R4 elements: XPN, XAD, XTN, XCN, CE/CWE, TS/DTM (v2-to-FHIR guide, data type maps).

What a field does not say is not there: no function returns an empty element.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import date, tzinfo

from mappings import code_system
from mappings.authority import Authorities
from mappings.code_table import load
from mappings.fhir_elements import Json, without_empty
from mappings.hl7v2_datatypes import timestamp
from mappings.hl7v2_groups import Located
from mappings.hl7v2_message import NULL

_DIGITS = re.compile(r"(\d{4})(\d{2})?(\d{2})?(\d{2})?")
_HL7_TABLE = re.compile(r"HL7(\d{4})")


def date_time(text: str, zone: tzinfo) -> str:
    """A TS or DTM as an R4 dateTime of the precision it has; without an offset it is local to `zone`. Empty where it is no time.

    R4 wants an offset beside a time of day, and HL7's hour alone (`2026011508`) becomes the full hour.
    """
    match = _DIGITS.match(text)
    if not match:
        return ""
    if match[4]:
        found = timestamp(text, zone)
        return found.isoformat(timespec="milliseconds" if found.microsecond else "seconds") if found else ""
    return calendar_date(text)


def calendar_date(text: str) -> str:
    """The R4 date of a DT, TS or DTM: a year, a month or a day. Empty where it is none (`00000000`)."""
    match = _DIGITS.match(text)
    if not match:
        return ""
    year, month, day = match[1], match[2], match[3]
    try:
        date(int(year), int(month or 1), int(day or 1))
    except ValueError:
        return ""
    return "-".join(part for part in (year, month, day) if part)


def instant_of(text: str, zone: tzinfo) -> str:
    """A DTM with at least a day as an R4 instant; empty where it is none."""
    found = timestamp(text, zone)
    return found.isoformat(timespec="milliseconds" if found.microsecond else "seconds") if found else ""


def repetitions(segment: Located, position: int) -> range:
    """The numbers of a field's repetitions, from 1."""
    return range(1, segment.repetitions(position) + 1)


def free_text(segment: Located, position: int) -> str:
    """A field of free text, its repetitions as lines; separators that a sender left unescaped are part of it."""
    if position not in segment.filled:
        return ""
    lines = [segment.segment.text(position, number).strip() for number in repetitions(segment, position)]
    return "\n".join([line for line in lines if line and line != NULL])


def coded_concept(segment: Located, position: int, authorities: Authorities, repetition: int = 1) -> Json:
    """A CE, CWE or IS as a CodeableConcept: both triplets, and the original text (component 9). Empty where all is empty.

    A coding system is named by table 0396, by a rule of the site, or is an HL7 table; else the code stays without a system.
    """
    if position not in segment.filled:
        return {}
    stated = segment.texts(position, 9, repetition)
    found: Json = {}
    codings = []
    for code, display, name in (stated[:3], stated[3:6]):
        if code:
            system = system_named(name, authorities)
            coding = {"system": system, "code": code} if system else {"code": code}
            if display:
                coding["display"] = display
            codings.append(coding)
    if codings:
        found["coding"] = codings
    text = stated[8] or ("" if codings else stated[1])
    if text:
        found["text"] = text
    return found


def system_named(name: str, authorities: Authorities) -> str:
    """The FHIR URI of a coding system that HL7 v2 names; empty where nobody knows the name."""
    if not name:
        return ""
    known = load("coding_systems").target(name.upper(), code_system.CODING_SYSTEM)
    if known:
        return known.code
    table = _HL7_TABLE.fullmatch(name)
    return f"http://terminology.hl7.org/CodeSystem/v2-{table[1]}" if table else authorities.system_of(name)


def label_of(concept: Json) -> str:
    """What identifies a concept in words: system and code, else its text."""
    for coding in concept.get("coding", ()):
        return f"{coding.get('system', '')}|{coding['code']}"
    return str(concept.get("text", ""))


def human_names(segment: Located, position: int) -> Iterator[Json]:
    """The repetitions of an XPN as HumanNames."""
    for number in repetitions(segment, position):
        *parts, code = segment.texts(position, 7, number)
        name = person_name(parts)
        use = load("name_uses").target(code.upper(), code_system.NAME_TYPE) if code else None
        if name:
            yield {"use": use.code, **name} if use else name


def person_name(parts: Sequence[str]) -> Json:
    """The name in an XPN (its components 1 to 6) or an XCN (2 to 7)."""
    family, given, further, suffix, prefix, degree = parts
    name: Json = {}
    if family:
        name["family"] = family
    if given or further:
        name["given"] = [part for part in (given, further) if part]
    if prefix:
        name["prefix"] = [prefix]
    if suffix or degree:
        name["suffix"] = [part for part in (suffix, degree) if part]
    return name


def shown_name(name: Json) -> str:
    """A HumanName in one line."""
    return " ".join(
        (*name.get("prefix", ()), *name.get("given", ()), *[name.get("family", "")], *name.get("suffix", ()))
    ).strip()


def addresses(segment: Located, position: int) -> Iterator[Json]:
    """The repetitions of an XAD as Addresses."""
    for number in repetitions(segment, position):
        street, other, city, state, postcode, country, kind, _, district = segment.texts(position, 9, number)
        kind = kind.upper()
        use = load("address_uses").target(kind, code_system.ADDRESS_TYPE) if kind else None
        found = without_empty(
            (
                ("line", [part for part in (street, other) if part]),
                ("city", city),
                ("district", district),
                ("state", state),
                ("postalCode", postcode),
                ("country", country),
            )
        )
        if found:
            yield {**({"use": use.code} if use else {}), **({"type": "postal"} if kind == "M" else {}), **found}


def contact_points(segment: Located, position: int, default_use: str) -> Iterator[Json]:
    """The repetitions of an XTN as ContactPoints; a use of `home` or `work` by the field where the XTN names none."""
    for number in repetitions(segment, position):
        stated = segment.texts(position, 12, number)
        named_use, equipment, email = stated[1].upper(), stated[2].upper(), stated[3]
        system = load("telecom_systems").target(equipment, code_system.TELECOM_EQUIPMENT) if equipment else None
        if email:
            yield {"system": "email", "value": email}
        phone = _phone(stated)
        if not phone or phone == email:
            continue
        kind = "email" if named_use == "NET" or "@" in phone else system.code if system else "phone"
        use = load("telecom_uses").target(named_use, code_system.TELECOM_USE) if named_use else None
        use_code = "mobile" if equipment == "CP" else use.code if use else default_use if kind != "email" else ""
        yield without_empty((("system", kind), ("value", phone), ("use", use_code)))


def _phone(stated: Sequence[str]) -> str:
    """XTN.1, else XTN.12, else country, area, local number and extension."""
    whole = stated[0] or stated[11]
    if whole:
        return whole
    country, area, local, extension = stated[4:8]
    if not local:
        return ""
    parts = [f"+{country.removeprefix('+')}" if country else "", area, local, f"ext. {extension}" if extension else ""]
    return " ".join(part for part in parts if part)
