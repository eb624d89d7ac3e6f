"""ADT events about two records: merges, links, moves and changed identifiers (HL7 v2.5.1 §3.3, §3.6.2; MRG §3.4.9).

The v2-to-FHIR guide maps MRG to Account only. Ours: of a merged patient the record stays, inactive and `replaced-by` the surviving
one (R4 §8.1.4); links are `seealso`; what is moved gets its new patient.
"""

from collections.abc import Callable, Iterator, Mapping

from mappings.fhir_elements import Json
from mappings.fhir_transaction import Draft, full_url
from mappings.hl7v2_conversion import Conversion
from mappings.hl7v2_elements import human_names
from mappings.hl7v2_groups import Located
from mappings.hl7v2_identity import identifier_element
from mappings.hl7v2_to_encounter import Visit, encounter_draft, visit_identifiers
from mappings.hl7v2_to_patient import WrittenPatient, add_patient, patient_draft, patient_identifiers
from mappings.order import Identifier
from mappings.refusal import MappingRefused


def add_merge(conversion: Conversion) -> None:
    """A40, and what older senders write for it: each MRG's patient is replaced by that of the PID before it.

    A message may hold several merges, into one patient or in a chain.
    """
    transaction = conversion.transaction
    for pid, mrg in _pairs(conversion):
        survivor, identifiers = patient_draft(conversion, pid)
        stays, gone = identifiers[0], _prior(conversion, mrg)
        if (stays.system, stays.value) == (gone.system, gone.value):
            raise MappingRefused("bundle.merge-with-itself", mrg.where(1), "the merged patient is the surviving one")
        replaces = _link(conversion, gone, "replaces")
        survivor.put("link", [replaces], mrg.where(1))
        if not transaction.amend("Patient", stays, {"link": replaces}):
            transaction.replaced(survivor, [stays])
        replaced_by = _link(conversion, stays, "replaced-by")
        if not transaction.amend("Patient", gone, {"link": replaced_by}, active=False):
            transaction.replaced(_retired(conversion, mrg, gone, replaced_by), [gone])


def _retired(conversion: Conversion, mrg: Located, gone: Identifier, replaced_by: Json) -> Draft:
    draft = Draft("Patient", conversion.trace)
    draft.put("identifier", [identifier_element(gone)], mrg.where(1))
    draft.put("active", False, "merged")
    draft.put("name", list(human_names(mrg, 7)), mrg.where(7))
    draft.put("link", [replaced_by], mrg.where(1))
    return draft


def _link(conversion: Conversion, other: Identifier, kind: str) -> Json:
    reference = conversion.transaction.present("Patient", [other]) or full_url("Patient", other)
    return {"other": {"reference": reference}, "type": kind}


def add_link(conversion: Conversion) -> None:
    """A24: two patients point at each other."""
    _link_both(conversion, linked=True)


def add_unlink(conversion: Conversion) -> None:
    """A37: the link goes; other links stay where `known` tells of them."""
    _link_both(conversion, linked=False)


def _link_both(conversion: Conversion, *, linked: bool) -> None:
    pids = [segment for segment in conversion.segments if segment.name == "PID"]
    if len(pids) != 2:
        raise MappingRefused("patient.linked-patient-missing", "PID^2^3", "the event is about two patients")
    drafts = [patient_draft(conversion, pid) for pid in pids]
    for (draft, identifiers), (_, others) in zip(drafts, reversed(drafts), strict=True):
        link = _link(conversion, others[0], "seealso")
        if linked:
            draft.put("link", [link], "MSH^1^9: event A24")
        else:
            draft.unlink(link)
        conversion.transaction.replaced(draft, identifiers[:1])


def add_changed_identifier(conversion: Conversion) -> None:
    """A47, A46: the record keeps its old identifier, marked as such, and is found by it; PID-3 is its new one."""
    for pid, mrg in _pairs(conversion):
        draft, _ = patient_draft(conversion, pid)
        before = _prior(conversion, mrg)
        kept = [item for item in draft.elements["identifier"] if item["value"] != before.value]
        draft.put("identifier", [*kept, {"use": "old", **identifier_element(before)}], mrg.where(1))
        conversion.transaction.replaced(draft, [before])


def add_account_merge(conversion: Conversion) -> None:
    """A41, A35, A49: the account in MRG-3 is closed; that in PID-18 stays."""
    for pid, mrg in _pairs(conversion):
        patient = add_patient(conversion, pid, "ensured")
        _account(conversion, mrg, 3, patient, "inactive")


def add_account_move(conversion: Conversion) -> None:
    """A44: the account in MRG-3 (else PID-18) is the patient's in PID-3."""
    for pid, mrg in _pairs(conversion):
        patient = _patient_alone(conversion, pid)
        moved = (mrg, 3) if mrg.text(3) else (pid, 18)
        _account(conversion, *moved, patient, "unknown")


