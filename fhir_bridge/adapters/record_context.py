"""What of a patient's record is used, by an allow-list of types, and what counts of what came: the rules, without a wire. Pure.

Nothing else is asked for or kept: no Coverage, no Account, no document.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from fhir_bridge.adapters.record_match import OnePatient, Read, carries, is_about, reference_to, subject_of
from fhir_bridge.errors import Refused, Unavailable
from fhir_bridge.study import ClinicalContext, ContextSource, Resource
from mappings.code_system import DICOM_UID
from mappings.fhir_elements import local_reference
from mappings.fhir_observations import is_ours
from mappings.order import Identifier, Order

MAX_REFERENCES = 20  # of one order
MAX_CONTEXT_RESOURCES = 500  # of one topic, the newest where the server can sort


@dataclass(frozen=True, slots=True)
class Topic:
    """What one search asks for. `sort` is the search parameter of its date; `elements` are asked for alone, where the rest may be large."""

    kind: str
    sort: str
    category: str = ""
    statuses: tuple[str, ...] = ()
    elements: tuple[str, ...] = ()
    latest_of_code: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """What one search, one operation or one reference brought, or `code`: why it brought nothing. `how`: see `ContextSource`."""

    kind: str
    how: str
    resources: tuple[Resource, ...] = ()
    is_truncated: bool = False
    code: str = ""


_REPORT_ELEMENTS = (  # a report's document may have megabytes; of `effective` servers differ in how they call it
    "identifier", "basedOn", "status", "category", "code", "subject", "encounter", "effective", "effectiveDateTime",
    "effectivePeriod", "issued", "imagingStudy",
    "conclusionCode",
)  # fmt: skip
_REPORT_ALONE = frozenset({"resourceType", "id", "meta", *_REPORT_ELEMENTS})
TOPICS = (
    Topic("Encounter", "date", statuses=("arrived", "triaged", "in-progress", "onleave")),
    Topic("Condition", "recorded-date"),
    Topic("AllergyIntolerance", "date"),
    Topic("Observation", "date", category="laboratory", latest_of_code=True),
    Topic("Observation", "date", category="vital-signs", latest_of_code=True),
    Topic("MedicationRequest", "authoredon"),
    Topic("MedicationStatement", "effective"),
    Topic("Procedure", "date"),
    Topic("Immunization", "date"),
    Topic("DiagnosticReport", "date", elements=_REPORT_ELEMENTS),
    Topic("ImagingStudy", "started"),
)
_DATES: Mapping[str, tuple[str, ...]] = {  # the elements that date a resource, best first
    "ServiceRequest": ("authoredOn",),
    "Encounter": ("period",),
    "Condition": ("recordedDate", "onsetDateTime", "onsetPeriod"),
    "AllergyIntolerance": ("recordedDate", "onsetDateTime"),
    "Observation": ("effectiveDateTime", "effectiveInstant", "effectivePeriod", "issued"),
    "MedicationRequest": ("authoredOn",),
    "MedicationStatement": ("effectiveDateTime", "effectivePeriod", "dateAsserted"),
    "Procedure": ("performedDateTime", "performedPeriod"),
    "Immunization": ("occurrenceDateTime", "recorded"),
    "DiagnosticReport": ("effectiveDateTime", "effectivePeriod", "issued"),
    "ImagingStudy": ("started",),
}
CONTEXT_TYPES = frozenset(_DATES)
_REASON_TYPES = frozenset({"Condition", "Observation", "DiagnosticReport"})
_NO_VALUE_YET = frozenset({"registered", "cancelled"})  # Observation.status
ANSWERED = ("reference", "search", "everything")
_RANKS = (*ANSWERED, "not-offered", "refused")  # of several parts of a type the last one of these says it of the type


def part_of(
    topic: Topic, found: Iterable[Resource], patient: OnePatient, *, how: str = "search", is_truncated: bool
) -> Part:
    """What counts of what the searches brought, judged again: the server may have ignored a parameter.

    Raises Refused `patient.mismatch` where the server sent another patient's: its search cannot be trusted; Unavailable `fhir.not-fhir`.
    """
    try:
        kept = [_slim(resource) for resource in found if _belongs(resource, patient) and _fits(topic, resource)]
        if topic.latest_of_code:
            kept = list(_latest_of_each_code(kept))
    except (AttributeError, KeyError, TypeError):
        raise Unavailable("fhir.not-fhir", f"GET {topic.kind}", "a resource has elements of wrong types") from None
    return Part(topic.kind, how, tuple(kept), is_truncated or patient.is_cut)


def _belongs(resource: Resource, patient: OnePatient) -> bool:
    if subject_of(resource) not in patient.references:
        raise Refused("patient.mismatch", resource["resourceType"], "the server sent a resource of another patient")
    return True


def newest_of(found: Iterable[Resource]) -> list[Resource]:
    """The newest of several searches of one topic, as many as of one."""
    return sorted(found, key=_age_key, reverse=True)[:MAX_CONTEXT_RESOURCES]


def _slim(resource: Resource) -> Resource:
    """A report without its documents: a server may send them unasked, and they would be kept with the job."""
    if resource["resourceType"] != "DiagnosticReport":
        return resource
    return {name: value for name, value in resource.items() if name in _REPORT_ALONE}


def _fits(topic: Topic, resource: Resource) -> bool:
    if not _counts(resource):
        return False
    if topic.statuses and resource.get("status") not in topic.statuses:
        return False
    if topic.latest_of_code and resource.get("status") in _NO_VALUE_YET:
        return False
    codings = (coding for category in resource.get("category", ()) for coding in category.get("coding", ()))
    return not topic.category or any(coding.get("code") == topic.category for coding in codings)


def _latest_of_each_code(resources: list[Resource]) -> Iterator[Resource]:
    """What has neither a code nor a text stays: nobody knows what it is the latest of."""
    seen = set()
    for resource in sorted(resources, key=_age_key, reverse=True):
        code = resource.get("code", {})
        coding = next((c for c in code.get("coding", ()) if c.get("code")), None)
        key = (coding.get("system"), coding["code"]) if coding else ("", code.get("text"))
        if key[1] is None or key not in seen:
            seen.add(key)
            yield resource


def references_of(request: Resource) -> tuple[str, ...]:
    """The order's Encounter, and the reasons for it, as far as they may be read: Condition, Observation, DiagnosticReport."""
    encounter = local_reference(str(request.get("encounter", {}).get("reference", "")))
    reasons = (local_reference(str(reason.get("reference", ""))) for reason in request.get("reasonReference", ()))
    wanted = [encounter] if encounter.startswith("Encounter/") else []
    wanted += [reason for reason in reasons if reason.partition("/")[0] in _REASON_TYPES]
    return tuple(dict.fromkeys(wanted))[:MAX_REFERENCES]


