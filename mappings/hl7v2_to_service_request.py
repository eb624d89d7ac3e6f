"""An order group as ServiceRequest, and what hangs on it (v2-to-FHIR guide, segment maps ORC, OBR, TQ1; IPC and ZDS are ours).

What it does to the order on the server is decided by ORC-1 (order_control_write.csv): a new order is created unless it is there, a
change replaces it, and a mere event replaces it where the message brings the whole order, else only its status.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from mappings import code_system
from mappings.code import Code
from mappings.code_table import load
from mappings.fhir_elements import Json, coding, concept, own_code
from mappings.fhir_transaction import Draft
from mappings.hl7v2_conversion import Conversion
from mappings.hl7v2_elements import coded_concept, date_time, free_text, repetitions
from mappings.hl7v2_groups import Located, OrderGroup
from mappings.hl7v2_identity import identifier_element
from mappings.hl7v2_order import modality_of, priority_of
from mappings.hl7v2_order_control import code_of
from mappings.hl7v2_order_identity import Numbers
from mappings.hl7v2_order_keys import SenderPolicy
from mappings.hl7v2_to_clinical import add_condition, add_observation, notes_of
from mappings.hl7v2_to_imaging_study import add_study
from mappings.hl7v2_to_patient import Writing, WrittenPatient
from mappings.order import Identifier
from mappings.refusal import MappingRefused
from mappings.trace import Trace

_STATUS_REASON = "http://hl7.org/fhir/StructureDefinition/request-statusReason"
_IMAGING = concept(Code("363679005", code_system.SNOMED_CT, "Imaging"))
_CLINICAL_INFORMATION = concept(Code("55752-0", code_system.LOINC, "Clinical information"))
_PROCEDURE, _STEP = "requested-procedure-id", "scheduled-procedure-step-id"
_KINDS = {kind: concept(own_code(kind)) for kind in (_PROCEDURE, _STEP)}
_KIND_SOURCES = (("IPC", 2, _PROCEDURE), ("OBR", 19, _PROCEDURE), ("IPC", 4, _STEP), ("OBR", 20, _STEP))
_OCCURRENCE = (("TQ1", 7, 1), ("ORC", 7, 4), ("OBR", 27, 4), ("OBR", 36, 1), ("OBR", 6, 1))
_ENDED = frozenset({"revoked", "entered-in-error"})
REPLACED = frozenset({"RP", "RQ", "RU"})
"""The codes of ORC-1 that say: this order is replaced by the RO that follows."""


@dataclass(frozen=True, slots=True)
class OrderSurroundings:
    """What an order group hangs on: its patient, its visit (a reference, or a contained Encounter), and the orders it replaces."""

    patient: WrittenPatient
    encounter: str = ""
    contained_visit: Json | None = None
    replaces: tuple[Json, ...] = ()


def add_order(
    conversion: Conversion, number: int, group: OrderGroup, numbers: Numbers, around: OrderSurroundings
) -> Json:
    """The order, and what stands in its group; the reference to it, or nothing where nothing is written. Raises MappingRefused `order.control-unknown`, `-missing`."""
    control, write = _control(group, conversion.policy)
    draft = Draft("ServiceRequest", conversion.trace).numbered(number)
    status = _status(draft, group, control, write)
    if write == "state" and group.obr is None:
        if "status" not in draft.elements:
            conversion.trace.note(f"ServiceRequest[{number}]", "neither status nor OBR: nothing is written")
            return {}
        conversion.trace.note(f"ServiceRequest[{number}]", "no OBR: only the status is written")
        draft.put("identifier", _identifiers(conversion, group, numbers))
        return conversion.transaction.patched(draft, numbers.identity, "status")
    _request(draft, conversion, group, numbers, around)
    writing: Writing = "ensured" if write == "create" else "replaced"
    if write == "create" and group.orc:
        draft.take("authoredOn", group.orc, 9, date_time(group.orc.text(9), conversion.zone))
    _attach(draft, conversion, group, numbers.identity[0], around, writing)
    send = conversion.transaction.replaced if writing == "replaced" else conversion.transaction.ensured
    reference = send(draft, numbers.identity)
    if numbers.study_instance_uid and status not in _ENDED:
        modalities = _modalities(group, None, conversion)
        add_study(conversion, numbers, modalities, around.patient, around.encounter, reference)
    return {"reference": reference}


def _control(group: OrderGroup, policy: SenderPolicy) -> tuple[str, str]:
    """ORC-1, and what it writes; a group without ORC is a new order, where the sender may leave it out."""
    if group.orc is None:
        if policy.orders_without_orc == "refuse":
            raise MappingRefused(
                "order.orc-missing", group.obr.where(0) if group.obr else "ORC^1", "an order needs ORC"
            )
        return "NW", "create"
    code = code_of(group)
    if not code:
        raise MappingRefused("order.control-missing", group.orc.where(1), "ORC-1 is required")
    row = load("order_control_write").target(code, code_system.ORDER_CONTROL)
    if row is None:
        raise MappingRefused("order.control-unknown", group.orc.where(1), "not a code of table 0119")
    return code, row.code


def _status(draft: Draft, group: OrderGroup, control: str, write: str) -> str:
    """An event (cancel, hold, release, replace) by ORC-1; all else by ORC-5 where table 0038 has it, else by ORC-1, else unknown."""
    by_control = load("order_control_status").target(control, code_system.ORDER_CONTROL)
    state = group.orc.text(5).upper() if group.orc else ""
    by_state = load("order_status_request").target(state, code_system.ORDER_STATUS) if state else None
    if group.orc is None:
        draft.put("status", "active", "no ORC: a new order")
    elif by_control and write == "state":
        draft.put("status", by_control.code, f"{group.orc.where(1)}: order_control_status.csv, an event")
    elif by_state:
        draft.put("status", by_state.code, f"{group.orc.where(5)}: order_status_request.csv")
    elif by_control and write == "create":
        draft.put("status", by_control.code, f"{group.orc.where(1)}: order_control_status.csv, no status in ORC-5")
    else:
        rule = "order_control_status.csv, no status in ORC-5" if by_control else "no status in ORC-1 or ORC-5"
        draft.assume("status", by_control.code if by_control else "unknown", f"{group.orc.where(1)}: {rule}")
    return str(draft.elements.get("status") or draft.assumed["status"])


def _request(
    draft: Draft, conversion: Conversion, group: OrderGroup, numbers: Numbers, around: OrderSurroundings
) -> None:
    draft.put("identifier", _identifiers(conversion, group, numbers))
    draft.put("intent", "order", "an order message")
    draft.put("subject", {"reference": around.patient.reference})
    if group.orc:
        _of_orc(draft, conversion, group.orc)
    stated = Trace()
    priority = priority_of(group, stated)
    for _, source in stated.lines():
        draft.put("priority", priority.value, source)
    draft.put("replaces", list(around.replaces), "the orders before it, which are replaced")
    _requester(draft, conversion, group)
    _occurrence(draft, conversion, group)
    if group.obr:
        _of_obr(draft, conversion, group.obr)
    _details(draft, conversion, group)


def _of_orc(draft: Draft, conversion: Conversion, orc: Located) -> None:
    """ORC-4, ORC-8, ORC-16."""
    filled = orc.filled
    if 4 in filled:
        requisition = conversion.entity(orc, 4, "group")
        draft.take("requisition", orc, 4, identifier_element(requisition) if requisition else {})
    if 8 in filled:
        draft.put("basedOn", _parents(conversion, orc, 8))
    if 16 in filled:
        reason = coded_concept(orc, 16, conversion.policy.authorities)
        draft.take("extension", orc, 16, [{"url": _STATUS_REASON, "valueCodeableConcept": reason}] if reason else [])


def _of_obr(draft: Draft, conversion: Conversion, obr: Located) -> None:
    """OBR-4, OBR-31, OBR-15."""
    authorities = conversion.policy.authorities
    draft.take("code", obr, 4, coded_concept(obr, 4, authorities))
    if 31 in obr.filled:
        reasons = [coded_concept(obr, 31, authorities, number) for number in repetitions(obr, 31)]
        draft.take("reasonCode", obr, 31, [reason for reason in reasons if reason])
    if 15 in obr.filled:
        site = obr.text(15, 4, 2) or obr.text(15, 4)
        draft.take("bodySite", obr, 15, [{"text": site}] if site else [])


def _identifiers(conversion: Conversion, group: OrderGroup, numbers: Numbers) -> list[Json]:
    """Placer, filler and accession number, requested procedure and scheduled procedure step, and our own where those are shared."""
    found = [
        identifier_element(number)
        for number in (numbers.placer, numbers.filler, numbers.accession, numbers.part)
        if number
    ]
    sources = conversion.policy.accession_sources
    for name, position, kind in _KIND_SOURCES:
        for segment in group.named(name):
            if position not in segment.filled:
                continue
            number = conversion.entity(segment, position, kind)
            if number and f"{name}-{position}" not in sources:
                element = {"type": _KINDS[kind], **identifier_element(number)}
                if element not in found:
                    found.append(element)
                    conversion.trace.note("ServiceRequest.identifier", f"{segment.where(position)}: {kind}")
    return found


def _parents(conversion: Conversion, orc: Located, position: int) -> list[Json]:
    """ORC-8, an EIP: the parent's placer number, else its filler number."""
    for component, kind, code in ((1, "placer", "PLAC"), (2, "filler", "FILL")):
        value = orc.text(position, component)
        if value:
            namespace, universal = orc.text(position, component, 2), orc.text(position, component, 3)
            parent = conversion.resolved(value, kind, code, namespace, universal)
            conversion.trace.note("ServiceRequest.basedOn", orc.where(position))
            return [{"type": "ServiceRequest", "identifier": identifier_element(parent)}]
    return []


