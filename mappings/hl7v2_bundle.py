"""An HL7 v2 order or ADT message as a FHIR R4 transaction Bundle (HL7 v2-to-FHIR guide, with our imaging additions).

The same message makes the same bytes, and sent again it changes nothing on the server. Where we deviate from the guide, and why:
docs/conformance/deviations.md.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

from mappings.fhir_elements import Json
from mappings.fhir_transaction import Transaction
from mappings.hl7v2_conversion import Conversion
from mappings.hl7v2_groups import Located, OrderGroup, groups_among
from mappings.hl7v2_message import MessageView
from mappings.hl7v2_order import ORDER_EVENTS
from mappings.hl7v2_order_control import code_of
from mappings.hl7v2_order_identity import numbers_of
from mappings.hl7v2_order_keys import SenderPolicy
from mappings.hl7v2_to_clinical import add_allergy, add_condition
from mappings.hl7v2_to_encounter import Visit, add_encounter, encounter_draft, visit_identifiers
from mappings.hl7v2_to_merge import MERGES
from mappings.hl7v2_to_patient import Writing, WrittenPatient, add_patient
from mappings.hl7v2_to_provenance import add_provenance
from mappings.hl7v2_to_service_request import REPLACED, OrderSurroundings, add_order
from mappings.order import Identifier
from mappings.refusal import MappingRefused
from mappings.trace import Trace

PERSON_EVENTS = frozenset({"A01", "A04", "A05", "A08", "A28", "A31"})
"""ADT events that bring the patient as he is now: the Patient is replaced."""

VISIT_EVENTS = frozenset({"A02", "A03", "A06", "A07", "A11", "A12", "A13", "A38"})
"""ADT events of a visit: the Patient is created if the server has none, and else left alone."""

_ADT_EVENTS = PERSON_EVENTS | VISIT_EVENTS | MERGES.keys()
_NOT_IMAGING = frozenset({"RXO", "RXE", "RXA", "RXD", "RXG", "RQD", "RQ1", "ODS", "ODT"})  # pharmacy, supplies, diet


@dataclass(frozen=True, slots=True)
class Converted:
    """A Bundle, and which of its elements came from which field by which rule; the trace holds no values."""

    bundle: Json
    trace: tuple[tuple[str, str], ...]


def bundle_from(message: MessageView, policy: SenderPolicy, known: Mapping[str, Json] | None = None) -> Json:
    """The transaction for a message. `known`: what the server has, by `fhir_transaction.searches`. Raises as `convert` does."""
    return _converted(Conversion(message, policy, Transaction(known), Trace(wanted=False)))


def convert(message: MessageView, policy: SenderPolicy, known: Mapping[str, Json] | None = None) -> Converted:
    """The transaction for a message, and its trace.

    Raises MappingRefused `bundle.type-unsupported` for anything but ORM^O01, OMG^O19, OMI^O23 and the ADT events of this module;
    `bundle.header-missing`, `bundle.merge-with-itself`, `bundle.account-missing`, `bundle.visit-missing`, and what
    `hl7v2_order.orders_from` and `hl7v2_patient.patient_changes_from` raise.
    """
    conversion = Conversion(message, policy, Transaction(known), Trace())
    return Converted(_converted(conversion), conversion.trace.lines())


def _converted(conversion: Conversion) -> Json:
    code, event = _type(conversion)
    if (code, event) in ORDER_EVENTS:
        _add_orders(conversion)
    elif code == "ADT" and event in _ADT_EVENTS:
        with _in_words_of_patients():
            _add_change(conversion, event)
    else:
        raise MappingRefused("bundle.type-unsupported", "MSH^1^9", "no FHIR mapping for this message type or event")
    add_provenance(conversion)
    return conversion.transaction.bundle()


def _type(conversion: Conversion) -> tuple[str, str]:
    """MSH-9.1 and MSH-9.2; the event of a bare `ORM` is O01, that of a bare `ADT` stands in EVN-1."""
    code, event = conversion.header.text(9).upper(), conversion.header.text(9, 2).upper()
    if not event and code == "ORM":
        return code, "O01"
    if not event and code == "ADT":
        return code, next((segment.text(1).upper() for segment in conversion.segments if segment.name == "EVN"), "")
    return code, event


@contextmanager
def _in_words_of_patients() -> Iterator[None]:
    """What is refused in the words of orders where it is read."""
    try:
        yield
    except MappingRefused as refusal:
        if refusal.code == "order.key-deleted":
            raise MappingRefused("patient.key-deleted", refusal.where, refusal.explanation) from None
        if refusal.code == "order.patient-identifier-missing":
            raise MappingRefused("patient.identifier-missing", refusal.where, refusal.explanation) from None
        raise


def _add_change(conversion: Conversion, event: str) -> None:
    if event in MERGES:
        MERGES[event](conversion)
    else:
        _add_admission(conversion, event)


def _add_admission(conversion: Conversion, event: str) -> None:
    """PID, PV1, PV2, AL1, DG1 of an ADT message. Raises `order.patient-identifier-missing` where there is no PID."""
    patients = _patients(conversion)
    if not patients:
        raise MappingRefused("order.patient-identifier-missing", "PID^1^3", "the message has no PID")
    writing: Writing = "replaced" if event in PERSON_EVENTS else "ensured"
    for pid, segments in patients:
        patient = add_patient(conversion, pid, writing)
        visit = _visit(segments)
        encounter = add_encounter(conversion, visit, patient, "replaced", event) if visit else ""
        _add_allergies(conversion, segments, patient, writing)
        of = (visit_identifiers(conversion, visit.pv1, patient) if visit else []) or [patient.identifier]
        _add_diagnoses(conversion, segments, patient, of[0], encounter, "replaced")


def _add_orders(conversion: Conversion) -> None:
    """The patients of the message, and every order group. Raises `order.group-missing`."""
    groups = groups_among(conversion.segments)
    if not groups:
        raise MappingRefused("order.group-missing", "ORC^1", "the message has neither ORC nor OBR")
    around = {pid.sequence: _surroundings(conversion, pid, segments) for pid, segments in _patients(conversion)}
    replaced: list[Json] = []  # by the RO that follow
    before = ""
    for number, (group, numbers) in enumerate(zip(groups, numbers_of(conversion, groups), strict=True), 1):
        if group.patient is None:
            raise MappingRefused("order.patient-identifier-missing", "PID^1^3", "an order needs a patient")
        if _is_something_else(group):
            conversion.trace.note(f"ServiceRequest[{number}]", "an order for drugs, supplies or diet: left out")
            continue
        surroundings = around[group.patient.sequence]
        control = code_of(group)
        if control == "RO":
            surroundings = replace(surroundings, replaces=tuple(replaced))
        reference = add_order(conversion, number, group, numbers, surroundings)
        if control in REPLACED:
            replaced = [*(replaced if before in REPLACED else []), *([reference] if reference else [])]
        elif control != "RO":
            replaced = []
        before = control


def _surroundings(conversion: Conversion, pid: Located, segments: list[Located]) -> OrderSurroundings:
    """Patient and visit of orders. Only ADT changes demographics and visits: both are created if absent."""
    patient = add_patient(conversion, pid, "ensured")
    _add_allergies(conversion, segments, patient, "ensured")
    visit, encounter, contained = _visit(segments), "", None
    if visit:
        encounter = add_encounter(conversion, visit, patient, "ensured")
        if not encounter:
            contained = encounter_draft(conversion, visit, patient, "").resource()
        of = visit_identifiers(conversion, visit.pv1, patient) or [patient.identifier]
        _add_diagnoses(conversion, _before_orders(segments), patient, of[0], encounter, "ensured")
    return OrderSurroundings(patient, encounter, contained)


def _patients(conversion: Conversion) -> list[tuple[Located, list[Located]]]:
    """Each PID with the segments up to the next."""
    found: list[tuple[Located, list[Located]]] = []
    for segment in conversion.segments:
        if segment.name == "PID":
            found.append((segment, []))
        elif found:
            found[-1][1].append(segment)
    return found


def _before_orders(segments: list[Located]) -> list[Located]:
    first = next((index for index, segment in enumerate(segments) if segment.name in ("ORC", "OBR")), len(segments))
    return segments[:first]


def _visit(segments: list[Located]) -> Visit | None:
    pv1 = next((segment for segment in segments if segment.name == "PV1"), None)
    return Visit(pv1, next((segment for segment in segments if segment.name == "PV2"), None)) if pv1 else None


def _add_allergies(conversion: Conversion, segments: list[Located], patient: WrittenPatient, writing: Writing) -> None:
    for segment in segments if "AL1" in conversion.named else ():
        if segment.name == "AL1":
            add_allergy(conversion, segment, patient, writing)


def _add_diagnoses(
    conversion: Conversion,
    segments: list[Located],
    patient: WrittenPatient,
    of: Identifier,
    encounter: str,
    writing: Writing,
) -> None:
    for segment in segments if "DG1" in conversion.named else ():
        if segment.name == "DG1":
            add_condition(conversion, segment, patient, of, encounter, writing)


def _is_something_else(group: OrderGroup) -> bool:
    return group.obr is None and any(segment.name in _NOT_IMAGING for segment in group.details)
