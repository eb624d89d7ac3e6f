"""The answers: by the table of LAYOUT §4, the text of HL7 v2.5.1 §2.9.2, and what real peers take (facts of Camel and HAPI)."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hl7_listener.acknowledgement import (
    Outcome,
    acknowledge,
    outcome_of,
    parse_acknowledgement,
)
from hl7_listener.header import read_header
from hl7_listener.refusal import MessageRefused

AT = datetime(2026, 3, 2, 9, 30, 5, 123456, timezone(timedelta(hours=1)))
MISSING = Outcome("AE", 101, "PID-3", "patient identifier missing", "order.patient-missing")


def ack(msh: str | bytes | None, outcome: Outcome = MISSING) -> list[bytes]:
    """The segments of our answer to a message with this MSH."""
    raw = msh.encode() if isinstance(msh, str) else msh
    header = read_header(raw) if raw is not None else None
    answer = acknowledge(header, outcome, application="FHIR-BRIDGE", facility="AI LAB", control_id="ACK1", at=AT)
    assert answer.endswith(b"\r")
    return answer[:-1].split(b"\r")


def msh(version: str = "2.5.1", event: str = "ORM^O01^ORM_O01", control_id: str = "MSG1", rest: str = "") -> str:
    return f"MSH|^~\\&|RIS|HOSP|BRIDGE|AI|20260302||{event}|{control_id}|P|{version}{rest}\r"


def test_an_answer_of_v2_5_and_later() -> None:
    """items 14 and 15"""
    assert ack(msh(rest="||||||UNICODE UTF-8")) == [
        b"MSH|^~\\&|FHIR-BRIDGE|AI LAB|RIS|HOSP|20260302093005+0100||ACK^O01^ACK|ACK1|P|2.5.1||||||UNICODE UTF-8",
        b"MSA|AE|MSG1",
        b"ERR||PID^1^3|101^Required field missing^HL70357|E|order.patient-missing^^L|||patient identifier missing",
    ]


def test_an_answer_before_v2_5() -> None:
    """items 14 and 15"""
    assert ack(msh("2.3.1")) == [
        b"MSH|^~\\&|FHIR-BRIDGE|AI LAB|RIS|HOSP|20260302093005+0100||ACK^O01^ACK|ACK1|P|2.3.1",
        b"MSA|AE|MSG1|patient identifier missing",
        b"ERR|PID^1^3^101&Required field missing&HL70357",
    ]


@pytest.mark.parametrize("version", ["2.1", "2.3.1", "2.4", "2.5", "2.8"])
def test_a_message_that_is_taken_gets_two_segments(version: str) -> None:
    assert [segment[:7] for segment in ack(msh(version), Outcome("AA"))] == [b"MSH|^~\\", b"MSA|AA|"]


def test_a_warning_beside_aa_has_an_err_from_v2_5_on_only() -> None:
    """item 15"""
    outcome = Outcome("AA", 201, "MSH-9", "stored, not processed")

    assert ack(msh("2.5"), outcome)[2] == b"ERR||MSH^1^9|201^Unsupported event code^HL70357|W||||stored, not processed"
    assert ack(msh("2.4"), outcome)[1:] == [b"MSA|AA|MSG1|stored, not processed"]


@pytest.mark.parametrize(
    ("version", "answered"),
    [
        ("2.1", "2.1"), ("2.2", "2.2"), ("2.3", "2.3"), ("2.3.1", "2.3.1"), ("2.4", "2.4"), ("2.5", "2.5"),
        ("2.5.1", "2.5.1"), ("2.5.1^USA", "2.5.1"), (" 2.6 ", "2.6"), ("2.7", "2.7"), ("2.7.1", "2.7.1"), ("2.8", "2.8"),
        ("2.8.1", "2.8.1"), ("2.8.2", "2.8.1"), ("2.9", "2.8.1"), ("2.9.1", "2.8.1"), ("2.5.2", "2.5.1"), ("3.0", "2.8.1"),
        ("1.9", "2.1"), ("", "2.5.1"), ("x", "2.5.1"), ("2", "2.5.1"),
    ],
)  # fmt: skip
def test_the_version_is_the_sender_s_as_far_as_every_peer_takes_it(version: str, answered: str) -> None:
    """item 14"""
    assert ack(msh(version))[0].split(b"|")[11] == answered.encode()


@pytest.mark.parametrize(
    ("version", "sends_msa_3", "err_1"), [("2.4", True, True), ("2.5", False, False), ("2.7", False, False)]
)
def test_the_text_stands_in_msa_3_below_v2_5_and_in_err_from_there(
    version: str, sends_msa_3: bool, err_1: bool
) -> None:
    segments = ack(msh(version))

    assert (len(segments[1].split(b"|")) == 4) is sends_msa_3
    assert (segments[2].split(b"|")[1] != b"") is err_1


@pytest.mark.parametrize(
    ("version", "event", "expected"),
    [
        ("2.5.1", "ORM^O01^ORM_O01", b"ACK^O01^ACK"),
        ("2.3.1", "ORM^O01", b"ACK^O01^ACK"),
        ("2.3", "ORM^O01", b"ACK^O01"),
        ("2.3", "ORM", b"ACK^O01"),
        ("2.5", "orm^o01", b"ACK^O01^ACK"),
        ("2.5", "XYZ", b"ACK"),
        ("2.5", "XYZ^\x0b\x1c", b"ACK"),
        ("2.5", "ORM^toolong", b"ACK"),
        ("2.5", "", b"ACK"),
    ],
)
def test_the_message_type_of_the_answer(version: str, event: str, expected: bytes) -> None:
    """item 14"""
    assert ack(msh(version, event))[0].split(b"|")[8] == expected


@pytest.mark.parametrize("control_id", ["1", "A&B", "A^B~C", "A\\T\\B", " padded ", "ä", "x" * 199, ""])
def test_the_control_id_goes_back_byte_for_byte(control_id: str) -> None:
    """item 15"""
    assert ack(msh(control_id=control_id))[1] == b"MSA|AE|" + control_id.encode() if control_id else b"MSA|AE"


def test_the_sender_s_delimiters_are_used() -> None:
    """items 14 and 20"""
    segments = ack("MSH$%+!@$RIS$HO%SP$$$2026$$ORM%O01$MSG1$P$2.3", Outcome("AE", 101, "PID-3", "50% of $"))

    assert segments == [
        b"MSH$%+!@$FHIR-BRIDGE$AI LAB$RIS$HO%SP$20260302093005+0100$$ACK%O01$ACK1$P$2.3",
        b"MSA$AE$MSG1$50!S! of !F!",
        b"ERR$PID%1%3%101@Required field missing@HL70357",
    ]


def test_a_sender_without_sub_components_gets_the_code_alone() -> None:
    assert ack("MSH|^~|RIS||||||ORM|MSG1|P|2.3")[2] == b"ERR|PID^1^3^101"


def test_five_encoding_characters_go_back() -> None:
    assert ack(msh().replace("^~\\&", "^~\\&#"))[0].startswith(b"MSH|^~\\&#|")


def test_a_byte_that_would_end_the_block_is_taken_out_of_what_is_echoed() -> None:
    segments = ack(b"MSH|^~\\&|R\x1cIS|H\x0bOSP|||||ORM^O01|MS\x1cG|P\x1c|2.5|||||8859\x1c/1\r")

    assert not set(b"".join(segments)) & {0x0B, 0x1C}
    assert segments[1] == b"MSA|AE|MSG"


def test_garbage_is_answered_without_a_control_id() -> None:
    with pytest.raises(MessageRefused) as caught:
        read_header(b"hello")

    assert ack(None, outcome_of(caught.value)) == [
        b"MSH|^~\\&|FHIR-BRIDGE|AI LAB|||20260302093005+0100||ACK|ACK1|P|2.5.1",
        b"MSA|AR",
        b"ERR||MSH|100^Segment sequence error^HL70357|E|hl7v2.no-header^^L|||the text does not begin with a segment MSH",
    ]


def test_in_enhanced_mode_garbage_is_cr() -> None:
    assert outcome_of(MessageRefused("hl7v2.no-header", "MSH", "x"), "enhanced").code == "CR"


@pytest.mark.parametrize(
    "event",
    ["ACK^O01", "ACK", "ack^o01", "ORR^O02", "ORG^O20", "ORI^O24", "ORL^O22", "OSR^Q06", "NMD^N02", "MCF", "RSP^K22"],
)
def test_an_answer_is_never_answered(event: str) -> None:
    """item 17"""
    header = read_header(msh(event=event).encode())

    assert acknowledge(header, MISSING, application="", facility="", control_id="1", at=AT) == b""


@pytest.mark.parametrize(
    ("version", "expected", "msa"),
    [
        ("2.3.1", 8, b"MSA|AE|MSG1|patient identifier missing|8"),
        ("2.5.1", 8, b"MSA|AE|MSG1||8"),
        ("2.5.1", 0, b"MSA|AE|MSG1||0"),
        ("2.5.1", -1, b"MSA|AE|MSG1||-1"),
        ("2.5.1", None, b"MSA|AE|MSG1"),
    ],
)
def test_the_expected_sequence_number_stands_in_msa_4(version: str, expected: int | None, msa: bytes) -> None:
    """item 10"""
    assert ack(msh(version), replace(MISSING, expected_sequence=expected))[1] == msa


@pytest.mark.parametrize(
    ("version", "event"), [("2.3", "ORM^O01"), ("2.5.1", "ORM^O01^ORM_O01"), ("2.8", "ADT^A08^ADT_A01")]
)
def test_a_picky_peer_may_have_ack_alone(version: str, event: str) -> None:
    """item 14"""
    assert ack(msh(version, event), replace(MISSING, short_type=True))[0].split(b"|")[8] == b"ACK"


def test_two_senders_never_get_each_other_s_header() -> None:
    """What is remembered between answers is the sender's own."""
    first = ack(b"MSH|^~\\&|RIS-1|HOSP-1|||2026||ORM^O01|1|P|2.3||||||8859/1\r")
    second = ack(b"MSH|^~\\&|RIS-2|HOSP-2|||2026||ADT^A08|2|D|2.5.1\r")

    assert first[0] == b"MSH|^~\\&|FHIR-BRIDGE|AI LAB|RIS-1|HOSP-1|20260302093005+0100||ACK^O01|ACK1|P|2.3||||||8859/1"
    assert second[0] == b"MSH|^~\\&|FHIR-BRIDGE|AI LAB|RIS-2|HOSP-2|20260302093005+0100||ACK^A08^ACK|ACK1|D|2.5.1"


