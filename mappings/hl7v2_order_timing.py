"""When an order was placed, changed and is due, and how urgent it is (HL7 v2.5.1 §4.5.1.7, §4.5.1.9, §4.5.4)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from zoneinfo import ZoneInfo

from mappings import code_system
from mappings.code_table import load
from mappings.hl7v2_datatypes import offset, timestamp
from mappings.hl7v2_groups import Located, OrderGroup
from mappings.hl7v2_message import MessageView
from mappings.hl7v2_order_keys import SenderPolicy
from mappings.order import EventTime, Priority
from mappings.trace import Trace

_URGENCY = (Priority.STAT, Priority.ASAP, Priority.URGENT, Priority.ROUTINE)

_PRIORITY_SOURCES = (("TQ1", 9, 1), ("ORC", 7, 6), ("OBR", 27, 6), ("OBR", 5, 1))
_TIMED = re.compile(r"T[SMHDWL]\d+")  # table 0485: within so many seconds, minutes, ...


@dataclass(frozen=True, slots=True)
class Sent:
    """What the header says for all times of a message: the zone of those without an offset, the sender's clock, and when it was sent."""

    zone: tzinfo
    zone_rule: str
    sender: str
    at: datetime | None


def sent_of(message: MessageView, policy: SenderPolicy) -> Sent:
    """MSH-3, MSH-4, MSH-7."""
    for segment in message.segments:
        if segment.name == "MSH":
            time = segment.value(7)
            own_zone = offset(time)
            zone = own_zone or ZoneInfo(policy.time_zone)
            rule = "in the zone of MSH-7" if own_zone else "in the sender's zone"
            sender = f"{segment.value(3)}|{segment.value(4)}"
            return Sent(zone, rule, sender, timestamp(time.strip(), zone))
    return Sent(ZoneInfo(policy.time_zone), "in the sender's zone", "|", None)


def requested_at(group: OrderGroup, sent: Sent, trace: Trace) -> datetime | None:
    """ORC-9, the time of the transaction; a wrong one is left out."""
    return _first_time("requested_at", [(group.orc, 9, 1)], sent, trace)


def scheduled_at(group: OrderGroup, sent: Sent, trace: Trace) -> datetime | None:
    """TQ1-7, else ORC-7.4, OBR-27.4, OBR-36, OBR-6."""
    sources: list[tuple[Located | None, int, int]] = [(segment, 7, 1) for segment in group.named("TQ1")]
    sources += ((group.orc, 7, 4), (group.obr, 27, 4), (group.obr, 36, 1), (group.obr, 6, 1))
    return _first_time("scheduled_at", sources, sent, trace)


def event_time(requested: datetime | None, sent: Sent, trace: Trace) -> EventTime | None:
    """By what messages about one order are put in order: ORC-9, else MSH-7, each only against the same sender's."""
    for at, name in ((requested, "ORC-9"), (sent.at, "MSH-7")):
        if at is not None:
            trace.note("event", name)
            return EventTime(at, f"{name} {sent.sender}")
    return None


def _first_time(
    element: str, sources: Sequence[tuple[Located | None, int, int]], sent: Sent, trace: Trace
) -> datetime | None:
    for segment, position, component in sources:
        if segment is None or not (text := segment.text(position, component)):
            continue
        found = timestamp(text, sent.zone)
        rule = "not a time, left out" if found is None else "its own offset" if offset(text) else sent.zone_rule
        trace.note(element, f"{segment.where(position)}: {rule}")
        if found is not None:
            return found
    return None


def priority_of(group: OrderGroup, trace: Trace) -> Priority:
    """TQ1-9, else ORC-7.6, else OBR-27.6, else OBR-5 (table 0485, or a word); of repetitions the most urgent; else routine."""
    for name, position, component in _PRIORITY_SOURCES:
        most_urgent, where = None, ""
        for segment in group.named(name):
            for repetition in range(1, segment.repetitions(position) + 1):
                found = _priority_of(segment.text(position, component, repetition=repetition))
                if found and (most_urgent is None or _URGENCY.index(found) < _URGENCY.index(most_urgent)):
                    most_urgent, where = found, segment.where(position)
        if most_urgent:
            trace.note("priority", where)
            return most_urgent
    return Priority.ROUTINE


def _priority_of(text: str) -> Priority | None:
    if not text:
        return None
    word = text.upper()
    if _TIMED.fullmatch(word):
        word = "T"
    table = load("priorities")
    found = table.target(word, code_system.EXTENDED_PRIORITY) or table.target(word, code_system.OWN_PRIORITY_WORDS)
    return Priority(found.code) if found else None
