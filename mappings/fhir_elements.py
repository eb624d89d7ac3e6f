"""The small parts that our FHIR R4 resources are made of: identifiers, references, codings, times, conditional URLs."""

import hashlib
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from uuid import NAMESPACE_URL

from mappings import code_system
from mappings.code import Code
from mappings.order import Identifier

Json = dict[str, Any]

_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_PERCENT = {byte: f"%{byte:02X}" for byte in range(256) if byte not in _UNRESERVED}
_NEEDS_NO_PERCENT = re.compile(r"[A-Za-z0-9\-._~]*")
_VARIANT = {f"{digit:x}": f"{digit & 3 | 8:x}" for digit in range(16)}  # RFC 4122 §4.1.1: the two first bits are 10
_URL_NAMESPACE = NAMESPACE_URL.bytes
_REFERENCE = re.compile(r"[A-Z][A-Za-z]+/[A-Za-z0-9\-.]{1,64}")
_LITERAL = re.compile(r"(?:^|/)([A-Z][A-Za-z]{1,63}/[A-Za-z0-9\-.]{1,64})(?:/_history/[^/]*)?$")


def coding(code: Code) -> Json:
    """A Coding, without its empty elements."""
    return _filled({"system": code.system, "code": code.code, "display": code.display})


def concept(*codes: Code, text: str = "") -> Json:
    """A CodeableConcept; of a code without a code value only the display is kept, as text."""
    codings = [coding(code) for code in codes if code.code]
    words = text or next((code.display for code in codes if not code.code and code.display), "")
    return _filled({"coding": codings, "text": words})


def own_code(code: str, system: str = code_system.OWN_CODES) -> Code:
    """A code of our own, with its display."""
    return Code(code, system, code_system.OWN_DEFINITIONS[code][0])


def identifier(system: str, value: str) -> Json:
    """An Identifier of ours."""
    return {"system": system, "value": value}


def business_identifier(source: Identifier) -> Json:
    """An Identifier of the hospital's: type of table 0203, system where the site has a rule, value."""
    kind = {"coding": [{"system": code_system.IDENTIFIER_TYPE, "code": source.type}]} if source.type else {}
    return _filled({"type": kind, "system": source.system, "value": source.value})


def dicom_uid(uid: str) -> Json:
    """A DICOM UID as an Identifier (R4 ImagingStudy.identifier: `urn:dicom:uid`, `urn:oid:` before the UID)."""
    return identifier(code_system.DICOM_UID, f"urn:oid:{uid}")


def is_relative_reference(text: str) -> bool:
    """`Type/id`. HAPI refuses absolute references, its own base included."""
    return _REFERENCE.fullmatch(text) is not None


def local_reference(text: str) -> str:
    """`Type/id` of a literal reference, be it relative, absolute or versioned (R4 §2.3.0.1); empty for any other."""
    found = _LITERAL.search(text)
    return found[1] if found else ""


def instant(time: datetime) -> str:
    """An R4 instant in UTC with milliseconds; a naive time is a ValueError, since nobody knows when it was."""
    if time.tzinfo is None:
        raise ValueError("a time without a zone")
    utc = time.astimezone(UTC)
    return f"{utc:%Y-%m-%dT%H:%M:%S}.{utc.microsecond // 1000:03d}Z"


def full_url(kind: str, system: str, value: str) -> str:
    """The entry's `urn:uuid:` URL: the same resource of the same report always has the same one (UUID version 5)."""
    return f"urn:uuid:{name_uuid(f'{kind}?identifier={system}|{value}')}"


def name_uuid(name: str) -> str:
    """The UUID version 5 of a name in the namespace of URLs (RFC 4122 §4.3): the same name always has the same one."""
    text = hashlib.sha1(_URL_NAMESPACE + name.encode(), usedforsecurity=False).hexdigest()
    return f"{text[:8]}-{text[8:12]}-5{text[13:16]}-{_VARIANT[text[16]]}{text[17:20]}-{text[20:32]}"


def condition(system: str, value: str) -> str:
    """The search that finds a resource by our identifier: `identifier=system%7Cvalue`, percent-encoded (RFC 3986 §2.1)."""
    return "identifier=" + percent_encoded(f"{system}|{value}")


def percent_encoded(text: str) -> str:
    """Text as part of a URL (RFC 3986 §2.1)."""
    if _NEEDS_NO_PERCENT.fullmatch(text):
        return text
    return text.encode().decode("latin-1").translate(_PERCENT)  # one character a byte


def quantity(value: float, unit: str) -> Json:
    """A Quantity in UCUM; `1` is the unit of a bare number and is not printed as a unit."""
    shown = {} if unit == "1" else {"unit": unit}
    return {"value": value, **shown, "system": code_system.UCUM, "code": unit}


def without_empty(elements: Iterable[tuple[str, Any]]) -> Json:
    """A resource of these elements in this order; FHIR allows no empty strings, lists or objects (R4 §2.6.2)."""
    return _filled(dict(elements))


def _filled(elements: Json) -> Json:
    return {
        name: value for name, value in elements.items() if value or isinstance(value, int | float)
    }  # 0 and False say something
