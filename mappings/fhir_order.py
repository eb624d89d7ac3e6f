"""A ServiceRequest, with its Patient, as an Order (FHIR R4 and R4B §12.9; IMR ServiceRequest.identifier slices)."""

from datetime import date, datetime

from mappings import code_system
from mappings.authority import Authorities
from mappings.code import Code
from mappings.code_table import load
from mappings.fhir_reading import (
    Resource,
    first_of_type,
    identifiers_of,
    is_in,
    object_of,
    objects_of,
    pointed_to,
    reference_to,
    require_subject,
    study_uid_of,
    text_of,
    version_of,
)
from mappings.order import Identifier, Order, OrderControl, OrderKey, PatientIdentity, Priority, Standing
from mappings.refusal import MappingRefused
from mappings.trace import Trace

_NO_ORDERS = frozenset(
    {"proposal", "plan", "directive", "option"}
)  # ServiceRequest.intent; servers take it missing, too
DO_NOT_PERFORM = "do-not-perform"  # in place of the status: an order that we know is not to be done any more
_GENDERS = frozenset({"male", "female", "other", "unknown"})


def order_from(service_request: Resource, patient: Resource, authorities: Authorities) -> Order:
    """The order that a ServiceRequest describes.

    The resources are as a server sent them; what is not of the expected JSON type reads as absent. The ServiceRequest itself is a key
    of the order, so that one without identifiers is known again. Raises MappingRefused: `order.id-missing`,
    `order.status-unknown`, `order.subject-mismatch`, `order.study-uid-malformed`, and for what has an effect on a job
    `order.patient-identifier-missing`.
    """
    trace = Trace()
    reference = reference_to(service_request, "ServiceRequest")
    require_subject(service_request, "subject", reference_to(patient, "Patient"), "ServiceRequest.subject")
    control = _control(service_request, trace)
    standing = standing_of(service_request)
    placer, filler, accession = _numbers(service_request, trace)
    order = Order(
        control=control,
        patient=patient_from(patient, authorities, trace),
        placer=placer,
        filler=filler,
        accession=accession,
        study_instance_uid=study_uid_of(service_request, "ServiceRequest.identifier", trace),
        procedure=_procedure(service_request, trace),
        modality=_modality(service_request, trace),
        priority=_priority(service_request, trace),
        reason=_reason(service_request, trace),
        requested_at=_requested_at(service_request, trace),
        service_request=reference,
        control_code=standing.status,
        event=standing.as_of,
        related=_replaced(service_request, trace),
        standings=(standing,),
        trace=trace.lines(),
    )
    if control is not OrderControl.NONE and not order.patient.identifiers:
        raise MappingRefused("order.patient-identifier-missing", "Patient.identifier", "an order needs one")
    return order


def standing_of(service_request: Resource) -> Standing:
    """What it says of its order. Raises MappingRefused `order.id-missing`, `order.status-unknown`."""
    reference, version = reference_to(service_request, "ServiceRequest"), version_of(service_request, "ServiceRequest")
    control = _control(service_request, Trace())
    if service_request.get("doNotPerform") is True:
        return Standing(reference, OrderControl.CANCEL, version, DO_NOT_PERFORM)
    return Standing(reference, control, version, text_of(service_request, "status"))


def is_wanted(service_request: Resource, categories: frozenset[str], codes: frozenset[str]) -> bool:
    """Whether the site takes such orders: of one of its categories, or without one, and of one of its codes.

    A value of either list is `CODE` or `SYSTEM|CODE`; an empty list takes all.
    """
    concept = object_of(service_request.get("code"))
    return is_in(objects_of(service_request, "category"), categories, uncoded=True) and is_in([concept], codes)


def _control(service_request: Resource, trace: Trace) -> OrderControl:
    """`status` by request_status.csv; NONE for what is no order (`intent` plan, proposal, option) or forbids (`doNotPerform`).

    What forbids stops an order that we know, and makes no job.
    """
    row = load("request_status").find(text_of(service_request, "status"), code_system.REQUEST_STATUS)
    if row is None or row.target is None:
        raise MappingRefused("order.status-unknown", "ServiceRequest.status", "not a code of request-status")
    if text_of(service_request, "intent") in _NO_ORDERS:
        trace.note("control", "ServiceRequest.intent: not an order")
        return OrderControl.NONE
    if service_request.get("doNotPerform") is True:
        trace.note("control", "ServiceRequest.doNotPerform")
        return OrderControl.NONE
    trace.note("control", "ServiceRequest.status")
    return OrderControl(row.target.code)


def _replaced(service_request: Resource, trace: Trace) -> tuple[OrderKey, ...]:
    """ServiceRequest.replaces: the requests whose place this one takes."""
    found = [pointed_to(reference) for reference in objects_of(service_request, "replaces")]
    replaced = tuple(
        OrderKey("service-request", "", request) for request in found if request.startswith("ServiceRequest/")
    )
    if replaced:
        trace.note("related", "ServiceRequest.replaces")
    return replaced


