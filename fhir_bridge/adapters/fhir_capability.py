"""What a FHIR server says of itself (R4 §5.2 CapabilityStatement), kept for an hour, and what is presumed of one that does not say.

Rules where `/metadata` fails: what was read before stays in force and it is asked again a minute later. Where nothing was read yet, a
server that is away or overloaded is an error like any other; one that answers with something else (refuses, fails at it, sends a page
of its proxy) is presumed to know what R4 defines, for a minute.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from fhir_bridge.adapters.fhir_transport import ServerFailed
from fhir_bridge.errors import BridgeError, Refused, Unavailable
from fhir_bridge.server_traits import ServerTraits
from fhir_bridge.study import Resource

KEPT_SECONDS = 3600.0  # a server gets upgraded
_ASKED_AGAIN_SECONDS = 60.0
_LASTING = frozenset({"fhir.unauthorized", "fhir.not-fhir", "fhir.error-inside", "fhir.redirect"})

_WRITTEN = ("DiagnosticReport", "Observation", "ImagingStudy", "Device", "Provenance")
_OF_ALL = frozenset({"_id", "_lastUpdated", "_tag"})
_R4_SEARCH_PARAMETERS = {  # of the types that we ask for: the search parameters that their pages of R4 define
    "AllergyIntolerance": "clinical-status code date patient",
    "Condition": "category clinical-status code encounter onset-date patient recorded-date subject",
    "DiagnosticReport": "based-on category code date encounter identifier issued patient status subject",
    "Encounter": "class date identifier patient status subject",
    "ImagingStudy": "basedon encounter identifier modality patient started status subject",
    "Immunization": "date identifier patient status vaccine-code",
    "MedicationRequest": "authoredon code encounter identifier intent patient status subject",
    "MedicationStatement": "code effective identifier patient status subject",
    "Observation": "based-on category code combo-code date encounter identifier patient status subject",
    "Patient": "active birthdate family gender identifier link name",
    "Procedure": "category code date encounter identifier patient status subject",
    "ServiceRequest": "authored based-on category code encounter identifier intent occurrence patient replaces requisition status subject",
    "Subscription": "criteria payload status type url",
    "Task": "based-on code focus identifier modified owner patient status subject",
}


@dataclass(frozen=True, slots=True)
class Capabilities:
    """By resource type: search parameters, interactions (`read`, `history-type`, ...). `system`: those of the whole server."""

    search_parameters: Mapping[str, frozenset[str]]
    interactions: Mapping[str, frozenset[str]]
    conditional_create: Mapping[str, bool]  # by type, where it is said
    system: frozenset[str]
    fhir_version: str = ""
    declared: bool = True  # False where the server did not say
    operations: Mapping[str, frozenset[str]] = field(default_factory=dict)  # by type, as `everything` of Patient


PRESUMED = Capabilities(  # of a server that does not say
    {kind: _OF_ALL | set(names.split()) for kind, names in _R4_SEARCH_PARAMETERS.items()},
    {},
    {},
    frozenset(),
    declared=False,
)


def capabilities_of(statement: Resource) -> Capabilities:
    """Of one that names no resource type the parameters are presumed. Raises Unavailable `fhir.not-fhir` where it is no CapabilityStatement."""
    try:
        if statement["resourceType"] != "CapabilityStatement":
            raise TypeError
        rests = [rest for rest in statement.get("rest", ()) if rest.get("mode", "server") == "server"]
        resources = [resource for rest in rests for resource in rest.get("resource", ())]
        parameters = {
            one["type"]: frozenset(found["name"] for found in one.get("searchParam", ())) for one in resources
        }
        return Capabilities(
            parameters or PRESUMED.search_parameters,
            {one["type"]: _codes(one) for one in resources},
            {one["type"]: one["conditionalCreate"] for one in resources if "conditionalCreate" in one},
            frozenset(code for rest in rests for code in _codes(rest)),
            str(statement.get("fhirVersion", "")),
            operations={one["type"]: frozenset(made["name"] for made in one.get("operation", ())) for one in resources},
        )
    except (AttributeError, KeyError, TypeError):
        raise Unavailable("fhir.not-fhir", "GET metadata", "this is no CapabilityStatement") from None


def _codes(of: Resource) -> frozenset[str]:
    return frozenset(interaction["code"] for interaction in of.get("interaction", ()))


def disagreements(traits: ServerTraits, said: Capabilities) -> tuple[str, ...]:
    """What the server says of itself that is not as we take it to be; nothing of what it leaves out."""
    if not said.declared:
        return ()
    orders, parameters = said.interactions.get("ServiceRequest"), said.search_parameters.get("ServiceRequest")
    stated = (
        ("transactions", traits.transactions, "transaction" in said.system if said.system else None),
        ("conditional_create", traits.conditional_create, said.conditional_create.get("DiagnosticReport")),
        ("history", traits.history, "history-type" in orders if orders else None),
        ("sorts_by_change", traits.sorts_by_change, "_lastUpdated" in parameters if parameters else None),
        ("hooks", traits.hooks, "Subscription" in said.interactions if said.interactions else None),
    )
    words = [
        f"fhir.server.{name} is {str(ours).lower()}, the server says {str(theirs).lower()}"
        for name, ours, theirs in stated
        if theirs is not None and ours != theirs
    ]
    if said.fhir_version and not said.fhir_version.startswith("4.0"):
        words.append("it speaks another version of FHIR than R4")
    missing = [kind for kind in _WRITTEN if said.interactions and kind not in said.interactions]
    words += [f"it has no {kind}, see fhir.server.not_written" for kind in missing if kind not in traits.not_written]
    return tuple(words)


class CapabilityCache:
    """Threads share it: one asks, those that have an older answer go on with that, the others wait."""

    def __init__(self, ask: Callable[[], Resource], monotonic: Callable[[], float]) -> None:
        self._ask = ask
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._known: Capabilities | None = None
        self._good_until = 0.0

    def current(self) -> Capabilities:
        """See the rules above."""
        known = self._known
        if known is not None and (self._monotonic() < self._good_until or not self._lock.acquire(blocking=False)):
            return known  # good, or good enough while another thread asks
        if known is None:
            self._lock.acquire()
        try:
            if self._known is None or self._monotonic() >= self._good_until:
                self._known, seconds = self._asked(self._known)
                self._good_until = self._monotonic() + seconds
            return self._known
        finally:
            self._lock.release()

    def _asked(self, known: Capabilities | None) -> tuple[Capabilities, float]:
        try:
            return capabilities_of(self._ask()), KEPT_SECONDS
        except BridgeError as error:
            if known is not None:
                return known, _ASKED_AGAIN_SECONDS
            if isinstance(error, Refused | ServerFailed) or error.code in _LASTING:
                return PRESUMED, _ASKED_AGAIN_SECONDS
            raise
