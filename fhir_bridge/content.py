"""What a message says: its orders, or its changes to patients, as the rules of its sender read them. Judged and applied alike."""

from dataclasses import dataclass
from typing import cast

from fhir_bridge.senders import SenderRules
from hl7_listener.message import Message, Segment
from hl7_listener.outcome import OrderAnswer
from mappings.hl7v2_groups import Located, OrderGroup, groups_of
from mappings.hl7v2_order import ORDER_EVENTS, orders_from
from mappings.hl7v2_order_glance import is_surely_taken
from mappings.hl7v2_patient import PATIENT_EVENTS, PatientChange, patient_changes_from
from mappings.order import Order, PatientIdentity
from mappings.refusal import MappingRefused

EVENTS = ORDER_EVENTS | PATIENT_EVENTS
_MOST = 200  # orders, changes, or numbers of one patient: what each costs grows with the others, and intake would stand still


@dataclass(frozen=True, slots=True)
class Content:
    """`orders` in the order of their groups, or `changes`. `charset_note`: why the message was not taken at its MSH-18's word;
    `contradicts_charset`: its bytes even deny it."""

    orders: tuple[Order, ...] = ()
    changes: tuple[PatientChange, ...] = ()
    charset_note: str = ""
    contradicts_charset: bool = False

    @property
    def trace(self) -> tuple[tuple[str, str], ...]:
        """Which element came from which field by which rule, free of values."""
        traces = [order.trace for order in self.orders] + [change.trace for change in self.changes]
        return tuple(line for trace in traces for line in trace)


def read_content(raw: bytes, rules: SenderRules) -> Content:
    """Raises MessageRefused and MappingRefused, with the place; `message.too-many-parts`. The caller has checked the type against `EVENTS`."""
    message = Message(raw, rules.charset_default)
    note, contradicts = message.charset_note, message.contradicts_charset
    if (message.header.message_code, message.header.trigger_event) in ORDER_EVENTS:
        orders = orders_from(message, rules.mapping)
        _require_few(len(orders), *(order.patient for order in orders))
        return Content(orders=orders, charset_note=note, contradicts_charset=contradicts)
    changes = patient_changes_from(message, rules.mapping)
    _require_few(len(changes), *(patient for each in changes for patient in (each.patient, each.prior) if patient))
    return Content(changes=changes, charset_note=note, contradicts_charset=contradicts)


def glance_at(raw: bytes, rules: SenderRules) -> Content:
    """As much of a message as its answer needs: the orders of one that will surely be taken are left to intake. Raises as `read_content`."""
    message = Message(raw, rules.charset_default)
    is_order = (message.header.message_code, message.header.trigger_event) in ORDER_EVENTS
    many = raw.count(message.delimiters.repetition.encode()) >= _MOST
    if not is_order or many or _may_hold_null(raw, message) or not is_surely_taken(message, rules.mapping):
        return read_content(raw, rules)
    return Content(charset_note=message.charset_note, contradicts_charset=message.contradicts_charset)


def _require_few(parts: int, *patients: PatientIdentity) -> None:
    if parts > _MOST or any(len(patient.identifiers) > _MOST for patient in patients):
        why = f"more than {_MOST} orders, changes of patients, or numbers of one patient"
        raise MappingRefused("message.too-many-parts", "MSH^1", why)


def _may_hold_null(raw: bytes, message: Message) -> bool:
    """Two double quotes, or a hexadecimal escape that could make them."""
    escape = message.delimiters.escape.encode()
    return b'""' in raw or bool(escape and (escape + b"X" in raw or escape + b"x" in raw))


def order_answers(raw: bytes, rules: SenderRules, controls: tuple[str, ...]) -> tuple[OrderAnswer, ...]:
    """One answer an order group, with the sender's own numbers byte for byte."""
    groups = groups_of(Message(raw, rules.charset_default))
    return tuple(
        OrderAnswer(control, _raw(group, 2), _raw(group, 3)) for control, group in zip(controls, groups, strict=True)
    )


def _raw(group: OrderGroup, position: int) -> bytes:
    """ORC-2 or ORC-3, else OBR-2 or OBR-3."""
    for segment in (group.orc, group.obr):
        if segment and (value := _bytes_of(segment, position)):
            return value
    return b""


def _bytes_of(segment: Located, position: int) -> bytes:
    return cast(Segment, segment.segment).raw(position)  # the view of our own Message
