"""What a message is answered, by the rules of its sender and by what came before it; on the journal's twin. Items of HL7 v2 practice
are named as docs/conformance/hl7v2.md counts them."""

from dataclasses import replace

import pytest

from fhir_bridge.judgement import own_trouble, take
from fhir_bridge.senders import SenderRules, Senders
from tests.support.er7_orders import an_order
from tests.support.frozen_clock import FrozenClock
from tests.support.judged import DEFAULT, ENHANCED, received
from tests.support.judged import JudgedDoor as Door


@pytest.fixture
def door(clock: FrozenClock) -> Door:
    return Door(clock)


# item 9: what repeats a kept message gets the same answer and is not kept twice


def test_the_same_message_again_is_answered_again_and_kept_once(door: Door) -> None:
    first, second = door.take(an_order()), door.take(an_order())
    assert (first.outcome.code, second.outcome.code, second.message, len(door.kept())) == ("AA", "AA", first.message, 1)


def test_a_message_resent_with_a_new_msh_7_is_the_same(door: Door) -> None:
    door.take(an_order())
    door.take(an_order(msh7="20260302100000"))
    assert len(door.kept()) == 1


def test_a_control_id_used_for_other_content_is_a_new_message_with_a_note(door: Door) -> None:
    door.take(an_order())
    door.take(an_order(control="CA"))
    assert [message.entry.tolerances for message in door.kept()] == [(), ("control-id-used-before",)]


def test_a_refusal_is_judged_again_once_the_rules_were_mended(door: Door) -> None:
    refused = door.code(an_order(msh11="T"))
    door.rules = replace(DEFAULT, processing_ids=frozenset({"T"}))
    assert (refused, door.code(an_order(msh11="T")), door.states()) == ("AR", "AA", ["refused", "accepted"])


def test_a_refused_message_that_comes_again_and_again_is_kept_once(door: Door) -> None:
    """A strict queue repeats it every few seconds, for days."""
    first, again = door.take(an_order(msh11="T")), door.take(an_order(msh11="T", msh7="20260302100000"))
    assert (again.outcome.code, again.message, len(door.kept())) == ("AR", first.message, 1)


def test_a_message_refused_for_another_reason_is_kept_anew(door: Door) -> None:
    door.take(an_order(msh11="T"))
    door.rules = replace(DEFAULT, processing_ids=frozenset({"T"}), versions=frozenset({"2.3"}))
    door.take(an_order(msh11="T"))
    assert [m.entry.outcome.application_code for m in door.kept()] == [
        "message.processing-id-unsupported",
        "message.version-unsupported",
    ]


def test_a_message_without_a_control_id_is_refused(door: Door) -> None:
    outcome = door.take(an_order("")).outcome
    assert (outcome.code, outcome.error_code, outcome.location) == ("AR", 101, "MSH^1^10")


def test_trouble_of_our_own_is_answered_by_the_senders_rule() -> None:
    rules = (DEFAULT, replace(DEFAULT, own_trouble="AE"))
    assert [own_trouble(received(an_order()), Senders(each)).code for each in rules] == ["AR", "AE"]


# items 12 and 13: original and enhanced mode


@pytest.mark.parametrize(
    ("accept", "application", "code"),
    [("AL", "NE", "CA"), ("AL", "AL", "CA"), ("NE", "AL", ""), ("ER", "AL", ""), ("SU", "", "CA"), ("", "", "AA")],
)
def test_a_sender_in_enhanced_mode_gets_what_msh_15_asks_for(
    door: Door, accept: str, application: str, code: str
) -> None:
    door.rules = ENHANCED
    assert door.code(an_order(msh15=accept, msh16=application)) == code


@pytest.mark.parametrize(
    ("fields", "code"),
    [({"msh12": "1.0"}, "CR"), ({"msh11": "T"}, "CR"), ({"msh9": "ORU^R01"}, "CR"), ({"control": "QQ"}, "CE")],
)
def test_refusals_of_enhanced_mode(door: Door, fields: dict[str, str], code: str) -> None:
    door.rules = ENHANCED
    assert door.code(an_order(msh15="AL", msh16="NE", **fields)) == code


