"""Who a PID segment is about, and when a message says so (HL7 v2.5.1 §3.4.2; MSH-7). The same for orders and for ADT."""

from collections.abc import Sequence
from datetime import tzinfo
from zoneinfo import ZoneInfo

from mappings import code_system
from mappings.code_table import load
from mappings.hl7v2_datatypes import composite_identifiers, day, offset
from mappings.hl7v2_groups import Located
from mappings.hl7v2_message import MessageView
from mappings.hl7v2_order_keys import SenderPolicy
from mappings.order import EventTime, Identifier, PatientIdentity
from mappings.trace import Trace


def zone_of(message: MessageView, policy: SenderPolicy) -> tzinfo:
    """The zone of times without an offset: MSH-7's offset, else the sender's zone; never this machine's."""
    for segment in message.segments:
        if segment.name == "MSH":
            return offset(segment.value(7)) or ZoneInfo(policy.time_zone)
    return ZoneInfo(policy.time_zone)


def number_of(segment: Located | None, position: int, policy: SenderPolicy) -> Identifier | None:
    """An account (PID-18) or visit number (PV1-19), the first one. It is no key of ours: a null is as good as nothing."""
    if segment is None or not segment.text(position):
        return None
    return next(iter(composite_identifiers(segment, position, policy.authorities)), None)


def identity_of(pid: Located, policy: SenderPolicy, trace: Trace, as_of: EventTime | None = None) -> PatientIdentity:
    """PID-3, the patient's own identifier first; PID-2, then PID-4, of old senders where PID-3 is empty; PID-7; PID-8.

    Without identifiers where the segment has none. Raises MappingRefused `order.key-deleted`.
    """
    identifiers: tuple[Identifier, ...] = ()
    for position in (3, 2, 4):
        identifiers = composite_identifiers(pid, position, policy.authorities)
        if identifiers:
            break
    ranked = ranked_by(identifiers, policy)
    if ranked:
        rule = ("the configured authority first", "type MR first", "as sent")[rank_of(ranked[0], policy)]
        trace.note("patient.identifiers", f"{pid.where(position)}: {rule}")
    born, stated_sex = pid.text(7), pid.text(8)
    birth_date = day(born)
    if born:
        trace.note("patient.birth_date", pid.where(7) + ("" if birth_date else ": not a whole day, left out"))
    sex = load("administrative_sex").target(stated_sex.upper(), code_system.ADMINISTRATIVE_SEX)
    if stated_sex:
        trace.note("patient.sex", pid.where(8) + ("" if sex else ": not in table 0001, left out"))
    return PatientIdentity(ranked, birth_date, sex.code if sex else "", as_of=as_of)


def ranked_by(identifiers: Sequence[Identifier], policy: SenderPolicy) -> tuple[Identifier, ...]:
    """The same identifiers, the patient's own first."""
    if len(identifiers) < 2:
        return tuple(identifiers)
    return tuple(sorted(identifiers, key=lambda identifier: rank_of(identifier, policy)))


def rank_of(identifier: Identifier, policy: SenderPolicy) -> int:
    """The order among a patient's identifiers: 0 the configured authority's, 1 of type MR, 2 the others as sent."""
    wanted = policy.patient_authority
    if wanted:
        rule = policy.authorities.rule_for(identifier)
        if wanted == (rule.name if rule else identifier.namespace):
            return 0
    return 1 if identifier.type == "MR" else 2
