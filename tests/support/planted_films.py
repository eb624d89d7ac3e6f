"""Films with an identity at every kind of place, for property tests of de-identification."""

from hypothesis import strategies as st
from pydicom._dicom_dict import DicomDictionary

from tests.support import raw_film
from tests.support.raw_film import CR, DX, EXPLICIT, IMPLICIT, Film, Raw, text

TEXT_VRS = ("PN", "LO", "SH", "LT", "ST", "UT", "UC", "AE", "CS", "UI", "DA", "DT", "TM", "DS", "IS", "AS", "UR")
IDENTIFYING = [tag for tag, entry in DicomDictionary.items() if entry[0] in TEXT_VRS and 0x00080000 < tag < 0x7FE00000]
CHECKED = (0x00080008, 0x00080016, 0x00080018, 0x00280004, 0x00280008, 0x00280301, 0x0020000D)  # refused, not removed


def nested(depth: int, leaf: Raw, undefined: bool) -> Raw:
    """Source Image Sequence is allowed, so the walk goes in; what lies below is not."""
    element = leaf
    for level in range(depth):
        tag = (0x00082112, 0x00081140, 0x0040A170, 0x0008103F)[level % 4]
        element = Raw(
            tag, "SQ", items=((element, text(0x00081155, "UI", f"1.2.3.{level + 1}")),), undefined_length=undefined
        )
    return element


@st.composite
def planted_films(draw: st.DrawFn) -> Film:
    """A film with an identity at every kind of place: any attribute, any depth, any encoding of the file."""
    film = Film(draw(st.sampled_from([CR, DX])), draw(st.sampled_from([EXPLICIT, IMPLICIT])))
    film.preamble = b"CANARY^ZEBRA".ljust(128, b"\0")
    film.meta = (text(0x00020016, "AE", "CANARYAE"), Raw(0x00020102, "OB", b"ZEBRA "), text(0x00020100, "UI", "1.2.3"))
    token = draw(st.sampled_from(["CANARY^ZEBRA", "ZEBRA, Canary", "canary", "CANARY\\ZEBRA", "CHEST CANARY LAT"]))
    for tag in draw(st.lists(st.sampled_from([t for t in IDENTIFYING if t not in CHECKED]), min_size=30, max_size=80)):
        film.put(text(tag, DicomDictionary[tag][0], token))
    undefined = draw(st.booleans())
    film.put(
        nested(draw(st.integers(1, 8)), text(0x00100010, "PN", token), undefined),
        code("CANARY", "99ZEBRA", "ZEBRA"),
        Raw(0x00540220, "SQ", items=(view_code(token),), undefined_length=undefined),
        Raw(0x00283010, "SQ", items=((text(0x00283003, "LO", token), Raw(0x00283006, "OW", b"\1\0")),)),
        Raw(0x00090010, "LO", b"CANARY PRIVATE"),
        Raw(0x00091001, "UN", b"ZEBRA CANARY"),
        Raw(0x00091002, "SQ", items=((text(0x00100020, "LO", token),),), undefined_length=undefined),
        Raw(0x00880200, "SQ", items=((Raw(0x7FE00010, "OB", b"CANARY"),),)),
        Raw(0x50003000, "OW", b"CANARYZEBRA "),
        Raw(0x60003000, "OW", b"CANARYZEBRA "),
        Raw(0x60001500, "LO", b"CANARY"),
    )
    film.pixels += draw(st.sampled_from([b"", b"CANARY^ZEBRA", "CANARY".encode("utf-16-le")]))
    film.after = draw(st.sampled_from([b"", raw_film.encode(Raw(0xFFFCFFFC, "OB", b"CANARY")), b"ZEBRA", b"\0" * 7]))
    return film


def code(value: str, scheme: str, meaning: str) -> Raw:
    items = ((text(0x00080100, "SH", value), text(0x00080102, "SH", scheme), text(0x00080104, "LO", meaning)),)
    return Raw(0x00082218, "SQ", items=items)


def view_code(meaning: str) -> tuple[Raw, ...]:
    return (text(0x00080100, "SH", "399348003"), text(0x00080102, "SH", "SCT"), text(0x00080104, "LO", meaning))
