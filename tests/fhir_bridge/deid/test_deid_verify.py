"""The checker, tried with faults put into good output: it must find what the engine would have left."""

import base64
from collections import Counter

import pytest
from pydicom._dicom_dict import DicomDictionary
from pydicom.datadict import dictionary_VR

from fhir_bridge.deid.allow_list import read_table
from fhir_bridge.deid.dicom import rewrite
from fhir_bridge.deid.elements import read_file
from fhir_bridge.deid.gates import GATES
from fhir_bridge.deid.identifiers import KnownIdentifiers, collect_from_header, collect_from_patient, original_values
from fhir_bridge.deid.pseudonym import ProjectKeys
from fhir_bridge.deid.subject import Subject
from fhir_bridge.deid.verify import IdentifierSearch, printable_runs, table, verify_instance, verify_resource
from fhir_bridge.errors import Refused
from tests.support import raw_film
from tests.support.raw_film import Film, Raw, text

PATIENT = {
    "resourceType": "Patient",
    "id": "CANARY-77",
    "birthDate": "2020-03-04",
    "name": [{"family": "Canary", "given": ["Zebra"]}],
    "identifier": [{"system": "urn:oid:1.2", "value": "4711815"}],
    "telecom": [{"value": "+41 555 123 45"}],
    "address": [{"line": ["Canary Street 5"], "city": "Zebraville", "postalCode": "8000"}],
}
SUBJECT = Subject(ProjectKeys(bytes(32)), "Patient/CANARY-77", None, ())


def originals_of(film: Film) -> dict[int, set[bytes]]:
    return original_values(read_file(film.to_bytes()).elements)


def search() -> IdentifierSearch:
    found = KnownIdentifiers()
    collect_from_patient(found, PATIENT)
    collect_from_header(found, originals_of(Film()))
    return IdentifierSearch(found)


def with_fault(*elements: Raw, film: Film | None = None) -> bytes:
    """The engine's output with elements put in that a broken rule would have left."""
    clean = rewrite((film or Film()).to_bytes(), SUBJECT).content
    spliced = b"".join(raw_film.encode(element) for element in sorted(elements, key=lambda element: element.tag))
    return b"".join([clean, spliced]) if elements and elements[0].tag > 0x7FE00010 else _insert(clean, elements)


def _insert(clean: bytes, elements: tuple[Raw, ...]) -> bytes:
    start = 132 + 12 + int.from_bytes(clean[140:144], "little")
    at, data_set = 0, clean[start:]
    kept: list[tuple[int, bytes]] = []
    while at < len(data_set):
        tag = int.from_bytes(data_set[at : at + 2], "little") << 16 | int.from_bytes(
            data_set[at + 2 : at + 4], "little"
        )
        long = data_set[at + 4 : at + 6] in (b"OB", b"OW", b"SQ", b"UN", b"UT")
        length = int.from_bytes(data_set[at + 8 : at + 12] if long else data_set[at + 6 : at + 8], "little")
        end = at + (12 if long else 8) + length
        kept.append((tag, data_set[at:end]))
        at = end
    replaced = {element.tag for element in elements}
    kept = [(tag, raw) for tag, raw in kept if tag not in replaced]
    kept += [(element.tag, raw_film.encode(element)) for element in elements]
    return clean[:start] + b"".join(raw for _, raw in sorted(kept))


def verdict(output: bytes, film: Film | None = None) -> str:
    try:
        verify_instance(output, originals_of(film or Film()), search())
    except Refused as refusal:
        quoted = "CANARY" in str(refusal).upper()
        return "quoted a value" if quoted else f"{refusal.code} {refusal.where}"
    return "clean"


def name(tag: int) -> str:
    return f"{tag >> 16:04X},{tag & 0xFFFF:04X}"