def test_a_header_too_long_to_be_remembered_is_answered_alike() -> None:
    name = "R" * 600

    assert ack(msh().replace("RIS", name))[0].split(b"|")[4] == name.encode()


def test_an_outcome_without_code_sends_nothing() -> None:
    header = read_header(msh().encode())

    assert acknowledge(header, Outcome(""), application="", facility="", control_id="1", at=AT) == b""


@pytest.mark.parametrize(
    ("location", "erl"),
    [
        ("PID-3", "PID^1^3"),
        ("PID-3.4", "PID^1^3^1^4"),
        ("PID-3.4.2", "PID^1^3^1^4^2"),
        ("MSH", "MSH"),
        ("OBR^2^4", "OBR^2^4"),
        ("OBR^2^4^1^3", "OBR^2^4^1^3"),
        ("ZDS-1", "ZDS^1^1"),
        ("", ""),
        ("nowhere", ""),
        ("PID-3|x", ""),
    ],
)
def test_a_location_becomes_an_erl(location: str, erl: str) -> None:
    """item 15"""
    assert ack(msh(), Outcome("AE", 101, location))[2].split(b"|")[2] == erl.encode()


@pytest.mark.parametrize(("code", "error_code"), [("OK", 0), ("aa", 0), ("AE", 999)])
def test_an_outcome_outside_the_tables_is_an_error(code: str, error_code: int) -> None:
    with pytest.raises(ValueError, match="table"):
        Outcome(code, error_code)


