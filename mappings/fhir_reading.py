"""FHIR resources as a server sent them, read with care: what is not of the expected JSON type reads as absent."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from mappings import code_system
from mappings.fhir_elements import local_reference
from mappings.order import EventTime, Identifier
from mappings.refusal import MappingRefused
from mappings.trace import Trace

Resource = dict[str, Any]

_LONGEST_NUMBER = 18  # digits that a version may have: the store keeps 64 bits


def text_of(resource: Resource, element: str) -> str:
    """A primitive of JSON type string, without blanks at its ends."""
    value = resource.get(element)
    return value.strip() if isinstance(value, str) else ""


def object_of(value: object) -> Resource:
    """The value, if it is a JSON object; an empty one else."""
    return value if isinstance(value, dict) else {}


def objects_of(resource: Resource, element: str) -> list[Resource]:
    """The objects of a repeating element."""
    value = resource.get(element)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def reference_to(resource: Resource, kind: str) -> str:
    """`Type/id` of a resource that was read. Raises MappingRefused `order.id-missing`."""
    identity = text_of(resource, "id")
    if not identity:
        raise MappingRefused("order.id-missing", f"{kind}.id", "a resource read from a server has an id")
    return f"{kind}/{identity}"


def pointed_to(reference: object) -> str:
    """`Type/id` of a literal Reference, be it relative, absolute or versioned (R4 §2.3.0.1); empty for any other."""
    return local_reference(text_of(object_of(reference), "reference"))


def require_subject(resource: Resource, element: str, patient: str, where: str) -> None:
    """The resource must be this patient's, by its literal reference. Raises MappingRefused `order.subject-mismatch`."""
    if pointed_to(resource.get(element)) != patient:
        raise MappingRefused("order.subject-mismatch", where, "the resource is not of the patient that was read")


def version_of(resource: Resource, kind: str) -> EventTime | None:
    """`meta.lastUpdated`, by the server's clock, with `versionId` where it is a number; None where it does not say."""
    meta = object_of(resource.get("meta"))
    try:
        at = datetime.fromisoformat(text_of(meta, "lastUpdated"))
    except ValueError:
        return None
    version = text_of(meta, "versionId")
    is_number = version.isascii() and version.isdigit() and len(version) <= _LONGEST_NUMBER
    return EventTime(at, f"{kind}.meta.lastUpdated", int(version) if is_number else 0) if at.tzinfo else None


def identifiers_of(elements: Iterable[Resource]) -> list[Identifier]:
    """FHIR Identifiers that have a value; `type` is the code of table 0203, if there is one."""
    found = []
    for element in elements:
        codings = objects_of(object_of(element.get("type")), "coding")
        kinds = [
            text_of(coding, "code") for coding in codings if text_of(coding, "system") == code_system.IDENTIFIER_TYPE
        ]
        if value := text_of(element, "value"):
            found.append(Identifier(value, system=text_of(element, "system"), type=kinds[0] if kinds else ""))
    return found


def first_of_type(
    kind: str, places: Sequence[tuple[str, list[Identifier]]], element: str, trace: Trace
) -> Identifier | None:
    """The first identifier of a type of table 0203, noted under `element`."""
    for where, identifiers in places:
        for identifier in identifiers:
            if identifier.type == kind:
                trace.note(element, f"{where} of type {kind}")
                return identifier
    return None


def study_uid_of(resource: Resource, where: str, trace: Trace) -> str:
    """The identifier of system `urn:dicom:uid`; `urn:oid:` before the UID is optional.

    Raises MappingRefused `order.study-uid-malformed`.
    """
    for element in objects_of(resource, "identifier"):
        uid = text_of(element, "value").removeprefix("urn:oid:")
        if text_of(element, "system") != code_system.DICOM_UID or not uid:
            continue
        if not code_system.is_dicom_uid(uid):
            raise MappingRefused("order.study-uid-malformed", where, "not a DICOM UID (PS3.5 §9.1)")
        trace.note("study_instance_uid", where)
        return uid
    return ""


def is_in(concepts: Iterable[Resource], wanted: frozenset[str], *, uncoded: bool = False) -> bool:
    """Whether a filter of `CODE` or `SYSTEM|CODE` takes these CodeableConcepts; an empty filter takes all. `uncoded`: also what has no
    code at all."""
    codings = [coding for concept in concepts for coding in objects_of(concept, "coding") if text_of(coding, "code")]
    found = {text_of(coding, "code") for coding in codings}
    found |= {f"{text_of(coding, 'system')}|{text_of(coding, 'code')}" for coding in codings}
    return not wanted or bool(found & wanted) or (uncoded and not found)
