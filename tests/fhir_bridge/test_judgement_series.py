"""Messages that belong together: numbered, in batches, put in again."""

from dataclasses import replace
from typing import Any

import pytest

from fhir_bridge.judgement import take_again
from fhir_bridge.senders import Senders
from tests.support.er7_orders import a_batch, an_order
from tests.support.frozen_clock import FrozenClock
from tests.support.judged import DEFAULT
from tests.support.judged import JudgedDoor as Door


@pytest.fixture
def door(clock: FrozenClock) -> Door:
    return Door(clock)


# item 10: the sequence number protocol


@pytest.fixture
def in_sequence(door: Door) -> Door:
    door.rules = replace(DEFAULT, sequence_numbers=True)
    return door


def numbers(door: Door, *sent: str) -> list[tuple[str, int | None]]:
    """MSA-1 and MSA-4 for messages that bear these numbers in MSH-13."""
    found = []
    for place, number in enumerate(sent):
        outcome = door.take(an_order(f"M{place}", msh13=number)).outcome
        found.append((outcome.code, outcome.expected_sequence))
    return found


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        pytest.param(("1", "2"), [("AA", 2), ("AA", 3)], id="in order"),
        pytest.param(("1", "000000002"), [("AA", 2), ("AA", 3)], id="with leading zeros"),
        pytest.param(("7",), [("AA", 8)], id="the first number is taken as it comes"),
        pytest.param(("1", "3"), [("AA", 2), ("AE", 2)], id="a gap is refused with the number that is missing"),
        pytest.param(("1", "2", "1"), [("AA", 2), ("AA", 3), ("AA", 3)], id="a lower number is a repeat"),
        pytest.param(("0",), [("AA", -1)], id="0 asks, and nothing came yet"),
        pytest.param(("4", "0"), [("AA", 5), ("AA", 5)], id="0 asks for the next number"),
        pytest.param(("4", "-1", "9"), [("AA", 5), ("AA", -1), ("AA", 10)], id="-1 starts anew"),
        pytest.param(("x",), [("AE", None)], id="not a number"),
    ],
)
def test_sequence_numbers(in_sequence: Door, sent: tuple[str, ...], answered: list[tuple[str, int | None]]) -> None:
    assert numbers(in_sequence, *sent) == answered


def test_a_repeat_by_its_number_has_no_effect(in_sequence: Door) -> None:
    numbers(in_sequence, "1", "2", "1")
    assert in_sequence.states() == ["accepted", "accepted", "no-effect"]


@pytest.mark.parametrize(
    ("rules", "fields"),
    [
        pytest.param({"unsupported": "accept"}, {"msh9": "SIU^S12"}, id="of a type that nothing acts on"),
        pytest.param({"permanent_refusals": "accept"}, {"control": "QQ"}, id="content refused in silence"),
        pytest.param({"permanent_refusals": "accept"}, {"msh9": "SIU^S12"}, id="header refused in silence"),
    ],
)
def test_whatever_is_answered_aa_moves_the_number_on(
    in_sequence: Door, rules: dict[str, Any], fields: dict[str, str]
) -> None:
    in_sequence.rules = replace(in_sequence.rules, **rules)
    sent = [an_order("M1", msh13="1"), an_order("M2", msh13="2", **fields), an_order("M3", msh13="3")]
    outcomes = [in_sequence.take(message).outcome for message in sent]
    assert [(outcome.code, outcome.expected_sequence) for outcome in outcomes] == [("AA", 2), ("AA", 3), ("AA", 4)]


def test_without_agreement_sequence_numbers_are_only_kept(door: Door) -> None:
    assert numbers(door, "1", "5") == [("AA", None), ("AA", None)]


# item 24: batches


def test_each_message_of_a_batch_is_taken_on_its_own(door: Door) -> None:
    taken = door.take(a_batch(an_order("M1"), an_order("M2", control="QQ")))
    assert ([part.outcome.code for part in taken.parts], door.states()) == (["AA", "AE"], ["accepted", "refused"])


def test_without_a_control_id_the_place_in_the_batch_stands_in(door: Door) -> None:
    door.take(a_batch(an_order(""), an_order("M2", control="XO")))
    assert [message.entry.key.control_id for message in door.kept()] == ["B7#1", "M2"]


def test_a_batch_sent_again_is_kept_once(door: Door) -> None:
    batch = a_batch(an_order("M1"), an_order("M2", control="XO"))
    door.take(batch)
    door.take(batch)
    assert len(door.kept()) == 2


def test_a_batch_that_cannot_be_read_is_refused_whole(door: Door) -> None:
    taken = door.take("BHS|^~\\&|RIS\rPID|1\r")
    assert (taken.outcome.code, taken.parts, door.states()) == ("AR", (), ["refused"])


def test_a_batch_of_nothing_is_kept_before_it_is_answered(door: Door) -> None:
    assert (door.take(a_batch()).outcome.code, door.states()) == ("AA", ["no-effect"])


def test_a_batch_that_would_hold_up_all_others_is_refused_whole(door: Door) -> None:
    outcome = door.take(a_batch(*["MSH|^~\\&|RIS\r"] * 5001)).outcome
    assert (outcome.code, outcome.application_code, door.states()) == ("AR", "hl7v2.batch-too-long", ["refused"])


# messages replay: a person puts a message in again


def test_a_replay_is_judged_by_the_rules_of_today_as_an_entry_of_its_own(door: Door) -> None:
    door.take(an_order(msh11="T"))
    door.rules = replace(DEFAULT, processing_ids=frozenset({"T"}))
    refused = door.journal.message(1)
    assert refused
    with door.journal.transaction() as page:
        taken = take_again(refused, page, Senders(door.rules))
    assert (taken.outcome.code, taken.message, door.kept()[1].entry.replay_of) == ("AA", 2, 1)


def test_a_replay_that_is_refused_again_is_an_entry_of_its_own(door: Door) -> None:
    door.take(an_order(msh11="T"))
    refused = door.journal.message(1)
    assert refused
    with door.journal.transaction() as page:
        assert take_again(refused, page, Senders(door.rules)).message == 2


def test_a_replay_of_a_message_of_which_only_the_beginning_is_kept_stays_refused(door: Door) -> None:
    door.take(an_order(), oversize=True)
    refused = door.journal.message(1)
    assert refused
    with door.journal.transaction() as page:
        taken = take_again(refused, page, Senders(door.rules))
    assert (taken.outcome.code, taken.outcome.application_code) == ("AR", "message.too-large")


def test_a_replay_of_a_message_that_was_taken_is_applied_again(door: Door) -> None:
    door.take(an_order())
    accepted = door.journal.message(1)
    assert accepted
    with door.journal.transaction() as page:
        take_again(accepted, page, Senders(door.rules))
    assert door.states() == ["accepted", "accepted"]
