import base64
import io
import struct
import warnings
import zlib
from datetime import date

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom._dicom_dict import DicomDictionary
from pydicom.data import get_testdata_file

from fhir_bridge.deid.dicom import RewrittenInstance, rewrite
from fhir_bridge.deid.pseudonym import ProjectKeys
from fhir_bridge.deid.subject import Age, Subject
from fhir_bridge.errors import Refused
from tests.support import raw_film
from tests.support.planted_films import IDENTIFYING, code, nested, planted_films, view_code
from tests.support.raw_film import BIG, CR, DX, EXPLICIT, IMPLICIT, Film, Raw, short, text

KEYS = ProjectKeys(bytes(range(32)))
PLANTED = ("CANARY", "ZEBRA", "canary", "zebra")


def a_subject(age: Age | None = None) -> Subject:
    return Subject(KEYS, "Patient/1", age, ())


def rewritten(film: Film, subject: Subject | None = None) -> RewrittenInstance:
    return rewrite(film.to_bytes(), subject or a_subject())


def read(instance: RewrittenInstance) -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(instance.content))


def hits(content: bytes) -> list[str]:
    found = [word for word in PLANTED if word.encode() in content]
    found += [f"utf-16 {word}" for word in PLANTED if word.encode("utf-16-le") in content]
    return found + [f"base64 {word}" for word in PLANTED if base64.b64encode(f"xx{word}".encode())[4:-4] in content]


@settings(max_examples=60, deadline=None)
@given(planted_films())
def test_no_planted_identity_survives_anywhere_in_the_file(film: Film) -> None:
    assert hits(rewritten(film).content) == []


@settings(max_examples=20, deadline=None)
@given(planted_films())
def test_pydicom_reads_what_was_written_and_every_uid_is_mapped_or_standard(film: Film) -> None:
    data_set = read(rewritten(film))
    uids = [element.value for element in data_set.iterall() if element.VR == "UI"]
    assert uids
    assert all(uid in pydicom.uid.UID_dictionary or uid.startswith("2.25.") for uid in uids)


@pytest.mark.parametrize("tag", [tag for tag in IDENTIFYING if DicomDictionary[tag][0] == "PN"])
def test_no_person_name_attribute_keeps_its_value(tag: int) -> None:
    assert hits(rewritten(Film().put(text(tag, "PN", "CANARY^ZEBRA"))).content) == []


@pytest.mark.parametrize("transfer_syntax", [EXPLICIT, IMPLICIT, BIG])
def test_pixels_and_transfer_syntax_stay(transfer_syntax: str) -> None:
    film = Film(transfer_syntax=transfer_syntax)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom remarks on Big Endian
        data_set = read(rewritten(film))
    assert data_set.file_meta.TransferSyntaxUID == transfer_syntax
    assert data_set.get_item("PixelData").value == film.pixels
    assert (data_set.Rows, data_set.BitsStored) == (4, 12)


def test_compressed_pixels_stay_byte_for_byte() -> None:
    source = get_testdata_file("RG3_J2KR.dcm", download=False)
    original = pydicom.dcmread(source)
    stream = next(pydicom.encaps.generate_frames(original.PixelData, number_of_frames=1))
    film = Film(transfer_syntax=raw_film.JPEG_2000).put(raw_film.fragments(stream))
    data_set = read(rewritten(film))
    assert data_set.file_meta.TransferSyntaxUID == raw_film.JPEG_2000
    assert next(pydicom.encaps.generate_frames(data_set.PixelData, number_of_frames=1)) == stream


def test_a_deflated_data_set_is_written_inflated() -> None:
    content = Film(transfer_syntax="1.2.840.10008.1.2.1.99").to_bytes()
    start = 132 + 12 + struct.unpack_from("<L", content, 140)[0]
    packer = zlib.compressobj(wbits=-15)
    deflated = content[:start] + packer.compress(content[start:]) + packer.flush()
    data_set = read(rewrite(deflated, a_subject()))
    assert data_set.file_meta.TransferSyntaxUID == EXPLICIT
    assert data_set.PixelData == Film().pixels


