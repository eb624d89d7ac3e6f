"""Which character set a message is in: MSH-18, the bytes, the sender's default, in this order of doubt."""

import pytest

from hl7_listener.charset import codec_named, resolve
from hl7_listener.message import Message
from hl7_listener.refusal import MessageRefused


def message(declared: str, name: bytes, default: str = "") -> Message:
    header = b"MSH|^~\\&|A|B|C|D|2026||ORM^O01|1|P|2.5||||||" + declared.encode()
    return Message(header + b"\rPID|1||X||" + name + b"|end\r", default)


@pytest.mark.parametrize(
    ("declared", "raw", "default", "name", "codec", "note"),
    [
        ("", b"ABC", "", "ABC", "utf-8", ""),
        ("", "Müller".encode(), "", "Müller", "utf-8", "undeclared-utf-8"),
        ("", "Müller".encode(), "8859/1", "Müller", "utf-8", "undeclared-utf-8"),
        ("", b"M\xfcller", "8859/1", "Müller", "iso8859-1", "undeclared-default"),
        ("", b"caf\x80", "WINDOWS-1252", "caf€", "cp1252", "undeclared-default"),
        ("ASCII", "Müller".encode(), "", "Müller", "utf-8", "undeclared-utf-8"),
        ("8859/1", b"M\xfcller", "", "Müller", "iso8859-1", ""),
        ("ISO-8859-1", b"M\xfcller", "", "Müller", "iso8859-1", ""),
        ("8859/15", b"\xa4", "", "€", "iso8859-15", ""),
        ("8859/5", b"\xb8\xd2\xd0\xdd", "", "Иван", "iso8859-5", ""),
        ("8859/1", "Müller".encode(), "", "Müller", "utf-8", "declared-single-byte-is-utf-8"),
        ("UNICODE UTF-8", "Müller".encode(), "", "Müller", "utf-8", ""),
        ("UTF-8", "Müller".encode(), "", "Müller", "utf-8", ""),
        ("utf8", "Müller".encode(), "", "Müller", "utf-8", ""),
        ("UNICODE UTF-8", b"M\xfcller", "8859/1", "Müller", "iso8859-1", "declared-does-not-fit"),
        ("GB 18030-2000", "王小東".encode("gb18030"), "", "王小東", "gb18030", ""),
        ("BIG-5", "王小東".encode("big5"), "", "王小東", "big5", ""),
        ("KS X 1001", "김희중".encode("euc_kr"), "", "김희중", "euc_kr", ""),
        ("X-NOBODY-KNOWS", "Müller".encode(), "", "Müller", "utf-8", "unknown-name"),
        ("X-NOBODY-KNOWS", b"M\xfcller", "8859/1", "Müller", "iso8859-1", "unknown-name"),
        ("X-NOBODY-KNOWS", b"ABC", "", "ABC", "utf-8", "unknown-name"),
    ],
)
def test_the_name_is_read_and_the_decision_recorded(
    declared: str, raw: bytes, default: str, name: str, codec: str, note: str
) -> None:
    """item 21"""
    found = message(declared, raw, default)

    assert found.segments[1].value(5) == name
    assert (found.charset, found.charset_note) == (codec, note)


@pytest.mark.parametrize(
    ("declared", "raw", "default"),
    [
        ("", b"M\xfcller", ""),
        ("", b"M\x81ller", "WINDOWS-1252"),
        ("UNICODE UTF-8", b"M\xfcller", ""),
        ("X-NOBODY-KNOWS", b"M\xfcller", ""),
        ("ISO IR87", b"\x1b$B\xff\xff\x1b(B", ""),
    ],
)
def test_a_name_that_cannot_be_read_is_refused_not_mutilated(declared: str, raw: bytes, default: str) -> None:
    """item 21"""
    with pytest.raises(MessageRefused) as caught:
        _ = message(declared, raw, default).segments

    assert (caught.value.code, caught.value.where) == ("hl7v2.charset", "MSH-18")


# PS3.5 Annex H.3.1 and H.3.2 give these two names in bytes; HL7 uses the same ISO 2022 sets.
YAMADA = b"\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B"
YAMADA_KATAKANA = b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3"


