"""The message inspector: what came in by HL7 v2, how it was answered, what it did, which element came from which field. No values."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from flask import Blueprint, abort, render_template, request

from fhir_bridge.journal import Effect, MessageJournal, MessageState, StoredMessage
from fhir_bridge.ports import Clock, JobStore
from hl7_listener.message import Message, Segment
from hl7_listener.outcome import POSITIVE, Outcome
from hl7_listener.refusal import MessageRefused
from hl7_listener.traffic import Counts, Statistics

SHOWN_MESSAGES = 200
_NULL = b'""'

FieldName = Callable[[str, str, int], str]  # version, segment, position -> the standard's name; empty where it has none


@dataclass(frozen=True, slots=True)
class Field:
    """A field that is there. `holds`: how many repetitions, or that it is the HL7 null; never what."""

    where: str
    name: str
    holds: str


@dataclass(frozen=True, slots=True)
class SegmentShown:
    """One segment with the fields that it has."""

    name: str
    fields: tuple[Field, ...]


def message_pages(
    journal: MessageJournal,
    store: JobStore,
    clock: Clock,
    field_name: FieldName,
    before_request: Callable[[], None],
    traffic: Callable[[], Mapping[str, Statistics]] = dict,
) -> Blueprint:
    """`/messages` and `/messages/<id>`; `traffic` is what passed through each listener. Each may raise Unavailable, which the
    application answers."""
    blueprint = Blueprint("messages", __name__)
    blueprint.before_request(before_request)

    @blueprint.get("/messages")
    def all_messages() -> str:
        wanted = request.args.get("state", "")
        if wanted and wanted not in {*MessageState, "dead-letter"}:
            abort(404)
        if wanted == "dead-letter":
            letters = {effect.message: effect for effect in store.failed_effects(SHOWN_MESSAGES)}
            found = tuple(message.without_content() for number in letters if (message := journal.message(number)))
        else:
            found = journal.messages(SHOWN_MESSAGES, state=MessageState(wanted) if wanted else None)
        effects = store.effects([message.id for message in found])
        counts = journal.counts()
        return render_template(
            "messages.html",
            now=clock.now(),
            live=request.args.get("live") == "1",
            messages=[
                (message, effects.get(message.id), _refusal(message, effects.get(message.id))) for message in found
            ],
            counts={state: counts.get(state, 0) for state in MessageState},
            wanted=wanted,
            limit=SHOWN_MESSAGES,
            position=store.intake_position(),
            peers=peers_of(traffic()),
        )

    @blueprint.get("/messages/<int(max=9223372036854775807):number>")
    def one_message(number: int) -> str:
        message = journal.message(number) or abort(404)
        effect = store.effects([number]).get(number)
        return render_template(
            "message.html",
            now=clock.now(),
            live=request.args.get("live") == "1",
            message=message,
            effect=effect,
            refusal=_refusal(message, effect),
            segments=segments_of(message.entry.raw, field_name),
            size=len(message.entry.raw),
        )

    return blueprint


@dataclass(frozen=True, slots=True)
class Peer:
    """What came from one address through one listener since the door opened; each count in words."""

    listener: str
    address: str
    connections: str
    messages: int
    answers: str
    tolerated: str
    discarded: str
    closed: str


def peers_of(traffic: Mapping[str, Statistics]) -> tuple[Peer, ...]:
    """Every peer, those with what could not be framed first."""
    found = [
        _peer(name, address, counts) for name, door in traffic.items() for address, counts in door["peers"].items()
    ]
    return tuple(sorted(found, key=lambda peer: (not peer.discarded, peer.listener, peer.address)))


def _peer(listener: str, address: str, counts: Counts) -> Peer:
    refused = {f"refused: {reason}": count for reason, count in counts["connections_refused"].items()}
    return Peer(
        listener,
        address,
        _in_words({"accepted": counts["connections_accepted"]} | refused),
        counts["messages"],
        _in_words(counts["acknowledgements"]),
        _in_words(counts["tolerances"]),
        _in_words(counts["discarded"]),
        _in_words(counts["closed"]),
    )


def _in_words(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()) if count)


def segments_of(raw: bytes, field_name: FieldName) -> tuple[SegmentShown, ...]:
    """Which fields the message has; nothing where it cannot be read."""
    try:
        message = Message(raw, charset_default="8859/1")  # of its text only delimiters are looked at
        counts: Counter[str] = Counter()
        shown = []
        for segment in message.segments:
            counts[segment.name] += 1
            shown.append(SegmentShown(segment.name, _fields(segment, counts[segment.name], message, field_name)))
    except MessageRefused:
        return ()
    return tuple(shown)


def _fields(segment: Segment, sequence: int, message: Message, field_name: FieldName) -> tuple[Field, ...]:
    version = message.header.version
    return tuple(
        Field(
            f"{segment.name}^{sequence}^{position}",
            field_name(version, segment.name, position),
            _holds(segment, position),
        )
        for position in range(1, segment.field_count + 1)
        if segment.raw(position)
    )


def _holds(segment: Segment, position: int) -> str:
    if segment.raw(position) == _NULL:
        return "null: delete"
    repetitions = segment.repetitions(position)
    return "a value" if repetitions == 1 else f"{repetitions} repetitions"


def _refusal(message: StoredMessage, effect: Effect | None) -> Outcome | None:
    """Why it had no effect, if it had none: at the door, or afterwards."""
    if effect is not None and effect.outcome.code not in POSITIVE:
        return effect.outcome
    outcome = message.entry.outcome
    return outcome if message.entry.state is MessageState.REFUSED else None
