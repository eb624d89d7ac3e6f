"""The datatypes of FHIR R4 that a clinical record is made of, as values. What is not of the JSON type that R4 gives it reads as absent."""

from dataclasses import dataclass, field
from typing import Any

from mappings import code_system
from mappings.code import Code

Resource = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Concept:
    """A CodeableConcept: all its codings in their order, and its text."""

    codes: tuple[Code, ...] = ()
    text: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Quantity:
    """A measured amount as given; `code` and `system` are the coded unit, `comparator` is `<`, `<=`, `>=`, `>` or empty."""

    value: float = field(repr=False)
    unit: str = ""
    code: str = ""
    system: str = ""
    comparator: str = ""


@dataclass(frozen=True, slots=True)
class Absent:
    """There is no value; `reason` is dataAbsentReason, as far as one was given."""

    reason: Concept = Concept()


Value = Quantity | Concept | str | bool | int | Absent


@dataclass(frozen=True, slots=True)
class When:
    """A date, dateTime, instant (then `end` is empty) or Period, as given: `2026`, `2026-03-02T10:00:00+01:00`."""

    start: str = field(default="", repr=False)
    end: str = field(default="", repr=False)


def value_of(element: Resource) -> Value:
    """Observation.value[x], or why there is none (R4 §10.1.4.3). Of a type that we do not read the reason is `unsupported`."""
    name = next((name for name in element if name.startswith("value")), "")
    value = element.get(name)
    if name == "valueQuantity" and _is_number(object_of(value).get("value")):
        amount = object_of(value)
        words = (text_of(amount, part) for part in ("unit", "code", "system", "comparator"))
        return Quantity(amount["value"], *words)
    if name == "valueCodeableConcept" and (concept := concept_of(value)) != Concept():
        return concept
    if name in ("valueString", "valueDateTime", "valueTime") and isinstance(value, str) and value:
        return value
    if isinstance(value, bool | int) and name == ("valueBoolean" if isinstance(value, bool) else "valueInteger"):
        return value
    reason = concept_of(element.get("dataAbsentReason"))
    if name and reason == Concept():
        reason = Concept((Code("unsupported", code_system.DATA_ABSENT_REASON),))
    return Absent(reason)


def when_of(resource: Resource, *elements: str) -> When:
    """Of the first of these elements that is there; `onset` stands for onsetDateTime, onsetPeriod and so on."""
    for name in (f"{element}{kind}" for element in elements for kind in ("", "DateTime", "Instant", "Period")):
        value = resource.get(name)
        if isinstance(value, str) and value:
            return When(value)
        if isinstance(value, dict) and (value.get("start") or value.get("end")):
            return When(text_of(value, "start"), text_of(value, "end"))
    return When()


def concepts_of(resource: Resource, element: str) -> tuple[Concept, ...]:
    """The CodeableConcepts of an element that repeats."""
    return tuple(concept_of(item) for item in objects_of(resource.get(element)))


def concept_of(value: Any) -> Concept:
    """A CodeableConcept; an empty one where there is none."""
    found = object_of(value)
    return Concept(codes_of(found.get("coding")), text_of(found, "text"))


def codes_of(codings: Any) -> tuple[Code, ...]:
    """The Codings that have a code."""
    return tuple(
        Code(text_of(coding, "code"), text_of(coding, "system"), text_of(coding, "display"))
        for coding in objects_of(codings)
        if text_of(coding, "code")
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def text_of(resource: Resource, element: str) -> str:
    """A string, code or reference; empty where there is none."""
    value = resource.get(element)
    return value if isinstance(value, str) else ""


def object_of(value: Any) -> Resource:
    """An element with elements of its own; an empty one where there is none."""
    return value if isinstance(value, dict) else {}


def objects_of(value: Any) -> list[Resource]:
    """An element that repeats."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
