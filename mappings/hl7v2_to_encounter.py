"""PV1 and PV2 as Encounter (v2-to-FHIR guide, segment maps PV1[Encounter], PV2[Encounter])."""

from dataclasses import dataclass

from mappings import code_system
from mappings.code import Code
from mappings.code_table import load
from mappings.fhir_elements import Json, coding, without_empty
from mappings.fhir_transaction import Draft
from mappings.hl7v2_conversion import Conversion
from mappings.hl7v2_datatypes import timestamp
from mappings.hl7v2_elements import coded_concept, date_time
from mappings.hl7v2_groups import Located
from mappings.hl7v2_identity import derived, identifier_element
from mappings.hl7v2_to_patient import Writing, WrittenPatient
from mappings.order import Identifier

_PARTICIPANTS = ((7, "ATND", "attender"), (8, "REF", "referrer"), (9, "CON", "consultant"), (17, "ADM", "admitter"))
_HOSPITALIZATION = frozenset({5, 13, 14, 36})
_LOCATION_PARTS = (1, 2, 3, 4, 7, 8)  # PL: point of care, room, bed, facility, building, floor
_UNKNOWN_CLASS = Code("UNK", code_system.NULL_FLAVOR, "unknown")


@dataclass(frozen=True, slots=True)
class Visit:
    """The segments of a visit."""

    pv1: Located
    pv2: Located | None = None


def add_encounter(
    conversion: Conversion, visit: Visit, patient: WrittenPatient, writing: Writing, event: str = ""
) -> str:
    """The reference to the visit; empty where nothing tells it from the patient's other visits."""
    identifiers = visit_identifiers(conversion, visit.pv1, patient)
    if not identifiers:
        conversion.trace.note(
            "Encounter", f"{visit.pv1.where(19)}: no visit number, admit time or account: not written"
        )
        return ""
    draft = encounter_draft(conversion, visit, patient, event)
    draft.put("identifier", [identifier_element(identifier) for identifier in identifiers], visit.pv1.where(19))
    write = conversion.transaction.replaced if writing == "replaced" else conversion.transaction.ensured
    return write(draft, identifiers[:1])


def visit_identifiers(conversion: Conversion, pv1: Located, patient: WrittenPatient) -> list[Identifier]:
    """PV1-19, then PV1-50; else the patient's visit that began at PV1-44; else the patient's account (PID-18)."""
    numbers = [*conversion.composite(pv1, 19, "visit", "VN"), *conversion.composite(pv1, 50, "visit")]
    if numbers:
        return list({(number.system, number.value): number for number in numbers}.values())
    admitted = pv1.text(44)
    if admitted:
        return [derived("visit", patient.identifier.system, patient.identifier.value, admitted)]
    return [patient.account] if patient.account else []


def encounter_draft(conversion: Conversion, visit: Visit, patient: WrittenPatient, event: str) -> Draft:
    """The Encounter without its identifiers."""
    pv1, draft = visit.pv1, Draft("Encounter", conversion.trace)
    draft.put("status", *_status(pv1, event))
    draft.put("class", *_class(pv1))
    authorities = conversion.policy.authorities
    draft.put("subject", {"reference": patient.reference})
    filled = pv1.filled
    if 4 in filled:
        admission_type = coded_concept(pv1, 4, authorities)
        draft.take("type", pv1, 4, [admission_type] if admission_type else [])
    if 10 in filled:
        draft.take("serviceType", pv1, 10, coded_concept(pv1, 10, authorities))
    draft.take("participant", pv1, 7, _participants(conversion, pv1))
    if event == "A13":
        draft.removed.add("period.end")
    if 44 in filled or 45 in filled:
        draft.take("period", pv1, 44 if pv1.text(44) else 45, _period(conversion, pv1, event))
    if not filled.isdisjoint(_HOSPITALIZATION):
        draft.take("hospitalization", pv1, 14, _hospitalization(conversion, pv1))
    if 3 in filled or 6 in filled:
        draft.take("location", pv1, 3, _locations(pv1))
    if visit.pv2:
        reason = coded_concept(visit.pv2, 3, authorities)
        draft.take("reasonCode", visit.pv2, 3, [reason] if reason else [])
        draft.take("priority", visit.pv2, 25, coded_concept(visit.pv2, 25, authorities))
    return draft


def _period(conversion: Conversion, pv1: Located, event: str) -> Json:
    """PV1-44 to PV1-45; a cancelled discharge has no end, and an end before the start is none (R4 per-1)."""
    start, end = date_time(pv1.text(44), conversion.zone), date_time(pv1.text(45), conversion.zone)
    first, last = timestamp(pv1.text(44), conversion.zone), timestamp(pv1.text(45), conversion.zone)
    if event == "A13":
        end = ""
    elif first and last and last < first:
        conversion.trace.note("Encounter.period", f"{pv1.where(45)}: before {pv1.where(44)}: left out")
        end = ""
    return without_empty((("start", start), ("end", end)))


def _status(pv1: Located, event: str) -> tuple[str, str]:
    """What the event decides (encounter_status.csv), else finished where there is a discharge time, else by PV1-2."""
    table = load("encounter_status")
    if decided := table.target(event, code_system.EVENT_TYPE):
        return decided.code, f"MSH^1^9: event {event}"
    if pv1.text(45):
        return "finished", f"{pv1.where(45)}: there is a discharge time"
    by_class = table.target(pv1.text(2).upper(), code_system.PATIENT_CLASS)
    if by_class:
        return by_class.code, f"{pv1.where(2)}: encounter_status.csv"
    return "unknown", f"{pv1.where(2)}: not in table 0004"


def _class(pv1: Located) -> tuple[Json, str]:
    found = load("encounter_classes").target(pv1.text(2).upper(), code_system.PATIENT_CLASS)
    rule = "encounter_classes.csv" if found else "not in table 0004: unknown"
    return coding(found or _UNKNOWN_CLASS), f"{pv1.where(2)}: {rule}"


def _participants(conversion: Conversion, pv1: Located) -> list[Json]:
    found = []
    for position, code, display in _PARTICIPANTS:
        if position not in pv1.filled:
            continue
        role = {"coding": [coding(Code(code, code_system.PARTICIPATION, display))]}
        for individual in conversion.practitioners(pv1, position):
            found.append({"type": [role], "individual": individual})
    return found


def _locations(pv1: Located) -> list[Json]:
    """PV1-3 and PV1-6 in words: a place of the hospital's that we do not keep a Location of."""
    active = "planned" if pv1.text(2).upper() == "P" else "active"
    found = []
    for position, status in ((3, active), (6, "completed")):
        if position not in pv1.filled:
            continue
        parts = pv1.texts(position, 8)
        words = ", ".join([parts[component - 1] for component in _LOCATION_PARTS if parts[component - 1]])
        if words:
            found.append({"location": {"display": words}, "status": status})
    return found


def _hospitalization(conversion: Conversion, pv1: Located) -> Json:
    """PV1-5, PV1-13, PV1-14, PV1-36."""
    authorities = conversion.policy.authorities
    preadmit = conversion.composite(pv1, 5, "visit")[:1]
    return without_empty(
        (
            ("preAdmissionIdentifier", identifier_element(preadmit[0]) if preadmit else {}),
            ("admitSource", coded_concept(pv1, 14, authorities)),
            ("reAdmission", coded_concept(pv1, 13, authorities)),
            ("dischargeDisposition", coded_concept(pv1, 36, authorities)),
        )
    )
