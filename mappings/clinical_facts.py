"""The patient's record as typed facts: what the FHIR R4 resources of the clinical context say, each with where it was said. Pure.

Missing is missing: an element that is not there reads as None, empty or `Absent`, never as 0 and never as normal. What was refuted or not
done is left out; what is not of the JSON type that R4 gives it reads as absent.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from mappings.clinical_values import (
    Concept,
    Resource,
    Value,
    When,
    codes_of,
    concept_of,
    concepts_of,
    object_of,
    objects_of,
    text_of,
    value_of,
    when_of,
)
from mappings.code import Code

F = TypeVar("F")

_NOT_SO = frozenset({"refuted", "entered-in-error", "not-done", "not-taken"})


@dataclass(frozen=True, slots=True)
class Problem:
    """A Condition."""

    code: Concept
    clinical: str
    verification: str
    onset: When
    abated: When
    recorded: When
    source: str


@dataclass(frozen=True, slots=True)
class Allergy:
    """An AllergyIntolerance; `code` may also say that none are known."""

    code: Concept
    clinical: str
    verification: str
    criticality: str
    recorded: When
    source: str


@dataclass(frozen=True, slots=True)
class Result:
    """An Observation of the category laboratory or vital-signs. `components` are its parts, as systolic and diastolic."""

    code: Concept
    value: Value
    status: str
    at: When
    interpretations: tuple[Concept, ...]
    components: tuple[tuple[Concept, Value], ...]
    source: str


@dataclass(frozen=True, slots=True)
class Medication:
    """A MedicationRequest, or a MedicationStatement (`is_statement`). `code` is empty where only a reference names the medication."""

    code: Concept
    status: str
    at: When
    is_statement: bool
    source: str


@dataclass(frozen=True, slots=True)
class PastProcedure:
    """A Procedure that was begun or done."""

    code: Concept
    status: str
    performed: When
    source: str


@dataclass(frozen=True, slots=True)
class Vaccination:
    """An Immunization that was given."""

    code: Concept
    status: str
    occurred: When
    source: str


@dataclass(frozen=True, slots=True)
class PriorReport:
    """A DiagnosticReport of others, without its text."""

    code: Concept
    status: str
    at: When
    conclusions: tuple[Concept, ...]
    source: str


@dataclass(frozen=True, slots=True)
class PriorStudy:
    """An ImagingStudy other than the order's."""

    modalities: tuple[Code, ...]
    procedures: tuple[Concept, ...]
    started: When
    source: str


@dataclass(frozen=True, slots=True)
class Visit:
    """An Encounter. `kind` is its class: inpatient, emergency ..."""

    kind: Code | None
    status: str
    period: When
    source: str


@dataclass(frozen=True, slots=True)
class OrderReason:
    """Why the study was ordered: codes of the ServiceRequest, and references (`Type/id`) to what else of the record it gives as reason."""

    codes: tuple[Concept, ...]
    references: tuple[str, ...]
    source: str


@dataclass(frozen=True, slots=True)
class ClinicalFacts:
    """All that is known, each kind newest first."""

    reasons: tuple[OrderReason, ...] = ()
    visits: tuple[Visit, ...] = ()
    problems: tuple[Problem, ...] = ()
    allergies: tuple[Allergy, ...] = ()
    laboratory: tuple[Result, ...] = ()
    vital_signs: tuple[Result, ...] = ()
    medications: tuple[Medication, ...] = ()
    procedures: tuple[PastProcedure, ...] = ()
    vaccinations: tuple[Vaccination, ...] = ()
    reports: tuple[PriorReport, ...] = ()
    studies: tuple[PriorStudy, ...] = ()


def facts_of(resources: Mapping[str, Sequence[Resource]]) -> ClinicalFacts:
    """From resource type -> resources, newest first (`ClinicalContext.others`)."""

    def each(kind: str, fact: Callable[[Resource], F]) -> tuple[F, ...]:
        return tuple(fact(resource) for resource in resources.get(kind, ()) if _is_so(resource))

    medications = (*each("MedicationRequest", _medication), *each("MedicationStatement", _medication))
    return ClinicalFacts(
        reasons=tuple(r for r in each("ServiceRequest", _reason) if r.codes or r.references),
        visits=each("Encounter", _visit),
        problems=each("Condition", _problem),
        allergies=each("AllergyIntolerance", _allergy),
        laboratory=_results(resources, "laboratory"),
        vital_signs=_results(resources, "vital-signs"),
        medications=tuple(sorted(medications, key=lambda medication: medication.at.start, reverse=True)),
        procedures=each("Procedure", _procedure),
        vaccinations=each("Immunization", _vaccination),
        reports=each("DiagnosticReport", _report),
        studies=each("ImagingStudy", _study),
    )


