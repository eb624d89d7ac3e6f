"""The RIS's messages: against what IHE RAD-4 and HL7 v2.5.1 chapter 4 want, written out by hand."""

from datetime import UTC, datetime

import pytest

from fhir_bridge.practice.ris import GARBAGE, order_message
from fhir_bridge.practice.story import STORIES, Structure
from hl7_listener.header import read_header
from hl7_listener.message import Message, Segment
from hl7_listener.refusal import MessageRefused

AT = datetime(2026, 11, 2, 9, 15, tzinfo=UTC)
PNEUMONIA, NORMAL, GENERAL = (next(s for s in STORIES if s.structure is structure) for structure in Structure)


def segments(message: Message) -> dict[str, Segment]:
    return {segment.name: segment for segment in message.segments}


def test_an_orm_is_as_written_by_hand() -> None:
    assert order_message(PNEUMONIA, "NW", "PRACTICE0001", AT).decode("ascii").split("\r") == [
        r"MSH|^~\&|RIS|HOSP|FHIR-BRIDGE|HOSP|20261102091500+0000||ORM^O01|PRACTICE0001|P|2.3.1",
        "PID|||CANARY-1001^^^HOSP^MR||CANARY^ZEBRA||20230517|F",
        "PV1||O",
        "ORC|NW|CANARY-P01^CPOE|CANARY-F01^RIS||SC||^^^20261102091500+0000^^R||20261102091500+0000",
        "OBR|1|CANARY-P01^CPOE|CANARY-F01^RIS|XRCHEST1^Chest radiograph, single view^RISPROC||||||||||||||"
        "CANARY-A01|CANARY-R01|CANARY-S01||||CR|||||||^Cough and fever",
        f"ZDS|{PNEUMONIA.study_instance_uid}^^Application^DICOM",
        "",
    ]


def test_an_omi_is_as_written_by_hand() -> None:
    assert order_message(NORMAL, "NW", "PRACTICE0002", AT).decode("ascii").split("\r") == [
        r"MSH|^~\&|RIS|HOSP|FHIR-BRIDGE|HOSP|20261102091500+0000||OMI^O23^OMI_O23|PRACTICE0002|P|2.5.1",
        "PID|||CANARY-1002^^^HOSP^MR||CANARY^ZEBRA||20220208|M",
        "PV1||O",
        "ORC|NW|CANARY-P02^CPOE|CANARY-F02^RIS||SC||||20261102091500+0000",
        "TQ1|1||||||20261102091500+0000||R",
        "OBR|1|CANARY-P02^CPOE|CANARY-F02^RIS|XRCHEST1^Chest radiograph, single view^RISPROC||||||||||||||"
        "CANARY-A02|CANARY-R02|CANARY-S02||||DX|||||||^Cough and fever",
        f"IPC|CANARY-A02|CANARY-R02|{NORMAL.study_instance_uid}|CANARY-S02|DX",
        "",
    ]


def test_an_omg_names_the_accession_number_and_no_study() -> None:
    message = Message(order_message(GENERAL, "NW", "PRACTICE0003", AT))
    assert [segment.name for segment in message.segments] == ["MSH", "PID", "PV1", "ORC", "TQ1", "OBR"]
    assert segments(message)["OBR"].value(18) == "CANARY-A12"
    assert GENERAL.study_instance_uid.encode() not in message.raw


@pytest.mark.parametrize("story", [PNEUMONIA, NORMAL, GENERAL], ids=list(Structure))
def test_our_own_reader_finds_the_keys_of_the_order(story) -> None:
    found = segments(Message(order_message(story, "NW", "PRACTICE0004", AT)))
    assert found["MSH"].value(10) == "PRACTICE0004"
    assert (found["PID"].value(3), found["PID"].value(3, component=4)) == (story.patient.mrn, "HOSP")
    assert (found["ORC"].value(2), found["ORC"].value(2, component=2)) == (story.placer, "CPOE")
    assert (found["ORC"].value(3), found["OBR"].value(18)) == (story.filler, story.accession)


@pytest.mark.parametrize("story", [PNEUMONIA, NORMAL, GENERAL], ids=list(Structure))
def test_a_cancel_names_the_same_order(story) -> None:
    cancel = segments(Message(order_message(story, "CA", "PRACTICE0005", AT)))["ORC"]
    assert (cancel.value(1), cancel.value(5)) == ("CA", "CA")
    assert (cancel.value(2), cancel.value(3)) == (story.placer, story.filler)


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_no_accession_number_is_longer_than_dicom_and_ipc_1_allow(story) -> None:
    assert len(story.accession) <= 16


def test_garbage_has_no_header() -> None:
    with pytest.raises(MessageRefused):
        read_header(GARBAGE)
