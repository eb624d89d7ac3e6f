"""A received message or notification becomes an order and its job, inside one transaction of the store.

The table of answers is LAYOUT §4: AA only for what is kept, AR for what we cannot take, AE for what the sender must mend.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from fhir_bridge.job import Event, Stage, Status
from fhir_bridge.ports import KnownOrder, Ledger, MessageKey
from fhir_bridge.rendezvous.same_order import changed, contradicts, enriched, same_patient, same_placer
from hl7_listener.acknowledgement import Outcome
from hl7_listener.header import Header, content_hash
from hl7_listener.message import Message
from hl7_listener.refusal import MessageRefused
from hl7_listener.server import Received
from mappings.hl7v2_order import ORDER_EVENTS, SenderPolicy, orders_from
from mappings.order import Order, OrderControl, OrderKey
from mappings.refusal import MappingRefused

VERSIONS = frozenset(
    {
        "2.1",
        "2.2",
        "2.3",
        "2.3.1",
        "2.4",
        "2.5",
        "2.5.1",
        "2.6",
        "2.7",
        "2.7.1",
        "2.8",
        "2.8.1",
        "2.8.2",
        "2.9",
        "2.9.1",
    }
)

# HL7 v2 table 0357
SEGMENT_SEQUENCE, REQUIRED_FIELD, DATA_TYPE, TABLE_VALUE = 100, 101, 102, 103
UNSUPPORTED_TYPE, UNSUPPORTED_EVENT, UNSUPPORTED_PROCESSING, UNSUPPORTED_VERSION = 200, 201, 202, 203
INTERNAL = 207

CANCELLED_EARLY = "order.cancelled-early"  # the cancel came first; its order has not come yet


@dataclass(frozen=True, slots=True)
class IntakePolicy:
    """What the site takes, from whom and how it reads it."""

    sender: SenderPolicy
    processing_ids: frozenset[str] = frozenset({"P", ""})
    order_categories: frozenset[str] = field(default_factory=frozenset)
    charset_default: str = ""


def receive(ledger: Ledger, received: Received, policy: IntakePolicy) -> Outcome:
    """One message: kept with its raw bytes, its orders accepted, its answer decided. The caller commits, then sends it."""
    header = received.header
    if received.oversize:
        outcome = Outcome("AR", INTERNAL, "", "the message is larger than this listener takes", "message.too-large")
        return _refuse(ledger, received, header, outcome)
    if header is None:
        code = received.refusal.code if received.refusal else "hl7v2.no-header"
        return _refuse(ledger, received, None, Outcome("AR", SEGMENT_SEQUENCE, "", "no readable MSH segment", code))
    if header.is_answer:
        return Outcome("")  # never an ACK to an ACK
    refusal = _unacceptable(header, policy)
    if refusal is not None:
        return _refuse(ledger, received, header, refusal)
    key = _key(received, header)
    if known := ledger.find_message(key):
        return Outcome(known.answer)
    try:
        orders = orders_from(Message(received.payload, policy.charset_default), policy.sender)
        with ledger.savepoint():
            jobs = [job for order in orders if (job := accept_order(ledger, order, "hl7v2"))]
    except (MappingRefused, MessageRefused) as refused:
        outcome = Outcome("AE", _error_code(refused.code), refused.where, refused.explanation, refused.code)
        return _refuse(ledger, received, header, outcome)
    ledger.add_message(
        key, received.payload, header.message_type, "AA", peer=received.peer, jobs=tuple(dict.fromkeys(jobs))
    )
    return Outcome("AA")


def accept_order(ledger: Ledger, order: Order, source: str) -> str:
    """The job that this order makes or touches; empty for none. The same order by another door touches the same job."""
    known = ledger.orders_by_keys(order.keys())
    ours = [k for k in known if same_patient(k.order.patient, order.patient)]
    same = [k for k in ours if not contradicts(k.order, order)]
    if not same and order.control is OrderControl.CHANGE:
        same = [k for k in ours if same_placer(k.order, order)]  # it corrects the numbers, too
    if order.control is OrderControl.NONE:
        return _note_only(ledger, same, order)
    if same:
        return _touch(ledger, same[0], order, source)
    if len(ours) < len(known):
        return _conflict(ledger, order, source)
    return _create(ledger, order, source)


def _create(ledger: Ledger, order: Order, source: str) -> str:
    job = ledger.add_order(order, source)
    if order.control is OrderControl.CANCEL:
        # kept as a job, so that the order that comes late finds its cancel, and people see it
        ledger.happen(job, Event.CANCEL, CANCELLED_EARLY)
    return job


def _touch(ledger: Ledger, known: KnownOrder, order: Order, source: str) -> str:
    job = known.job
    if order.control is OrderControl.CANCEL:
        if not ledger.happen(job.id, Event.CANCEL, "order.cancelled"):
            ledger.note(job.id, "cancel-ignored", f"order.{job.status}")
    elif job.status is Status.CANCELLED:
        _touch_cancelled(ledger, known, order, source)
    elif order.control is OrderControl.CHANGE or _is_newer_version(known, order, source):
        _change(ledger, known, order)
    else:
        ledger.note(job.id, "received-again", "order.same")
        wanted = enriched(known.order, order)
        if wanted != known.order:
            ledger.update_order(job.id, wanted)
            ledger.happen(job.id, Event.WAKE, "order.enriched")
    return job.id


def _touch_cancelled(ledger: Ledger, known: KnownOrder, order: Order, source: str) -> None:
    """The cancel that overtook its order counts once. After that a new NW orders anew; a ServiceRequest that merely is active does not."""
    job = known.job.id
    if order.control is OrderControl.CHANGE:
        ledger.note(job, "change-ignored", f"order.{known.job.status}")
        return
    if known.job.reason == CANCELLED_EARLY:
        ledger.update_order(job, enriched(known.order, order))
        ledger.happen(job, Event.CANCEL, "order.cancelled-before-it-came")
    elif source == "hl7v2":
        ledger.update_order(job, changed(known.order, order))
        ledger.happen(job, Event.REPLAY, "order.ordered-anew", Stage.CONTEXT)
    else:
        ledger.note(job, "received-again", f"order.{known.job.status}")


def _is_newer_version(known: KnownOrder, order: Order, source: str) -> bool:
    """A ServiceRequest that we know by the FHIR door has changed there. An order that HL7 v2 brought is changed by HL7 v2."""
    same_request = bool(order.service_request) and known.order.service_request == order.service_request
    return source == known.job.source == "fhir" and same_request


def _change(ledger: Ledger, known: KnownOrder, order: Order) -> None:
    job, wanted = known.job.id, changed(known.order, order)
    if wanted == known.order:
        ledger.note(job, "received-again", "order.same")
    elif ledger.happen(job, Event.CHANGE, "order.changed", Stage.CONTEXT):
        ledger.update_order(job, wanted)
    else:
        ledger.note(job, "change-ignored", f"order.{known.job.status}")


def _conflict(ledger: Ledger, order: Order, source: str) -> str:
    """The same accession, study or placer number, but another patient: somebody must look; no guess. Held once, however often it comes."""
    keys = tuple(OrderKey(f"conflict-{key.kind}", _patient_of(order), key.value) for key in order.keys())  # noqa: SIM118 - a method of Order
    if held := ledger.orders_by_keys(keys):
        return _touch(ledger, held[0], order, source)
    if order.control is OrderControl.NEW:
        return ledger.add_order(order, source, held="order.patient-conflict", keys=keys)
    raise MappingRefused("order.patient-conflict", "PID^1^3", "the order is known, but for another patient")


def _patient_of(order: Order) -> str:
    first = order.patient.identifiers[0]  # the mappings let no order with an effect pass without one
    return f"{first.system}|{first.value}"


def _note_only(ledger: Ledger, same: Sequence[KnownOrder], order: Order) -> str:
    if not same:
        return ""
    ledger.note(same[0].job.id, "received", "order.no-effect")
    return same[0].job.id


def _unacceptable(header: Header, policy: IntakePolicy) -> Outcome | None:
    """HL7 v2.5.1 §2.9.2.1: reject on MSH-9, MSH-11, MSH-12; and no message without its control ID."""
    if not header.control_id:
        return Outcome("AR", REQUIRED_FIELD, "MSH^1^10", "message control ID missing", "message.control-id-missing")
    if header.version not in VERSIONS:
        return Outcome("AR", UNSUPPORTED_VERSION, "MSH^1^12", "unsupported version", "message.version-unsupported")
    if header.processing_id not in policy.processing_ids:
        text = "this listener does not take this processing ID"
        return Outcome("AR", UNSUPPORTED_PROCESSING, "MSH^1^11", text, "message.processing-id-unsupported")
    if (header.message_code, header.trigger_event) not in ORDER_EVENTS:
        of_type = any(code == header.message_code for code, _ in ORDER_EVENTS)
        number = UNSUPPORTED_EVENT if of_type else UNSUPPORTED_TYPE
        return Outcome("AR", number, "MSH^1^9", "unsupported message type or event", "message.type-unsupported")
    return None


def _refuse(ledger: Ledger, received: Received, header: Header | None, outcome: Outcome) -> Outcome:
    """Kept for the analyst, never remembered as the answer: the same message is judged again when it comes again."""
    message_type = header.message_type if header else ""
    error = (outcome.application_code, outcome.location)
    ledger.add_message(
        _key(received, header), received.payload, message_type, outcome.code, peer=received.peer, error=error
    )
    return outcome


def _key(received: Received, header: Header | None) -> MessageKey:
    digest = content_hash(received.payload)
    if header is None:
        return MessageKey(received.listener, "", "", "", digest)
    return MessageKey(received.listener, header.sending_application, header.sending_facility, header.control_id, digest)


def _error_code(code: str) -> int:
    if code.endswith("-missing"):
        return REQUIRED_FIELD
    if code.endswith("-unknown"):
        return TABLE_VALUE
    return DATA_TYPE if code.endswith("-malformed") else INTERNAL
