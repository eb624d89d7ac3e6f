"""Which ServiceRequests an ImagingStudy may be of, where it names none: the rules, without a wire (DESIGN §4a). Pure."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from fhir_bridge.adapters.record_match import (
    Read,
    Search,
    carries,
    is_about,
    reference_to,
    subject_of,
)
from fhir_bridge.errors import Refused
from fhir_bridge.rendezvous.merged_patient import survivor_of
from fhir_bridge.study import Resource
from mappings.code_system import DCM, IDENTIFIER_TYPE
from mappings.code_table import load
from mappings.fhir_observations import is_ours
from mappings.order import Identifier

OfPatient = Callable[[str], Iterable[Resource]]

_NO_ORDERS = frozenset({"proposal", "plan", "directive", "option"})  # ServiceRequest.intent
_DAY = len("2026-01-01")


def orders_for(
    study: Resource,
    window_days: float,
    *,
    search: Search,
    of_patient: OfPatient,
    read: Read,
) -> tuple[Resource, ...]:
    """By accession number, whatever their status; else the active ones of the patient with the study's procedure, near it in time.

    Whatever the server found is judged again here: it may have ignored a parameter. A study that points to no Patient is nobody's.
    Raises Refused `patient.mismatch` where a number with its system belongs to another patient's order.
    """
    subject = subject_of(study)
    if not subject.startswith("Patient/"):
        return ()
    patient = _survivor(subject, read)
    numbers = _numbers_of(study)
    for number in numbers:
        if found := _numbered(number, patient, search, read):
            return found
    candidates = {reference_to(r): r for owner in dict.fromkeys((subject, patient)) for r in of_patient(owner)}
    return tuple(
        request
        for request in candidates.values()
        if subject_of(request) in (subject, patient)
        and _is_open(request)
        and not _contradicts(request, numbers)
        and _has_procedure(request, study)
        and _is_near(request, study, timedelta(days=window_days))
    )


def _survivor(subject: str, read: Read) -> str:
    try:
        return reference_to(survivor_of(read(subject), read))
    except Refused as refusal:
        if refusal.code != "fhir.not-found":
            raise
        return subject  # a server without referential integrity may not have it


def _numbers_of(study: Resource) -> tuple[Identifier, ...]:
    """Accession numbers (type ACSN), and the order's own number where `basedOn` names it by identifier and system."""
    own = [identifier for identifier in _objects(study.get("identifier")) if _kind(identifier) == "ACSN"]
    based_on = [_object(reference.get("identifier")) for reference in _objects(study.get("basedOn"))]
    named = [identifier for identifier in based_on if identifier.get("system") or _kind(identifier) == "ACSN"]
    found = [
        Identifier(str(identifier["value"]), str(identifier.get("system", "")), type=_kind(identifier))
        for identifier in (*named, *own)
        if identifier.get("value")
    ]
    return tuple(dict.fromkeys(found))


def _kind(identifier: Resource) -> str:
    """Its code of table 0203."""
    codings = _objects(_object(identifier.get("type")).get("coding"))
    return next((str(c.get("code")) for c in codings if c.get("system") == IDENTIFIER_TYPE), "")


def _numbered(number: Identifier, patient: str, search: Search, read: Read) -> tuple[Resource, ...]:
    found = [request for request in search(number) if carries(request, number) and not _is_void(request)]
    theirs = {reference_to(request): request for request in found if is_about(request, patient, (), read)}
    if number.system and not theirs and any(subject_of(request) for request in found):
        raise Refused("patient.mismatch", "ServiceRequest.subject", "the study's number belongs to another patient's")
    return tuple(theirs.values())


def _is_void(request: Resource) -> bool:
    return request.get("status") == "entered-in-error" or is_ours(request)


def _is_open(request: Resource) -> bool:
    is_order = request.get("intent") not in _NO_ORDERS and request.get("doNotPerform") is not True
    return request.get("status") == "active" and is_order and not is_ours(request)


def _contradicts(request: Resource, numbers: Sequence[Identifier]) -> bool:
    """It has an accession number, and so has the study, and not the same one."""
    kept = {i.get("value") for i in _objects(request.get("identifier")) if _kind(i) == "ACSN"}
    wanted = {number.value for number in numbers if number.type == "ACSN"}
    return bool(kept) and bool(wanted) and not kept & wanted


def _has_procedure(request: Resource, study: Resource) -> bool:
    """The same code of the same system; where the study has no code, all modalities that the order names are the study's."""
    if wanted := set(_codings(study.get("procedureCode"))):
        return bool(wanted & set(_codings([request.get("code")])))
    named = [*_codings(request.get("orderDetail")), *_codings([request.get("code")])]
    ordered = {target.code for system, code in named if (target := load("modalities").target(code, system))}
    made = {str(coding.get("code")) for coding in _objects(study.get("modality")) if coding.get("system") == DCM}
    return bool(ordered) and ordered <= made


def _is_near(request: Resource, study: Resource, window: timedelta) -> bool:
    """Placed or scheduled within the window of the study's beginning, before or after. A date counts as its whole day, in UTC."""
    started = _span(study.get("started"))
    if started is None:
        return False
    return any(begin - started[1] <= window and started[0] - end <= window for begin, end in _times(request))


def _times(request: Resource) -> Iterator[tuple[datetime, datetime]]:
    """All that the request says of when; a period without an end is its beginning."""
    period = _object(request.get("occurrencePeriod"))
    if begin := _span(period.get("start")):
        yield begin[0], (_span(period.get("end")) or begin)[1]
    timing = _object(request.get("occurrenceTiming")).get("event")
    events = timing if isinstance(timing, list) else []
    for text in (request.get("authoredOn"), request.get("occurrenceDateTime"), *events):
        if span := _span(text):
            yield span


def _span(text: Any) -> tuple[datetime, datetime] | None:
    """From when to when a dateTime of at least day precision (R4 §2.24.0.1) is."""
    if not isinstance(text, str) or len(text) < _DAY:
        return None
    try:
        at = datetime.fromisoformat(text)
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        return (at, at + timedelta(days=1)) if len(text) == _DAY else (at, at)
    except (ValueError, OverflowError):
        return None


def _codings(concepts: Any) -> Iterator[tuple[str, str]]:
    """(system, code) of all codings of CodeableConcepts."""
    for concept in _objects(concepts):
        for coding in _objects(concept.get("coding")):
            if coding.get("code"):
                yield str(coding.get("system", "")), str(coding["code"])


def _object(value: Any) -> Resource:
    return value if isinstance(value, dict) else {}


def _objects(value: Any) -> list[Resource]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
