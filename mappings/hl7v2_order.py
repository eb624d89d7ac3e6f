"""ORM^O01, OMG^O19 and OMI^O23 as Orders (HL7 v2.5.1 §4.4.1, §4.4.4, §4.4.6; IHE RAD TF-2 §4.4 for ZDS).

One Order per OBR, or per ORC that has none. Where we deviate from the v2-to-FHIR guide: docs/conformance/deviations.md.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, tzinfo

from mappings import code_system
from mappings.code import Code
from mappings.code_table import load
from mappings.hl7v2_datatypes import coded, offset, timestamp
from mappings.hl7v2_groups import Located, OrderGroup, groups_of
from mappings.hl7v2_message import MessageView
from mappings.hl7v2_order_keys import SenderPolicy, accession, order_number, study_instance_uid
from mappings.hl7v2_pid import identity_of, number_of, sent_at, zone_of
from mappings.order import Order, OrderControl, PatientIdentity, Priority
from mappings.refusal import MappingRefused
from mappings.trace import Trace

__all__ = ["ORDER_EVENTS", "SenderPolicy", "orders_from"]

ORDER_EVENTS = frozenset({("ORM", "O01"), ("OMG", "O19"), ("OMI", "O23")})
"""The message types (MSH-9.1, MSH-9.2) that `orders_from` reads."""

_NOT_IMAGING = frozenset({"RXO", "RXE", "RXA", "RXD", "RXG", "RQD", "RQ1", "ODS", "ODT"})  # pharmacy, supplies, diet
_URGENCY = (Priority.STAT, Priority.ASAP, Priority.URGENT, Priority.ROUTINE)


def orders_from(message: MessageView, policy: SenderPolicy) -> tuple[Order, ...]:
    """The message's orders, in their order. The caller has checked its type against `ORDER_EVENTS`.

    An order whose control code has no effect on a job is never refused. Raises MappingRefused: `order.group-missing`,
    `order.control-missing`, `order.control-unknown`, `order.patient-identifier-missing`, `order.key-missing`,
    `order.key-deleted`, `order.study-uid-malformed`.
    """
    groups = groups_of(message)
    if not groups:
        raise MappingRefused("order.group-missing", "ORC^1", "the message has neither ORC nor OBR")
    zone = zone_of(message, policy)
    as_of = sent_at(message, zone)
    orders = (_order(group, policy, zone) for group in groups)
    return tuple(replace(order, patient=replace(order.patient, as_of=as_of)) for order in orders)


def _order(group: OrderGroup, policy: SenderPolicy, zone: tzinfo) -> Order:
    trace = Trace()
    control = _control(group, trace)
    try:
        return _read(group, control, policy, zone, trace)
    except MappingRefused as refusal:
        if control is not OrderControl.NONE:
            raise
        trace.note("order", f"left out: {refusal.code} at {refusal.where}")
        return Order(control, PatientIdentity(), trace=trace.lines())


def _read(group: OrderGroup, control: OrderControl, policy: SenderPolicy, zone: tzinfo, trace: Trace) -> Order:
    order = Order(
        control=control,
        patient=_patient(group, policy, trace),
        placer=order_number(group, 2, "PLAC", policy, trace),
        filler=order_number(group, 3, "FILL", policy, trace),
        accession=accession(group, policy, trace),
        study_instance_uid=study_instance_uid(group, trace),
        procedure=_procedure(group, policy, trace),
        modality=modality_of(group, trace),
        priority=priority_of(group, trace),
        reason=_reason(group, trace),
        requested_at=_requested_at(group, zone, trace),
        account=number_of(group.patient, 18, policy),
        visit=number_of(group.visit, 19, policy),
        trace=trace.lines(),
    )
    if not order.keys():
        where = group.orc or group.obr
        raise MappingRefused(
            "order.key-missing",
            where.where(2) if where else "ORC^1^2",
            "no study UID, accession number or placer order number; a filler order number alone is no key",
        )
    return order


def _control(group: OrderGroup, trace: Trace) -> OrderControl:
    """ORC-1 (table 0119), for SC by ORC-5 (table 0038). Without ORC: NEW (6 of 55 orders counted in public repositories have none)."""
    if group.orc is None:
        trace.note("control", "no ORC: taken as NW")
        return OrderControl.NEW
    code = group.orc.text(1).upper()
    if not code:
        raise MappingRefused("order.control-missing", group.orc.where(1), "ORC-1 is required")
    row = load("order_control").find(code, code_system.ORDER_CONTROL)
    if row is None:
        raise MappingRefused("order.control-unknown", group.orc.where(1), "not a code of table 0119")
    if group.obr is None and any(segment.name in _NOT_IMAGING for segment in group.details):
        trace.note("control", f"{group.orc.where(1)}: an order for drugs, supplies or diet, not for imaging")
        return OrderControl.NONE
    effect = row.target
    if code == "SC":
        trace.note("control", f"{group.orc.where(5)} (ORC-1 is SC)")
        effect = load("order_status").target(group.orc.text(5).upper(), code_system.ORDER_STATUS)
    else:
        trace.note("control", group.orc.where(1))
    return OrderControl(effect.code) if effect else OrderControl.NONE


def _patient(group: OrderGroup, policy: SenderPolicy, trace: Trace) -> PatientIdentity:
    identity = identity_of(group.patient, policy, trace) if group.patient else PatientIdentity()
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


def priority_of(group: OrderGroup, trace: Trace) -> Priority:
    """TQ1-9, else ORC-7.6, else OBR-27.6, else OBR-5 (table 0485, or a word); of repetitions the most urgent; else routine."""
    sources: Sequence[tuple[list[Located], int, int]] = (
        (group.named("TQ1"), 9, 1),
        (group.named("ORC"), 7, 6),
        (group.named("OBR"), 27, 6),
        (group.named("OBR"), 5, 1),
    )
    for segments, position, component in sources:
        understood = [
            (priority, segment.where(position))
            for segment in segments
            for repetition in range(1, segment.segment.repetitions(position) + 1)
            if (priority := _priority_of(segment.text(position, component, repetition=repetition)))
        ]
        if understood:
            priority, where = min(understood, key=lambda pair: _URGENCY.index(pair[0]))
            trace.note("priority", where)
            return priority
    return Priority.ROUTINE


def _priority_of(text: str) -> Priority | None:
    word = text.upper()
    if re.fullmatch(r"T[SMHDWL]\d+", word):
        word = "T"
    table = load("priorities")
    found = table.target(word, code_system.EXTENDED_PRIORITY) or table.target(word, code_system.OWN_PRIORITY_WORDS)
    return Priority(found.code) if found else None


def _reason(group: OrderGroup, trace: Trace) -> str:
    """OBR-31 (reason for study), the text of each repetition, else its code."""
    if group.obr is None:
        return ""
    obr = group.obr
    repetitions = range(1, obr.segment.repetitions(31) + 1)
    texts = [obr.text(31, 2, repetition=number) or obr.text(31, 1, repetition=number) for number in repetitions]
    reason = "; ".join(text for text in texts if text)
    if reason:
        trace.note("reason", obr.where(31))
    return reason


def _requested_at(group: OrderGroup, zone: tzinfo, trace: Trace) -> datetime | None:
    """ORC-9, the time of the transaction; a wrong one is left out, since nothing hangs on it."""
    text = group.orc.text(9) if group.orc else ""
    if not group.orc or not text:
        return None
    found = timestamp(text, zone)
    how = "not a time, left out" if found is None else "its own offset" if offset(text) else "in the sender's zone"
    trace.note("requested_at", f"{group.orc.where(9)}: {how}")
    return found
