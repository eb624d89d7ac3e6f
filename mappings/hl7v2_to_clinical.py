"""AL1 as AllergyIntolerance, DG1 as Condition, OBX of an order as Observation (v2-to-FHIR guide, their segment maps)."""

import re

from mappings import code_system
from mappings.code import Code
from mappings.code_table import load
from mappings.fhir_elements import Json, coding, concept
from mappings.fhir_transaction import Draft
from mappings.hl7v2_conversion import Conversion
from mappings.hl7v2_elements import coded_concept, date_time, free_text, label_of, repetitions
from mappings.hl7v2_groups import Located
from mappings.hl7v2_identity import derived, identifier_element
from mappings.hl7v2_to_patient import Writing, WrittenPatient
from mappings.order import Identifier

_ACTIVE = concept(Code("active", code_system.ALLERGY_CLINICAL))
_ENTERED_IN_ERROR = concept(Code("entered-in-error", code_system.CONDITION_VERIFICATION))
_ENCOUNTER_DIAGNOSIS = concept(Code("encounter-diagnosis", code_system.CONDITION_CATEGORY))
_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)")
_COMPARATORS = frozenset({"<", "<=", ">=", ">"})
_CODED = frozenset({"CE", "CWE", "CNE", "CF", "IS", "ID"})
_TIMES = frozenset({"TS", "DTM", "DT"})


def add_allergy(conversion: Conversion, segment: Located, patient: WrittenPatient, writing: Writing) -> None:
    """An AL1; without AL1-3 there is no allergy."""
    code = coded_concept(segment, 3, conversion.policy.authorities)
    if not code:
        conversion.trace.note("AllergyIntolerance", f"{segment.where(3)}: empty: left out")
        return
    draft = Draft("AllergyIntolerance", conversion.trace).numbered(segment.sequence)
    identity = derived("allergy", patient.identifier.system, patient.identifier.value, label_of(code))
    draft.put("identifier", [identifier_element(identity)])
    draft.put("clinicalStatus", _ACTIVE)
    kind, severity = segment.text(2).upper(), segment.text(4).upper()
    category = load("allergy_categories").target(kind, code_system.ALLERGEN_TYPE) if kind else None
    draft.take(
        "category", segment, 2, [category.code] if category else [], _table(kind, category, "allergy_categories")
    )
    criticality = load("allergy_criticality").target(severity, code_system.ALLERGY_SEVERITY) if severity else None
    rule = _table(severity, criticality, "allergy_criticality")
    draft.take("criticality", segment, 4, criticality.code if criticality else "", rule)
    draft.take("code", segment, 3, code)
    draft.put("patient", {"reference": patient.reference})
    draft.take("onsetDateTime", segment, 6, date_time(segment.text(6), conversion.zone))
    words = [segment.text(5, 2, repetition=n) or segment.text(5, repetition=n) for n in repetitions(segment, 5)]
    draft.take("reaction", segment, 5, [{"manifestation": [{"text": word}]} for word in words if word])
    write = conversion.transaction.replaced if writing == "replaced" else conversion.transaction.ensured
    write(draft, [identity])


def _table(code: str, target: Code | None, name: str) -> str:
    return "" if not code else f"{name}.csv" if target else f"no target in {name}.csv: left out"


def add_condition(
    conversion: Conversion, segment: Located, patient: WrittenPatient, of: Identifier, encounter: str, writing: Writing
) -> str:
    """A DG1 as the Condition of the order or visit `of`; the reference to it, or empty where DG1-3 and DG1-4 are."""
    code = coded_concept(segment, 3, conversion.policy.authorities)
    description = segment.text(4)
    if not code and not description:
        conversion.trace.note("Condition", f"{segment.where(3)}: empty: left out")
        return ""
    number = conversion.entity(segment, 20, "diagnosis")
    identity = number or derived("diagnosis", of.system, of.value, label_of(code) or description)
    draft = Draft("Condition", conversion.trace).numbered(segment.sequence)
    draft.put("identifier", [identifier_element(identity)])
    if segment.text(21).upper() == "D":
        draft.take("verificationStatus", segment, 21, _ENTERED_IN_ERROR, "the diagnosis is deleted")
    draft.put("category", [_ENCOUNTER_DIAGNOSIS])
    draft.take("code", segment, 3, {**code, **({"text": description} if description else {})})
    draft.put("subject", {"reference": patient.reference})
    draft.put("encounter", {"reference": encounter} if encounter else {})
    draft.take("recordedDate", segment, 5, date_time(segment.text(5), conversion.zone))
    asserters = conversion.practitioners(segment, 16)
    draft.take("asserter", segment, 16, asserters[0] if asserters else {})
    write = conversion.transaction.replaced if writing == "replaced" else conversion.transaction.ensured
    return write(draft, [identity])


