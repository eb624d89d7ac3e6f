"""A ServiceRequest, with its Patient and ImagingStudy, as an Order (FHIR R4 and R4B §12.9; IMR ServiceRequest.identifier slices)."""

import re
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

from mappings import code_system
from mappings.authority import Authorities
from mappings.code import Code
from mappings.code_table import load
from mappings.order import Identifier, Order, OrderControl, PatientIdentity, Priority
from mappings.refusal import MappingRefused
from mappings.trace import Trace

Resource = dict[str, Any]

_NO_ORDERS = frozenset(
    {"proposal", "plan", "directive", "option"}
)  # ServiceRequest.intent; servers take it missing, too
_GENDERS = frozenset({"male", "female", "other", "unknown"})
_UID = re.compile(r"[0-9]+(\.[0-9]+)+")


def order_from(
    service_request: Resource, patient: Resource, imaging_study: Resource | None, authorities: Authorities
) -> Order:
    """The order that a ServiceRequest describes.

    The resources are as a server sent them; what is not of the expected JSON type reads as absent. The ServiceRequest itself is a key
    of the order, so that one without identifiers is known again. Raises MappingRefused: `order.id-missing`,
    `order.status-unknown`, `order.subject-mismatch`, `order.study-uid-malformed`, and for what has an effect on a job
    `order.patient-identifier-missing`.
    """
    trace = Trace()
    reference = _reference(patient, "Patient")
    _require_subject(service_request, reference, "ServiceRequest.subject")
    if imaging_study is not None:
        _require_subject(imaging_study, reference, "ImagingStudy.subject")
    control = _control(service_request, trace)
    placer, filler, accession = _numbers(service_request, imaging_study, authorities, trace)
    order = Order(
        control=control,
        patient=_patient(patient, reference, authorities, trace),
        placer=placer,
        filler=filler,
        accession=accession,
        study_instance_uid=_study_instance_uid(service_request, imaging_study, trace),
        procedure=_procedure(service_request, trace),
        modality=_modality(service_request, imaging_study, trace),
        priority=_priority(service_request, trace),
        reason=_reason(service_request, trace),
        requested_at=_requested_at(service_request, trace),
        service_request=_reference(service_request, "ServiceRequest"),
        trace=trace.lines(),
    )
    if control is not OrderControl.NONE and not order.patient.identifiers:
        raise MappingRefused("order.patient-identifier-missing", "Patient.identifier", "an order needs one")
    return order


def _reference(resource: Resource, kind: str) -> str:
    identity = _text(resource, "id")
    if not identity:
        raise MappingRefused("order.id-missing", f"{kind}.id", "a resource read from a server has an id")
    return f"{kind}/{identity}"


def _require_subject(resource: Resource, patient: str, where: str) -> None:
    """The resource must be this patient's, by its reference; a version or a server's base before it does not matter."""
    reference = _text(_object(resource.get("subject")), "reference").split("/_history/")[0]
    if reference != patient and not reference.endswith("/" + patient):
        raise MappingRefused("order.subject-mismatch", where, "the resource is not of the patient that was read")


def _control(service_request: Resource, trace: Trace) -> OrderControl:
    """`status` by request_status.csv; NONE for what is no order (`intent` plan, proposal, option) or forbids (`doNotPerform`)."""
    row = load("request_status").find(_text(service_request, "status"), code_system.REQUEST_STATUS)
    if row is None or row.target is None:
        raise MappingRefused("order.status-unknown", "ServiceRequest.status", "not a code of request-status")
    if _text(service_request, "intent") in _NO_ORDERS:
        trace.note("control", "ServiceRequest.intent: not an order")
        return OrderControl.NONE
    if service_request.get("doNotPerform") is True:
        trace.note("control", "ServiceRequest.doNotPerform")
        return OrderControl.NONE
    trace.note("control", "ServiceRequest.status")
    return OrderControl(row.target.code)


def _patient(patient: Resource, reference: str, authorities: Authorities, trace: Trace) -> PatientIdentity:
    """Patient.identifier without the old ones, those of known authorities first; birthDate where it is a whole day; gender."""
    current = [element for element in _objects(patient, "identifier") if _text(element, "use") != "old"]
    found = _identifiers(current)
    found.sort(key=lambda identifier: (not authorities.knows(identifier.system), identifier.type != "MR"))
    trace.note("patient.identifiers", "Patient.identifier")
    try:
        birth_date = date.fromisoformat(_text(patient, "birthDate"))
        trace.note("patient.birth_date", "Patient.birthDate")
    except ValueError:  # absent, or a year or month alone
        birth_date = None
    gender = _text(patient, "gender")
    if gender in _GENDERS:
        trace.note("patient.sex", "Patient.gender")
    return PatientIdentity(tuple(found), birth_date, gender if gender in _GENDERS else "", reference)


