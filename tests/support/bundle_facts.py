"""What a Bundle says, field by field, in a form that two converters can be compared by: `Kind.element = value`."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

Resource = dict[str, Any]
_PLAIN = {"status", "intent", "gender", "birthDate", "priority", "valueString"}
_TIMES = {"deceasedDateTime", "authoredOn", "occurrenceDateTime", "effectiveDateTime", "recordedDate"}
_LISTS = {"identifier", "name", "reasonCode", "communication", "participant", "type", "telecom", "address", "note"}


def facts_of(bundle: Resource) -> set[str]:
    """Identifiers, names, status, codes, people, times as instants, notes and reasons of patients, visits and orders."""
    found: set[str] = set()
    for entry in bundle["entry"]:
        resource = entry["resource"]
        found.update(f"{resource['resourceType']}.{fact}" for fact in _facts(resource))
    return found


def _facts(resource: Resource) -> Iterator[str]:
    for name in _PLAIN & resource.keys():
        yield f"{name} = {resource[name]}"
    for name, moment in _times(resource):
        yield f"{name} = {_instant(moment)}"
    for name in ("code", "class", "maritalStatus", "verificationStatus"):
        yield from (f"{name} = {code}" for code in _codes(resource.get(name)))
    for element in _LISTS & resource.keys():
        parts = (part for part in resource[element] if isinstance(part, dict))
        yield from (f"{element} = {text}" for part in parts for text in _shown(element, part))


def _times(resource: Resource) -> Iterator[tuple[str, str]]:
    yield from ((name, resource[name]) for name in _TIMES & resource.keys())
    yield from ((f"period.{name}", moment) for name, moment in resource.get("period", {}).items())


def _shown(element: str, part: Resource) -> Iterator[str]:
    match element:
        case "identifier":
            yield from (value for value in [part.get("value", "")] if value)
        case "name":
            yield " ".join((*part.get("given", ()), part.get("family", "")))
        case "telecom":
            yield f"{part.get('use', '')} {part['value']}"
        case "address":
            yield " ".join((*part.get("line", ()), part.get("city", ""), part.get("postalCode", ""))).strip()
        case "participant":
            yield from (code for role in part["type"] for code in _codes(role))
        case "note":
            yield part["text"]
        case _:
            yield from _codes(part.get("language", part))


def _codes(concept: Any) -> Iterator[str]:
    """The codes of a Coding or CodeableConcept, without their systems."""
    if isinstance(concept, dict):
        yield from (coding.get("code", "") for coding in concept.get("coding", [concept] if "code" in concept else ()))


def _instant(text: str) -> str:
    """In UTC; a date as it is."""
    return datetime.fromisoformat(text).astimezone(UTC).isoformat() if "T" in text else text
