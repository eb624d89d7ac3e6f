"""An accepted message has its effect on orders and patients, inside one transaction of the store, once and in the journal's order."""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from fhir_bridge import log
from fhir_bridge.content import Content, order_answers, read_content
from fhir_bridge.errors import Classified, Disposition, Unavailable, attempt
from fhir_bridge.journal import Effect, MessageJournal, Reply, StoredMessage
from fhir_bridge.order_intake import UNKNOWN, accept_order
from fhir_bridge.outcomes import INTERNAL, content_refused
from fhir_bridge.patient_intake import apply_patient_change
from fhir_bridge.ports import Clock, JobStore, Ledger
from fhir_bridge.senders import SenderRules, Senders
from hl7_listener.header import read_header
from hl7_listener.modes import application_acknowledgement, wants_application_answer
from hl7_listener.outcome import OrderAnswer, Outcome
from mappings.refusal import MappingRefused

AT_ONCE = 64  # messages in one transaction: one commit for all, and workers and hooks wait for their turn so long
NO_RETURN_ADDRESS = "reply.no-destination"  # the sender wants an application acknowledgement, and has no `reply_to`
NOT_WRITTEN = "reply.not-written"  # our bug: the sender is not told at application level

Names = Mapping[str, tuple[str, str]]  # listener -> our application and facility (MSH-3 and MSH-4)


@dataclass(frozen=True, slots=True)
class IntakePolicy:
    """What the site takes, from whom and how it reads it."""

    senders: Senders
    order_categories: frozenset[str] = field(default_factory=frozenset)
    names: Names = field(default_factory=dict)
    order_codes: frozenset[str] = field(default_factory=frozenset)
    task_orders: bool = False
    task_codes: frozenset[str] = field(default_factory=frozenset)
    study_window_days: float = 7


@dataclass(frozen=True, slots=True)
class Intake:
    """Follows the journal. `on_effects` is told what is committed: there may be work, and senders may wait for it."""

    journal: MessageJournal
    store: JobStore
    policy: IntakePolicy
    clock: Clock
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
        rules = self.policy.senders.called(message.entry.sender)
        tried = attempt(lambda: _inside_savepoint(ledger, message, rules))
        effect = tried.value or _failed(message, tried.error)
        effect = replace(effect, warnings=effect.warnings + self._reply(ledger, message, effect, rules))
        ledger.add_effect(effect)
        return effect

    def _reply(self, ledger: Ledger, message: StoredMessage, effect: Effect, rules: SenderRules) -> tuple[str, ...]:
        """Keep the application acknowledgement that is owed, in this very transaction; warn where it cannot be had."""
        owed = attempt(lambda: self._owed(message, effect, rules))
        if owed.error is not None:
            log.event(
                "intake.reply-not-written", message=message.id, error_id=owed.error.error_id, frames=owed.error.frames
            )
            return (NOT_WRITTEN,)
        for reply in owed.value or ():
            if not reply.destination:
                return (NO_RETURN_ADDRESS,)
            ledger.add_reply(reply)
        return ()

    def _owed(self, message: StoredMessage, effect: Effect, rules: SenderRules) -> tuple[Reply, ...]:
        """In enhanced mode: what became of the message goes back in a message of its own, kept in this very transaction."""
        header = read_header(message.entry.raw)
        if rules.answer != "enhanced" or not wants_application_answer(header, effect.outcome):
            return ()
        application, facility = self.policy.names.get(message.entry.key.listener, ("", ""))
        payload = application_acknowledgement(
            header,
            effect.outcome,
            application=application,
            facility=facility,
            control_id=uuid.uuid4().hex[:20],
            at=self.clock.now(),
            message=message.entry.raw,
        )
        return (Reply(0, message.id, rules.reply_to, payload),)


def apply_message(ledger: Ledger, message: StoredMessage, rules: SenderRules) -> Effect:
    """The effect of one message. Raises MappingRefused, MessageRefused where it has none; the caller rolls back to its savepoint."""
    content = read_content(message.entry.raw, rules)
    if content.orders:
        effect = _apply_orders(ledger, message, content, rules)
    else:
        effect = _apply_changes(ledger, message, content)
    jobs, warnings = tuple(dict.fromkeys(effect.jobs)), tuple(dict.fromkeys(effect.warnings))
    return replace(effect, jobs=jobs, warnings=warnings, trace=content.trace)


def _apply_orders(ledger: Ledger, message: StoredMessage, content: Content, rules: SenderRules) -> Effect:
    keep_unknown = rules.unknown_orders == "accept"
    taken = [accept_order(ledger, order, "hl7v2", keep_unknown=keep_unknown) for order in content.orders]
    if not keep_unknown and any(each.warning == UNKNOWN for each in taken):
        raise MappingRefused(UNKNOWN, "ORC^1^2", "we do not know this order")
    answers: tuple[OrderAnswer, ...] = ()
    if rules.order_responses:
        answers = order_answers(message.entry.raw, rules, tuple(each.answer for each in taken))
    jobs = tuple(job for each in taken for job in each.jobs)
    return Effect(
        message.id, Outcome("AA", orders=answers), jobs, tuple(each.warning for each in taken if each.warning)
    )


def _apply_changes(ledger: Ledger, message: StoredMessage, content: Content) -> Effect:
    taken = [apply_patient_change(ledger, change) for change in content.changes]
    jobs = tuple(job for each in taken for job in each.jobs)
    return Effect(message.id, Outcome("AA"), jobs, tuple(slug for each in taken for slug in each.warnings))


def _inside_savepoint(ledger: Ledger, message: StoredMessage, rules: SenderRules) -> Effect:
    with ledger.savepoint():
        return apply_message(ledger, message, rules)


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
