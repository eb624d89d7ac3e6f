"""What the conversion of one message carries from segment to segment, and the parts that several resources share."""

from collections.abc import Sequence
from datetime import tzinfo

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


class Conversion:
    """One message on its way to a transaction: its segments with their places, its header, and how its values are read.

    `zone` holds for times without an offset: MSH-7's offset, else the sender's zone; never this machine's. `scope` says where numbers
    without an authority come from. Raises MappingRefused `bundle.header-missing`.
    """

    __slots__ = ("header", "message", "named", "policy", "scope", "segments", "trace", "transaction", "zone")

    def __init__(self, message: MessageView, policy: SenderPolicy, transaction: Transaction, trace: Trace) -> None:
        self.message, self.policy, self.transaction, self.trace = message, policy, transaction, trace
        self.segments: list[Located] = []
        self.named: dict[str, list[Located]] = {}
        for segment in message.segments:
            alike = self.named.setdefault(segment.name, [])
            located = Located(segment, len(alike) + 1)
            alike.append(located)
            self.segments.append(located)
        if not self.segments or self.segments[0].name != "MSH":
            raise MappingRefused("bundle.header-missing", "MSH^1", "a message begins with MSH")
        self.header = self.segments[0]
        self.zone: tzinfo = zone_of(message, policy)
        self.scope = Scope(self.header.text(4) or self.header.text(3))

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