def patient_from(patient: Resource, authorities: Authorities, trace: Trace) -> PatientIdentity:
    """Patient.identifier without the old ones, those of known authorities first; birthDate where it is a whole day; gender."""
    current = [element for element in objects_of(patient, "identifier") if text_of(element, "use") != "old"]
    found = identifiers_of(current)
    found.sort(key=lambda identifier: (not authorities.knows(identifier.system), identifier.type != "MR"))
    trace.note("patient.identifiers", "Patient.identifier")
    try:
        birth_date = date.fromisoformat(text_of(patient, "birthDate"))
        trace.note("patient.birth_date", "Patient.birthDate")
    except ValueError:  # absent, or a year or month alone
        birth_date = None
    gender = text_of(patient, "gender")
    if gender in _GENDERS:
        trace.note("patient.sex", "Patient.gender")
    sex = gender if gender in _GENDERS else ""
    return PatientIdentity(tuple(found), birth_date, sex, reference_to(patient, "Patient"))


def _numbers(service_request: Resource, trace: Trace) -> tuple[Identifier | None, Identifier | None, Identifier | None]:
    """Placer, filler, accession by type (v2-0203); an only identifier without a type is the placer's."""
    own = identifiers_of(objects_of(service_request, "identifier"))
    places = [("ServiceRequest.identifier", own)]
    placer = first_of_type("PLAC", places, "placer", trace)
    untyped = [identifier for identifier in own if not identifier.type and identifier.system != code_system.DICOM_UID]
    if placer is None and len(untyped) == 1:
        placer = untyped[0]
        trace.note("placer", "ServiceRequest.identifier: the only one without a type")
    return (
        placer,
        first_of_type("FILL", places, "filler", trace),
        first_of_type("ACSN", places, "accession", trace),
    )


def _procedure(service_request: Resource, trace: Trace) -> Code | None:
    """ServiceRequest.code: the first coding with a code, else the text; local codes pass unchanged."""
    concept = object_of(service_request.get("code"))
    for coding in objects_of(concept, "coding"):
        if text_of(coding, "code"):
            trace.note("procedure", "ServiceRequest.code")
            return Code(
                text_of(coding, "code"),
                text_of(coding, "system"),
                text_of(coding, "display") or text_of(concept, "text"),
            )
    if not (text := text_of(concept, "text")):
        return None
    trace.note("procedure", "ServiceRequest.code: a text")
    return Code("", "", text)


def _modality(service_request: Resource, trace: Trace) -> str:
    """The first known DICOM modality of ServiceRequest.orderDetail."""
    details = [
        coding for detail in objects_of(service_request, "orderDetail") for coding in objects_of(detail, "coding")
    ]
    if found := first_modality(details):
        trace.note("modality", "ServiceRequest.orderDetail")
    return found


def first_modality(codings: list[Resource]) -> str:
    """The first DICOM modality among Codings that may be named (modalities.csv)."""
    for coding in codings:
        if text_of(coding, "system") == code_system.DCM:
            found = load("modalities").target(text_of(coding, "code"), code_system.DCM)
            if found:
                return found.code
    return ""


def _priority(service_request: Resource, trace: Trace) -> Priority:
    """ServiceRequest.priority; routine where it is absent (R4 §12.9.4) or unknown. The resource is the whole order: absent counts."""
    try:
        priority = Priority(text_of(service_request, "priority"))
    except ValueError:
        trace.note("priority", "ServiceRequest.priority: absent or unknown, routine")
        return Priority.ROUTINE
    trace.note("priority", "ServiceRequest.priority")
    return priority


def _reason(service_request: Resource, trace: Trace) -> str:
    texts = []
    for concept in objects_of(service_request, "reasonCode"):
        displays = [text_of(coding, "display") for coding in objects_of(concept, "coding")]
        texts.append(text_of(concept, "text") or next(filter(None, displays), ""))
    reason = "; ".join(filter(None, texts))
    if reason:
        trace.note("reason", "ServiceRequest.reasonCode")
    return reason


def _requested_at(service_request: Resource, trace: Trace) -> datetime | None:
    """authoredOn, else occurrenceDateTime, else occurrencePeriod.start, if it has a time (R4 then demands a zone)."""
    candidates = (
        ("ServiceRequest.authoredOn", text_of(service_request, "authoredOn")),
        ("ServiceRequest.occurrenceDateTime", text_of(service_request, "occurrenceDateTime")),
        ("ServiceRequest.occurrencePeriod.start", text_of(object_of(service_request.get("occurrencePeriod")), "start")),
    )
    for where, text in candidates:
        try:
            found = datetime.fromisoformat(text)
        except ValueError:
            continue
        if found.tzinfo is not None:
            trace.note("requested_at", where)
            return found
    return None
