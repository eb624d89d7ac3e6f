"""The order groups of an HL7 v2 message, found by position and not by schema (HL7 v2.5.1 §4.4.1, §4.4.4, §4.4.6).

Senders put segments where no structure has them (ZDS, TQ1 in 2.3.1), so a group is: what stands between one opening segment and
the next. PID opens a patient, ORC an order, and a second OBR under one ORC another order.
"""

from collections import Counter
from dataclasses import dataclass, field

from mappings.hl7v2_message import NULL, MessageView, SegmentView
from mappings.refusal import MappingRefused


@dataclass(frozen=True, slots=True)
class Located:
    """A segment and its place: `sequence` counts the segments of its name in the message, from 1 (ERL.2)."""

    segment: SegmentView
    sequence: int

    @property
    def name(self) -> str:
        return self.segment.name

    def where(self, position: int) -> str:
        """The field's place as ERL has it (HL7 v2.5.1 §2.A.28): `PID^1^3`."""
        return f"{self.segment.name}^{self.sequence}^{position}"

    def text(self, position: int, component: int = 1, subcomponent: int = 1, repetition: int = 1) -> str:
        """The value without blanks at its ends; a null (`""`) and a missing one both read as empty."""
        value = self.segment.value(position, component, subcomponent, repetition).strip()
        return "" if value == NULL else value

    def key(self, position: int, component: int = 1, repetition: int = 1) -> str:
        """A value that identifies. Raises MappingRefused `order.key-deleted` for a null: a key cannot be deleted."""
        value = self.segment.value(position, component, 1, repetition).strip()
        if value == NULL:
            raise MappingRefused("order.key-deleted", self.where(position), "an identifying field holds a null")
        return value


@dataclass(slots=True)
class OrderGroup:
    """The segments of one order. `shares_orc` where one ORC has several OBR: then OBR's own numbers tell them apart."""

    patient: Located | None
    visit: Located | None = None  # PV1
    orc: Located | None = None
    obr: Located | None = None
    shares_orc: bool = False
    details: list[Located] = field(
        default_factory=list
    )  # TQ1, IPC, ZDS, OBX, RXO and whatever else stands in the group

    def named(self, name: str) -> list[Located]:
        """All segments of this name, in their order."""
        own = [segment for segment in (self.orc, self.obr) if segment]
        return [segment for segment in own + self.details if segment.name == name]


def groups_of(message: MessageView) -> tuple[OrderGroup, ...]:
    """The order groups in their order; none where the message has neither ORC nor OBR."""
    groups: list[OrderGroup] = []
    patient: Located | None = None
    visit: Located | None = None
    current: OrderGroup | None = None
    counts: Counter[str] = Counter()
    for segment in message.segments:
        counts[segment.name] += 1
        here = Located(segment, counts[segment.name])
        if here.name == "PID":
            patient, visit, current = here, None, None
        elif here.name == "PV1" and current is None:
            visit = here
        elif here.name == "ORC":
            current = OrderGroup(patient, visit, orc=here)
            groups.append(current)
        elif here.name == "OBR":
            if current is None or current.obr is not None:
                current = _further_order(patient, visit, current)
                groups.append(current)
            current.obr = here
        elif current is not None:
            current.details.append(here)
    return tuple(groups)


def _further_order(patient: Located | None, visit: Located | None, before: OrderGroup | None) -> OrderGroup:
    """An order opened by an OBR: under the ORC before it, if there is one."""
    if before is None or before.orc is None:
        return OrderGroup(patient, visit)
    before.shares_orc = True
    return OrderGroup(patient, visit, orc=before.orc, shares_orc=True)