def _requester(draft: Draft, conversion: Conversion, group: OrderGroup) -> None:
    """ORC-12, else OBR-16; R4 has room for one."""
    for segment, position in ((group.orc, 12), (group.obr, 16)):
        if segment and position in segment.filled and (people := conversion.practitioners(segment, position)):
            draft.take("requester", segment, position, people[0])
            return


def _occurrence(draft: Draft, conversion: Conversion, group: OrderGroup) -> None:
    """TQ1-7, else ORC-7.4, else OBR-27.4, else OBR-36, else OBR-6."""
    for name, position, component in _OCCURRENCE:
        for segment in group.named(name):
            written = segment.text(position, component)
            if written and (moment := date_time(written, conversion.zone)):
                draft.take("occurrenceDateTime", segment, position, moment)
                return


def _details(draft: Draft, conversion: Conversion, group: OrderGroup) -> None:
    """The modality (IPC-5, else OBR-24), the protocol (IPC-6), OBR-46 and OBR-47; R4 wants a code beside orderDetail (prr-1)."""
    authorities = conversion.policy.authorities
    codes = _modalities(group, draft, conversion)
    details = [{"coding": [coding(code)]} for code in codes]
    for name, position in (("IPC", 6), ("OBR", 46), ("OBR", 47)):
        for segment in group.named(name):
            if position not in segment.filled:
                continue
            details += [
                detail
                for number in repetitions(segment, position)
                if (detail := coded_concept(segment, position, authorities, number))
            ]
    if "code" in draft.elements:
        draft.put("orderDetail", details)
    if codes or group.named("IPC"):
        draft.put("category", [_IMAGING], "it names a modality, or is an OMI")


