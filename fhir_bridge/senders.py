"""What one sender of HL7 v2 does and how it wants to be answered, and which rules hold for a message."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from hl7_listener.header import Header
from mappings.hl7v2_order import SenderPolicy


@dataclass(frozen=True, slots=True)
class SenderRules:
    """The settings `sender.*`, as `senders.NAME.*` overrides them. `name` is empty for the defaults.

    `versions` empty = every version from 2.1 to 2.9.1. `reply_to` names the destination of application acknowledgements.
    """

    name: str = ""
    application: str = ""
    facility: str = ""
    listener: str = ""
    mapping: SenderPolicy = field(default_factory=SenderPolicy)
    charset_default: str = ""
    strict_charset: bool = False
    processing_ids: frozenset[str] = frozenset({"P", ""})
    versions: frozenset[str] = frozenset()
    unknown_versions: Literal["refuse", "nearest"] = "refuse"
    unsupported: Literal["refuse", "accept"] = "refuse"
    permanent_refusals: Literal["answer", "accept"] = "answer"
    own_trouble: Literal["AR", "AE"] = "AR"
    unknown_orders: Literal["accept", "refuse"] = "accept"
    answer: Literal["original", "enhanced"] = "original"
    reply_to: str = ""
    order_responses: bool = False
    wait_for_intake: bool = False
    acknowledgement_type: Literal["full", "short"] = "full"
    batch_answers: Literal["batch", "each", "errors"] = "batch"
    sequence_numbers: bool = False

    @property
    def waits_for_intake(self) -> bool:
        """Whether the answer needs what became of the orders."""
        return self.wait_for_intake or self.order_responses


class Senders:
    """All rules of a site. Of several that fit a message the one that names most wins, then the first."""

    def __init__(self, default: SenderRules, named: Sequence[SenderRules] = ()) -> None:
        self.default = default
        self.named = tuple(named)
        self._by_name = {rules.name: rules for rules in self.named}

    def rules_for(self, listener: str, header: Header | None) -> SenderRules:
        """The rules for a message; the defaults where its header cannot be read or no rule fits."""
        fitting = [rules for rules in self.named if _fits(rules, listener, header)]
        return max(fitting, key=_named_parts, default=self.default)

    def called(self, name: str) -> SenderRules:
        """The rules of this name, as noted with a stored message; the defaults where the site has dropped them."""
        return self._by_name.get(name, self.default)


def _fits(rules: SenderRules, listener: str, header: Header | None) -> bool:
    if rules.listener and rules.listener != listener:
        return False
    if not rules.application and not rules.facility:
        return True
    if header is None:
        return False
    application = (header.sending_application, header.component(3))
    facility = (header.sending_facility, header.component(4))
    return (not rules.application or rules.application in application) and (
        not rules.facility or rules.facility in facility
    )


def _named_parts(rules: SenderRules) -> int:
    return sum(bool(part) for part in (rules.application, rules.facility, rules.listener))
