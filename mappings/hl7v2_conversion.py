"""What the conversion of one message carries from segment to segment, and the parts that several resources share."""

from collections.abc import Sequence
from datetime import tzinfo

from mappings.fhir_elements import Json
from mappings.fhir_transaction import Draft, Transaction
from mappings.hl7v2_elements import person_name, repetitions, shown_name
from mappings.hl7v2_groups import Located, located
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
        self.segments = located(message)
        self.named: dict[str, list[Located]] = {}
        for segment in self.segments:
            self.named.setdefault(segment.name, []).append(segment)
        if not self.segments or self.segments[0].name != "MSH":
            raise MappingRefused("bundle.header-missing", "MSH^1", "a message begins with MSH")
        self.header = self.segments[0]
        self.zone: tzinfo = zone_of(message, policy)
        self.scope = Scope(self.header.text(4) or self.header.text(3))

    def resolved(
        self, value: str, kind: str, type_: str = "", namespace: str = "", universal_id: str = ""
    ) -> Identifier:
        """An identifier with its system."""
        system = self.policy.authorities.system_for(namespace, universal_id)
        system = system or self.scope.system_of(kind, namespace or universal_id)
        return Identifier(value, system, type_, namespace, universal_id)

    def composite(self, segment: Located, position: int, kind: str, default_type: str = "") -> list[Identifier]:
        """All repetitions of a CX (HL7 v2.5.1 §2.A.14)."""
        if position not in segment.filled:
            return []
        found = []
        for number in range(1, segment.repetitions(position) + 1):
            value, _, _, namespace, type_ = segment.texts(position, 5, number)
            if value:
                universal_id = segment.text(position, 4, 2, number)
                found.append(self.resolved(value, kind, type_ or default_type, namespace, universal_id))
        return found

    def entity(self, segment: Located, position: int, kind: str, type_: str = "") -> Identifier | None:
        """An EI (HL7 v2.5.1 §2.A.28)."""
        if position not in segment.filled:
            return None
        value, namespace, universal_id = segment.texts(position, 3)
        return self.resolved(value, kind, type_, namespace, universal_id) if value else None

    def practitioners(self, segment: Located, position: int) -> list[Json]:
        """References to the people in an XCN field: a Practitioner where it has a number, else the name alone."""
        if position not in segment.filled:
            return []
        found = []
        for number in repetitions(segment, position):
            value, *parts, _, namespace, _, _, _, type_ = segment.texts(position, 13, number)
            name = person_name(parts)
            if not value:
                if name:
                    found.append({"display": shown_name(name)})
                continue
            identifier = self.resolved(value, "person", type_, namespace, segment.text(position, 9, 2, number))
            draft = Draft("Practitioner", self.trace)
            draft.put("identifier", [identifier_element(identifier)])
            draft.put("name", [name] if name else [])
            reference = {"reference": self.transaction.ensured(draft, [identifier])}
            found.append({**reference, "display": shown_name(name)} if name else reference)
        return found


def first(identifiers: Sequence[Identifier | None]) -> Identifier | None:
    """The first that there is."""
    return next((identifier for identifier in identifiers if identifier), None)
