"""PID as Patient, PID-18 as Account (v2-to-FHIR guide, segment map PID[Patient])."""

from dataclasses import dataclass
from typing import Literal

from mappings import code_system
from mappings.code_table import load
from mappings.fhir_elements import Json
from mappings.fhir_transaction import Draft
from mappings.hl7v2_conversion import Conversion
from mappings.hl7v2_elements import (
    addresses,
    calendar_date,
    coded_concept,
    contact_points,
    date_time,
    human_names,
    repetitions,
)
from mappings.hl7v2_groups import Located
from mappings.hl7v2_identity import identifier_element
from mappings.hl7v2_pid import ranked_by
from mappings.order import Identifier
from mappings.refusal import MappingRefused

_BIRTH_TIME = "http://hl7.org/fhir/StructureDefinition/patient-birthTime"
_BOOLEANS = {"Y": True, "N": False}  # table 0136
_TELECOM = {13: "home", 14: "work", 40: ""}  # the use where the XTN names none
_FURTHER = frozenset({2, 4, 19, 20})  # where PID has more of the patient's numbers
Writing = Literal["ensured", "replaced"]


@dataclass(frozen=True, slots=True)
class WrittenPatient:
    """A patient of the transaction: the reference to it, the identifier that it is found by, and the account (PID-18)."""

    reference: str
    identifier: Identifier
    account: Identifier | None = None


def add_patient(conversion: Conversion, segment: Located, writing: Writing, link: Json | None = None) -> WrittenPatient:
    """The patient of a PID. Raises MappingRefused `order.patient-identifier-missing`, `order.key-deleted`."""
    draft, identifiers = patient_draft(conversion, segment)
    if link:
        draft.put("link", [link], "by the event")
    write = conversion.transaction.replaced if writing == "replaced" else conversion.transaction.ensured
    account = next(iter(conversion.composite(segment, 18, "account", "AN")), None)
    written = WrittenPatient(write(draft, identifiers[:1]), identifiers[0], account)
    _add_account(conversion, segment, written)
    return written


def patient_draft(conversion: Conversion, segment: Located) -> tuple[Draft, list[Identifier]]:
    """The Patient, and its identifiers with the patient's own first."""
    draft = Draft("Patient", conversion.trace).numbered(segment.sequence)
    identifiers, position = _identifiers(conversion, segment)
    draft.take("identifier", segment, position, [identifier_element(identifier) for identifier in identifiers])
    _demographics(draft, conversion, segment)
    _contacts(draft, conversion, segment)
    return draft, identifiers


def patient_identifiers(
    conversion: Conversion, segment: Located, positions: tuple[int, ...]
) -> tuple[list[Identifier], int]:
    """The identifiers of the first of these CX fields that has any, the patient's own first; and which field that is."""
    for position in positions:
        if position not in segment.filled:
            continue
        for number in repetitions(segment, position):
            segment.key(position, repetition=number)
        if found := conversion.composite(segment, position, "patient"):
            return list(ranked_by(found, conversion.policy)), position
    return [], 0


def _identifiers(conversion: Conversion, segment: Located) -> tuple[list[Identifier], int]:
    """PID-3, then what PID-2, PID-4, PID-19 and PID-20 add; PID-2 or PID-4 lead only where PID-3 is empty."""
    found, leading = patient_identifiers(conversion, segment, (3, 2, 4))
    if not found:
        raise MappingRefused("order.patient-identifier-missing", segment.where(3), "a patient needs an identifier")
    if len(found) == 1 and segment.filled.isdisjoint(_FURTHER):
        return found, leading
    further = [*conversion.composite(segment, 2, "patient"), *conversion.composite(segment, 4, "patient")]
    if social := segment.text(19):
        further.append(conversion.resolved(social, "patient", "SS", "SSN"))
    if licence := segment.text(20):
        further.append(conversion.resolved(licence, "licence", "DL", segment.text(20, 2)))
    known = {(identifier.system, identifier.value) for identifier in found}
    found += [identifier for identifier in further if (identifier.system, identifier.value) not in known]
    return list({(identifier.system, identifier.value): identifier for identifier in found}.values()), leading


def _demographics(draft: Draft, conversion: Conversion, segment: Located) -> None:
    filled = segment.filled
    if 5 in filled or 9 in filled:
        draft.take("name", segment, 5, [*human_names(segment, 5), *human_names(segment, 9)])
    if 7 in filled:
        _birth(draft, conversion, segment)
    sex = segment.text(8).upper()
    gender = load("administrative_sex").target(sex, code_system.ADMINISTRATIVE_SEX)
    rule = "administrative_sex.csv" if gender else "not in table 0001: left out" if sex else ""
    draft.take("gender", segment, 8, gender.code if gender else "", rule)
    dead = date_time(segment.text(29), conversion.zone) if 29 in filled else ""
    if 29 in filled:
        draft.take("deceasedDateTime", segment, 29, dead)
    if 30 in filled and not dead:
        draft.take("deceasedBoolean", segment, 30, _BOOLEANS.get(segment.text(30).upper()))
    if 16 in filled:
        draft.take("maritalStatus", segment, 16, _marital_status(conversion, segment))
    order = segment.text(25)
    if order.isdigit() and int(order) > 0:
        draft.take("multipleBirthInteger", segment, 25, int(order))
    elif 24 in filled:
        draft.take("multipleBirthBoolean", segment, 24, _BOOLEANS.get(segment.text(24).upper()))


def _birth(draft: Draft, conversion: Conversion, segment: Located) -> None:
    """PID-7: the day, and the time beside it where it has one."""
    born = segment.text(7)
    date = calendar_date(born)
    draft.take("birthDate", segment, 7, date, "" if date or not born else "no date: left out")
    if date and len(born) > len("YYYYMMDD") and "T" in (moment := date_time(born, conversion.zone)):
        draft.put("_birthDate", {"extension": [{"url": _BIRTH_TIME, "valueDateTime": moment}]})


def _contacts(draft: Draft, conversion: Conversion, segment: Located) -> None:
    filled = segment.filled
    if not filled.isdisjoint(_TELECOM):
        telecom = [point for position, use in _TELECOM.items() for point in contact_points(segment, position, use)]
        draft.take("telecom", segment, 13, telecom)
    if 11 in filled:
        draft.take("address", segment, 11, list(addresses(segment, 11)))
    if 15 in filled:
        language = coded_concept(segment, 15, conversion.policy.authorities)
        draft.take("communication", segment, 15, [{"language": language}] if language else [])


def _marital_status(conversion: Conversion, segment: Located) -> Json:
    """By marital_status.csv, with the sender's words; a code that is not in table 0002 stays as text."""
    code = segment.text(16)
    target = load("marital_status").target(code.upper(), code_system.MARITAL_STATUS)
    stated = coded_concept(segment, 16, conversion.policy.authorities)
    if target is None:
        return {"text": segment.text(16, 2) or code} if stated else {}
    coding = {"system": target.system, "code": target.code, "display": target.display}
    return {"coding": [coding], **({"text": segment.text(16, 2)} if segment.text(16, 2) else {})}


def _add_account(conversion: Conversion, segment: Located, patient: WrittenPatient) -> None:
    """PID-18, created once; its state is the billing system's affair."""
    if patient.account:
        draft = Draft("Account", conversion.trace)
        draft.take("identifier", segment, 18, [identifier_element(patient.account)])
        draft.put("status", "unknown", "HL7 v2 says nothing of it")
        draft.put("subject", [{"reference": patient.reference}])
        conversion.transaction.ensured(draft, [patient.account])
