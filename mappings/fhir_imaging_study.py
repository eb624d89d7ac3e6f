"""What an ImagingStudy adds to an order: that the images are there, and where (FHIR R4 §5.6)."""

from dataclasses import dataclass, replace

from mappings.fhir_order import first_modality
from mappings.fhir_reading import (
    Resource,
    first_of_type,
    identifiers_of,
    object_of,
    objects_of,
    pointed_to,
    require_subject,
    study_uid_of,
    text_of,
)
from mappings.order import Identifier, Order
from mappings.trace import Trace

_NO_NEWS = frozenset(
    {"registered", "cancelled", "entered-in-error"}
)  # ImagingStudy.status: there are no images, or not to be read
_READ_FROM = "ImagingStudy"


@dataclass(frozen=True, slots=True)
class StudyFacts:
    """What an order may learn of an ImagingStudy."""

    study_instance_uid: str = ""
    accession: Identifier | None = None
    modality: str = ""
    trace: tuple[tuple[str, str], ...] = ()


def is_news(study: Resource) -> bool:
    """Whether images should be there: `available`, or a status that says nothing of it."""
    return text_of(study, "status") not in _NO_NEWS


def requests_of(study: Resource) -> tuple[str, ...]:
    """`ServiceRequest/id` that the study is based on, by literal reference."""
    found = (pointed_to(reference) for reference in objects_of(study, "basedOn"))
    return tuple(dict.fromkeys(request for request in found if request.startswith("ServiceRequest/")))


def study_facts(study: Resource, patient: str, request: str = "") -> StudyFacts:
    """Of a study of this patient (`Patient/id`), for the order that `request` (`ServiceRequest/id`) is, if one is.

    The accession number may stand in `identifier`, or with the reference in `basedOn`; that of another request is not this one's.
    Raises MappingRefused `order.subject-mismatch`, `order.study-uid-malformed`.
    """
    require_subject(study, "subject", patient, "ImagingStudy.subject")
    trace = Trace()
    based_on = [
        object_of(reference.get("identifier"))
        for reference in objects_of(study, "basedOn")
        if pointed_to(reference) in ("", request)
    ]
    places = [
        ("ImagingStudy.identifier", identifiers_of(objects_of(study, "identifier"))),
        ("ImagingStudy.basedOn.identifier", identifiers_of(based_on)),
    ]
    modality = first_modality(objects_of(study, "modality"))
    if modality:
        trace.note("modality", "ImagingStudy.modality")
    return StudyFacts(
        study_uid_of(study, "ImagingStudy.identifier", trace),
        first_of_type("ACSN", places, "accession", trace),
        modality,
        trace.lines(),
    )


def with_study(order: Order, facts: StudyFacts) -> Order:
    """The order with what it lacks. The UID of the study goes before the one that was planned in the ServiceRequest."""
    planned = order.came_from("study_instance_uid", "ServiceRequest")
    uid = facts.study_instance_uid
    told = {
        "study_instance_uid": uid if uid and (planned or not order.study_instance_uid) else "",
        "accession": None if order.accession else facts.accession,
        "modality": "" if order.modality else facts.modality,
    }
    new = {name: value for name, value in told.items() if value and value != getattr(order, name)}
    kept = tuple(line for line in order.trace if line[0] not in new)
    lines = tuple(line for line in facts.trace if line[0] in new)
    return replace(order, **new, trace=(*kept, *lines)) if new else order  # type: ignore[arg-type]


def is_of_another_study(order: Order, facts: StudyFacts) -> bool:
    """The order's images are in a study already, and not in this one."""
    known = order.study_instance_uid
    planned = order.came_from("study_instance_uid", "ServiceRequest")
    return bool(known and facts.study_instance_uid) and not planned and known != facts.study_instance_uid


def shares_a_number(request: Resource, study: Resource) -> bool:
    """It was found by the study's accession number, or by the identifier that the study is based on; not by what it is of."""
    based_on = [reference.get("identifier") for reference in objects_of(study, "basedOn")]
    numbers = [number for number in identifiers_of(objects_of(study, "identifier")) if number.type == "ACSN"]
    theirs = [*numbers, *identifiers_of(object_of(identifier) for identifier in based_on)]
    return any(_is_one(own, their) for own in identifiers_of(objects_of(request, "identifier")) for their in theirs)


def _is_one(left: Identifier, right: Identifier) -> bool:
    return left.value == right.value and (not left.system or not right.system or left.system == right.system)