def _modalities(group: OrderGroup, draft: Draft | None, conversion: Conversion) -> list[Code]:
    trace, table = Trace(), load("modalities")
    names = [modality_of(group, trace), *(segment.text(5).upper() for segment in group.named("IPC"))]
    for _, source in trace.lines() if draft else ():
        conversion.trace.note("ServiceRequest.orderDetail", source)
    found = [table.target(name, code_system.DCM) for name in dict.fromkeys(names) if name]
    return list(dict.fromkeys([code for code in found if code]))


def _attach(
    draft: Draft,
    conversion: Conversion,
    group: OrderGroup,
    order: Identifier,
    around: OrderSurroundings,
    writing: Writing,
) -> None:
    """Visit, diagnoses, observations, clinical information and notes. An NTE after an OBX is the observation's."""
    contained: list[Json] = []
    if around.encounter:
        draft.put("encounter", {"reference": around.encounter})
    elif around.contained_visit:
        contained.append({"id": "visit", **around.contained_visit})
        draft.put("encounter", {"reference": "#visit"}, "a visit without a number: contained")
    reasons, information, notes = [], [], []
    details = group.details
    for index, segment in enumerate(details):
        if segment.name == "DG1":
            reasons.append(add_condition(conversion, segment, around.patient, order, around.encounter, writing))
        elif segment.name == "OBX" and segment.text(3) != "110180":  # the Study Instance UID
            remarks = notes_of(_notes_after(details, index))
            information.append(add_observation(conversion, segment, around.patient, order, remarks, writing))
        elif segment.name == "NTE" and not _is_remark(details, index):
            notes.append(segment)
    draft.put("reasonReference", [{"reference": reason} for reason in reasons if reason], "DG1")
    found = [{"reference": reference} for reference in information if reference]
    if group.obr and (words := free_text(group.obr, 13)):
        contained.append(_clinical_information(words, around.patient))
        found.append({"reference": "#clinical-information"})
        conversion.trace.note("ServiceRequest.supportingInfo", f"{group.obr.where(13)}: contained Observation")
    draft.put("supportingInfo", found)
    draft.put("contained", contained)
    draft.put("note", notes_of(notes), notes[0].where(3) if notes else "")


def _notes_after(details: Sequence[Located], index: int) -> list[Located]:
    found = []
    for segment in details[index + 1 :]:
        if segment.name != "NTE":
            break
        found.append(segment)
    return found


def _is_remark(details: Sequence[Located], index: int) -> bool:
    """Whether an OBX is the last segment before this run of NTE."""
    before = next((segment.name for segment in reversed(details[:index]) if segment.name != "NTE"), "")
    return before == "OBX"


def _clinical_information(words: str, patient: WrittenPatient) -> Json:
    return {
        "resourceType": "Observation",
        "id": "clinical-information",
        "status": "unknown",
        "code": _CLINICAL_INFORMATION,
        "subject": {"reference": patient.reference},
        "valueString": words,
    }
