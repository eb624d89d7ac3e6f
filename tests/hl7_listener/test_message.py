"""The reader of ER7 text: nothing lost, everything found where the standard counts it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hl7_listener.message import Message, Segment
from mappings.hl7v2_message import MessageView, SegmentView
from tests.support.er7 import rebuilt

DATA = Path(__file__).parents[1] / "data" / "hl7v2"
EXAMPLES = sorted(DATA.glob("*.hl7"))
MSH = b"MSH|^~\\&|A|B|C|D|2026||ORM^O01|1|P|2.5\r"


def segment(line: str, *, header: bytes = MSH, charset_default: str = "") -> Segment:
    return Message(header + line.encode() + b"\r", charset_default).segments[1]


def test_a_message_is_what_the_mappings_read() -> None:
    view: MessageView = Message(MSH)
    first: SegmentView = view.segments[0]

    assert first.name == "MSH"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_nothing_of_a_message_is_lost(path: Path) -> None:
    """item 25"""
    raw = path.read_bytes()

    message = Message(raw, charset_default="8859/1")

    assert message.raw == raw == rebuilt(message)


@given(
    st.lists(
        st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\r\n"), max_size=30), max_size=6
    ),
    st.sampled_from(["\r", "\r\n", "\n", "\r\r"]),
)
def test_no_text_can_make_it_lose_anything(lines: list[str], end: str) -> None:
    raw = (end.join(["MSH|^~\\&|A|||||||1", *lines]) + end).encode()

    message = Message(raw)

    assert rebuilt(message) == raw
    expected = [line.encode() for line in lines if line.encode().strip(b"\0 \t")]  # a form feed is text
    assert [raw[s.start : s.end] for s in message.segments[1:]] == expected


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("orm_o01_zds", "MSH PID PV1 ORC OBR NTE ZDS"),
        ("omi_o23_ipc", "MSH PID ORC TQ1 OBR IPC"),
        ("orm_lf_unfinished", "MSH PID ORC"),
        ("orm_crlf_other_delimiters", "MSH PID ORC"),
        ("adt_a08_latin1_undeclared", "MSH EVN PID"),
    ],
)
def test_all_segments_are_there_in_order(name: str, names: str) -> None:
    message = Message((DATA / f"{name}.hl7").read_bytes(), charset_default="8859/1")

    assert [found.name for found in message.segments] == names.split()


@pytest.mark.parametrize(
    ("field", "component", "subcomponent", "repetition", "expected"),
    [
        (1, 1, 1, 1, "1"),
        (3, 1, 1, 1, "CANARY-1"),
        (3, 4, 1, 1, "HOSP"),
        (3, 5, 1, 1, "MR"),
        (3, 1, 1, 2, "CANARY-2"),
        (3, 4, 2, 2, "1.2.3"),
        (3, 4, 3, 2, "ISO"),
        (3, 4, 4, 2, ""),
        (3, 6, 1, 1, ""),
        (3, 1, 1, 3, ""),
        (5, 2, 1, 1, "ZEBRA"),
        (2, 1, 1, 1, ""),
        (99, 1, 1, 1, ""),
    ],
)
def test_values_are_counted_as_in_the_standard(
    field: int, component: int, subcomponent: int, repetition: int, expected: str
) -> None:
    pid = Message((DATA / "orm_o01_zds.hl7").read_bytes()).segments[1]

    assert pid.value(field, component, subcomponent, repetition) == expected


@pytest.mark.parametrize(("field", "count"), [(1, 1), (2, 0), (3, 2), (5, 1), (99, 0)])
def test_repetitions_are_counted(field: int, count: int) -> None:
    pid = Message((DATA / "orm_o01_zds.hl7").read_bytes()).segments[1]

    assert pid.repetitions(field) == count


def test_a_whole_field_is_its_repetitions_and_their_components() -> None:
    pid = segment("PID|1|a & b^c\\T\\d~^e&f|||^")

    assert pid.filled == {0, 1, 2, 5}
    assert pid.components(2) == [["a ", "c&d"], ["", "e"]]
    assert (pid.components(1), pid.components(3), pid.components(5), pid.components(99)) == (
        [["1"]],
        [],
        [["", ""]],
        [],
    )


def test_a_whole_delimiter_field_is_one_text() -> None:
    msh = Message(MSH).segments[0]

    assert (msh.components(1), msh.components(2), msh.components(9)) == ([["|"]], [["^~\\&"]], [["ORM", "O01"]])


@given(
    st.text(st.sampled_from('|^~&\\FTX22" aé'), max_size=30),
    st.sampled_from([b"MSH|^~\\&|", b"MSH|^~|", b"MSH|^~\\|"]),
)
def test_a_whole_field_holds_what_its_values_are(line: str, header: bytes) -> None:
    found = segment(f"PID|{line}", header=header + b"\r")

    for field in range(1, found.field_count + 1):
        repetitions = found.components(field)
        assert (len(repetitions), bool(repetitions)) == (found.repetitions(field), field in found.filled)
        for repetition, components in enumerate(repetitions, 1):
            places = range(1, len(components) + 1)
            assert components == [found.value(field, component, repetition=repetition) for component in places]
            assert found.value(field, len(components) + 1, repetition=repetition) == ""


def test_the_header_counts_its_separator_as_the_first_field() -> None:
    msh = Message((DATA / "orm_o01_zds.hl7").read_bytes()).segments[0]

    assert [msh.value(field) for field in (1, 2, 3, 10)] == ["|", "^~\\&", "RIS", "CANARY-MSG-1"]
    assert (msh.repetitions(1), msh.repetitions(2), msh.value(2, 2), msh.value(9, 2)) == (1, 1, "", "O01")


def test_the_sender_s_own_delimiters_are_used() -> None:
    """item 20"""
    pid = Message((DATA / "orm_crlf_other_delimiters.hl7").read_bytes()).segments[1]

    assert (pid.value(3, 4, 2), pid.value(3, 1, 1, 2), pid.value(5, 2)) == ("1.2", "CANARY-5", "ZEBRA $ % @")


def test_a_message_without_escape_character_is_read_as_it_stands() -> None:
    pid = segment("PID|a\\F\\b&c^d", header=b"MSH|^~|A\r")

    assert (pid.value(1), pid.value(1, 2)) == ("a\\F\\b&c", "d")


def test_the_null_is_given_as_it_was_written() -> None:
    """item 23"""
    pid = segment('PID|""|a^""')

    assert (pid.value(1), pid.value(1, 2), pid.value(2, 2), pid.raw(1)) == ('""', "", '""', b'""')


def test_free_text_is_not_cut_at_unescaped_delimiters() -> None:
    """item 22"""
    obx = segment("OBX|1|TX|||salt & pepper ^ 5~second")

    assert (obx.text(5), obx.text(5, 2), obx.value(5)) == ("salt & pepper ^ 5", "second", "salt ")


@pytest.mark.parametrize(
    ("line", "value", "repetitions"),
    [("PID|1", "", 0), ("PID|1||", "", 0), ('PID|1|""|', '""', 1), ('PID|1|""~a', '""', 2), ("PID|1|^b", "", 1)],
)
def test_empty_and_missing_read_as_nothing_and_the_null_as_itself(line: str, value: str, repetitions: int) -> None:
    """item 23"""
    pid = segment(line)

    assert (pid.value(2), pid.repetitions(2)) == (value, repetitions)


def test_a_component_and_a_sub_component_may_be_null() -> None:
    """item 23"""
    pid = segment('PID|1|a^""&b~""')

    assert (pid.value(2), pid.value(2, 2), pid.value(2, 2, 2), pid.value(2, 1, 1, 2)) == ("a", '""', "b", '""')


def test_an_escaped_delimiter_does_not_part() -> None:
    """item 22: sequences are resolved after the parting"""
    pid = segment(r"PID|a\S\b^c\T\d&e~f\R\g\F\h")

    assert (pid.value(1, 1), pid.value(1, 2, 1), pid.value(1, 2, 2), pid.value(1, 1, 1, 2)) == (
        "a^b",
        "c&d",
        "e",
        "f~g|h",
    )
    assert (pid.repetitions(1), pid.value(2)) == (2, "")


def test_segments_nobody_knows_are_kept_in_their_place() -> None:
    """item 25"""
    message = Message(MSH + b"PID|1\rZAA|x\rTQ1|1||||||||S\rZDS|1.2.3^^Application^DICOM\rZZZ\r")

    assert [found.name for found in message.segments] == ["MSH", "PID", "ZAA", "TQ1", "ZDS", "ZZZ"]
    assert (message.segments[4].value(1), message.segments[4].value(1, 3)) == ("1.2.3", "Application")


def test_raw_gives_the_whole_field_untouched() -> None:
    assert segment("PID|1|a\\T\\b~c^d&e|").raw(2) == b"a\\T\\b~c^d&e"


def test_a_line_feed_inside_a_field_belongs_to_it() -> None:
    message = Message(MSH + b"NTE|1||two\nlines\rOBX|1\r")

    assert [found.name for found in message.segments] == ["MSH", "NTE", "OBX"]
    assert message.segments[1].value(3) == "two\nlines"


def test_a_line_that_is_no_segment_shows_at_most_three_letters_as_its_name() -> None:
    assert segment("CANARY^ZEBRA fell down").name == "CAN"


@pytest.mark.parametrize("arguments", [(0,), (1, 0), (1, 1, 0), (1, 1, 1, 0)])
def test_counting_from_zero_is_an_error(arguments: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="from 1"):
        segment("PID|1").value(*arguments)


def test_a_big_field_is_found_without_being_taken_apart() -> None:
    document = "QUJD" * 2_000_000
    obx = segment(f"OBX|1|ED|||^application^pdf^Base64^{document}||")

    assert (obx.value(5, 4), len(obx.value(5, 5)), obx.value(6)) == ("Base64", 8_000_000, "")