def test_a_time_without_zone_is_an_error() -> None:
    with pytest.raises(ValueError, match="zone"):
        acknowledge(None, MISSING, application="", facility="", control_id="1", at=AT.replace(tzinfo=None))


@pytest.mark.parametrize("version", ["2.3.1", "2.4", "2.5", "2.5.1", "2.6", "2.7", "2.8", "2.8.1"])
@pytest.mark.parametrize("outcome", [Outcome("AA"), MISSING, Outcome("AR", 207, "", "try again")])
def test_hl7apy_finds_the_answer_valid(version: str, outcome: Outcome) -> None:
    parser, consts = pytest.importorskip("hl7apy.parser"), pytest.importorskip("hl7apy.consts")
    answer = b"\r".join(ack(msh(version), outcome)).decode()

    parsed = parser.parse_message(answer, validation_level=consts.VALIDATION_LEVEL.STRICT)

    assert (parsed.version, parsed.msa.msa_1.to_er7(), parsed.msa.msa_2.to_er7()) == (version, outcome.code, "MSG1")
    if outcome.error_code:
        [error] = parsed.err
        place = error.err_1.to_er7() if version < "2.5" else error.err_3.to_er7()
        assert str(outcome.error_code) in place


@pytest.mark.parametrize("version", ["2.1", "2.2", "2.3"])
def test_hl7apy_reads_the_answer_of_an_old_version(version: str) -> None:
    """It knows no structure `ACK` with an event there, so it cannot validate."""
    parser = pytest.importorskip("hl7apy.parser")
    answer = b"\r".join(ack(msh(version))).decode()

    parsed = parser.parse_message(answer, find_groups=False)

    assert parsed.to_er7().rstrip("\r") == answer


