"""ORM^O01, OMG^O19 and OMI^O23 as Orders (HL7 v2.5.1 §4.4.1, §4.4.4, §4.4.6; IHE RAD TF-2 §4.4 for ZDS).

One Order per OBR, or per ORC that has none. Where we deviate from the v2-to-FHIR guide: docs/conformance/deviations.md.
"""

from collections.abc import Sequence

from mappings import code_system
from mappings.code import Code
from mappings.code_table import load
from mappings.hl7v2_datatypes import coded, entity_identifier
from mappings.hl7v2_groups import OrderGroup, groups_of
from mappings.hl7v2_message import MessageView
from mappings.hl7v2_order_control import code_of, control_of, parent_keys, with_replaced
from mappings.hl7v2_order_keys import (
    SenderPolicy,
    accession,
    order_number,
    procedure_number,
    study_instance_uid,
    with_parts,
)
from mappings.hl7v2_order_timing import Sent, event_time, priority_of, requested_at, scheduled_at, sent_of
from mappings.hl7v2_pid import identity_of, number_of
from mappings.order import EventTime, Identifier, Order, OrderControl, OrderKey, PatientIdentity, keys_of
from mappings.refusal import MappingRefused
from mappings.trace import Trace

__all__ = ["ORDER_EVENTS", "SenderPolicy", "modality_of", "orders_from", "priority_of"]

ORDER_EVENTS = frozenset({("ORM", "O01"), ("OMG", "O19"), ("OMI", "O23")})
"""The message types (MSH-9.1, MSH-9.2) that `orders_from` reads."""

_NEVER_REFUSED = frozenset(
    {
        OrderControl.NONE,
        OrderControl.PROGRESS,
        OrderControl.NUMBER,
        OrderControl.LINK,
        OrderControl.TROUBLE,
        OrderControl.CHANGE_CONFIRMED,
        OrderControl.HOLD_CONFIRMED,
    }
)
"""What only informs us: a sender need not mend such a message, whatever it lacks."""


def orders_from(message: MessageView, policy: SenderPolicy) -> tuple[Order, ...]:
    """The message's orders, in their order, one a group. The caller has checked its type against `ORDER_EVENTS`.

    What only informs us is never refused. Raises MappingRefused: `order.group-missing`, `order.orc-missing`, `order.control-missing`,
    `order.control-unknown`, `order.patient-identifier-missing`, `order.key-missing`, `order.key-deleted`, `order.study-uid-malformed`.
    """
    groups = groups_of(message)
    if not groups:
        raise MappingRefused("order.group-missing", "ORC^1", "the message has neither ORC nor OBR")
    sent = sent_of(message, policy)
    orders = [_order(group, policy, sent) for group in groups]
    return with_replaced(with_parts(orders, groups))


def _order(group: OrderGroup, policy: SenderPolicy, sent: Sent) -> Order:
    if group.orc is None and policy.orders_without_orc == "refuse":
        raise MappingRefused("order.orc-missing", "ORC^1", "this sender's orders must have an ORC")
    trace = Trace()
    control = control_of(group, trace)
    try:
        return _read(group, control, policy, sent, trace)
    except MappingRefused as refusal:
        if control not in _NEVER_REFUSED:
            raise
        trace.note("order", f"left out: {refusal.code} at {refusal.where}")
        kept = control if control is OrderControl.TROUBLE else OrderControl.NONE
        return Order(kept, PatientIdentity(), control_code=code_of(group), trace=trace.lines())