def test_the_table_is_the_edition_2026c() -> None:
    assert Counter(action.basic for action in table().values()) == {
        "D": 93,
        "Z": 42,
        "X": 415,
        "U": 55,
        "Z/D": 6,
        "X/Z": 11,
        "X/D": 23,
        "X/Z/D": 8,
        "X/Z/U*": 2,
    }


@pytest.mark.parametrize(
    ("tag", "basic"),
    [("0010,0010", "Z"), ("0008,0018", "U"), ("0008,103E", "X"), ("60XX,3000", "X"), ("0008,1140", "X/Z/U*")],
)
def test_rows_read_from_the_standard(tag: str, basic: str) -> None:
    assert table()[tag].basic == basic


def test_every_rule_of_the_allow_list_has_a_gate_and_a_section() -> None:
    rows = read_table("cr_dx.csv")
    assert {row["rule"] for row in rows} <= set(GATES) | {"items", "code", "lut-data", "pixels"}
    assert all(row["section"].startswith("PS3.3 ") and row["cr"] + row["dx"] for row in rows)
    assert all(row["values"] for row in rows if row["rule"] in ("value-set", "vendor", "image-type"))


def test_no_text_attribute_is_allowed_as_a_number_or_as_it_comes() -> None:
    as_number = [row["attribute"].split(".")[-1] for row in read_table("cr_dx.csv") if row["rule"] == "number"]
    assert {dictionary_VR(keyword) for keyword in as_number} <= {
        "DS",
        "IS",
        "US",
        "SS",
        "US or SS",
        "FL",
        "FD",
        "UL",
        "SL",
    }


def test_clean_output_is_clean() -> None:
    assert verdict(with_fault()) == "clean"


TEXT_FAULTS = [
    int(tag.replace(",", ""), 16)
    for tag, action in table().items()
    if "XX" not in tag
    and DicomDictionary.get(int(tag.replace(",", ""), 16), ("",))[0]
    in ("LO", "SH", "PN", "LT", "ST", "UT", "DA", "DT", "AE")
    and 0x00080000 < int(tag.replace(",", ""), 16) < 0x7FE00000
]


@pytest.mark.parametrize("tag", TEXT_FAULTS)
def test_an_attribute_of_the_table_that_kept_its_value_is_found(tag: int) -> None:
    vr = DicomDictionary[tag][0]
    value = {"DA": "20230308", "DT": "20230308101112"}.get(
        vr, "qqq www"
    )  # no known identifier: the table alone must catch it
    film = Film().put(text(tag, vr, value))
    assert verdict(with_fault(text(tag, vr, value), film=film), film) == f"deid.residual-identifier {name(tag)}"


UID_FAULTS = [tag for tag, entry in DicomDictionary.items() if entry[0] == "UI" and 0x00080000 < tag < 0x7FE00000]


@pytest.mark.parametrize("tag", UID_FAULTS)
def test_a_uid_that_is_neither_mapped_nor_standard_is_found(tag: int) -> None:
    assert verdict(with_fault(text(tag, "UI", "1.2.3.4"))) == f"deid.residual-identifier {name(tag)}"


HIDDEN = [
    text(0x00181260, "SH", "canary"),
    text(0x00181260, "SH", "ZebraCanary"),
    text(0x00181260, "SH", "4711815"),
    text(0x00181260, "LO", "born 04.03.2020"),
    text(0x00181260, "LO", "2020/03/04"),
    text(0x00181260, "LO", "tel +4155512345"),
    text(0x00181260, "LO", "zebraville"),
    text(0x00181260, "LO", "Zebra"),
    text(0x00181260, "SH", "Ünbekannt"),
    Raw(0x00283006, "OW", "CANARY".encode("utf-16-le")),
    Raw(0x00283006, "OW", "Canary".encode("utf-16-be")),
    Raw(0x00283006, "OW", base64.b64encode(b"Name: Canary, Zebra")),
    Raw(0x00283006, "OW", base64.b64encode(b"x4711815y")),
    text(0x00180060, "DS", "4711815"),
    text(0x00081032, "LO", "CANARY-1"),
]


