"""Batches, by HL7 v2.5.1 §2.10.3: every message comes out byte for byte, and answers go back as they were asked for."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hl7_listener.acknowledgement import Outcome, acknowledge
from hl7_listener.batch import BatchFile, BatchWarning, is_batch, read_batch
from hl7_listener.batch_reply import batch_of_answers, replies
from hl7_listener.header import read_header
from hl7_listener.refusal import MessageRefused

AT = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
FHS = b"FHS|^~\\&|RIS|HOSP|||20260302||night.hl7||F1\r"
B7 = b"BHS|^~\\&|RIS|HOSP|||20260302||||B7\r"
NO_ID = b"BHS|^~\\&|RIS|HOSP\r"


def message(control_id: str, end: bytes = b"\r") -> bytes:
    lines = (f"MSH|^~\\&|RIS|HOSP|||2026||ORM^O01|{control_id}|P|2.3".encode(), b"PID|1||CANARY-1||CANARY^ZEBRA")
    return b"".join(line + end for line in lines)


ONE, TWO, THREE = message("1"), message("2"), message("3")


def places(batch: BatchFile) -> list[tuple[str, bytes]]:
    return [(found.place, found.payload) for found in batch.messages()]


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (FHS + B7 + ONE + TWO + b"BTS|2\rFTS|1\r", ["B7#1", "B7#2"]),
        (B7 + ONE + TWO + b"BTS|2\r", ["B7#1", "B7#2"]),
        (FHS + NO_ID + ONE + b"BTS\r" + NO_ID + TWO + b"BTS\rFTS\r", ["F1#1", "F1#2"]),
        (FHS + B7 + ONE + b"BTS|1\r" + NO_ID + TWO + b"BTS|1\rFTS|2\r", ["B7#1", "F1#1"]),
        (FHS + ONE + TWO + b"FTS\r", ["F1#1", "F1#2"]),
        (ONE + TWO, ["#1", "#2"]),
        (b"\xef\xbb\xbf\r\n" + ONE + TWO, ["#1", "#2"]),
        (B7 + ONE + TWO + b"BTS|2\r\x1a", ["B7#1", "B7#2"]),
        (B7 + b"SFT|us|1\r" + ONE + TWO + b"BTS|2\r\r\n", ["B7#1", "B7#2"]),
    ],
)
def test_each_message_comes_out_whole_with_its_place(payload: bytes, expected: list[str]) -> None:
    """item 24, and item 9 for a missing MSH-10"""
    batch = read_batch(payload)

    assert places(batch) == list(zip(expected, (ONE, TWO), strict=True))
    assert batch.warnings == ()


@pytest.mark.parametrize("end", [b"\r", b"\n", b"\r\n"])
def test_any_line_end_will_do(end: bytes) -> None:
    """item 24"""
    parts = [message("1", end), message("2", end)]

    batch = read_batch(b"BHS|^~\\&|||||||||B7" + end + b"".join(parts) + b"BTS|2" + end)

    assert places(batch) == [("B7#1", parts[0]), ("B7#2", parts[1])]


def test_the_batch_s_own_delimiters_are_used() -> None:
    """items 20 and 24"""
    payload = b"BHS$%+!@$$$$$$$$$B%7\r" + ONE + b"BTS$1$all\r"

    batch = read_batch(payload)

    assert [found.batch for found in batch.messages()] == ["B"]
    assert batch.warnings == ()


def test_a_batch_may_hold_nothing() -> None:
    """item 24: "a batch containing zero HL7 messages may be sent" (§2.10.3.1)"""
    batch = read_batch(B7 + b"BTS|0\r")

    assert (places(batch), batch.warnings) == ([], ())


COUNT, FILE_COUNT = BatchWarning("hl7v2.batch-count", "BTS-1"), BatchWarning("hl7v2.batch-count", "FTS-1")
NO_FTS, NO_BTS = BatchWarning("hl7v2.batch-truncated", "FTS"), BatchWarning("hl7v2.batch-truncated", "BTS")


@pytest.mark.parametrize(
    ("payload", "warnings"),
    [
        (B7 + ONE + b"BTS|2\r", (COUNT,)),
        (B7 + ONE + b"BTS|many\r", (COUNT,)),
        (B7 + ONE + b"BTS|001\r", ()),
        (B7 + ONE + b"BTS||a comment\r", ()),
        (FHS + B7 + ONE + b"BTS|1\rFTS|2\r", (FILE_COUNT,)),
        (FHS + B7 + ONE + b"BTS|1\r", (NO_FTS,)),
        (FHS + B7 + ONE, (NO_BTS, NO_FTS)),
        (B7 + ONE, (NO_BTS,)),
    ],
)
def test_a_wrong_count_or_a_missing_end_is_a_warning(payload: bytes, warnings: tuple[BatchWarning, ...]) -> None:
    """item 24"""
    batch = read_batch(payload)

    assert [found.payload for found in batch.messages()] == [ONE]
    assert batch.warnings == warnings
    assert batch.is_whole is not any(warning in (NO_FTS, NO_BTS) for warning in warnings)


@pytest.mark.parametrize(
    ("payload", "code", "where"),
    [
        (b"", "hl7v2.no-header", "MSH"),
        (b"hello\r" + ONE, "hl7v2.no-header", "MSH"),
        (b"BTS|1\r", "hl7v2.no-header", "MSH"),
        (b"BHS|^^\r" + ONE, "hl7v2.delimiters", "MSH-2"),
        (B7 + b"PID|1\r" + ONE, "hl7v2.batch-order", "BHS"),
        (B7 + ONE + b"BTS|1\rPID|1\r", "hl7v2.batch-order", "BTS"),
        (B7 + ONE + b"BTS|1\rBTS|1\r", "hl7v2.batch-order", "BTS"),
        (FHS + ONE + b"FTS|1\r" + TWO, "hl7v2.batch-order", "MSH"),
        (ONE + FHS + TWO, "hl7v2.batch-order", "FHS"),
        (FHS + FHS, "hl7v2.batch-order", "FHS"),
    ],
)
def test_what_is_no_batch_is_refused_with_the_place(payload: bytes, code: str, where: str) -> None:
    """item 24"""
    with pytest.raises(MessageRefused) as caught:
        read_batch(payload)

    assert (caught.value.code, caught.value.where) == (code, where)
    assert "CANARY" not in caught.value.explanation


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (ONE, False),
        (ONE + TWO, True),
        (B7, True),
        (b"\r\n" + FHS, True),
        (b"hello", False),
        (b"MSH|^~\\&|A\rNTE|1||BTS MSH\r", False),
        (b"MSH|^~\\&|A\rMSHX\r", False),
    ],
)
def test_a_batch_is_told_from_a_message(payload: bytes, expected: bool) -> None:
    """item 24"""
    assert is_batch(payload) is expected


@given(st.lists(st.lists(st.integers(0, 9), max_size=4), max_size=4), st.booleans())
def test_what_was_put_into_a_batch_comes_out(batches: list[list[int]], in_a_file: bool) -> None:
    """item 24"""
    parts = [
        b"BHS|^~\\&|||||||||B%d\r" % number + b"".join(message(str(n)) for n in numbers) + b"BTS|%d\r" % len(numbers)
        for number, numbers in enumerate(batches)
    ]
    payload = (FHS if in_a_file or not parts else b"") + b"".join(parts)
    payload += b"FTS|%d\r" % len(parts) if payload.startswith(b"FHS") else b""

    batch = read_batch(payload)

    expected = [(f"B{b}#{i}", message(str(n))) for b, ns in enumerate(batches) for i, n in enumerate(ns, 1)]
    assert places(batch) == expected
    assert batch.warnings == ()


def answered(payload: bytes, codes: str) -> tuple[BatchFile, list[tuple[Outcome, bytes]]]:
    """Each message with the outcome that `codes` gives it."""
    batch = read_batch(payload)
    outcomes = [Outcome(code, 0 if code == "AA" else 101) for code in codes.split()]
    answers = []
    for found, outcome in zip(batch.messages(), outcomes, strict=True):
        header = read_header(found.payload)
        answers.append((outcome, acknowledge(header, outcome, application="US", facility="", control_id="A", at=AT)))
    return batch, answers


WHO = {"application": "US", "facility": "LAB", "control_id": "R1", "at": AT}


def test_each_message_may_get_an_answer_of_its_own() -> None:
    """item 24"""
    batch, answers = answered(B7 + ONE + TWO + b"BTS|2\r", "AA AE")

    assert replies(batch, answers, "each", **WHO) == (answers[0][1], answers[1][1])


def test_the_answers_may_go_back_as_a_batch_that_names_the_one_it_answers() -> None:
    """item 24"""
    batch, answers = answered(FHS + B7 + ONE + TWO + b"BTS|2\r" + NO_ID + THREE + b"BTS|1\rFTS|2\r", "AA AE AA")

    [reply] = replies(batch, answers, "batch", **WHO)

    assert reply == (
        b"FHS|^~\\&|US|LAB|RIS|HOSP|20260302093000+0000||||R1|F1\r"
        b"BHS|^~\\&|US|LAB|RIS|HOSP|20260302093000+0000||||R1-1|B7\r" + answers[0][1] + answers[1][1] + b"BTS|2\r"
        b"BHS|^~\\&|US|LAB|RIS|HOSP|20260302093000+0000||||R1-2\r" + answers[2][1] + b"BTS|1\rFTS|2\r"
    )  # fmt: skip
    assert [found.payload for found in read_batch(reply).messages()] == [answer for _, answer in answers]
    assert read_batch(reply).warnings == ()


def test_the_errors_alone_may_go_back() -> None:
    """item 24"""
    batch, answers = answered(B7 + ONE + TWO + b"BTS|2\r", "AA AE")

    [reply] = replies(batch, answers, "errors", **WHO)

    assert [found.payload for found in read_batch(reply).messages()] == [answers[1][1]]
    assert read_batch(reply).warnings == ()


def test_a_batch_of_no_errors_says_that_all_were_taken() -> None:
    """item 24: "a batch containing zero negative acknowledgment messages" (§2.10.3.1)"""
    batch, answers = answered(B7 + ONE + TWO + b"BTS|2\r", "AA AA")

    assert replies(batch, answers, "errors", **WHO) == (
        b"BHS|^~\\&|US|LAB|RIS|HOSP|20260302093000+0000||||R1|B7\rBTS|0\r",
    )


def test_a_reply_needs_an_answer_for_each_message_and_a_zone() -> None:
    batch = read_batch(B7 + ONE + b"BTS|1\r")

    with pytest.raises(ValueError, match="one answer"):
        batch_of_answers(batch, [], application="", facility="", control_id="", at=AT)
    with pytest.raises(ValueError, match="zone"):
        batch_of_answers(batch, [b""], application="", facility="", control_id="", at=AT.replace(tzinfo=None))


def test_a_batch_does_not_show_its_patients() -> None:
    batch = read_batch(B7 + ONE)

    assert "CANARY" not in repr(batch) + repr(list(batch.messages()))
