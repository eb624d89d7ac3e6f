"""Which resources a search means: the parameters that we use, and none but these (R4 §3.1.1). Pure."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any

Resource = dict[str, Any]
Params = Sequence[tuple[str, str]]

_PATHS: dict[str, str] = {  # parameter -> where its values stand; the same in every type that has the element
    "_id": "id",
    "identifier": "identifier",
    "_tag": "meta.tag",
    "status": "status",
    "intent": "intent",
    "code": "code",
    "category": "category",
    "subject": "subject",
    "patient": "subject|patient",
    "encounter": "encounter",
    "based-on": "basedOn",
    "basedon": "basedOn",
    "focus": "focus",
    "replaces": "replaces",
    "requisition": "requisition",
    "url": "channel.endpoint",
}
_TYPES: dict[str, tuple[str, ...]] = {
    "AllergyIntolerance": ("patient",),
    "Communication": ("identifier", "subject", "patient", "status", "based-on"),
    "Condition": ("subject", "patient", "category", "code", "encounter"),
    "Device": ("identifier",),
    "DiagnosticReport": ("identifier", "subject", "patient", "status", "category", "code", "based-on", "encounter"),
    "Encounter": ("identifier", "subject", "patient", "status"),
    "ImagingStudy": ("identifier", "subject", "patient", "status", "basedon"),
    "MedicationRequest": ("subject", "patient", "status", "intent"),
    "Observation": ("identifier", "subject", "patient", "status", "category", "code", "encounter"),
    "Patient": ("identifier",),
    "Procedure": ("subject", "patient", "status"),
    "Provenance": (),
    "ServiceRequest": (
        *("identifier", "subject", "patient", "status", "intent", "category", "code", "encounter"),
        *("replaces", "requisition", "based-on"),
    ),
    "Subscription": ("url", "status"),
    "Task": ("identifier", "subject", "patient", "status", "code", "focus", "based-on"),
}
_EVERYWHERE = ("_id", "_tag", "_lastUpdated")
CONTROLS = frozenset({"_count", "_sort", "_elements", "_summary", "_total", "_format"})
TYPES = tuple(_TYPES)


def parameters_of(kind: str) -> tuple[str, ...]:
    """What its CapabilityStatement says of a type."""
    return (*_EVERYWHERE, *_TYPES.get(kind, ()))


def unknown(kind: str, params: Params) -> list[str]:
    """Names that mean nothing here, and modifiers that are none of ours."""
    names = [name.partition(":") for name, _ in params if name not in CONTROLS]
    return [name for name, _, modifier in names if name not in parameters_of(kind) or modifier not in ("", "not")]


def matches(kind: str, params: Params) -> Callable[[Resource], bool]:
    """What is unknown is passed over: whoever asks has seen to it."""
    known = [(name, value) for name, value in params if name.partition(":")[0] in parameters_of(kind)]
    return lambda resource: all(_one(resource, name, value) for name, value in known)


def _one(resource: Resource, name: str, value: str) -> bool:
    name, _, modifier = name.partition(":")
    if name == "_lastUpdated":
        return _is_in_time(resource, value)
    found = [said for path in _PATHS[name].split("|") for said in _at(resource, path.split("."))]
    hit = any(_means(said, wanted) for wanted in _alternatives(value) for said in found)
    return hit is not (modifier == "not")


def _alternatives(value: str) -> list[str]:
    return value.replace("\\,", "\0").split(",")


def _at(value: Any, path: Sequence[str]) -> Iterator[Any]:
    if isinstance(value, list):
        for item in value:
            yield from _at(item, path)
    elif not path:
        yield from value.get("coding", [value]) if isinstance(value, dict) else [value]
    elif isinstance(value, dict) and path[0] in value:
        yield from _at(value[path[0]], path[1:])


def _means(said: Any, wanted: str) -> bool:
    """A token, `system|value` or the value alone (R4 §3.1.1.4.10), or a reference with or without its type."""
    wanted = wanted.replace("\0", ",").replace("\\$", "$")
    if not isinstance(said, dict):
        return str(said) == wanted
    if "reference" in said:
        reference = str(said["reference"]).split("/_history/")[0]
        return reference == wanted or ("/" not in wanted and reference.endswith(f"/{wanted}"))
    system, bar, value = wanted.replace("\\|", "\1").rpartition("|")
    value = value.replace("\1", "|")
    own = said.get("value", said.get("code"))
    return own == value and (not bar or said.get("system", "") == system.replace("\1", "|"))


def _is_in_time(resource: Resource, value: str) -> bool:
    """Prefixes of R4 §3.1.1.4.5 on an instant with its milliseconds."""
    changed = datetime.fromisoformat(resource["meta"]["lastUpdated"])
    prefix, text = (value[:2], value[2:]) if value[:1].isalpha() else ("eq", value)
    wanted = datetime.fromisoformat(text.replace(" ", "+"))
    return {
        "ge": changed >= wanted,
        "gt": changed > wanted,
        "le": changed <= wanted,
        "lt": changed < wanted,
        "eq": changed == wanted,
    }[prefix]
