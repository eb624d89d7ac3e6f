"""The order groups of an HL7 v2 message, found by position and not by schema (HL7 v2.5.1 §4.4.1, §4.4.4, §4.4.6).

Senders put segments where no structure has them (ZDS, TQ1 in 2.3.1), so a group is: what stands between one opening segment and
the next. PID opens a patient, ORC an order, and a second OBR under one ORC another order.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from mappings.hl7v2_message import NULL, MessageView, SegmentView
from mappings.refusal import MappingRefused


class Located:
    """A segment and its place: `sequence` counts the segments of its name in the message, from 1 (ERL.2).

    A field is taken apart once, when it is first read. `filled` has the numbers of the fields that hold something: most hold nothing,
    and need not be asked.
    """

    __slots__ = ("_fields", "filled", "name", "segment", "sequence")

    def __init__(self, segment: SegmentView, sequence: int) -> None:
        self.segment = segment
        self.sequence = sequence
        self.name = segment.name
        self.filled = segment.filled
        self._fields: dict[int, Sequence[Sequence[str]]] = {}

    def where(self, position: int) -> str:
        """The field's place as ERL has it (HL7 v2.5.1 §2.A.28): `PID^1^3`."""
        return f"{self.name}^{self.sequence}^{position}"

    def text(self, position: int, component: int = 1, subcomponent: int = 1, repetition: int = 1) -> str:
        """The value without blanks at its ends; a null (`""`) and a missing one both read as empty."""
        if position not in self.filled:
            return ""
        if subcomponent != 1:
            value = self.segment.value(position, component, subcomponent, repetition).strip()
            return "" if value == NULL else value
        repetitions = self._fields.get(position) or self._read(position)
        if repetition > len(repetitions):
            return ""
        components = repetitions[repetition - 1]
        if component > len(components):
            return ""
        value = components[component - 1].strip()
        return "" if value == NULL else value

    def texts(self, position: int, count: int, repetition: int = 1) -> list[str]:
        """So many components of one repetition, from the first, as `text` has them."""
        if position not in self.filled:
            return [""] * count
        repetitions = self._fields.get(position) or self._read(position)
        found = [part.strip() for part in repetitions[repetition - 1][:count]] if repetition <= len(repetitions) else []
        if NULL in found:
            found = ["" if value == NULL else value for value in found]
        return found if len(found) == count else found + [""] * (count - len(found))

    def key(self, position: int, component: int = 1, repetition: int = 1) -> str:
        """A value that identifies. Raises MappingRefused `order.key-deleted` for a null: a key cannot be deleted."""
        value = self.text(position, component, 1, repetition)
        if not value and self.is_null(position, component, repetition):
            raise MappingRefused("order.key-deleted", self.where(position), "an identifying field holds a null")
        return value

    def is_null(self, position: int, component: int = 1, repetition: int = 1) -> bool:
        """Whether the sender wrote a null (`""`): delete, as against empty, no change (HL7 v2.5.1 §2.5.3)."""
        return position in self.filled and self.segment.value(position, component, 1, repetition).strip() == NULL

    def repetitions(self, position: int) -> int:
        """How many repetitions the field has; 0 where it is empty or missing."""
        if position not in self.filled:
            return 0
        return len(self._fields.get(position) or self._read(position))

    def _read(self, position: int) -> Sequence[Sequence[str]]:
        found = self._fields[position] = self.segment.components(position)
        return found


@dataclass(slots=True)
class OrderGroup:
    """The segments of one order. `shares_orc` where one ORC has several OBR: then OBR's own numbers tell them apart."""

    patient: Located | None
    visit: Located | None = None  # PV1
    orc: Located | None = None
    obr: Located | None = None
    shares_orc: bool = False
    details: list[Located] = field(default_factory=list)  # TQ1, IPC, ZDS, OBX, RXO, whatever else stands in the group
    _by_name: dict[str, list[Located]] | None = field(default=None, repr=False, compare=False)

    def named(self, name: str) -> Sequence[Located]:
        """All segments of this name, in their order. The group is complete."""
        if self._by_name is None:
            self._by_name = {}
            for segment in (self.orc, self.obr, *self.details):
                if segment:
                    self._by_name.setdefault(segment.name, []).append(segment)
        return self._by_name.get(name, ())


def located(message: MessageView) -> list[Located]:
    """The segments of a message with their places."""
    counts: dict[str, int] = {}
    found = []
    for segment in message.segments:
        number = counts[segment.name] = counts.get(segment.name, 0) + 1
        found.append(Located(segment, number))
    return found


def groups_of(message: MessageView) -> tuple[OrderGroup, ...]:
    """The order groups in their order; none where the message has neither ORC nor OBR."""
    return groups_among(located(message))


def groups_among(segments: Iterable[Located]) -> tuple[OrderGroup, ...]:
    """The order groups among the segments of a message, as `groups_of`."""
    groups: list[OrderGroup] = []
    patient: Located | None = None
    visit: Located | None = None
    current: OrderGroup | None = None
    for here in segments:
        name = here.name
        if name == "PID":
            patient, visit, current = here, None, None
        elif name == "PV1" and current is None:
            visit = here
        elif name == "ORC":
            current = OrderGroup(patient, visit, orc=here)
            groups.append(current)
        elif name == "OBR":
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
