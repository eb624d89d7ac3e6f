"""MSH as an answer needs it, from messages as real senders write them."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hl7_listener.delimiters import Delimiters
from hl7_listener.header import content_hash, is_fragment, read_header, sequence_number
from hl7_listener.refusal import MessageRefused

DATA = Path(__file__).parents[1] / "data" / "hl7v2"


def test_the_fields_of_a_whole_header_are_read() -> None:
    header = read_header((DATA / "omi_o23_ipc.hl7").read_bytes())

    assert header.delimiters == Delimiters("|", "^", "~", "\\", "&", "#")
    assert (header.sending_application, header.sending_facility) == ("RIS", "CANARY HOSPITAL")
    assert (header.receiving_application, header.receiving_facility) == ("BRIDGE", "AI")
    assert header.date_time == "20260302093000.1234-0500"
    assert (header.message_code, header.trigger_event, header.message_type) == ("OMI", "O23", "OMI^O23")
    assert (header.control_id, header.processing_id, header.version) == ("CANARY-MSG-2", "P", "2.5.1")
    assert (header.sequence_number, header.accept_acknowledgement, header.application_acknowledgement) == (
        "42",
        "NE",
        "AL",
    )
    assert header.charsets == ("UNICODE UTF-8",)


def test_other_delimiters_serve_as_well() -> None:
    """item 20"""
    header = read_header((DATA / "orm_crlf_other_delimiters.hl7").read_bytes())

    assert header.delimiters.encoding_characters == "%+!@"
    assert (header.message_type, header.control_id, header.version) == ("ORM^O01", "CANARY-MSG-4", "2.3")


@pytest.mark.parametrize(
    ("msh_9", "rest", "expected"),
    [
        ("ORM^O01^ORM_O01", "", "ORM^O01"),
        ("ORM^O01", "", "ORM^O01"),
        ("orm^o01", "", "ORM^O01"),
        ("ORM", "", "ORM^O01"),
        ("OMG", "", "OMG^O19"),
        ("OMI^", "", "OMI^O23"),
        ("ADT^A08^ADT_A01", "", "ADT^A08"),
        ("ADT^A08^ADT_A08", "", "ADT^A08"),
        (" ORM ^ O01 ", "", "ORM^O01"),
        ("ADT", "\rEVN|A40|2026", "ADT^A40"),
        ("ADT", "\nEVN|a08|2026", "ADT^A08"),
        ("ADT", "", "ADT"),
        ("", "", ""),
    ],
)
def test_the_message_type_is_code_and_event_however_it_is_written(msh_9: str, rest: str, expected: str) -> None:
    """item 18"""
    header = read_header(f"MSH|^~\\&|||||||{msh_9}|1|P|2.3{rest}\r".encode())

    assert header.message_type == expected


@pytest.mark.parametrize("lead", [b"", b"\xef\xbb\xbf", b"\r\n", b"\xef\xbb\xbf\r\n \0"])
def test_what_stands_before_msh_is_skipped(lead: bytes) -> None:
    assert read_header(lead + b"MSH|^~\\&|A\r").sending_application == "A"


@pytest.mark.parametrize("end", [b"", b"\r", b"\n", b"\r\nPID|1", b"\rPID|1"])
def test_the_header_ends_where_its_line_ends(end: bytes) -> None:
    assert read_header(b"MSH|^~\\&|||||||ORM|ID" + end).raw(10) == b"ID"


def test_a_control_id_is_kept_byte_for_byte() -> None:
    """item 15"""
    header = read_header(b"MSH|^~\\&|||||||ORM| a\\T\\b^c\xff |P\r")

    assert header.raw(10) == b" a\\T\\b^c\xff "


def test_a_missing_control_id_is_no_refusal_here() -> None:
    assert read_header(b"MSH|^~\\&|A\r").control_id == ""


@pytest.mark.parametrize(
    ("version", "expected"), [("2.5.1^FRA^2.11", "2.5.1"), (" 2.4 ", "2.4"), ("", ""), ("2.3~2.4", "2.3")]
)
def test_the_version_is_the_first_component_without_blanks(version: str, expected: str) -> None:
    """item 19"""
    assert read_header(f"MSH|^~\\&|||||||ORM|1|P|{version}\r".encode()).version == expected


@pytest.mark.parametrize(
    ("encoding", "names"),
    [
        ("^~", ("^", "~", "", "", "")),
        ("^~\\", ("^", "~", "\\", "", "")),
        ("^~\\&", ("^", "~", "\\", "&", "")),
        ("^~\\&#", ("^", "~", "\\", "&", "#")),
    ],
)
def test_two_to_five_encoding_characters_are_taken(encoding: str, names: tuple[str, ...]) -> None:
    """item 20"""
    assert read_header(f"MSH|{encoding}|A\r".encode()).delimiters == Delimiters("|", *names)


@pytest.mark.parametrize(
    ("payload", "code", "where"),
    [
        (b"", "hl7v2.no-header", "MSH"),
        (b"hello", "hl7v2.no-header", "MSH"),
        (b"PID|1\rMSH|^~\\&|A", "hl7v2.no-header", "MSH"),
        (b"M\0S\0H\0|\0", "hl7v2.no-header", "MSH"),
        (b"FHS|^~\\&|A\rMSH|^~\\&|A\r", "hl7v2.batch", "FHS"),
        (b"BHS|^~\\&|A\rMSH|^~\\&|A\r", "hl7v2.batch", "BHS"),
        (b"MSH", "hl7v2.delimiters", "MSH-1"),
        (b"MSH\r", "hl7v2.delimiters", "MSH-1"),
        (b"MSHA^~\\&A", "hl7v2.delimiters", "MSH-1"),
        (b"MSH|^", "hl7v2.delimiters", "MSH-2"),
        (b"MSH||A", "hl7v2.delimiters", "MSH-2"),
        (b"MSH|^~\\&#!|A", "hl7v2.delimiters", "MSH-2"),
        (b"MSH|^^\\&|A", "hl7v2.delimiters", "MSH-2"),
        (b"MSH|^~\\A|A", "hl7v2.delimiters", "MSH-2"),
        (b"MSH|^~\\\xe4|A", "hl7v2.delimiters", "MSH-2"),
        (b"MSH|^~ &|A", "hl7v2.delimiters", "MSH-2"),
    ],
)
def test_what_has_no_readable_header_is_refused_with_the_place(payload: bytes, code: str, where: str) -> None:
    """item 20"""
    with pytest.raises(MessageRefused) as caught:
        read_header(payload)

    assert (caught.value.code, caught.value.where) == (code, where)


@given(st.binary(max_size=80))
def test_any_bytes_are_a_header_or_a_refusal(payload: bytes) -> None:
    for candidate in (payload, b"MSH|^~\\&" + payload, b"MSH" + payload):
        try:
            header = read_header(candidate)
        except MessageRefused:
            continue
        assert isinstance((header.message_type, header.control_id, header.version, header.charsets), tuple)


@pytest.mark.parametrize("message_code", ["ACK", "ack", "ORR", "ORG", "ORI", "NMD"])
def test_answers_are_known_as_such(message_code: str) -> None:
    """item 17"""
    assert read_header(f"MSH|^~\\&|||||||{message_code}^O02|1\r".encode()).is_answer


def test_every_message_that_must_hold_msa_counts_as_an_answer_and_no_other_does() -> None:
    """item 17, by hl7apy's tables of all versions: a code is an answer's if each of its structures requires MSA."""
    library = pytest.importorskip("hl7apy")
    answers, others = set(), set()
    for version in ("2.1", "2.2", "2.3", "2.3.1", "2.4", "2.5", "2.5.1", "2.6", "2.7", "2.8", "2.8.1", "2.8.2"):
        for name, structure in library.load_library(version).MESSAGES.items():
            requires = any(child[0] == "MSA" and child[2][0] > 0 for child in structure[1])
            (answers if requires else others).add(name.split("_")[0])

    found = {code for code in answers | others if read_header(f"MSH|^~\\&|||||||{code}|1\r".encode()).is_answer}

    assert found == (answers - others) | {"NMD"}


def test_the_hash_leaves_out_the_time_and_nothing_else() -> None:
    """item 9"""
    first = b"\r\nMSH|^~\\&|A|B|C|D|20260302||ORM^O01|1\rPID|1\r"

    assert content_hash(first) == content_hash(first.replace(b"20260302", b"2026030209+0100"))
    assert content_hash(first) == content_hash(first.replace(b"20260302", b""))
    for changed in (
        first.replace(b"|D|", b"|E|"),
        first.replace(b"PID|1", b"PID|2"),
        first.replace(b"||ORM", b"|x|ORM"),
    ):
        assert content_hash(changed) != content_hash(first)


def test_the_hash_is_the_sha_256_of_what_is_left() -> None:
    # printf '%s' 'MSH|^~\&|A|B|C|D|||ORM' | sha256sum
    assert (
        content_hash(b"MSH|^~\\&|A|B|C|D|2026||ORM")
        == "d6b38435d7099faa36ff9ea0b93eacbc5c2e3b6f4c3697de9e884d8f15657e24"
    )


@pytest.mark.parametrize("payload", [b"", b"garbage", b"MSH", b"MSH|^~\\&|A"])
def test_anything_has_a_hash(payload: bytes) -> None:
    assert len(content_hash(payload)) == 64


def test_a_header_does_not_show_its_fields() -> None:
    assert "CANARY" not in repr(read_header((DATA / "orm_o01_zds.hl7").read_bytes()))


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("1", 1),
        ("000000001", 1),
        ("0", 0),
        ("-1", -1),
        (" 7 ", 7),
        ("", None),
        ('""', None),
        ("1.5", None),
        ("x", None),
    ],
)
def test_the_sequence_number_is_a_number_or_none(written: str, number: int | None) -> None:
    """item 10"""
    assert sequence_number(read_header(f"MSH|^~\\&|||||||ORM|1|P|2.3|{written}\r".encode())) == number


@pytest.mark.parametrize(
    ("msh_14", "rest", "expected"),
    [
        ("", "PID|1\r", False),
        ("C1", "ADD|rest of a field\r", True),
        ("", "OBX|1\rDSC|C1|F\r", True),
        ("", "OBX|1\nDSC|C1\n", True),
        ("", "OBX|1|||first\rADD\rDSC|C1\r", True),
        ("", "OBX|1|||first\rADD", True),
        ("", "DSC|\r", False),
        ("", "DSC||F\r", False),
        ("", 'DSC|""\r', False),
        ("", "OBX|1|||first\rADD|second\r", False),
        ("", "NTE|1||DSC|C1 ADD\r", False),
    ],
)
def test_a_fragment_of_a_message_is_known(msh_14: str, rest: str, expected: bool) -> None:
    """item 11: MSH-14, DSC-1, or the empty ADD that stands for "goes on in the next message" (§2.10.2.2)"""
    payload = f"MSH|^~\\&|||||||ORU^R01|1|P|2.5||{msh_14}\r{rest}".encode()

    assert is_fragment(read_header(payload), payload) is expected


@pytest.mark.parametrize(
    ("msh_11", "expected"), [("P", "P"), ("p", "P"), ("P^T", "P"), ("D^", "D"), (" T ", "T"), ("", ""), ("P~T", "P")]
)
def test_the_processing_id_is_the_first_component(msh_11: str, expected: str) -> None:
    """item 19"""
    assert read_header(f"MSH|^~\\&|||||||ORM|1|{msh_11}|2.3\r".encode()).processing_id == expected


@pytest.mark.parametrize("version", ["2.1", "2.3.1", "2.5.1", "2.9"])
def test_the_truncation_character_is_taken_in_any_version(version: str) -> None:
    """item 20"""
    header = read_header(f"MSH|^~\\&#|||||||ORM^O01|1|P|{version}\r".encode())

    assert (header.delimiters.truncation, header.version, header.control_id) == ("#", version, "1")


@pytest.mark.parametrize("long", ["O" * 300, "O01~" + "x" * 300])
def test_a_long_message_type_is_read_like_a_short_one(long: str) -> None:
    expected = long.split("~")[0]

    assert read_header(f"MSH|^~\\&|||||||ORM^{long}|1\r".encode()).trigger_event == expected