def _read(group: OrderGroup, control: OrderControl, policy: SenderPolicy, sent: Sent, trace: Trace) -> Order:
    requested = requested_at(group, sent, trace)
    patient = _patient(group, policy, sent, trace)
    placer = order_number(group, 2, "PLAC", policy, trace)
    filler = order_number(group, 3, "FILL", policy, trace)
    accession_number = accession(group, policy, trace)
    study_uid = study_instance_uid(group, trace, policy.study_uid_sources)
    return Order(
        control=control,
        patient=patient,
        placer=placer,
        filler=filler,
        accession=accession_number,
        study_instance_uid=study_uid,
        procedure=_procedure(group, policy, trace),
        modality=modality_of(group, trace),
        priority=priority_of(group, trace),
        reason=_reason(group, trace),
        requested_at=requested,
        account=number_of(group.patient, 18, policy),
        visit=number_of(group.visit, 19, policy),
        group=_group_number(group, policy, trace),
        requested_procedure_id=procedure_number(group, "requested_procedure_id", ("IPC-2", "OBR-19"), trace),
        scheduled_step_id=procedure_number(group, "scheduled_step_id", ("IPC-4", "OBR-20"), trace),
        station_ae_title=procedure_number(group, "station_ae_title", ("IPC-9",), trace),
        scheduled_at=scheduled_at(group, sent, trace),
        control_code=code_of(group),
        event=event_time(requested, sent, trace),
        related=parent_keys(group, policy.authorities, trace),
        trace=_with_keys(trace, keys_of(study_uid, accession_number, placer, filler), group),
    )


def _with_keys(trace: Trace, keys: Sequence[OrderKey], group: OrderGroup) -> tuple[tuple[str, str], ...]:
    """The trace, and which keys the order has. Raises MappingRefused `order.key-missing`."""
    if keys:
        return (*trace.lines(), ("keys", ", ".join([key.kind for key in keys])))
    where = group.orc or group.obr
    raise MappingRefused(
        "order.key-missing",
        where.where(2) if where else "ORC^1^2",
        "no study UID, accession number or placer order number; a filler order number is a key only with its authority",
    )


def _patient(group: OrderGroup, policy: SenderPolicy, sent: Sent, trace: Trace) -> PatientIdentity:
    as_of = EventTime(sent.at, sent.sender) if sent.at else None
    identity = identity_of(group.patient, policy, trace, as_of) if group.patient else PatientIdentity()
    if not identity.identifiers:
        where = group.patient.where(3) if group.patient else "PID^1^3"
        raise MappingRefused("order.patient-identifier-missing", where, "an order needs a patient identifier")
    return identity


def _procedure(group: OrderGroup, policy: SenderPolicy, trace: Trace) -> Code | None:
    found = coded(group.obr, 4, policy.authorities) if group.obr else None
    if group.obr and found:
        trace.note("procedure", group.obr.where(4) + ("" if found.system else ": a local code"))
    return found


def modality_of(group: OrderGroup, trace: Trace) -> str:
    """IPC-5 (a DICOM modality), else OBR-24 (table 0074, where senders also write DICOM modalities); else empty."""
    table = load("modalities")
    for segment in group.named("IPC"):
        if found := table.target(segment.text(5).upper(), code_system.DCM):
            trace.note("modality", segment.where(5))
            return found.code
    section = group.obr.text(24).upper() if group.obr else ""
    if not group.obr or not section:
        return ""
    row = table.find(section, code_system.SERVICE_SECTION) or table.find(section, code_system.DCM)
    if row and row.target:
        trace.note("modality", group.obr.where(24))
        return row.target.code
    trace.note("modality", f"{group.obr.where(24)}: names no single modality, left out")
    return ""


def _reason(group: OrderGroup, trace: Trace) -> str:
    """OBR-31 (reason for study), the text of each repetition, else its code."""
    obr = group.obr
    if obr is None or 31 not in obr.filled:
        return ""
    pairs = [obr.texts(31, 2, number) for number in range(1, obr.repetitions(31) + 1)]
    reason = "; ".join([text or code for code, text in pairs if text or code])
    if reason:
        trace.note("reason", obr.where(31))
    return reason


def _group_number(group: OrderGroup, policy: SenderPolicy, trace: Trace) -> Identifier | None:
    """ORC-4, the number of what was ordered together. No key: several orders bear it."""
    if group.orc is None or not group.orc.text(4):
        return None
    trace.note("group", group.orc.where(4))
    return entity_identifier(group.orc, 4, "", policy.authorities)