PLAIN = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x2FF), max_size=20)


@given(
    PLAIN,
    PLAIN,
    PLAIN,
    st.sampled_from(["2.1", "2.4", "2.5.1", "2.8", "2.9", "", "?"]),
    st.sampled_from(["^~\\&", "^~", "^~\\&#", "&^#!"]),
)
def test_whatever_the_sender_wrote_the_answer_is_one_block_of_cr_segments(
    application: str, control_id: str, text: str, version: str, encoding: str
) -> None:
    raw = f"MSH|{encoding}|{application}|F|||2026||ORM^O01|{control_id}|P|{version}\r".encode()
    segments = ack(raw, Outcome("AE", 101, "PID-3", text))

    assert [segment[:4] for segment in segments] == [b"MSH|", b"MSA|", b"ERR|"]
    assert not set(b"".join(segments)) & set(b"\x0b\x1c\n")
    assert re.fullmatch(rb"\d{14}[+-]\d{4}", segments[0].split(b"|")[6])


@pytest.mark.parametrize("version", ["2.3", "2.5.1"])
def test_our_own_answer_reads_as_it_was_meant(version: str) -> None:
    found = parse_acknowledgement(b"\r".join(ack(msh(version))))

    assert (found.code, found.control_id, found.error_code, found.location, found.text) == (
        "AE", b"MSG1", "101", "PID^1^3", "patient identifier missing",
    )  # fmt: skip


def test_the_time_of_an_answer_may_be_utc() -> None:
    answer = acknowledge(None, MISSING, application="", facility="", control_id="1", at=AT.astimezone(UTC))

    assert answer.split(b"|")[6] == b"20260302083005+0000"
