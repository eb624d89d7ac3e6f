"""Answers order by order (HL7 v2.5.1 §4.4.2, §4.4.4, §4.4.7, §4.4.9), with hl7apy's strict validation as the oracle."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from hl7_listener.acknowledgement import OrderAnswer, Outcome, acknowledge
from hl7_listener.header import read_header
from hl7_listener.message import Message

AT = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
DATA = Path(__file__).parents[1] / "data" / "hl7v2"
PID = "PID|1||CANARY-1^^^HOSP^MR||CANARY^ZEBRA"
FIRST = ("ORC|NW|P1^RIS|F1^RIS", "OBR|1|P1^RIS|F1^RIS|XCH2^Chest^LOCAL", "IPC|ACC1|RP1|1.2.3|SPS1")
SECOND = (
    "ORC|NW|P2^RIS|F2^RIS",
    "OBR|2|P2^RIS|F2^RIS|CTH^Head^LOCAL",
    "IPC|ACC2|RP2|1.2.4|SPS2",
    "IPC|ACC2|RP2|1.2.4|SPS3",
)
OK_UA = (OrderAnswer("OK", b"P1^RIS", b"F1^RIS"), OrderAnswer("UA", b"P2^RIS", b"F2^RIS"))


def order(event: str, version: str, *segments: str) -> bytes:
    header = f"MSH|^~\\&|RIS|HOSP|||20260302||{event}|MSG1|P|{version}"
    return "".join(f"{line}\r" for line in (header, *segments)).encode()


def answer(raw: bytes, outcome: Outcome, *, message: bytes | None = None) -> list[str]:
    """The segments of our answer."""
    sent = acknowledge(
        read_header(raw),
        outcome,
        application="FHIR-BRIDGE",
        facility="AI",
        control_id="A1",
        at=AT,
        message=raw if message is None else message,
    )
    return sent.decode().removesuffix("\r").split("\r")


@pytest.mark.parametrize(
    ("event", "version", "message_type"),
    [
        ("ORM^O01^ORM_O01", "2.3.1", "ORR^O02^ORR_O02"),
        ("ORM^O01", "2.3", "ORR^O02"),
        ("ORM", "2.2", "ORR^O02"),
        ("orm^o01", "2.5.1", "ORR^O02^ORR_O02"),
        ("ORM^O01", "2.9", "ORR^O02^ORR_O02"),
        ("OMG^O19^OMG_O19", "2.5.1", "ORG^O20^ORG_O20"),
        ("OMI^O23^OMI_O23", "2.5.1", "ORI^O24^ORI_O24"),
        ("OML^O21^OML_O21", "2.5.1", "ORL^O22^ORL_O22"),
    ],
)
def test_each_order_message_has_its_response(event: str, version: str, message_type: str) -> None:
    """item 16"""
    msh, msa, *_ = answer(order(event, version, PID, *FIRST, *SECOND), Outcome("AA", orders=OK_UA))

    assert (msh.split("|")[8], msa) == (message_type, "MSA|AA|MSG1")


@pytest.mark.parametrize("event", ["OSQ^Q06", "ADT^A08", "ORU^R01", "OMP^O09"])
def test_no_other_message_has_one(event: str) -> None:
    """item 16: OSQ^Q06 asks for a status, and its answer OSR^Q06 is no order response"""
    segments = answer(order(event, "2.5.1", PID, *FIRST), Outcome("AA", orders=OK_UA))

    assert [segments[0].split("|")[8], *segments[1:]] == [f"ACK^{event[4:]}^ACK", "MSA|AA|MSG1"]


@pytest.mark.parametrize("outcome", [Outcome("AA"), Outcome("CA", orders=OK_UA), Outcome("CR", 200, orders=OK_UA)])
def test_the_plain_acknowledgement_stays_where_nobody_asked_for_more(outcome: Outcome) -> None:
    """item 16"""
    msh = answer(order("OMI^O23^OMI_O23", "2.5.1", PID, *FIRST), outcome)[0]

    assert msh.split("|")[8] == "ACK^O23^ACK"


def test_each_order_has_an_orc_with_its_numbers_as_they_came() -> None:
    """item 16"""
    orders = (OrderAnswer("OK", b"P\\T\\1^RIS&1.2&ISO", b"F1"), OrderAnswer("UC", b"", b"F2"), OrderAnswer("NA"))

    segments = answer(order("OMG^O19^OMG_O19", "2.5.1", PID), Outcome("AA", orders=orders))

    assert segments[2:] == ["ORC|OK|P\\T\\1^RIS&1.2&ISO|F1", "ORC|UC||F2", "ORC|NA"]


def test_an_error_stands_before_the_orders() -> None:
    """items 15 and 16"""
    outcome = Outcome("AE", 204, "ORC-2", "no such order", orders=(OrderAnswer("UC", b"P1"),))

    segments = answer(order("ORM^O01", "2.3.1", PID, *FIRST), outcome)

    assert segments[1:] == [
        "MSA|AE|MSG1|no such order",
        "ERR|ORC^1^2^204&Unknown key identifier&HL70357",
        "ORC|UC|P1",
    ]


def test_an_imaging_response_repeats_what_its_structure_requires() -> None:
    """item 16: ORI^O24 is `{ ORC OBR { IPC } }`"""
    segments = answer(order("OMI^O23^OMI_O23", "2.5.1", PID, *FIRST, *SECOND), Outcome("AA", orders=OK_UA))

    assert segments[2:] == ["ORC|OK|P1^RIS|F1^RIS", *FIRST[1:], "ORC|UA|P2^RIS|F2^RIS", *SECOND[1:]]


def test_a_laboratory_response_repeats_the_patient() -> None:
    """item 16: the orders of ORL^O22 stand behind PID"""
    segments = answer(order("OML^O21^OML_O21", "2.5.1", PID, *FIRST[:2]), Outcome("AA", orders=OK_UA[:1]))

    assert segments[2:] == [PID, "ORC|OK|P1^RIS|F1^RIS"]


def test_two_orders_of_one_group_are_told_apart_by_their_obr() -> None:
    """items 16 and 26"""
    raw = order("OMI^O23^OMI_O23", "2.5.1", PID, "ORC|NW", "OBR|1|P1||A", "IPC|1", "OBR|2|P2||B", "IPC|2")
    orders = (OrderAnswer("OK", b"P2"), OrderAnswer("OK", b"P1"))

    segments = answer(raw, Outcome("AA", orders=orders))

    assert segments[2:] == ["ORC|OK|P2", "OBR|2|P2||B", "IPC|2", "ORC|OK|P1", "OBR|1|P1||A", "IPC|1"]


@pytest.mark.parametrize(
    "message", [b"", b"MSH|^~\\&|||||||OMI^O23|1|P|2.5.1||||||ISO IR87\rORC|NW|P1\x1b$B\xff\xff\r"]
)
def test_without_the_message_every_order_still_has_its_orc(message: bytes) -> None:
    raw = order("OMI^O23^OMI_O23", "2.5.1", PID, *FIRST)

    assert answer(raw, Outcome("AA", orders=OK_UA), message=message)[2:] == [
        "ORC|OK|P1^RIS|F1^RIS",
        "ORC|UA|P2^RIS|F2^RIS",
    ]


def test_the_sender_s_delimiters_are_used() -> None:
    """items 16 and 20"""
    raw = b"MSH$%+!@$RIS$$$$$$ORM%O01$MSG1$P$2.3\rORC$NW$P1%RIS\r"

    assert answer(raw, Outcome("AA", orders=(OrderAnswer("OK", b"P1%RIS"),))) == [
        "MSH$%+!@$FHIR-BRIDGE$AI$RIS$$20260302093000+0000$$ORR%O02$A1$P$2.3",
        "MSA$AA$MSG1",
        "ORC$OK$P1%RIS",
    ]


def test_nothing_repeated_can_end_the_block() -> None:
    raw = order("OMI^O23^OMI_O23", "2.5.1", "ORC|NW|P1", "OBR|1|P1||X\x0bY\x1c", "IPC|1\n2")
    orders = (OrderAnswer("OK", b"P1\x1c\r"),)

    sent = "\r".join(answer(raw, Outcome("AA", orders=orders)))

    assert not set(sent) & set("\x0b\x1c\n")
    assert sent.endswith("ORC|OK|P1")


def test_the_example_of_an_imaging_order_is_answered_with_its_own_segments() -> None:
    raw = (DATA / "omi_o23_ipc.hl7").read_bytes()
    by_name = {segment.name: segment for segment in Message(raw).segments}
    orders = (OrderAnswer("OK", by_name["ORC"].raw(2), by_name["ORC"].raw(3)),)

    segments = answer(raw, Outcome("AA", orders=orders))

    assert segments[-2:] == [by_name["OBR"].content.decode(), by_name["IPC"].content.decode()]


VALIDATED = [
    *[("ORM^O01^ORM_O01", version) for version in ("2.3.1", "2.4", "2.5", "2.5.1", "2.6")],
    *[("OMG^O19^OMG_O19", version) for version in ("2.4", "2.5", "2.5.1", "2.6", "2.7", "2.8")],
    *[("OMI^O23^OMI_O23", version) for version in ("2.5", "2.5.1", "2.6", "2.7", "2.8")],
    *[("OML^O21^OML_O21", version) for version in ("2.5", "2.5.1", "2.6", "2.7", "2.8")],
]


@pytest.mark.parametrize(("event", "version"), VALIDATED)
@pytest.mark.parametrize("code", ["AA", "AE"])
def test_hl7apy_finds_the_response_valid(event: str, version: str, code: str) -> None:
    """item 16"""
    parser, consts = pytest.importorskip("hl7apy.parser"), pytest.importorskip("hl7apy.consts")
    outcome = Outcome(code, 204 if code == "AE" else 0, "ORC-2", orders=OK_UA)
    sent = "\r".join(answer(order(event, version, PID, *FIRST, *SECOND), outcome))

    parsed = parser.parse_message(sent, validation_level=consts.VALIDATION_LEVEL.STRICT)

    written = parsed.to_er7().rstrip("\r").split("\r")
    kept = [line for line in sent.split("\r") if not line.startswith("ERR")]  # it moves ERR-2 to ERR-1 in v2.8
    assert [line for line in written if not line.startswith("ERR")] == kept
    assert parsed.version == version
