"""Journal entries and received messages of invented orders."""

from dataclasses import replace
from typing import Any

from fhir_bridge.journal import JournalEntry, MessageKey, MessageState
from hl7_listener.connection import Received
from hl7_listener.header import read_header
from hl7_listener.outcome import Outcome
from tests.support.tiny_orders import control_id, tiny_order


def a_key(number: int = 1, **changes: str) -> MessageKey:
    return replace(MessageKey("mllp", "RIS", "HOSP", control_id(number), f"hash-{number}"), **changes)


def an_entry(number: int = 1, **changes: Any) -> JournalEntry:
    entry = JournalEntry(
        key=a_key(number),
        raw=tiny_order(number),
        peer="192.0.2.1:5000",
        message_type="ORM^O01",
        state=MessageState.ACCEPTED,
        outcome=Outcome("AA"),
    )
    return replace(entry, **changes)


def a_received(number: int = 1) -> Received:
    payload = tiny_order(number)
    return Received("mllp", "192.0.2.1:5000", payload, read_header(payload))