def test_what_the_model_needs_is_kept() -> None:
    film = Film(DX).put(
        text(0x00180015, "CS", "CHEST"),
        text(0x00185101, "CS", "PA"),
        text(0x00180060, "DS", "70"),
        text(0x00181164, "DS", "0.143\\0.143"),
        text(0x00281050, "DS", "2048"),
        text(0x00080070, "LO", "FUJI PHOTO FILM CO. LTD."),
        text(0x00081030, "LO", "Chest PA, Mrs CANARY"),
        short(0x00280120, 7),
    )
    data_set = read(rewritten(film))
    assert (data_set.BodyPartExamined, data_set.ViewPosition, data_set.KVP) == ("CHEST", "PA", 70)
    assert data_set.ImagerPixelSpacing == [0.143, 0.143]
    assert (data_set.PatientSex, data_set.WindowCenter, data_set.PixelPaddingValue) == ("F", 2048, 7)
    assert (data_set.Manufacturer, data_set.StudyDescription, data_set.StudyTime) == ("FUJI", "CHEST PA", "101112.5")


def test_the_file_says_that_and_how_it_was_deidentified() -> None:
    data_set = read(rewritten(Film()))
    codes = [(item.CodeValue, item.CodingSchemeDesignator) for item in data_set.DeidentificationMethodCodeSequence]
    assert data_set.PatientIdentityRemoved == "YES"
    assert data_set.DeidentificationMethod
    assert data_set.LongitudinalTemporalInformationModified == "MODIFIED"
    assert codes == [("113100", "DCM"), ("113105", "DCM"), ("113107", "DCM"), ("113108", "DCM")]


def test_identity_attributes_become_pseudonyms_or_empty() -> None:
    data_set = read(rewritten(Film()))
    assert data_set.PatientID == data_set.PatientName == a_subject().pseudonym
    assert data_set.PatientBirthDate == data_set.ReferringPhysicianName == ""
    assert len(data_set.AccessionNumber) == 16


def test_attributes_that_came_empty_stay_empty() -> None:
    context = Raw(0x00400555, "SQ", items=((text(0x00100010, "PN", "CANARY"),),))
    data_set = read(rewritten(Film(DX).put(text(0x00187004, "CS", ""), text(0x00080022, "DA", ""), context)))
    assert data_set.DetectorType == data_set.AcquisitionDate == ""
    assert list(data_set.AcquisitionContextSequence) == []


def test_references_and_instances_get_the_same_uid() -> None:
    reference = (text(0x00081150, "UI", CR), text(0x00081155, "UI", raw_film.INSTANCE))
    data_set = read(rewritten(Film().put(Raw(0x00082112, "SQ", items=(reference,)))))
    assert data_set.SourceImageSequence[0].ReferencedSOPInstanceUID == data_set.SOPInstanceUID
    assert data_set.file_meta.MediaStorageSOPInstanceUID == data_set.SOPInstanceUID


@settings(max_examples=40, deadline=None)
@given(st.dates(date(1960, 1, 1), date(2060, 1, 1)), st.dates(date(1960, 1, 1), date(2060, 1, 1)))
def test_intervals_between_dates_and_days_of_the_week_stay(one: date, two: date) -> None:
    film = Film().put(text(0x00080020, "DA", f"{one:%Y%m%d}"), text(0x0008002A, "DT", f"{two:%Y%m%d}101112.5+0100"))
    data_set = read(rewritten(film))
    new_one = date.fromisoformat(str(data_set.StudyDate))
    new_two = date.fromisoformat(str(data_set.AcquisitionDateTime)[:8])
    assert new_two - new_one == two - one
    assert new_one < one
    assert new_one.weekday() == one.weekday()
    assert str(data_set.AcquisitionDateTime)[8:] == "101112.5+0100"