@pytest.mark.parametrize("element", HIDDEN, ids=range(len(HIDDEN)))
def test_a_known_identifier_is_found_however_it_is_written(element: Raw) -> None:
    assert verdict(with_fault(element)) == f"deid.residual-identifier {name(element.tag)}"


@pytest.mark.parametrize(
    "element",
    [
        Raw(0x00091001, "UN", b"harmless"),
        Raw(0x60003000, "OW", b"\0\0"),
        Raw(0x50000005, "US", b"\0\0"),
        Raw(0x00080000, "UL", bytes(4)),
        Raw(0xFFFCFFFC, "OB", bytes(4)),
        Raw(0x00082112, "SQ", items=((Raw(0x00091001, "UN", b"harmless"),),)),
    ],
    ids=lambda element: name(element.tag),
)
def test_groups_that_never_cross_are_found_whatever_they_hold(element: Raw) -> None:
    assert verdict(with_fault(element)).startswith("deid.residual-identifier")


def test_a_preamble_is_found() -> None:
    assert verdict(b"II*\0" + with_fault()[4:]) == "deid.residual-identifier preamble"


def test_a_code_meaning_of_someones_own_words_is_found() -> None:
    items = ((text(0x00080100, "SH", "399348003"), text(0x00080102, "SH", "SCT"), text(0x00080104, "LO", "room 5")),)
    assert verdict(with_fault(Raw(0x00540220, "SQ", items=items))) == "deid.residual-identifier 0008,0104"


@pytest.mark.parametrize("hidden", [b"Canary", "canary".encode("utf-16-le"), "\0CANARY".encode("utf-16-be")])
def test_a_name_in_the_pixels_bytes_is_found(hidden: bytes) -> None:
    film = Film(pixels=bytes(8) + hidden.ljust(24, b"\0"))
    assert verdict(with_fault(film=film), film) == "deid.residual-identifier 7FE0,0010"


def test_an_unmarked_file_is_not_released() -> None:
    assert verdict(with_fault(text(0x00120062, "CS", "NO"))) == "deid.unverifiable 0012,0062"


@pytest.mark.parametrize(
    "element",
    [
        text(0x00080070, "LO", "FUJI"),
        text(0x00081030, "LO", "CHEST PA"),
        text(0x00101010, "AS", "003Y"),
        text(0x00100040, "CS", "F"),
        text(0x00080030, "TM", "101112.5"),
    ],
    ids=lambda element: name(element.tag),
)
def test_what_an_option_of_the_profile_retains_is_let_through(element: Raw) -> None:
    film = Film().put(element)
    assert verdict(with_fault(element, film=film), film) == "clean"


def test_printable_runs_are_those_of_six_and_more() -> None:
    runs = printable_runs(b"\0abcde\0abcdef\1\1" + "wxyzab".encode("utf-16-le") + b"\1\2")
    assert set(runs.split()) == {b"abcdef", b"wxyzab"}


@pytest.mark.parametrize(
    ("resource", "where"),
    [
        ({"resourceType": "Condition", "id": "canary-77"}, "Condition.id"),
        (
            {"resourceType": "Observation", "code": {"coding": [{"system": "s", "code": "4711815"}]}},
            "Observation.code.coding.code",
        ),
        ({"resourceType": "Observation", "valueInteger": 4711815}, "Observation.valueInteger"),
    ],
)
def test_a_known_identifier_in_the_context_is_found(resource: dict[str, object], where: str) -> None:
    with pytest.raises(Refused) as refusal:
        verify_resource(resource, search())
    assert (refusal.value.code, refusal.value.where) == ("deid.residual-identifier", where)


def test_a_clean_resource_is_clean_even_on_a_day_that_is_a_birthday() -> None:
    verify_resource({"resourceType": "Condition", "onsetDateTime": "2020-03-04", "id": "AAAABBBBCCCCDDDD"}, search())
