"""What a received message is answered, before anything is done with it: by the rules of its sender, and by what came before it.

The table of answers is LAYOUT §4: AA only for what is kept, AR for what we cannot take, AE for what the sender must mend. A message is
mapped here, so that an AE has its place, and mapped again by intake, which applies it.
"""

from dataclasses import dataclass

from fhir_bridge.journal import JournalEntry, JournalPage, MessageKey, MessageState
from fhir_bridge.outcomes import (
    INTERNAL,
    REQUIRED_FIELD,
    SEGMENT_SEQUENCE,
    UNSUPPORTED_EVENT,
    UNSUPPORTED_PROCESSING,
    UNSUPPORTED_TYPE,
    UNSUPPORTED_VERSION,
    content_refused,
)
from fhir_bridge.senders import SenderRules, Senders
from hl7_listener.acknowledgement import Outcome
from hl7_listener.connection import Received
from hl7_listener.header import Header, content_hash
from hl7_listener.message import Message
from hl7_listener.refusal import MessageRefused
from mappings.hl7v2_order import ORDER_EVENTS, orders_from
from mappings.refusal import MappingRefused

# MSH-12, table 0104
VERSIONS = frozenset(
    "2.1 2.2 2.3 2.3.1 2.4 2.5 2.5.1 2.6 2.7 2.7.1 2.8 2.8.1 2.8.2 2.9 2.9.1".split()  # noqa: SIM905 - reads as the table
)


@dataclass(frozen=True, slots=True)
class Judgement:
    """The answer, and what to write down before it leaves: nothing where the message repeats one that is `known` (its id)."""

    outcome: Outcome
    entry: JournalEntry | None
    known: int = 0


def judge(received: Received, page: JournalPage, senders: Senders) -> Judgement:
    """Reads the journal for repeats, writes nothing."""
    header = received.header
    if received.oversize:
        outcome = Outcome("AR", INTERNAL, "", "the message is larger than this listener takes", "message.too-large")
        return _refused(received, senders.rules_for(received.listener, header), outcome)
    if header is None:
        code = received.refusal.code if received.refusal else "hl7v2.no-header"
        outcome = Outcome("AR", SEGMENT_SEQUENCE, "", "no readable MSH segment", code)
        return _refused(received, senders.rules_for(received.listener, None), outcome)
    rules = senders.rules_for(received.listener, header)
    if header.is_answer:  # never an ACK to an ACK
        return Judgement(Outcome(""), _entry(received, rules, Outcome(""), MessageState.NO_EFFECT))
    refusal = _unacceptable(header, rules)
    if refusal is not None:
        return _refused(received, rules, refusal)
    known = page.find(_key(received))
    if known is not None:
        return Judgement(known.entry.outcome, None, known.id)
    return _judge_content(received, rules)


def _judge_content(received: Received, rules: SenderRules) -> Judgement:
    try:
        orders = orders_from(Message(received.payload, rules.charset_default), rules.mapping)
    except (MappingRefused, MessageRefused) as refused:
        return _refused(received, rules, content_refused(refused.code, refused.where, refused.explanation))
    trace = tuple(line for order in orders for line in order.trace)
    outcome = Outcome("AA")
    return Judgement(outcome, _entry(received, rules, outcome, MessageState.ACCEPTED, trace))


def _unacceptable(header: Header, rules: SenderRules) -> Outcome | None:
    """HL7 v2.5.1 §2.9.2.1: reject on MSH-9, MSH-11, MSH-12; and no message without its control ID."""
    if not header.control_id:
        return Outcome("AR", REQUIRED_FIELD, "MSH^1^10", "message control ID missing", "message.control-id-missing")
    if header.version not in (rules.versions or VERSIONS):
        return Outcome("AR", UNSUPPORTED_VERSION, "MSH^1^12", "unsupported version", "message.version-unsupported")
    if header.processing_id not in rules.processing_ids:
        text = "this listener does not take this processing ID"
        return Outcome("AR", UNSUPPORTED_PROCESSING, "MSH^1^11", text, "message.processing-id-unsupported")
    if (header.message_code, header.trigger_event) not in ORDER_EVENTS:
        of_type = any(code == header.message_code for code, _ in ORDER_EVENTS)
        number = UNSUPPORTED_EVENT if of_type else UNSUPPORTED_TYPE
        return Outcome("AR", number, "MSH^1^9", "unsupported message type or event", "message.type-unsupported")
    return None


def _refused(received: Received, rules: SenderRules, outcome: Outcome) -> Judgement:
    """Kept for a person, never remembered as the answer: the same message is judged again when it comes again."""
    return Judgement(outcome, _entry(received, rules, outcome, MessageState.REFUSED))


def _entry(
    received: Received,
    rules: SenderRules,
    outcome: Outcome,
    state: MessageState,
    trace: tuple[tuple[str, str], ...] = (),
) -> JournalEntry:
    header = received.header
    return JournalEntry(
        key=_key(received),
        raw=received.payload,
        peer=received.peer,
        message_type=header.message_type if header else "",
        state=state,
        outcome=outcome,
        sender=rules.name,
        tolerances=received.tolerances,
        trace=trace,
    )


def _key(received: Received) -> MessageKey:
    digest, header = content_hash(received.payload), received.header
    if header is None:
        return MessageKey(received.listener, "", "", "", digest)
    return MessageKey(received.listener, header.sending_application, header.sending_facility, header.control_id, digest)