@pytest.mark.parametrize("value", ["2023", "202313", "20230230", "CANARY", "2023-01-01", "00010101"])
def test_a_date_that_cannot_be_moved_is_removed(value: str) -> None:
    assert read(rewritten(Film().put(text(0x00080022, "DA", value)))).get("AcquisitionDate") is None


def test_a_known_code_gets_the_standards_meaning_and_an_unknown_one_goes() -> None:
    codes = Raw(0x00540220, "SQ", items=(view_code("CANARY view"), code("CANARY", "99Z", "x").items[0]))
    data_set = read(rewritten(Film().put(codes)))
    assert [item.CodeMeaning for item in data_set.ViewCodeSequence] == ["antero-posterior"]


def test_age_is_written_from_what_the_crossing_knows() -> None:
    assert read(rewritten(Film(), a_subject(Age(36)))).PatientAge == "003Y"


def test_an_age_string_alone_does_not_pass() -> None:
    assert "PatientAge" not in read(rewritten(Film().put(text(0x00101010, "AS", "091Y"))))


REFUSALS = [
    (Film().put(text(0x00280301, "CS", "YES")), "deid.burned-in-annotation", "0028,0301"),
    (Film().put(text(0x00080008, "CS", "DERIVED\\PRIMARY")), "deid.pixels-unverified", "0008,0008"),
    (Film().put(text(0x00080008, "CS", "ORIGINAL\\SECONDARY")), "deid.pixels-unverified", "0008,0008"),
    (Film().without(0x00080008), "deid.pixels-unverified", "0008,0008"),
    (Film().put(text(0x00280008, "IS", "2")), "deid.pixels-unverified", "0028,0008"),
    (Film().put(text(0x00280004, "CS", "RGB")), "deid.pixels-unverified", "0028,0004"),
    (Film().put(short(0x60000100, 16), short(0x60000102, 12)), "deid.pixels-unverified", "6000,0010"),
    (Film("1.2.840.10008.5.1.4.1.1.7"), "deid.sop-class-unsupported", "Secondary Capture Image Storage"),
    (Film("1.2.840.10008.5.1.4.1.1.2"), "deid.sop-class-unsupported", "CT Image Storage"),
    (Film("1.2.3.4.5"), "deid.sop-class-unsupported", "private"),
    (Film(transfer_syntax="1.2.840.113619.5.2"), "deid.transfer-syntax-unsupported", "0002,0010"),
    (Film(pixels=bytes(8)), "deid.dicom-unreadable", "7FE0,0010"),
    (Film().without(0x00280010), "deid.dicom-unreadable", "0028,0010"),
    (Film().without(0x00080018), "deid.dicom-unreadable", "0008,0018"),
    (Film().put(text(0x00080018, "UI", "CANARY")), "deid.dicom-unreadable", "0008,0018"),
]


@pytest.mark.parametrize(("film", "code", "where"), REFUSALS)
def test_what_must_not_cross_is_refused_with_code_and_place(film: Film, code: str, where: str) -> None:
    with pytest.raises(Refused) as refusal:
        rewritten(film)
    assert (refusal.value.code, refusal.value.where) == (code, where)


JPEG_BODY, JPEG_2000_BODY = b"\xff\xda\x00\x02" + bytes(8) + b"\xff\xd9", b"\xff\x90" + bytes(8) + b"\xff\xd9"
STREAMS = {
    "JPEG comment": b"\xff\xd8\xff\xfe\x00\x08CANARY" + JPEG_BODY,
    "comment after fill bytes": b"\xff\xd8\xff\xff\xfe\x00\x08CANARY" + JPEG_BODY,
    "Exif": b"\xff\xd8\xff\xe1\x00\x08Exif\0\0" + JPEG_BODY,
    "words between the markers": b"\xff\xd8CANARY" + JPEG_BODY,
    "words after the image": b"\xff\xd8" + JPEG_BODY + b"CANARY",
    "JPEG 2000 comment": b"\xff\x4f\xff\x51\x00\x04\0\0\xff\x64\x00\x0a\0\1CANARY" + JPEG_2000_BODY,
    "JP2 boxes": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(64),
}


