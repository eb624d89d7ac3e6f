"""What intake made of a message, told to its sender: order by order, or later in a message of its own (items 13 and 16)."""

from dataclasses import replace

import pytest

from fhir_bridge.adapters.in_memory.journal import InMemoryJournal
from fhir_bridge.adapters.in_memory.store import InMemoryStore
from fhir_bridge.intake import NO_RETURN_ADDRESS, Intake, IntakePolicy
from fhir_bridge.journal import Effect
from fhir_bridge.judgement import take
from fhir_bridge.senders import SenderRules, Senders
from hl7_listener.acknowledgement import parse_acknowledgement
from hl7_listener.connection import Received
from hl7_listener.header import read_header
from hl7_listener.outcome import OrderAnswer
from tests.support.er7_orders import an_order
from tests.support.frozen_clock import FrozenClock

ENHANCED = SenderRules("RIS", application="RIS", answer="enhanced", reply_to="RIS")
BY_ORDER = SenderRules(order_responses=True)


class House:
    """Door, journal, intake and store, by the rules of one sender."""

    def __init__(self, clock: FrozenClock) -> None:
        self.store, self.journal, self.clock = InMemoryStore(clock), InMemoryJournal(clock), clock
        self.told: list[Effect] = []
        self.rules = SenderRules()

    def take(self, text: str) -> Effect:
        senders = (
            Senders(SenderRules(), [self.rules] if self.rules.name else []) if self.rules.name else Senders(self.rules)
        )
        with self.journal.transaction() as page:
            taken = take(Received("mllp", "192.0.2.1:5", text.encode(), read_header(text.encode())), page, senders)
        policy = IntakePolicy(senders, names={"mllp": ("BRIDGE", "AI")})
        Intake(self.journal, self.store, policy, self.clock, self.told.extend).apply_next()
        return self.store.effects([taken.message])[taken.message]


@pytest.fixture
def house(clock: FrozenClock) -> House:
    return House(clock)


def test_the_application_acknowledgement_goes_back_in_a_message_of_its_own(house: House) -> None:
    house.rules = ENHANCED
    house.take(an_order(msh15="AL", msh16="AL"))
    (reply,) = house.store.due_replies()
    header, answer = read_header(reply.payload), parse_acknowledgement(reply.payload)
    assert (reply.destination, answer.code, answer.control_id) == ("RIS", "AA", b"M1")
    assert (header.sending_application, header.receiving_application, header.application_acknowledgement) == (
        "BRIDGE", "RIS", "NE",
    )  # fmt: skip
    assert header.control_id not in ("", "M1")


@pytest.mark.parametrize(
    ("application", "control", "replies"),
    [
        ("AL", "NW", ["AA"]),
        ("NE", "NW", []),
        ("ER", "NW", []),
        ("SU", "NW", ["AA"]),
        ("ER", "other patient", ["AE"]),
        ("SU", "other patient", []),
    ],
)
def test_msh_16_says_which_application_acknowledgements_are_wanted(
    house: House, application: str, control: str, replies: list[str]
) -> None:
    if control == "other patient":
        house.take(an_order("M0"))
    house.rules = ENHANCED
    text = an_order("M1", msh15="AL", msh16=application, control="NW" if control == "NW" else "CA")
    house.take(text if control == "NW" else text.replace("CANARY-1^", "CANARY-2^"))
    assert [parse_acknowledgement(reply.payload).code for reply in house.store.due_replies()] == replies


def test_without_a_return_address_somebody_must_look(house: House) -> None:
    house.rules = replace(ENHANCED, reply_to="")
    effect = house.take(an_order(msh15="AL", msh16="AL"))
    assert (effect.warnings, house.store.due_replies()) == ((NO_RETURN_ADDRESS,), ())


def test_a_sender_in_original_mode_gets_no_second_answer(house: House) -> None:
    house.take(an_order(msh15="AL", msh16="AL"))
    assert house.store.due_replies() == ()


def test_each_order_has_its_answer_with_the_senders_own_numbers(house: House) -> None:
    house.rules = BY_ORDER
    effect = house.take(an_order())
    assert effect.outcome.orders == (OrderAnswer("OK", b"CANARY-P1^RIS", b""),)


def test_a_cancel_is_answered_as_cancelled_as_requested(house: House) -> None:
    house.rules = BY_ORDER
    house.take(an_order("M1"))
    assert [answer.control for answer in house.take(an_order("M2", control="CA")).outcome.orders] == ["CR"]


def test_an_unknown_order_is_refused_where_the_sender_wants_to_know(house: House) -> None:
    house.rules = SenderRules(unknown_orders="refuse", wait_for_intake=True)
    outcome = house.take(an_order(control="CA")).outcome
    assert (outcome.code, outcome.error_code, outcome.application_code, house.store.jobs()) == (
        "AE", 204, "order.unknown", (),
    )  # fmt: skip


def test_whoever_waits_is_told_once_it_is_committed(house: House) -> None:
    effect = house.take(an_order())
    assert [(told.message, told.jobs) for told in house.told] == [(effect.message, effect.jobs)]