def referred(reference: str, patient: str, order: Order, read: Read) -> Part:
    """What a reference of the order leads to: its patient's, by now or before a merge. One that leads nowhere brings nothing.

    Raises Refused `patient.mismatch`.
    """
    kind = reference.partition("/")[0]
    try:
        resource = read(reference)
    except Refused as refusal:
        return withheld(kind, refusal) if refusal.code != "fhir.not-found" else Part(kind, "reference")
    if not is_about(resource, patient, order.patient.former, read):
        raise Refused("patient.mismatch", kind, "the order refers to a resource of another patient")
    return Part(kind, "reference", (_slim(resource),) if _counts(resource) else ())


def withheld(kind: str, error: Refused | Unavailable) -> Part:
    """What the server would not show. What is about the patient, and not about the server, is raised again."""
    if not error.code.startswith("fhir."):
        raise error
    return Part(kind, "refused", code=error.code)


def context_from(patient: Resource, order: Order, parts: Iterable[Part]) -> ClinicalContext:
    """All parts as one: newest first, without the order's own study and reports."""
    by_kind: dict[str, list[Part]] = {}
    for part in parts:
        by_kind.setdefault(part.kind, []).append(part)
    others: dict[str, tuple[Resource, ...]] = {}
    sources: dict[str, ContextSource] = {}
    for kind, of_kind in by_kind.items():
        found = {reference_to(resource): resource for part in of_kind for resource in part.resources}
        kept = sorted((r for r in found.values() if not _is_of(order, r)), key=_age_key, reverse=True)
        telling = max(of_kind, key=lambda part: (_RANKS.index(part.how), part.code))
        how = "reference" if telling.how == "not-offered" and found else telling.how
        if how in ANSWERED:
            others[kind] = tuple(kept)
        is_truncated = any(part.is_truncated for part in of_kind)
        newest = _dated(kept[0]) if kept else ""
        sources[kind] = ContextSource(how, len(kept), is_truncated, newest, telling.code)
    return ClinicalContext(patient, others, sources)


def _counts(resource: Resource) -> bool:
    """Neither entered in error, nor a result of ours."""
    codings = (resource.get("verificationStatus") or {}).get("coding", ())
    is_void = resource.get("status") == "entered-in-error" or any(c.get("code") == "entered-in-error" for c in codings)
    return not is_void and not is_ours(resource)


def _is_of(order: Order, resource: Resource) -> bool:
    """Of this very order, and so neither prior nor known when it was placed."""
    if resource["resourceType"] not in ("DiagnosticReport", "ImagingStudy"):
        return False
    uid = Identifier(f"urn:oid:{order.study_instance_uid}", DICOM_UID)
    if order.study_instance_uid and carries(resource, uid):
        return True
    based_on = {local_reference(str(reference.get("reference", ""))) for reference in resource.get("basedOn", ())}
    return bool(order.service_request) and local_reference(order.service_request) in based_on


def _age_key(resource: Resource) -> str:
    """Sorts by time: what has a zone is compared in UTC, what is only a date stands at its beginning."""
    text = _dated(resource)
    try:
        at = datetime.fromisoformat(text)
        return at.astimezone(UTC).isoformat() if at.tzinfo else text
    except (ValueError, OverflowError):  # partial, no date, or at the end of all times
        return text


def _dated(resource: Resource) -> str:
    """The best date, as given."""
    for element in _DATES[resource["resourceType"]]:
        value = resource.get(element)
        if isinstance(value, dict):
            value = value.get("start") or value.get("end")
        if value:
            return str(value)
    return ""
