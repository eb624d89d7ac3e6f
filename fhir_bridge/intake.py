"""An accepted message has its effect on orders and patients, inside one transaction of the store, once and in the journal's order."""

from collections.abc import Callable
from dataclasses import dataclass, field

from fhir_bridge import log
from fhir_bridge.errors import Classified, Disposition, Unavailable, attempt
from fhir_bridge.journal import Effect, MessageJournal, StoredMessage
from fhir_bridge.order_intake import accept_order
from fhir_bridge.outcomes import INTERNAL, content_refused
from fhir_bridge.ports import JobStore, Ledger
from fhir_bridge.senders import Senders
from hl7_listener.acknowledgement import Outcome
from hl7_listener.message import Message
from mappings.hl7v2_order import orders_from

AT_ONCE = 32  # messages in one transaction


@dataclass(frozen=True, slots=True)
class IntakePolicy:
    """What the site takes, from whom and how it reads it."""

    senders: Senders
    order_categories: frozenset[str] = field(default_factory=frozenset)


@dataclass(frozen=True, slots=True)
class Intake:
    """Follows the journal. `on_effects` is told what is committed: there may be work, and senders may wait for it."""

    journal: MessageJournal
    store: JobStore
    policy: IntakePolicy
    on_effects: Callable[[tuple[Effect, ...]], None]

    def apply_next(self) -> int:
        """Apply the next messages of the journal; how many. Raises Unavailable where store or journal do not answer."""
        messages = self.journal.after(self.store.intake_position(), AT_ONCE)
        if not messages:
            return 0
        with self.store.transaction() as ledger:
            effects = tuple(self._apply(ledger, message) for message in messages)
        self.on_effects(effects)
        return len(effects)

    def _apply(self, ledger: Ledger, message: StoredMessage) -> Effect:
        """A message with a bug, or one that contradicts what is known, must not hold up the others."""
        tried = attempt(lambda: _inside_savepoint(ledger, message, self.policy))
        effect = tried.value or _failed(message, tried.error)
        ledger.add_effect(effect)
        return effect


def apply_message(ledger: Ledger, message: StoredMessage, policy: IntakePolicy) -> Effect:
    """The effect of one message. Raises MappingRefused, MessageRefused where it has none; the caller rolls back to its savepoint."""
    rules = policy.senders.called(message.entry.sender)
    orders = orders_from(Message(message.entry.raw, rules.charset_default), rules.mapping)
    taken = [accept_order(ledger, order, "hl7v2") for order in orders]
    jobs = tuple(dict.fromkeys(each.job for each in taken if each.job))
    return Effect(message.id, Outcome("AA"), jobs)


def _inside_savepoint(ledger: Ledger, message: StoredMessage, policy: IntakePolicy) -> Effect:
    with ledger.savepoint():
        return apply_message(ledger, message, policy)


def _failed(message: StoredMessage, error: Classified | None) -> Effect:
    """It was acknowledged and is kept: a person finds it among the refused ones and can put it in again."""
    assert error is not None  # noqa: S101 - an attempt without a value has an error
    if error.disposition is Disposition.UNAVAILABLE:
        raise Unavailable(error.code, error.where, error.explanation)
    log.event("intake.message-without-effect", message=message.id, code=error.code, where=error.where,
              error_id=error.error_id, frames=error.frames)  # fmt: skip
    if error.disposition is Disposition.BUG:
        return Effect(message.id, Outcome("AR", INTERNAL, "", f"error id {error.error_id}", error.code))
    return Effect(message.id, content_refused(error.code, error.where, error.explanation))