def _is_so(resource: Resource) -> bool:
    """Neither refuted, nor not done, nor entered in error."""
    return text_of(resource, "status") not in _NOT_SO and _status(resource, "verificationStatus") not in _NOT_SO


def _results(resources: Mapping[str, Sequence[Resource]], category: str) -> tuple[Result, ...]:
    found = (r for r in resources.get("Observation", ()) if _is_so(r) and category in _category_codes(r))
    return tuple(
        Result(
            code=concept_of(resource.get("code")),
            value=value_of(resource),
            status=text_of(resource, "status"),
            at=when_of(resource, "effective", "issued"),
            interpretations=concepts_of(resource, "interpretation"),
            components=tuple((concept_of(c.get("code")), value_of(c)) for c in objects_of(resource.get("component"))),
            source=source_of(resource),
        )
        for resource in found
    )


def _category_codes(resource: Resource) -> Iterable[str]:
    return [code.code for category in concepts_of(resource, "category") for code in category.codes]


def _problem(resource: Resource) -> Problem:
    return Problem(
        concept_of(resource.get("code")),
        _status(resource, "clinicalStatus"),
        _status(resource, "verificationStatus"),
        when_of(resource, "onset"),
        when_of(resource, "abatement"),
        when_of(resource, "recordedDate"),
        source_of(resource),
    )


def _allergy(resource: Resource) -> Allergy:
    return Allergy(
        concept_of(resource.get("code")),
        _status(resource, "clinicalStatus"),
        _status(resource, "verificationStatus"),
        text_of(resource, "criticality"),
        when_of(resource, "recordedDate"),
        source_of(resource),
    )


def _medication(resource: Resource) -> Medication:
    named = resource.get("medicationCodeableConcept")
    inside = text_of(object_of(resource.get("medicationReference")), "reference").removeprefix("#")
    contained = (part.get("code") for part in objects_of(resource.get("contained")) if text_of(part, "id") == inside)
    return Medication(
        concept_of(named or next(contained, None)),
        text_of(resource, "status"),
        when_of(resource, "authoredOn", "effective", "dateAsserted"),
        resource.get("resourceType") == "MedicationStatement",
        source_of(resource),
    )


def _procedure(resource: Resource) -> PastProcedure:
    when = when_of(resource, "performed")
    return PastProcedure(concept_of(resource.get("code")), text_of(resource, "status"), when, source_of(resource))


def _vaccination(resource: Resource) -> Vaccination:
    code, when = concept_of(resource.get("vaccineCode")), when_of(resource, "occurrence", "recorded")
    return Vaccination(code, text_of(resource, "status"), when, source_of(resource))


def _report(resource: Resource) -> PriorReport:
    code, when = concept_of(resource.get("code")), when_of(resource, "effective", "issued")
    conclusions = concepts_of(resource, "conclusionCode")
    return PriorReport(code, text_of(resource, "status"), when, conclusions, source_of(resource))


def _study(resource: Resource) -> PriorStudy:
    modalities = codes_of(resource.get("modality"))
    return PriorStudy(
        modalities, concepts_of(resource, "procedureCode"), when_of(resource, "started"), source_of(resource)
    )


def _visit(resource: Resource) -> Visit:
    kind = next(iter(codes_of([resource.get("class")])), None)
    return Visit(kind, text_of(resource, "status"), when_of(resource, "period"), source_of(resource))


def _reason(resource: Resource) -> OrderReason:
    references = (text_of(reference, "reference") for reference in objects_of(resource.get("reasonReference")))
    return OrderReason(concepts_of(resource, "reasonCode"), tuple(filter(None, references)), source_of(resource))


def source_of(resource: Resource) -> str:
    """`Type/id/_history/version`; without the version where the server gives none."""
    version = text_of(object_of(resource.get("meta")), "versionId")
    reference = f"{text_of(resource, 'resourceType')}/{text_of(resource, 'id')}"
    return f"{reference}/_history/{version}" if version else reference


def _status(resource: Resource, element: str) -> str:
    return next((code.code for code in concept_of(resource.get(element)).codes), "")