def add_observation(
    conversion: Conversion,
    segment: Located,
    patient: WrittenPatient,
    of: Identifier,
    notes: list[Json],
    writing: Writing,
) -> str:
    """An OBX of the order `of`; the reference to it, or empty where OBX-3 is."""
    code = coded_concept(segment, 3, conversion.policy.authorities)
    if not code:
        conversion.trace.note("Observation", f"{segment.where(3)}: empty: left out")
        return ""
    number = conversion.entity(segment, 21, "observation", "FILL")
    identity = number or _unique(conversion, of, label_of(code), segment.text(4))
    draft = Draft("Observation", conversion.trace).numbered(segment.sequence)
    draft.put("identifier", [identifier_element(identity)])
    state = segment.text(11).upper()
    status = load("observation_status").target(state, code_system.RESULT_STATUS)
    rule = "observation_status.csv" if status else "empty, or not in table 0085"
    draft.put("status", status.code if status else "unknown", f"{segment.where(11)}: {rule}")
    draft.take("code", segment, 3, code)
    draft.put("subject", {"reference": patient.reference})
    draft.take("effectiveDateTime", segment, 14, date_time(segment.text(14), conversion.zone))
    element, value = _value(conversion, segment)
    draft.take(element, segment, 5, value)
    draft.take("interpretation", segment, 8, _interpretations(segment))
    limits = segment.text(7)
    draft.take("referenceRange", segment, 7, [{"text": limits}] if limits else [])
    draft.put("note", notes)
    write = conversion.transaction.replaced if writing == "replaced" else conversion.transaction.ensured
    return write(draft, [identity])


def _unique(conversion: Conversion, of: Identifier, label: str, sub_id: str) -> Identifier:
    """By order, code and OBX-4; of several alike, by their count, too."""
    count = 0
    while True:
        identity = derived("observation", of.system, of.value, label, sub_id, str(count) if count else "")
        if not conversion.transaction.has("Observation", [identity]):
            return identity
        count += 1


def _value(conversion: Conversion, segment: Located) -> tuple[str, object]:
    """OBX-5 by OBX-2. What a type cannot hold stands as text, so that nothing is lost."""
    kind = segment.text(2).upper()
    words = free_text(segment, 5)
    if kind == "NM" and _DECIMAL.fullmatch(words):
        return "valueQuantity", _quantity(conversion, segment, words)
    if kind == "SN" and _DECIMAL.fullmatch(segment.text(5, 2)) and not segment.text(5, 3):
        quantity = _quantity(conversion, segment, segment.text(5, 2))
        comparator = segment.text(5)
        if not comparator or comparator in _COMPARATORS:
            return "valueQuantity", quantity | ({"comparator": comparator} if comparator else {})
    if kind in _CODED and segment.repetitions(5) == 1:
        return "valueCodeableConcept", coded_concept(segment, 5, conversion.policy.authorities)
    if kind in _TIMES and (moment := date_time(words, conversion.zone)):
        return "valueDateTime", moment
    return "valueString", words


def _quantity(conversion: Conversion, segment: Located, words: str) -> Json:
    """OBX-5 and OBX-6; UCUM only where OBX-6 says so."""
    number = float(words)
    found: Json = {"value": int(number) if number.is_integer() and "." not in words else number}
    unit = coded_concept(segment, 6, conversion.policy.authorities)
    for stated in unit.get("coding", ())[:1]:
        found["unit"] = stated.get("display", stated["code"])
        if "system" in stated:
            found |= {"system": stated["system"], "code": stated["code"]}
    return found


def _interpretations(segment: Located) -> list[Json]:
    found: list[Json] = []
    for number in repetitions(segment, 8):
        flag = segment.text(8, repetition=number).upper()
        target = load("abnormal_flags").target(flag, code_system.ABNORMAL_FLAGS) if flag else None
        if target:
            found.append({"coding": [coding(target)]})
        elif flag:
            found.append({"text": flag})
    return found


def notes_of(segments: list[Located]) -> list[Json]:
    """NTE-3 of each segment, its repetitions as lines."""
    found: list[Json] = []
    for segment in segments:
        if text := free_text(segment, 3):
            found.append({"text": text})
    return found
