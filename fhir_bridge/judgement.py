"""What a received message is answered, before anything is done with it: by the rules of its sender, and by what came before it.

The table of answers is LAYOUT §4: AA only for what is kept, AR for what we cannot take, AE for what the sender must mend; CA, CR, CE
for a sender in enhanced mode. A message is mapped here, so that an AE has its place, and mapped again by intake, which applies it.
"""

import re
from dataclasses import dataclass, field, replace

from fhir_bridge.content import EVENTS, glance_at
from fhir_bridge.journal import JournalEntry, JournalPage, MessageKey, MessageState, StoredMessage, Trace
from fhir_bridge.outcomes import (
    DATA_TYPE,
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
from fhir_bridge.sequence import expected_after, judge_number, with_expected
from hl7_listener.batch import BatchFile, is_batch, read_batch
from hl7_listener.connection import Received
from hl7_listener.header import Header, content_hash, is_fragment, read_header, sequence_number
from hl7_listener.modes import accept_level, is_enhanced
from hl7_listener.outcome import POSITIVE, Outcome
from hl7_listener.refusal import MessageRefused
from mappings.refusal import MappingRefused

NOT_KEPT = "message.not-kept"  # trouble of our own: the same message may come again
_TOO_LARGE, _CROWDED_OUT = "message.too-large", "message.crowded-out"  # of these only the first bytes are kept
_PASSING = frozenset({"message.sequence-gap", _CROWDED_OUT})  # refusals that the same message may not meet again
_MOST_IN_A_BLOCK = 5000  # messages of one batch: they share a commit, and every other sender waits for it

_TYPE = re.compile(r"[A-Z0-9]{3}(\^[A-Z0-9]{3})?", re.ASCII)

# MSH-12, table 0104
VERSIONS = frozenset(
    "2.1 2.2 2.3 2.3.1 2.4 2.5 2.5.1 2.6 2.7 2.7.1 2.8 2.8.1 2.8.2 2.9 2.9.1".split()  # noqa: SIM905 - reads as the table
)


@dataclass(frozen=True, slots=True)
class Judgement:
    """The answer, and what to write down before it leaves: nothing where the message repeats one that is `known` (its id).

    `has_effect`: intake acts on it, or has.
    """

    outcome: Outcome
    entry: JournalEntry | None = None
    known: int = 0
    has_effect: bool = False


@dataclass(frozen=True, slots=True)
class Taken:
    """A message on its page of the journal, and its answer once that page is on disk.

    `message` is its id, or that of the message which it repeats. `waits`: the sender wants to know what became of it, not only that
    it is kept (`in_words_of`). `parts` are the messages of a batch, each taken on its own; then there is no other answer.
    """

    received: Received
    outcome: Outcome
    message: int = 0
    waits: bool = False
    rules: SenderRules = field(default_factory=SenderRules)
    parts: tuple["Taken", ...] = ()


def take(received: Received, page: JournalPage, senders: Senders) -> Taken:
    """Judge a block and write down what it holds: one message, or a batch of them (FHS, BHS)."""
    if received.refusal is not None and received.refusal.code == "hl7v2.batch" and not received.oversize:
        return _take_batch(received, page, senders)
    return _take_one(received, page, senders)


def _take_batch(received: Received, page: JournalPage, senders: Senders) -> Taken:
    try:
        batch = read_batch(received.payload)
        _require_few(batch)
    except MessageRefused as refused:
        return _take_one(replace(received, refusal=refused), page, senders)
    tolerances = received.tolerances + tuple(warning.code for warning in batch.warnings)
    parts = tuple(
        _take_one(_alone(received, message.payload, tolerances, message.place), page, senders)
        for message in batch.messages()
    )
    if not parts:
        rules = senders.rules_for(received.listener, batch.header)
        page.add(_entry(received, rules, Outcome("AA"), MessageState.NO_EFFECT))
    return Taken(received, Outcome("AA"), parts=parts)


def _require_few(batch: BatchFile) -> None:
    if sum(len(part.spans) for part in batch.batches) > _MOST_IN_A_BLOCK:
        why = f"a batch of more than {_MOST_IN_A_BLOCK} messages in one block"
        raise MessageRefused("hl7v2.batch-too-long", "BHS", why)


def _alone(received: Received, payload: bytes, tolerances: tuple[str, ...], batch: str) -> Received:
    """A message of a batch as if it had come in a block of its own."""
    header, refusal = None, None
    try:
        header = read_header(payload)
    except MessageRefused as error:
        refusal = error
    return replace(received, payload=payload, header=header, refusal=refusal, tolerances=tolerances, batch=batch)


def take_again(message: StoredMessage, page: JournalPage, senders: Senders) -> Taken:
    """Judge a stored message anew, by the rules of today, as if it had never come; a person's replay.

    Of a message that was too large there is only the beginning: it stays refused.
    """
    key = message.entry.key
    is_head_only = message.entry.outcome.application_code in (_TOO_LARGE, _CROWDED_OUT)
    received = Received(key.listener, message.entry.peer, message.entry.raw, None, oversize=is_head_only)
    received = _alone(received, message.entry.raw, ("replayed",), message.entry.batch)
    return _take_one(received, page, senders, replay_of=message.id)


def _take_one(received: Received, page: JournalPage, senders: Senders, *, replay_of: int = 0) -> Taken:
    rules = senders.rules_for(received.listener, received.header)
    judgement = judge(received, page, rules, is_replay=bool(replay_of))
    entry = replace(judgement.entry, replay_of=replay_of) if judgement.entry and replay_of else judgement.entry
    before = 0 if replay_of else _refused_before(judgement, page)
    message = before or (page.add(entry) if entry else judgement.known)
    outcome = _worded(judgement.outcome, received.header, rules)
    return Taken(received, outcome, message, _waits(received, judgement, rules), rules)


def _refused_before(judgement: Judgement, page: JournalPage) -> int:
    """The id of the message that came before and was refused for the same: a sender may repeat it for days, and it is kept already."""
    entry = judgement.entry
    if entry is None or entry.state is not MessageState.REFUSED or judgement.outcome.code in POSITIVE:
        return 0
    return page.find_refusal(entry.key, entry.outcome.application_code) or 0


def _waits(received: Received, judgement: Judgement, rules: SenderRules) -> bool:
    """Not in a batch, whose answers go back together, nor in enhanced mode, where the effect is told later."""
    if not rules.waits_for_intake or received.batch or _is_enhanced(received.header, rules):
        return False
    return judgement.has_effect and judgement.outcome.code in POSITIVE


def judge(received: Received, page: JournalPage, rules: SenderRules, *, is_replay: bool = False) -> Judgement:
    """By the words of original mode. Reads the journal for repeats, writes nothing."""
    header = received.header
    if received.crowded_out:
        text = "too many unfinished messages at this moment"
        return _refused(received, rules, Outcome("AR", INTERNAL, "", text, _CROWDED_OUT))
    if received.oversize:
        text = "the message is larger than this listener takes"
        return _refused(received, rules, Outcome("AR", INTERNAL, "", text, _TOO_LARGE))
    if header is None:
        return _refused(received, rules, _unreadable(received.refusal))
    if header.is_answer:  # never an ACK to an ACK
        return Judgement(Outcome(""), _entry(received, rules, Outcome(""), MessageState.NO_EFFECT))
    key = _key(received)
    known = None if is_replay else page.find(key)
    if known is not None:
        has_effect = known.entry.state is MessageState.ACCEPTED
        return Judgement(_again(known.entry, page, rules), None, known.id, has_effect)
    refusal = _unacceptable(received, header, rules)
    refused = _refused(received, rules, refusal) if refusal else None
    if refused is not None and refused.outcome.code not in POSITIVE:
        return refused
    if rules.sequence_numbers and not is_replay:
        return _judge_in_sequence(received, header, page, rules, key, refused)
    return refused or _judge_content(received, header, page, rules, key)


def _unreadable(refusal: MessageRefused | None) -> Outcome:
    if refusal is None or refusal.code == "hl7v2.no-header":
        return Outcome("AR", SEGMENT_SEQUENCE, "MSH", "no readable MSH segment", "hl7v2.no-header")
    return Outcome("AR", SEGMENT_SEQUENCE, refusal.where, refusal.explanation, refusal.code)


def _again(known: JournalEntry, page: JournalPage, rules: SenderRules) -> Outcome:
    """The answer that the message had, whatever was recorded beside it."""
    if not rules.sequence_numbers or known.sequence_number is None:
        return Outcome("AA")
    return Outcome("AA", expected_sequence=expected_after(page.last_sequence_number(known.key)))


def _judge_in_sequence(
    received: Received,
    header: Header,
    page: JournalPage,
    rules: SenderRules,
    key: MessageKey,
    refused: Judgement | None,
) -> Judgement:
    """`refused`: a refusal of the header that the sender is not told."""
    number, last = sequence_number(header), page.last_sequence_number(key)
    settled = judge_number(number, header.sequence_number, last)
    if settled is not None and settled.code not in POSITIVE:
        return _refused(received, rules, settled)
    if settled is not None:
        return Judgement(settled, _entry(received, rules, settled, MessageState.NO_EFFECT))
    judgement = refused or _judge_content(received, header, page, rules, key)
    if judgement.entry is None or judgement.outcome.code not in POSITIVE:
        return judgement
    entry = replace(judgement.entry, sequence_number=number or None)
    return replace(judgement, outcome=with_expected(judgement.outcome, number, last), entry=entry)


def _judge_content(
    received: Received, header: Header, page: JournalPage, rules: SenderRules, key: MessageKey
) -> Judgement:
    if (header.message_code, header.trigger_event) not in EVENTS:
        trace = (("message", "kept, but nothing here acts on its type"),)
        return Judgement(Outcome("AA"), _entry(received, rules, Outcome("AA"), MessageState.NO_EFFECT, trace))
    try:
        content = glance_at(received.payload, rules)
    except (MappingRefused, MessageRefused) as refused:
        return _refused(received, rules, content_refused(refused.code, refused.where, refused.explanation))
    if rules.strict_charset and content.contradicts_charset:
        text = "the bytes are not in the character set that is declared"
        return _refused(received, rules, Outcome("AE", DATA_TYPE, "MSH^1^18", text, "message.charset-contradicted"))
    notes = _notes(header, page, key)
    if content.charset_note:
        notes += (f"charset-{content.charset_note}",)
    taken = Outcome("AA")
    entry = _entry(received, rules, taken, MessageState.ACCEPTED, content.trace, key, notes)
    return Judgement(taken, entry, has_effect=True)


def _notes(header: Header, page: JournalPage, key: MessageKey) -> tuple[str, ...]:
    """What was forgiven, beside the framing: for whoever looks after the sender."""
    notes = []
    if header.version not in VERSIONS:
        notes.append("version-unknown")
    if bool(header.accept_acknowledgement) is not bool(header.application_acknowledgement):
        notes.append("one-acknowledgement-condition")
    if header.continuation_pointer:
        notes.append("continuation-pointer")
    if not header.processing_id:
        notes.append("processing-id-empty")
    if page.is_restarted(key):
        notes.append("control-id-used-before")
    return tuple(notes)


def _unacceptable(received: Received, header: Header, rules: SenderRules) -> Outcome | None:
    """HL7 v2.5.1 §2.9.2.1: reject on MSH-9, MSH-11, MSH-12; and no message without its control ID, and no part of one."""
    if not header.control_id and not received.batch:
        return Outcome("AR", REQUIRED_FIELD, "MSH^1^10", "message control ID missing", "message.control-id-missing")
    if _holds_another(received.payload):
        text = "a second MSH segment: one message a block, or a batch with its BHS"
        return Outcome("AR", SEGMENT_SEQUENCE, "MSH^2", text, "message.second-header")
    if is_fragment(header, received.payload):
        text = "a part of a message is not taken here: send it whole"
        return Outcome("AR", SEGMENT_SEQUENCE, "MSH^1^14", text, "message.continuation")
    if not _takes_version(header.version, rules):
        return Outcome("AR", UNSUPPORTED_VERSION, "MSH^1^12", "unsupported version", "message.version-unsupported")
    if header.processing_id not in rules.processing_ids:
        text = "this listener does not take this processing ID"
        return Outcome("AR", UNSUPPORTED_PROCESSING, "MSH^1^11", text, "message.processing-id-unsupported")
    if (header.message_code, header.trigger_event) not in EVENTS and rules.unsupported == "refuse":
        of_type = any(code == header.message_code for code, _ in EVENTS)
        number = UNSUPPORTED_EVENT if of_type else UNSUPPORTED_TYPE
        return Outcome("AR", number, "MSH^1^9", "unsupported message type or event", "message.type-unsupported")
    return None


def _holds_another(payload: bytes) -> bool:
    """Whether a frame lost its end, and the next message is glued to it: who is told of one must not lose the other."""
    return payload.find(b"MSH", payload.find(b"MSH") + 3) >= 0 and is_batch(payload)


def _takes_version(version: str, rules: SenderRules) -> bool:
    if rules.versions:
        return version in rules.versions
    return version in VERSIONS or rules.unknown_versions == "nearest"


def _refused(received: Received, rules: SenderRules, outcome: Outcome) -> Judgement:
    """Kept for a person, never remembered as the answer: the same message is judged again when it comes again.

    Where the sender's queue stops at a refusal, it may be told AA all the same: then the message is only in our list.
    """
    is_permanent = outcome.application_code not in _PASSING
    if rules.permanent_refusals == "accept" and is_permanent and received.header is not None:
        return Judgement(Outcome("AA"), _entry(received, rules, outcome, MessageState.REFUSED))
    return Judgement(outcome, _entry(received, rules, outcome, MessageState.REFUSED))


def _worded(outcome: Outcome, header: Header | None, rules: SenderRules) -> Outcome:
    """The answer in the words that this sender wants."""
    if _is_enhanced(header, rules):
        outcome = accept_level(outcome, header)
    elif outcome.code == "AR" and outcome.error_code == INTERNAL:
        outcome = replace(outcome, code=rules.own_trouble)
    return replace(outcome, short_type=True) if rules.acknowledgement_type == "short" else outcome


def in_words_of(rules: SenderRules, effect: Outcome, said: Outcome) -> Outcome:
    """What a sender that waited is told of the effect, where it would have been `said` that the message is kept."""
    if effect.code not in POSITIVE and rules.permanent_refusals == "accept":
        return said
    code = rules.own_trouble if effect.code == "AR" else effect.code
    return replace(effect, code=code, expected_sequence=said.expected_sequence, short_type=said.short_type)


def _is_enhanced(header: Header | None, rules: SenderRules) -> bool:
    return rules.answer == "enhanced" and header is not None and is_enhanced(header)


def own_trouble(received: Received, senders: Senders) -> Outcome:
    """The answer when our store or a bug of ours keeps us from taking the message; the sender may send it again."""
    rules = senders.rules_for(received.listener, received.header)
    text = "the receiver cannot take the message now"
    return _worded(Outcome("AR", INTERNAL, "", text, NOT_KEPT), received.header, rules)


def _entry(
    received: Received,
    rules: SenderRules,
    outcome: Outcome,
    state: MessageState,
    trace: Trace = (),
    key: MessageKey | None = None,
    notes: tuple[str, ...] = (),
) -> JournalEntry:
    header = received.header
    return JournalEntry(
        key=key or _key(received),
        raw=received.payload,
        peer=received.peer,
        message_type=_shown_type(header),
        state=state,
        outcome=outcome,
        sender=rules.name,
        tolerances=received.tolerances + notes,
        trace=trace,
        batch=received.batch,
    )


def _shown_type(header: Header | None) -> str:
    """The message type where it looks like one: in a header whose fields have shifted anything may stand there."""
    message_type = header.message_type if header else ""
    return message_type if _TYPE.fullmatch(message_type) else ""


def _key(received: Received) -> MessageKey:
    digest, header = content_hash(received.payload), received.header
    if header is None:
        return MessageKey(received.listener, "", "", received.batch, digest)
    control_id = header.control_id or received.batch
    return MessageKey(received.listener, header.sending_application, header.sending_facility, control_id, digest)