@pytest.mark.parametrize(
    ("declared", "raw", "family", "given"),
    [
        ("ISO IR6~ISO IR87", YAMADA, "山田", "太郎"),
        ("ISO IR14~ISO IR87", YAMADA.replace(b"\x1b(B", b"\x1b(J"), "山田", "太郎"),
        ("ISO IR14~ISO IR87", YAMADA_KATAKANA, "ﾔﾏﾀﾞ", "ﾀﾛｳ"),
    ],
)
def test_japanese_names_are_read(declared: str, raw: bytes, family: str, given: str) -> None:
    """item 21"""
    pid = message(declared, raw).segments[1]

    assert (pid.value(5, 1), pid.value(5, 2), pid.value(6)) == (family, given, "end")


@pytest.mark.parametrize(
    ("declared", "text"),
    [
        ("BIG-5", "許功蓋"),  # each second byte is a backslash
        ("BIG-5", "育偉"),  # ... a vertical bar and others
        ("GB 18030-2000", "俓倈億瓅"),
        ("ISO IR87", "ん女心縺"),
    ],
)
def test_a_character_whose_bytes_look_like_a_delimiter_stays_whole(declared: str, text: str) -> None:
    """item 21"""
    codec = codec_named(declared)
    pid = message(declared, text.encode(codec) + b"^given~second").segments[1]

    assert (pid.value(5, 1), pid.value(5, 2), pid.repetitions(5), pid.value(6)) == (text, "given", 2, "end")
    assert pid.raw(5) == text.encode(codec) + b"^given~second"


def test_every_two_byte_character_of_big5_and_gb18030_is_safe_beside_a_delimiter() -> None:
    for declared, codec in (("BIG-5", "big5"), ("GB 18030-2000", "gb18030")):
        characters = [
            text
            for lead in range(0x81, 0xFF)
            for trail in (0x5C, 0x5E, 0x7C, 0x7E)
            if len(text := bytes([lead, trail]).decode(codec, "ignore")) == 1
            and text.encode(codec) == bytes([lead, trail])
        ]
        pid = message(declared, "^".join(characters).encode(codec)).segments[1]

        assert len(characters) > 100
        assert [pid.value(5, number) for number in range(1, len(characters) + 1)] == characters


@pytest.mark.parametrize(
    ("declared", "raw", "default", "contradicts"),
    [
        ("", b"ABC", "", False),
        ("ASCII", b"ABC", "", False),
        ("", "Müller".encode(), "", True),  # the book says ASCII
        ("ASCII", "Müller".encode(), "", True),
        ("", b"M\xfcller", "8859/1", False),  # agreed with the sender
        ("8859/1", "Müller".encode(), "", True),
        ("8859/1", b"M\xfcller", "", False),
        ("UNICODE UTF-8", "Müller".encode(), "", False),
        ("UNICODE UTF-8", b"M\xfcller", "8859/1", True),
        ("X-NOBODY-KNOWS", b"ABC", "", True),
    ],
)
def test_a_strict_receiver_can_see_that_the_bytes_contradict_msh_18(
    declared: str, raw: bytes, default: str, contradicts: bool
) -> None:
    """item 21"""
    assert message(declared, raw, default).contradicts_charset is contradicts


@pytest.mark.parametrize("name", ["UTF-16", "UNICODE UTF-16", "UTF-32", "CNS 11643-1992"])
def test_utf_16_and_what_nobody_can_decode_is_an_unknown_name(name: str) -> None:
    """item 21"""
    found = message(name, "Müller".encode())

    assert (found.segments[1].value(5), found.charset, found.charset_note) == ("Müller", "utf-8", "unknown-name")


@pytest.mark.parametrize(
    "name",
    ["UTF-8", "UTF8", "utf-8", "UNICODE", "UNICODE UTF-8", "8859-1", "8859/1", "ISO-8859-1", "ISO8859-1", "LATIN1", "Latin-1",
     "WINDOWS-1252", "CP1252", "GB 18030-2000", "GB18030", "KS X 1001", "BIG-5", "BIG5", "ISO IR14", "ISO IR87", "ISO IR159"],
)  # fmt: skip
def test_the_names_of_the_table_and_their_usual_misspellings_are_known(name: str) -> None:
    """item 21"""
    assert codec_named(name)


def test_an_unknown_default_is_an_error_of_the_configuration() -> None:
    with pytest.raises(ValueError, match="character set"):
        resolve(b"x", (), "utf-16")
