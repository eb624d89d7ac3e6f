"""The clinical context without identity: FHIR R4 by an allow-list of element paths (`tables/fhir_r4.csv`), default: dropped.

No narrative, no display, no text, no reference, no extension, no identifier; ids become pseudonyms, dates move with the study's,
and every resource carries the security label PSEUDED (v3-ObservationValue). Whatever does not have the shape that R4 gives it
is dropped, never passed on.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import date
from functools import cache, partial
from typing import Any

from fhir_bridge.deid.allow_list import read_table
from fhir_bridge.deid.coding import UCUM, is_public_code, is_unit
from fhir_bridge.deid.pseudonym import shifted
from fhir_bridge.deid.subject import Subject
from fhir_bridge.study import Resource

_LABEL = {"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "PSEUDED"}
_DATE_TIME = re.compile(r"(\d{4}-\d{2}-\d{2})(T\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?(?:Z|[+-]\d{2}:\d{2})?)?", re.ASCII)
_COMPARATORS = ("<", "<=", ">=", ">", "ad")
_GENDERS = ("male", "female", "other", "unknown")
Rules = Mapping[str, tuple[str, tuple[str, ...]]]


@cache
def _rules() -> Rules:
    return {
        row["path"]: (row["rule"], tuple(row["values"].split("|")) if row["values"] else ())
        for row in read_table("fhir_r4.csv")
    }


@cache
def known_types() -> frozenset[str]:
    """The resource types that may cross."""
    return frozenset(path.partition(".")[0] for path in _rules())


def parse_fhir_date(text: object) -> date | None:
    """A date of day precision, or the day of a dateTime; a partial date cannot be moved by days."""
    match = _DATE_TIME.fullmatch(text) if isinstance(text, str) else None
    try:
        return date.fromisoformat(match[1]) if match else None
    except ValueError:
        return None


def gender_of(patient: Resource) -> str:
    """Patient.gender, if it is one of the value set; else empty."""
    gender = patient.get("gender")
    return gender if isinstance(gender, str) and gender in _GENDERS else ""


def deidentify_resource(resource: Resource, subject: Subject, actions: Counter[tuple[str, str]]) -> Resource | None:
    """The resource reduced to the allow-list; None where nothing of it may cross. What was done is counted by path."""
    name = resource.get("resourceType")
    if not isinstance(name, str) or name not in known_types():
        return None
    content = _Walk(subject, actions).element(resource, name)
    if not content:
        return None
    head: Resource = {"resourceType": name, "meta": {"security": [dict(_LABEL)]}}
    if isinstance(resource.get("id"), str):
        head["id"] = subject.identifier("fhir", f"{name}/{resource['id']}")
    return head | content


class _Walk:
    """One resource, element by element."""

    def __init__(self, subject: Subject, actions: Counter[tuple[str, str]]) -> None:
        self._subject = subject
        self._actions = actions
        self._by_rule: Mapping[str, Callable[[Any, tuple[str, ...]], Any]] = {
            "code": lambda value, allowed: value if isinstance(value, str) and value in allowed else None,
            "codes": self._codes,
            "concept": lambda value, _: _each(value, _concept),
            "coding": lambda value, _: _each(value, _coding),
            "date": lambda value, _: self._date(value),
            "quantity": lambda value, _: _quantity(value),
            "number": lambda value, _: value if _is_number(value) else None,
            "boolean": lambda value, _: value if isinstance(value, bool) else None,
        }

    def element(self, content: Resource, path: str) -> Resource:
        """The allowed children. An element name that R4 does not have is counted as `other`: it may spell something."""
        kept: Resource = {}
        for name, value in content.items():
            below = f"{path}.{name}"
            rule, allowed = _rules().get(below, ("", ()))
            if rule == "items":
                passed = _each(value, partial(self.element, path=below))
            else:
                passed = self._by_rule[rule](value, allowed) if rule else None
            if passed is not None:
                kept[name] = passed
            action = "removed" if passed is None else "shifted" if rule == "date" else "kept"
            self._actions[below if rule else f"{path}.other", action] += 1
        return kept

    def _codes(self, value: Any, allowed: tuple[str, ...]) -> list[str] | None:
        found = [item for item in value if isinstance(item, str) and item in allowed] if isinstance(value, list) else []
        return found or None

    def _date(self, value: Any) -> str | None:
        day = parse_fhir_date(value)
        moved = shifted(day, self._subject.shift) if day else None
        return moved.isoformat() + value[10:] if moved else None


def _each(value: Any, gate: Callable[[Any], Any]) -> Any:
    """An element or a list of them through a gate; empty results are dropped."""
    if isinstance(value, list):
        return [passed for passed in (gate(item) for item in value if isinstance(item, dict)) if passed] or None
    return (gate(value) or None) if isinstance(value, dict) else None


def _concept(concept: Resource) -> Resource | None:
    codings = _each(concept.get("coding"), _coding)
    return {"coding": codings} if codings else None


def _coding(coding: Resource) -> Resource | None:
    system, code = coding.get("system"), coding.get("code")
    if isinstance(system, str) and isinstance(code, str) and is_public_code(system, code):
        return {"system": system, "code": code}
    return None


def _quantity(quantity: Any) -> Resource | None:
    if not isinstance(quantity, dict) or not _is_number(quantity.get("value")):
        return None
    kept: Resource = {"value": quantity["value"]}
    if quantity.get("comparator") in _COMPARATORS:
        kept["comparator"] = quantity["comparator"]
    code = quantity.get("code")
    if quantity.get("system") == UCUM and isinstance(code, str) and is_unit(code):
        kept |= {"system": UCUM, "code": code}
    return kept


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