def _numbers(
    service_request: Resource, imaging_study: Resource | None, authorities: Authorities, trace: Trace
) -> tuple[Identifier | None, Identifier | None, Identifier | None]:
    """Placer, filler, accession by type (v2-0203); an only identifier without a type is the placer's.

    The accession number may stand in ServiceRequest.identifier, ImagingStudy.identifier or ImagingStudy.basedOn.
    """
    own = _identifiers(_objects(service_request, "identifier"))
    places = [("ServiceRequest.identifier", own)]
    if imaging_study is not None:
        places.append(("ImagingStudy.identifier", _identifiers(_objects(imaging_study, "identifier"))))
        based_on = [_object(element.get("identifier")) for element in _objects(imaging_study, "basedOn")]
        places.append(("ImagingStudy.basedOn.identifier", _identifiers(based_on)))
    placer = _first("PLAC", places[:1], "placer", trace)
    untyped = [identifier for identifier in own if not identifier.type and identifier.system != code_system.DICOM_UID]
    if placer is None and len(untyped) == 1:
        placer = untyped[0]
        trace.note("placer", "ServiceRequest.identifier: the only one without a type")
    filler = _first("FILL", places[:1], "filler", trace)
    return placer, filler, _first("ACSN", places, "accession", trace)


def _first(kind: str, places: Sequence[tuple[str, list[Identifier]]], element: str, trace: Trace) -> Identifier | None:
    for where, identifiers in places:
        for identifier in identifiers:
            if identifier.type == kind:
                trace.note(element, f"{where} of type {kind}")
                return identifier
    return None


def _identifiers(elements: Sequence[Resource]) -> list[Identifier]:
    """FHIR Identifiers that have a value; `type` is the code of table 0203, if there is one."""
    found = []
    for element in elements:
        codings = _objects(_object(element.get("type")), "coding")
        kinds = [_text(coding, "code") for coding in codings if _text(coding, "system") == code_system.IDENTIFIER_TYPE]
        if value := _text(element, "value"):
            found.append(Identifier(value, system=_text(element, "system"), type=kinds[0] if kinds else ""))
    return found


def _study_instance_uid(service_request: Resource, imaging_study: Resource | None, trace: Trace) -> str:
    """`urn:dicom:uid` of the ImagingStudy, else of the ServiceRequest; `urn:oid:` before the UID is optional."""
    for resource, where in ((imaging_study, "ImagingStudy.identifier"), (service_request, "ServiceRequest.identifier")):
        for element in _objects(resource or {}, "identifier"):
            uid = _text(element, "value").removeprefix("urn:oid:")
            if _text(element, "system") != code_system.DICOM_UID or not uid:
                continue
            if len(uid) > 64 or not _UID.fullmatch(uid):
                raise MappingRefused("order.study-uid-malformed", where, "not a DICOM UID (PS3.5 §9.1)")
            trace.note("study_instance_uid", where)
            return uid
    return ""


def _procedure(service_request: Resource, trace: Trace) -> Code | None:
    """ServiceRequest.code: the first coding with a code, else the text; local codes pass unchanged."""
    concept = _object(service_request.get("code"))
    for coding in _objects(concept, "coding"):
        if _text(coding, "code"):
            trace.note("procedure", "ServiceRequest.code")
            return Code(
                _text(coding, "code"), _text(coding, "system"), _text(coding, "display") or _text(concept, "text")
            )
    return Code("", "", _text(concept, "text")) if _text(concept, "text") else None


def _modality(service_request: Resource, imaging_study: Resource | None, trace: Trace) -> str:
    """The first known DICOM modality of ImagingStudy.modality, else of ServiceRequest.orderDetail."""
    details = [coding for detail in _objects(service_request, "orderDetail") for coding in _objects(detail, "coding")]
    sources = (
        ("ImagingStudy.modality", _objects(imaging_study or {}, "modality")),
        ("ServiceRequest.orderDetail", details),
    )
    for where, codings in sources:
        for coding in codings:
            if _text(coding, "system") == code_system.DCM:
                found = load("modalities").target(_text(coding, "code"), code_system.DCM)
                if found:
                    trace.note("modality", where)
                    return found.code
    return ""


def _priority(service_request: Resource, trace: Trace) -> Priority:
    """ServiceRequest.priority; routine where it is absent (R4 §12.9.4) or unknown. The resource is the whole order: absent counts."""
    try:
        priority = Priority(_text(service_request, "priority"))
    except ValueError:
        trace.note("priority", "ServiceRequest.priority: absent or unknown, routine")
        return Priority.ROUTINE
    trace.note("priority", "ServiceRequest.priority")
    return priority


def _reason(service_request: Resource, trace: Trace) -> str:
    texts = []
    for concept in _objects(service_request, "reasonCode"):
        displays = [_text(coding, "display") for coding in _objects(concept, "coding")]
        texts.append(_text(concept, "text") or next(filter(None, displays), ""))
    reason = "; ".join(filter(None, texts))
    if reason:
        trace.note("reason", "ServiceRequest.reasonCode")
    return reason


def _requested_at(service_request: Resource, trace: Trace) -> datetime | None:
    """authoredOn, else occurrenceDateTime, else occurrencePeriod.start, if it has a time (R4 then demands a zone)."""
    candidates = (
        ("ServiceRequest.authoredOn", _text(service_request, "authoredOn")),
        ("ServiceRequest.occurrenceDateTime", _text(service_request, "occurrenceDateTime")),
        ("ServiceRequest.occurrencePeriod.start", _text(_object(service_request.get("occurrencePeriod")), "start")),
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


def _text(resource: Resource, element: str) -> str:
    value = resource.get(element)
    return value.strip() if isinstance(value, str) else ""


def _object(value: object) -> Resource:
    return value if isinstance(value, dict) else {}


def _objects(resource: Resource, element: str) -> list[Resource]:
    value = resource.get(element)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
