"""Original and enhanced mode, by HL7 v2.5.1 §2.9.2, §2.9.3, table 0155 and the table of answers in docs/architecture.md."""

from datetime import UTC, datetime

import pytest

from hl7_listener.acknowledgement import OrderAnswer, Outcome, acknowledge, outcome_of
from hl7_listener.header import Header, read_header
from hl7_listener.modes import accept_level, application_acknowledgement, is_enhanced, wants_application_answer
from hl7_listener.refusal import MessageRefused

AT = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


def header(accept: str = "AL", application: str = "AL", event: str = "OMI^O23^OMI_O23") -> Header:
    return read_header(f"MSH|^~\\&|RIS|HOSP|||2026||{event}|MSG1|P|2.5.1|||{accept}|{application}\r".encode())


@pytest.mark.parametrize(
    ("accept", "application", "expected"),
    [("", "", False), ("AL", "", True), ("", "NE", True), ("AL", "NE", True), ('""', '""', False)],
)
def test_a_message_is_in_original_mode_only_if_both_fields_are_empty(
    accept: str, application: str, expected: bool
) -> None:
    """item 12"""
    assert is_enhanced(header(accept, application)) is expected


@pytest.mark.parametrize("outcome", [Outcome("AA"), Outcome("AE", 101), Outcome("AR", 202)])
def test_original_mode_keeps_its_one_answer(outcome: Outcome) -> None:
    """item 12"""
    asked = header("", "")

    assert accept_level(outcome, asked) is outcome
    assert not wants_application_answer(asked, outcome)


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (Outcome("AA"), "CA"),
        (Outcome("AA", 201, text="stored, not processed"), "CA"),
        (Outcome("AR", 200, "MSH-9"), "CR"),
        (Outcome("AR", 201, "MSH-9"), "CR"),
        (Outcome("AR", 202, "MSH-11"), "CR"),
        (Outcome("AR", 203, "MSH-12"), "CR"),
        (Outcome("AR", 101, "MSH-10"), "CE"),
        (Outcome("AR", 207), "CE"),  # our own trouble, or too large
        (Outcome("AR", 100, "DSC"), "CE"),
        (Outcome("AE", 101, "PID-3"), "CE"),
        (Outcome("CA"), "CA"),
        (Outcome("CR", 200), "CR"),
        (Outcome(""), ""),
    ],
)
def test_the_accept_level_has_codes_of_its_own(outcome: Outcome, code: str) -> None:
    """item 13"""
    found = accept_level(outcome, header())

    assert (found.code, found.error_code, found.location) == (code, outcome.error_code, outcome.location)


def test_text_that_is_no_message_is_rejected_whatever_nobody_can_read() -> None:
    """item 13"""
    refused = outcome_of(MessageRefused("hl7v2.no-header", "MSH", "no header"))

    assert accept_level(refused, None).code == "CR"
    assert accept_level(Outcome("AR", 207, text="too large"), None).code == "CE"


@pytest.mark.parametrize(
    ("condition", "on_success", "on_error", "on_reject"),
    [
        ("AL", "CA", "CE", "CR"),
        ("NE", "", "", ""),
        ("ER", "", "CE", "CR"),
        ("SU", "CA", "", ""),
        ("", "", "", ""),  # MSH-16 alone is set: this one counts as NE
        ("al", "CA", "CE", "CR"),
        ("??", "CA", "CE", "CR"),
    ],
)
def test_msh_15_says_which_accept_acknowledgements_are_wanted(
    condition: str, on_success: str, on_error: str, on_reject: str
) -> None:
    """item 13"""
    outcomes = (Outcome("AA"), Outcome("AE", 101), Outcome("AR", 200))

    found = [accept_level(outcome, header(condition)).code for outcome in outcomes]

    assert found == [on_success, on_error, on_reject]


@pytest.mark.parametrize(
    ("condition", "on_success", "on_error", "on_reject"),
    [
        ("AL", True, True, True),
        ("NE", False, False, False),
        ("ER", False, True, True),
        ("SU", True, False, False),
        ("", False, False, False),  # MSH-15 alone is set: this one counts as NE
    ],
)
def test_msh_16_says_which_application_answers_are_wanted(
    condition: str, on_success: bool, on_error: bool, on_reject: bool
) -> None:
    """item 13"""
    outcomes = (Outcome("AA"), Outcome("AE", 101), Outcome("AR", 207))

    found = [wants_application_answer(header("AL", condition), outcome) for outcome in outcomes]

    assert found == [on_success, on_error, on_reject]


@pytest.mark.parametrize("code", ["CA", "CE", "CR", ""])
def test_a_code_of_the_accept_level_is_no_application_answer(code: str) -> None:
    """item 13"""
    assert not wants_application_answer(header(), Outcome(code))


def test_an_answer_gets_no_application_answer() -> None:
    """item 17"""
    assert not wants_application_answer(header(event="ORI^O24^ORI_O24"), Outcome("AA"))


def test_an_order_response_is_of_the_application_level() -> None:
    """items 13 and 16"""
    assert accept_level(Outcome("AA", orders=(OrderAnswer("OK"),)), header()).orders == ()


def deferred(outcome: Outcome, asked: Header) -> bytes:
    return application_acknowledgement(
        asked, outcome, application="FHIR-BRIDGE", facility="AI", control_id="OURS-1", at=AT
    )


def test_the_application_acknowledgement_is_a_message_of_its_own() -> None:
    """item 13"""
    assert deferred(Outcome("AE", 204, "ORC-2", "no such order"), header()).split(b"\r") == [
        b"MSH|^~\\&|FHIR-BRIDGE|AI|RIS|HOSP|20260302093000+0000||ACK^O23^ACK|OURS-1|P|2.5.1|||AL|NE",
        b"MSA|AE|MSG1",
        b"ERR||ORC^1^2|204^Unknown key identifier^HL70357|E||||no such order",
        b"",
    ]


@pytest.mark.parametrize("outcome", [Outcome("AA"), Outcome("AE", 204, "ORC-2", "no such order")])
def test_hl7apy_finds_the_application_acknowledgement_valid(outcome: Outcome) -> None:
    """item 13"""
    parser, consts = pytest.importorskip("hl7apy.parser"), pytest.importorskip("hl7apy.consts")

    parsed = parser.parse_message(deferred(outcome, header()).decode(), validation_level=consts.VALIDATION_LEVEL.STRICT)

    msh, msa = parsed.msh, parsed.msa
    assert (msh.msh_15.to_er7(), msh.msh_16.to_er7(), msh.msh_10.to_er7()) == ("AL", "NE", "OURS-1")
    assert (msa.msa_1.to_er7(), msa.msa_2.to_er7()) == (outcome.code, "MSG1")


def test_an_accept_acknowledgement_has_empty_conditions() -> None:
    """item 13"""
    asked = header()
    answer = acknowledge(
        asked, accept_level(Outcome("AA"), asked), application="US", facility="", control_id="1", at=AT
    )

    assert read_header(answer).raw(15) == read_header(answer).raw(16) == b""
    assert b"MSA|CA|MSG1\r" in answer
