"""Headers of real files by several makers, read as pydicom reads them, and cut files told from whole ones."""

import io
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file

from fhir_bridge.rendezvous.dicom_header import UnreadableInstance, read_header, read_header_from
from tests.support.studies import an_instance

WHOLE = [
    "CT_small.dcm",  # explicit little endian
    "MR_small_implicit.dcm",
    "MR_small_bigendian.dcm",
    "JPEG2000.dcm",  # encapsulated
    "MR_small_RLE.dcm",
    "image_dfl.dcm",  # deflated
    "test-SR.dcm",  # no pixels
    "examples_rgb_color.dcm",
]
KEYWORDS = ("SOPInstanceUID", "SOPClassUID", "StudyInstanceUID", "PatientSex", "Modality", "AccessionNumber")


@pytest.mark.parametrize("name", WHOLE)
def test_values_are_those_that_pydicom_reads(name: str) -> None:
    path = Path(get_testdata_file(name, download=False))
    dataset = pydicom.dcmread(path)
    assert read_header(path, KEYWORDS) == {keyword: str(dataset.get(keyword) or "") for keyword in KEYWORDS}


@pytest.mark.parametrize("name", [name for name in WHOLE if name != "test-SR.dcm"])
def test_a_file_cut_in_its_pixels_is_unreadable(name: str) -> None:
    content = Path(get_testdata_file(name, download=False)).read_bytes()
    with pytest.raises(UnreadableInstance):
        read_header_from(io.BytesIO(content[: len(content) - 200]), KEYWORDS)


def test_an_image_that_ends_before_its_pixel_data_is_unreadable() -> None:
    content = an_instance()
    with pytest.raises(UnreadableInstance):
        read_header_from(io.BytesIO(content[: content.index(b"\xe0\x7f\x10\x00OW")]), KEYWORDS)


@pytest.mark.parametrize(
    "name",
    [
        "MR_truncated.dcm",
        "emri_small_jpeg_2k_lossless_too_short.dcm",
        "meta_missing_tsyntax.dcm",
        "no_meta.dcm",
        "rtplan_truncated.dcm",
    ],
)
def test_a_broken_file_of_others_is_unreadable(name: str) -> None:
    with pytest.raises(UnreadableInstance):
        read_header(Path(get_testdata_file(name, download=False)), KEYWORDS)


def test_the_text_of_the_error_quotes_nothing() -> None:
    with pytest.raises(UnreadableInstance) as error:
        read_header_from(io.BytesIO(b"CANARY^ZEBRA" * 100), KEYWORDS)
    assert "CANARY" not in str(error.value)
