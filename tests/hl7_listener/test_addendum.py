"""ADD joins what was split inside one message (HL7 v2.5.1 §2.10.2.1, item 11)."""

import pytest

from hl7_listener.message import Message

MSH = b"MSH|^~\\&|A|B|C|D|2026||ORU^R01|1|P|2.5\r"


@pytest.mark.parametrize(
    ("rest", "fields"),
    [
        (
            b"OBX|1|TX|||the first \rADD|part and the second|F\r",
            ["1", "TX", "", "", "the first part and the second", "F"],
        ),
        (b"OBX|1|TX\rADD||||whole|F\r", ["1", "TX", "", "", "whole", "F"]),
        (b"OBX|1|TX|||one \rADD|two \rADD|three\r", ["1", "TX", "", "", "one two three"]),
        (b"OBX|1|TX|||one \r\nADD|two\r\n", ["1", "TX", "", "", "one two"]),
        (b"OB\rADD|X|1|TX\r", ["1", "TX"]),
        (b"OBX|1|TX|||one\rADD|\r", ["1", "TX", "", "", "one"]),
    ],
)
def test_a_split_segment_is_read_as_one(rest: bytes, fields: list[str]) -> None:
    """item 11"""
    message = Message(MSH + rest + b"NTE|1\r", charset_default="8859/1")

    assert [segment.name for segment in message.segments] == ["MSH", "OBX", "NTE"]
    obx = message.segments[1]
    assert [obx.value(number) for number in range(1, obx.field_count + 1)] == fields
    assert message.raw == MSH + rest + b"NTE|1\r"


def test_components_are_parted_after_the_joining() -> None:
    """item 11"""
    pid = Message(MSH + b"PID|1||CANARY-1^^^HO\rADD|SP^MR~CANARY-2||CANARY^ZEBRA\r").segments[1]

    assert (pid.value(3, 4), pid.value(3, 5), pid.value(3, 1, 1, 2), pid.value(5, 2)) == (
        "HOSP",
        "MR",
        "CANARY-2",
        "ZEBRA",
    )


def test_an_addendum_behind_the_header_continues_another_message() -> None:
    """item 11: such a message is a fragment, and not joined"""
    message = Message(MSH + b"ADD|rest of a segment of the message before\rOBX|2\r")

    assert [segment.name for segment in message.segments] == ["MSH", "ADD", "OBX"]


def test_where_the_pieces_lie_is_known() -> None:
    raw = MSH + b"OBX|1|TX\rADD||||x\r"
    obx = Message(raw).segments[1]

    pieces = [raw[start:end] for start, end in ((obx.start, obx.end), *obx.continuations)]

    assert (pieces, obx.content) == ([b"OBX|1|TX", b"ADD||||x"], b"OBX|1|TX|||x")
