"""What the conversion of one message carries from segment to segment, and the parts that several resources share."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import tzinfo
from functools import cached_property

from mappings.fhir_elements import Json
from mappings.fhir_transaction import Draft, Transaction
from mappings.hl7v2_elements import person_name, repetitions, shown_name
from mappings.hl7v2_groups import Located
from mappings.hl7v2_identity import Scope, identifier_element
from mappings.hl7v2_message import MessageView
from mappings.hl7v2_order_keys import SenderPolicy
from mappings.hl7v2_pid import zone_of
from mappings.order import Identifier
from mappings.refusal import MappingRefused
from mappings.trace import Trace


@dataclass
class Conversion:
    """One message on its way to a transaction."""

    message: MessageView
    policy: SenderPolicy
    transaction: Transaction
    trace: Trace = field(default_factory=Trace)

    @cached_property
    def segments(self) -> tuple[Located, ...]:
        """The segments with their places."""
        counts: Counter[str] = Counter()
        found = []
        for segment in self.message.segments:
            counts[segment.name] += 1
            found.append(Located(segment, counts[segment.name]))
        return tuple(found)

    @cached_property
    def header(self) -> Located:
        """MSH."""
        if not self.segments or self.segments[0].name != "MSH":
            raise MappingRefused("bundle.header-missing", "MSH^1", "a message begins with MSH")
        return self.segments[0]

    @cached_property
    def zone(self) -> tzinfo:
        """The zone of times without an offset: MSH-7's offset, else the sender's zone; never this machine's."""
        return zone_of(self.message, self.policy)

    @cached_property
    def scope(self) -> Scope:
        """Where numbers without an authority come from."""
        return Scope(self.header.text(4) or self.header.text(3))

    def resolved(
        self, value: str, kind: str, type_: str = "", namespace: str = "", universal_id: str = ""
    ) -> Identifier:
        """An identifier with its system."""
        identifier = Identifier(value, type=type_, namespace=namespace, universal_id=universal_id)
        return self.scope.identified(self.policy.authorities.resolve(identifier), kind)

    def composite(self, segment: Located, position: int, kind: str, default_type: str = "") -> list[Identifier]:
        """All repetitions of a CX (HL7 v2.5.1 §2.A.14)."""
        found = []
        for number in repetitions(segment, position):
            if value := segment.text(position, repetition=number):
                found.append(
                    self.resolved(
                        value,
                        kind,
                        segment.text(position, 5, repetition=number) or default_type,
                        segment.text(position, 4, 1, number),
                        segment.text(position, 4, 2, number),
                    )
                )
        return found

    def entity(self, segment: Located, position: int, kind: str, type_: str = "") -> Identifier | None:
        """An EI (HL7 v2.5.1 §2.A.28)."""
        value = segment.text(position)
        return (
            self.resolved(value, kind, type_, segment.text(position, 2), segment.text(position, 3)) if value else None
        )

    def practitioners(self, segment: Located, position: int) -> list[Json]:
        """References to the people in an XCN field: a Practitioner where it has a number, else the name alone."""
        found = []
        for number in repetitions(segment, position):
            name = person_name(segment, position, number)
            value = segment.text(position, repetition=number)
            if not value:
                if name:
                    found.append({"display": shown_name(name)})
                continue
            identifier = self.resolved(
                value,
                "person",
                segment.text(position, 13, repetition=number),
                segment.text(position, 9, 1, number),
                segment.text(position, 9, 2, number),
            )
            draft = Draft("Practitioner", self.trace)
            draft.put("identifier", [identifier_element(identifier)])
            draft.put("name", [name] if name else [])
            reference = {"reference": self.transaction.ensured(draft, [identifier])}
            found.append({**reference, "display": shown_name(name)} if name else reference)
        return found


def first(identifiers: Sequence[Identifier | None]) -> Identifier | None:
    """The first that there is."""
    return next((identifier for identifier in identifiers if identifier), None)