@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS)
def test_words_beside_the_pixels_of_a_codestream_are_refused(stream: bytes) -> None:
    with pytest.raises(Refused) as refusal:
        rewritten(Film(transfer_syntax=raw_film.JPEG).put(raw_film.fragments(stream)))
    assert refusal.value.code == "deid.pixels-unverified"


@pytest.mark.parametrize(
    "stream",
    [
        b"\xff\xd8\xff\xe0\x00\x10JFIF\0\1\2\0\0\1\0\1\0\0" + JPEG_BODY,
        b"\xff\x4f\xff\x51\x00\x04\0\0\xff\x64\x00\x0e\0\1Kakadu-2.2" + JPEG_2000_BODY,
        struct.pack("<16L", 1, 64, *[0] * 14) + b"\0\1",
    ],
    ids=["JFIF", "an encoder's signature", "RLE"],
)
def test_a_codestream_without_words_crosses(stream: bytes) -> None:
    film = Film(transfer_syntax=raw_film.JPEG).put(raw_film.fragments(stream))
    assert stream in rewritten(film).content


@pytest.mark.parametrize("place", [0, 1])
def test_fragments_that_are_none_are_refused(place: int) -> None:
    pixels = Raw(
        0x7FE00010, "OB", b"\xfe\xff\x00\xe0" + struct.pack("<L", 5 * place) + bytes(5 * place), undefined_length=True
    )
    with pytest.raises(Refused, match=r"deid\.dicom-unreadable"):
        rewritten(Film(transfer_syntax=raw_film.JPEG).put(pixels))


def test_a_repeated_tag_is_refused() -> None:
    content = Film().without(0x7FE00010).to_bytes() + raw_film.encode(text(0x00100010, "PN", "CANARY")) * 2
    with pytest.raises(Refused, match=r"deid\.dicom-unreadable at 0010,0010"):
        rewrite(content, a_subject())


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_broken_bytes_are_refused_with_a_code_and_without_a_value(data: st.DataObject) -> None:
    content = bytearray(Film().put(nested(5, text(0x00100010, "PN", "CANARY"), undefined=True)).to_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(128, len(content) - 1))] = data.draw(st.integers(0, 255))
    broken = bytes(content[: data.draw(st.integers(0, len(content)))])
    assert outcome(broken).startswith(("written", "deid."))


def outcome(content: bytes) -> str:
    """Whatever becomes of the bytes, in words; only a Refused may be raised."""
    try:
        return "written" if hits(rewrite(content, a_subject()).content) == [] else "leaked"
    except Refused as refusal:
        return refusal.code if hits(str(refusal).encode()) == [] else "quoted a value"


@pytest.mark.parametrize("name", ["RG1_UNCR.dcm", "RG1_J2KR.dcm", "RG3_UNCI.dcm", "RG3_J2KI.dcm"])
def test_real_derived_films_wait_for_a_person(name: str) -> None:
    with pytest.raises(Refused) as refusal, open(get_testdata_file(name, download=False), "rb") as file:  # noqa: PTH123
        rewrite(file.read(), a_subject())
    assert refusal.value.code == "deid.pixels-unverified"


def test_a_real_film_crosses_with_the_same_pixels() -> None:
    with open(get_testdata_file("RG3_UNCR.dcm", download=False), "rb") as file:  # noqa: PTH123
        content = file.read()
    data_set, original = read(rewrite(content, a_subject())), pydicom.dcmread(io.BytesIO(content))
    assert data_set.PixelData == original.PixelData
    assert (data_set.BodyPartExamined, data_set.Laterality, data_set.PatientSex) == ("EXTREMITY", "R", "F")
    assert "DataSetTrailingPadding" not in data_set