def test_by_default_msh_15_and_16_change_nothing(door: Door) -> None:
    assert door.code(an_order(msh15="AL", msh16="AL")) == "AA"


def test_a_silent_acknowledgement_is_remembered_as_taken(door: Door) -> None:
    door.rules = ENHANCED
    door.take(an_order(msh15="NE", msh16="NE"))
    door.take(an_order(msh15="NE", msh16="NE"))
    assert door.states() == ["accepted"]


# items 11, 16 and 17


@pytest.mark.parametrize("rules", [replace(DEFAULT, order_responses=True), replace(DEFAULT, wait_for_intake=True)])
def test_a_sender_that_wants_to_know_more_waits_for_intake(door: Door, rules: SenderRules) -> None:
    door.rules = rules
    first, again = door.take(an_order()), door.take(an_order())
    assert (first.waits, again.waits, again.message) == (True, True, first.message)


def test_a_repeat_of_what_has_no_effect_waits_for_none(door: Door) -> None:
    door.rules = replace(DEFAULT, wait_for_intake=True, unsupported="accept")
    door.take(an_order(msh9="SIU^S12"))
    assert not door.take(an_order(msh9="SIU^S12")).waits


def test_in_enhanced_mode_nothing_waits_since_the_effect_is_told_later(door: Door) -> None:
    door.rules = replace(ENHANCED, order_responses=True)
    assert not door.take(an_order(msh15="AL", msh16="AL")).waits


def test_a_refused_message_waits_for_nothing(door: Door) -> None:
    door.rules = replace(DEFAULT, wait_for_intake=True)
    assert not door.take(an_order(control="QQ")).waits


@pytest.mark.parametrize("kind", ["ACK", "ACK^O01^ACK", "ORR^O02^ORR_O02", "ORI^O24", "ORG^O20"])
def test_an_answer_is_kept_and_never_answered(door: Door, kind: str) -> None:
    assert (door.code(an_order(msh9=kind)), door.states()) == ("", ["no-effect"])


def test_a_strict_queue_may_be_told_aa_while_the_message_stays_refused(door: Door) -> None:
    door.rules = replace(DEFAULT, permanent_refusals="accept")
    assert (door.code(an_order(control="QQ")), door.states()) == ("AA", ["refused"])
    assert door.kept()[0].entry.outcome.code == "AE"


# items 18 to 21: the header


def test_a_type_that_nothing_acts_on_is_refused_or_kept_by_the_senders_rule(door: Door) -> None:
    refused = door.code(an_order("M1", msh9="SIU^S12"))
    door.rules = replace(DEFAULT, unsupported="accept")
    assert (refused, door.code(an_order("M2", msh9="SIU^S12")), door.states()) == ("AR", "AA", ["refused", "no-effect"])


@pytest.mark.parametrize(("kind", "number"), [("SIU^S12", 200), ("ORM^O99", 201)])
def test_type_and_event_have_numbers_of_their_own(door: Door, kind: str, number: int) -> None:
    assert door.take(an_order(msh9=kind)).outcome.error_code == number


@pytest.mark.parametrize(
    ("kind", "shown"), [("orm^o01^x", "ORM^O01"), ("ORM", "ORM^O01"), ("CANARY^ZEBRA", ""), ("QQQ" * 99, "")]
)
def test_a_type_is_shown_only_where_it_is_one(door: Door, kind: str, shown: str) -> None:
    door.take(an_order(msh9=kind))
    assert door.kept()[0].entry.message_type == shown


@pytest.mark.parametrize(("version", "code"), [("2.1", "AA"), ("2.9", "AA"), ("2.5^FRA^2.11", "AA"), ("3.0", "AR")])
def test_versions(door: Door, version: str, code: str) -> None:
    assert door.code(an_order(msh12=version)) == code


def test_an_unknown_version_is_read_as_the_nearest_where_the_sender_may(door: Door) -> None:
    door.rules = replace(DEFAULT, unknown_versions="nearest")
    assert (door.code(an_order(msh12="2.10")), door.kept()[0].entry.tolerances) == ("AA", ("version-unknown",))


