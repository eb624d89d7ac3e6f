"""`\\Cxxyy\\` and `\\Mxxyyzz\\` inside a text, by the table of HL7 v2.5.1 §2.7.2 (item 21)."""

import pytest

from hl7_listener.message import Message, Segment
from hl7_listener.refusal import MessageRefused

# "山田^太郎" in JIS X 0208, 7-bit: PS3.5 Annex H.3.1 gives these bytes behind ESC $ B
YAMADA, TARO = b";3ED", b"B@O:"


def pid(
    name: bytes, *, declared: bytes = b"", header: bytes = b"MSH|^~\\&|A|B|C|D|2026||ORM^O01|1|P|2.5||||||"
) -> Segment:
    return Message(header + declared + b"\rPID|1||X||" + name + b"|end\r").segments[1]


def test_japanese_between_switches_is_read_and_parted() -> None:
    """item 21"""
    found = pid(b"\\M2442\\" + YAMADA + b"\\C2842\\^\\M2442\\" + TARO + b"\\C2842\\ Q~second")

    assert (found.value(5, 1), found.value(5, 2), found.value(5, 1, 1, 2)) == ("山田", "太郎 Q", "second")
    assert (found.repetitions(5), found.value(6)) == (2, "end")


@pytest.mark.parametrize(
    ("switch", "codec", "text"),
    [
        (b"C2D41", "iso8859-1", "Müller"),
        (b"C2D42", "iso8859-2", "Łódź"),
        (b"C2D43", "iso8859-3", "Ĝirafo"),
        (b"C2D44", "iso8859-4", "Ķesteris"),
        (b"C2D4C", "iso8859-5", "Иван"),
        (b"C2D47", "iso8859-6", "سلام"),
        (b"C2D46", "iso8859-7", "Διονυσιος"),
        (b"C2D48", "iso8859-8", "שרון"),
        (b"C2D4D", "iso8859-9", "Çavuşoğlu"),
        (b"C2949", "shift_jis", "ﾔﾏﾀﾞ"),
        (b"C284A", "ascii", "Yamada"),
    ],
)
def test_each_set_of_the_table_is_read_up_to_the_end_of_the_component(switch: bytes, codec: str, text: str) -> None:
    """item 21"""
    found = pid(b"\\" + switch + b"\\" + text.encode(codec) + b"^given\\T\\name")

    assert (found.value(5, 1), found.value(5, 2), found.value(6)) == (text, "given&name", "end")


def test_supplementary_kanji_are_read() -> None:
    """item 21: ISO IR159"""
    text = "丂侚"
    data = text.encode("iso2022_jp_2").removeprefix(b"\x1b$(D").removesuffix(b"\x1b(B")

    assert pid(b"\\M242844\\" + data + b"\\C2842\\").value(5) == text


def test_a_character_whose_bytes_are_delimiters_stays_whole() -> None:
    """item 21"""
    text, data = "淫緯萱", b"0|0^3~"  # JIS X 0208, 7-bit

    found = pid(b"\\M2442\\" + data + b"\\C2842\\^given")

    assert (found.value(5, 1), found.value(5, 2), found.value(6)) == (text, "given", "end")
    assert found.raw(5) == b"\\M2442\\" + data + b"\\C2842\\^given"


def test_the_rest_of_the_message_keeps_its_character_set() -> None:
    """item 21"""
    found = pid("Müller".encode() + b"^\\C2D41\\J\xe4ne", declared=b"UNICODE UTF-8")

    assert (found.value(5, 1), found.value(5, 2)) == ("Müller", "Jäne")


@pytest.mark.parametrize(
    "written",
    [b"\\M2442\\;3ED", b"\\C2899\\x", b"\\C28\\x", b"\\M2442x", b"C:\\C2842", b"\\M244\\x\\C284\\"],
)
def test_what_is_no_switch_stays_as_it_came(written: bytes) -> None:
    """item 21"""
    assert pid(written).value(5) == written.decode()


def test_a_switch_that_is_not_closed_swallows_no_field() -> None:
    """item 21: seen in a public test message"""
    raw = b"MSH|^~\\&|A\rPID|1||\\M2442\\A||\\M2442\\ABC\\M2842\\|end\r"

    found = Message(raw).segments[1]

    assert [found.value(number) for number in (3, 4, 5, 6)] == ["\\M2442\\A", "", "\\M2442\\ABC\\M2842\\", "end"]


def test_bytes_that_do_not_fit_the_set_are_refused() -> None:
    """item 21: 0xFF is no letter of ISO 8859-7"""
    with pytest.raises(MessageRefused) as caught:
        pid(b"\\C2D46\\\xff").value(5)

    assert (caught.value.code, caught.value.where) == ("hl7v2.charset", "MSH-18")


def test_the_switch_back_leads_to_the_message_s_own_set() -> None:
    """item 21"""
    found = pid(b"\\M2442\\" + YAMADA + b"\\C2842\\ " + "Jäne".encode(), declared=b"UNICODE UTF-8")

    assert found.value(5) == "山田 Jäne"


def test_other_escape_characters_switch_as_well() -> None:
    """items 20 and 21"""
    raw = b"MSH$%+!@$A\rPID$1$!M2442!" + YAMADA + b"!C2842!%x\r"

    assert Message(raw).segments[1].value(2) == "山田"