def add_visit_merge(conversion: Conversion) -> None:
    """A42, A50: the visit in MRG-5 was recorded in error; that in PV1-19 stays."""
    for pid, mrg, pv1 in _visits(conversion):
        patient = add_patient(conversion, pid, "ensured")
        stays = encounter_draft(conversion, Visit(pv1), patient, "A42")
        numbers = visit_identifiers(conversion, pv1, patient)
        if numbers:
            stays.put("identifier", [identifier_element(number) for number in numbers], pv1.where(19))
            conversion.transaction.replaced(stays, numbers[:1])
        _visit(
            conversion, (mrg, 5), patient, encounter_draft(conversion, Visit(pv1), patient, "A42"), "entered-in-error"
        )


def add_visit_move(conversion: Conversion) -> None:
    """A45: the visit in MRG-5 (else PV1-19) is the patient's in PID-3."""
    for pid, mrg, pv1 in _visits(conversion):
        patient = add_patient(conversion, pid, "ensured")
        draft = encounter_draft(conversion, Visit(pv1), patient, "A45")
        _visit(conversion, (mrg, 5) if mrg.text(5) else (pv1, 19), patient, draft, "")


MERGES: Mapping[str, Callable[[Conversion], None]] = {
    **dict.fromkeys(("A18", "A30", "A34", "A36", "A39", "A40"), add_merge),
    "A24": add_link,
    "A37": add_unlink,
    **dict.fromkeys(("A35", "A41", "A49"), add_account_merge),
    **dict.fromkeys(("A42", "A50"), add_visit_merge),
    "A44": add_account_move,
    "A45": add_visit_move,
    **dict.fromkeys(("A46", "A47"), add_changed_identifier),
}
"""The events that this module maps. A43 is not among them: it moves single identifiers between patients, and which of the server's
resources go with them only a person can say."""


def _pairs(conversion: Conversion) -> Iterator[tuple[Located, Located]]:
    """Each MRG with the PID before it."""
    pid, found = None, False
    for segment in conversion.segments:
        if segment.name == "PID":
            pid = segment
        elif segment.name == "MRG":
            if pid is None:
                raise MappingRefused("order.patient-identifier-missing", "PID^1^3", "MRG without a PID before it")
            found = True
            yield pid, segment
    if not found:
        raise MappingRefused("patient.prior-identifier-missing", "MRG^1^1", "the event needs an MRG segment")


def _visits(conversion: Conversion) -> Iterator[tuple[Located, Located, Located]]:
    pv1s = [segment for segment in conversion.segments if segment.name == "PV1"]
    if not pv1s:
        raise MappingRefused("bundle.visit-missing", "PV1^1", "the event is about a visit")
    for number, (pid, mrg) in enumerate(_pairs(conversion)):
        yield pid, mrg, pv1s[min(number, len(pv1s) - 1)]


def _prior(conversion: Conversion, mrg: Located) -> Identifier:
    """MRG-1; of older senders MRG-4, then MRG-2."""
    found, _ = patient_identifiers(conversion, mrg, (1, 4, 2))
    if not found:
        raise MappingRefused("patient.prior-identifier-missing", mrg.where(1), "the event names no prior patient")
    return found[0]


def _patient_alone(conversion: Conversion, pid: Located) -> WrittenPatient:
    draft, identifiers = patient_draft(conversion, pid)
    return WrittenPatient(conversion.transaction.ensured(draft, identifiers[:1]), identifiers[0])


def _account(conversion: Conversion, segment: Located, position: int, patient: WrittenPatient, status: str) -> None:
    numbers = conversion.composite(segment, position, "account", "AN")
    if not numbers:
        raise MappingRefused("bundle.account-missing", segment.where(position), "the event is about an account")
    draft = Draft("Account", conversion.trace)
    draft.put("identifier", [identifier_element(numbers[0])], segment.where(position))
    if status == "unknown":
        draft.assume("status", status, "HL7 v2 says nothing of it")
    else:
        draft.put("status", status, "merged into another account")
    draft.put("subject", [{"reference": patient.reference}])
    conversion.transaction.replaced(draft, numbers[:1])


def _visit(
    conversion: Conversion, place: tuple[Located, int], patient: WrittenPatient, draft: Draft, status: str
) -> None:
    segment, position = place
    numbers = conversion.composite(segment, position, "visit", "VN")
    if not numbers:
        raise MappingRefused("bundle.visit-missing", segment.where(position), "the event is about a visit")
    draft.put("identifier", [identifier_element(numbers[0])], segment.where(position))
    if status:
        draft.put("status", status, "merged into another visit")
    draft.put("subject", {"reference": patient.reference})
    conversion.transaction.replaced(draft, numbers[:1])