@pytest.mark.parametrize(("processing", "code"), [("P", "AA"), ("P^T", "AA"), ("", "AA"), ("T", "AR"), ("D", "AR")])
def test_only_production_is_taken_by_default(door: Door, processing: str, code: str) -> None:
    assert door.code(an_order(msh11=processing)) == code


@pytest.mark.parametrize(("strict", "code"), [(False, "AA"), (True, "AE")])
def test_a_character_set_declared_wrongly(door: Door, strict: bool, code: str) -> None:
    door.rules = replace(DEFAULT, strict_charset=strict)
    assert door.code(an_order(msh18="8859/1").replace("^ZEBRA", "^ZÉBRA")) == code


def test_what_was_forgiven_is_kept_with_the_message(door: Door) -> None:
    door.take(an_order(msh18="8859/1", msh11="", msh15="AL").replace("^ZEBRA", "^ZÉBRA"))
    assert set(door.kept()[0].entry.tolerances) == {
        "charset-declared-single-byte-is-utf-8",
        "one-acknowledgement-condition",
        "processing-id-empty",
    }


def test_what_cannot_be_read_is_kept_for_a_person(door: Door) -> None:
    outcome = door.take(b"CANARY is no message").outcome
    assert (outcome.code, outcome.error_code, door.states()) == ("AR", 100, ["refused"])


def test_of_a_message_that_is_too_large_the_answer_names_the_control_id(door: Door) -> None:
    taken = door.take(an_order(), oversize=True)
    assert (taken.outcome.code, taken.outcome.application_code) == ("AR", "message.too-large")


def test_a_message_without_room_is_never_told_to_be_taken(door: Door) -> None:
    """Only its first bytes are kept, and the sender may send it again."""
    door.rules = replace(DEFAULT, permanent_refusals="accept")
    with door.journal.transaction() as page:
        taken = take(replace(received(an_order(), oversize=True), crowded_out=True), page, Senders(door.rules))
    assert (taken.outcome.code, taken.outcome.application_code) == ("AR", "message.crowded-out")


@pytest.mark.parametrize("messages", [(an_order("M1"), an_order("M2")), (an_order("M1", msh9="ADT^A08"), an_order())])
def test_two_messages_in_one_block_are_refused(door: Door, messages: tuple[str, ...]) -> None:
    """The sender is told of the first alone, and would take the second for kept."""
    outcome = door.take("".join(messages)).outcome
    assert (outcome.code, outcome.location, outcome.application_code) == ("AR", "MSH^2", "message.second-header")


def test_the_letters_msh_in_a_text_are_no_second_header(door: Door) -> None:
    assert door.code(an_order() + "NTE|1||see MSH|below\r") == "AA"


# item 11: continuation


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(an_order() + "DSC|CONT-2\r", id="it goes on"),
        pytest.param(
            "\r".join(line for line in an_order(msh14="CONT-2").split("\r") if line[:3] != "PID"), id="it continues"
        ),
    ],
)
def test_a_part_of_a_message_never_starts_anything(door: Door, message: str) -> None:
    outcome = door.take(message).outcome
    assert (outcome.code, outcome.application_code, door.states()) == ("AR", "message.continuation", ["refused"])


def test_a_whole_message_may_bear_a_continuation_pointer(door: Door) -> None:
    """24 of 1,447 public messages do."""
    assert (door.code(an_order(msh14="1")), door.kept()[0].entry.tolerances) == ("AA", ("continuation-pointer",))


@pytest.mark.parametrize(
    ("message", "number"),
    [
        (an_order(control="QQ"), 103),
        (an_order(control=""), 101),
        (an_order().replace("CANARY-1^", '""^'), 102),
        (an_order().replace("^ZEBRA", "^Z\xc9BRA").encode("latin-1"), 102),
    ],
    ids=["not in its table", "missing", "null in a key", "undecodable"],
)
def test_a_refusal_of_the_content_has_the_number_of_table_0357(door: Door, message: str | bytes, number: int) -> None:
    outcome = door.take(message).outcome
    assert (outcome.code, outcome.error_code) == ("AE", number)
