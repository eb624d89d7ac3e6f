"""What hl7apy says of a message, without a value of it."""

import pytest

from fhir_bridge.adapters.hl7apy_conformance import field_name, findings
from hl7_listener.refusal import MessageRefused

PID = "PID|1||CANARY-1^^^HOSP^MR||CANARY^ZEBRA||20220304|F"
MSH = "MSH|^~\\&|RIS|HOSP|AI|HOSP|20260302093000||ADT^A01^ADT_A01|M1|P|2.5.1"
EVN, PV1 = "EVN||20260302093000", "PV1|1|I"


def message(*segments: str) -> bytes:
    return "\r".join((*segments, "")).encode()


@pytest.mark.parametrize(
    ("version", "segment", "position", "name"),
    [
        ("2.5.1", "PID", 3, "Patient identifier list"),
        ("2.3.1", "OBR", 18, "Placer field 1"),
        ("2.9", "ORC", 1, "Order control"),
        ("2.5.1", "ZDS", 1, ""),
        ("2.5.1", "PID", 99, ""),
        ("CANARY", "MSH", 10, "Message control id"),
    ],
)
def test_fields_have_the_names_of_the_standard(version: str, segment: str, position: int, name: str) -> None:
    assert field_name(version, segment, position) == name


def test_a_message_as_the_standard_has_it_has_no_findings() -> None:
    assert findings(message(MSH, EVN, PID, PV1)) == ()


@pytest.mark.parametrize(
    ("segments", "finding"),
    [
        ((MSH, EVN, PID), "PV1: required and missing"),
        ((MSH, EVN, "PID|1||||CANARY^ZEBRA", PV1), "PID_3: required and missing"),
        ((MSH, EVN, PID.replace("|F", "|CANARY"), PV1), "PID_8: not in its table"),
        ((MSH, EVN, PID, PV1, "PV1|1|CANARY"), "PV1: repeats too often"),
    ],
)
def test_a_finding_names_the_element_and_what_is_wrong(segments: tuple[str, ...], finding: str) -> None:
    assert finding in findings(message(*segments))


def test_no_finding_quotes_a_value() -> None:
    odd = "|".join(["PID", *["CANARY&ZEBRA^CANARY^.PID_5~CANARY^DOE.PID_8"] * 30])
    assert not [
        line for line in findings(message(MSH, "EVN|CANARY|CANARY", odd, "PV1|CANARY|CANARY")) if "CANARY" in line
    ]


def test_what_hl7apy_cannot_read_is_said_so() -> None:
    assert findings(message(MSH.replace("2.5.1", "9.9"), PID)) == ("hl7apy cannot read it: UnsupportedVersion",)


def test_a_message_is_checked_without_its_senders_character_set() -> None:
    raw = message(MSH, EVN, PID, PV1).replace(b"ZEBRA", b"Z\xc9BRA")
    assert findings(raw) == ()


def test_text_that_fits_no_character_set_is_refused() -> None:
    raw = message(MSH + "||||||ISO IR14", EVN, PID, PV1).replace(b"ZEBRA", b"\xd4\xcf\xc0")
    with pytest.raises(MessageRefused, match=r"^hl7v2\.charset at MSH-18"):
        findings(raw)
