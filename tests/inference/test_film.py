"""A DICOM file becomes a Film, or is refused; whatever its bytes."""

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import MPEG2MPML, JPEG2000Lossless, JPEGLSLossless, RLELossless

from inference.film import Film, Instance, read_film, read_instances
from inference.refusal import InferenceRefused
from tests.support.films import a_chest, a_film

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)


def the_film(path: Path, **attributes: object) -> Film:
    return read_film(Instance(a_film(path / "film.dcm", pixels=RAMP, **attributes), None))  # type: ignore[arg-type]


def film_of(path: Path) -> Film:
    return read_film(Instance(path, None))


def refusal_of(path: Path) -> str:
    with pytest.raises(InferenceRefused) as caught:
        film_of(path)
    return caught.value.code


def test_values_go_through_the_modality_lut(tmp_path: Path) -> None:
    film = the_film(tmp_path, RescaleSlope=2, RescaleIntercept=-100)
    assert film.pixels[0, :3].tolist() == [-100, -98, -96]  # value = stored * slope + intercept, PS3.3 C.11.1.1.2
    assert (film.low, film.high) == (-100, 410)


def test_the_window_gives_the_shown_range(tmp_path: Path) -> None:
    film = the_film(tmp_path, WindowCenter=40, WindowWidth=80)
    assert (film.low, film.high) == (0, 79)  # c - 0.5 -+ (w - 1) / 2, PS3.3 C.11.2.1.2.1


def test_without_a_window_everything_that_the_bits_hold_is_shown(tmp_path: Path) -> None:
    film = the_film(tmp_path)
    assert (film.low, film.high) == (0, 255)


@pytest.mark.parametrize("window", [{"WindowCenter": 40}, {"WindowCenter": 40, "WindowWidth": 0}])
def test_half_a_window_is_none(tmp_path: Path, window: dict[str, object]) -> None:
    film = the_film(tmp_path, **window)
    assert (film.low, film.high) == (0, 255)


def test_the_first_of_several_windows_counts(tmp_path: Path) -> None:
    film = the_film(tmp_path, WindowCenter=[40, 90], WindowWidth=[80, 100])
    assert (film.low, film.high) == (0, 79)


def test_padding_becomes_the_darkest_value(tmp_path: Path) -> None:
    film = the_film(tmp_path, PixelPaddingValue=250, PixelPaddingRangeLimit=255)
    assert film.pixels.max() == 249
    assert film.pixels[-1, -6:].tolist() == [0] * 6


def test_padding_of_an_inverted_film_becomes_the_value_that_is_shown_darkest(tmp_path: Path) -> None:
    film = the_film(tmp_path, monochrome1=True, PixelPaddingValue=0)
    assert film.inverted
    assert film.pixels[-1, -1] == 255


def test_every_codec_gives_the_same_pixels(tmp_path: Path) -> None:
    plain = a_film(tmp_path / "plain.dcm", pixels=a_chest().astype(np.uint16) * 257)
    expected = film_of(plain).pixels
    for syntax in (RLELossless, JPEGLSLossless, JPEG2000Lossless):
        dataset = dcmread(plain)
        dataset.compress(syntax)
        dataset.save_as(tmp_path / "coded.dcm")
        assert np.array_equal(film_of(tmp_path / "coded.dcm").pixels, expected), syntax.name


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        # made by other programs; pydicom-data says what they hold
        ("MR_small_jpeg_ls_lossless.dcm", "MR_small.dcm"),
        ("MR_small_jp2klossless.dcm", "MR_small.dcm"),
        ("MR_small_RLE.dcm", "MR_small.dcm"),
        ("SC_rgb_jpeg_gdcm.dcm", None),
    ],
)
def test_files_of_other_programs(name: str, stored: str | None) -> None:
    path = Path(get_testdata_file(name, download=False))
    if stored is None:
        assert refusal_of(path) == "dicom.undecodable"  # colour
    else:
        assert np.array_equal(film_of(path).pixels, film_of(Path(get_testdata_file(stored, download=False))).pixels)


def test_a_coding_that_nothing_here_reads_is_named(tmp_path: Path) -> None:
    path = a_film(tmp_path / "film.dcm", pixels=RAMP)
    dataset = dcmread(path)
    dataset.file_meta.TransferSyntaxUID = MPEG2MPML
    dataset.PixelData = encapsulate([b"moving picture"])
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(path)
    assert refusal_of(path) == "dicom.transfer-syntax"


def test_a_film_that_claims_to_be_enormous_is_not_decoded(tmp_path: Path) -> None:
    path = a_film(tmp_path / "film.dcm", pixels=RAMP, Rows=65535, Columns=65535)
    assert refusal_of(path) == "dicom.too-large"


def test_truncated_pixels_are_refused(tmp_path: Path) -> None:
    assert refusal_of(a_film(tmp_path / "film.dcm", pixels=RAMP, Rows=64)) == "dicom.undecodable"


def test_a_file_that_is_no_dicom_is_refused(tmp_path: Path) -> None:
    (tmp_path / "film.dcm").write_bytes(b"CANARY")
    with pytest.raises(InferenceRefused) as caught:
        read_instances(tmp_path)
    assert caught.value.code == "dicom.undecodable"
    assert "CANARY" not in str(caught.value)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InferenceRefused) as caught:
        read_instances(tmp_path)
    assert caught.value.code == "dicom.no-instances"


@pytest.fixture(scope="module")
def film_bytes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = a_film(
        tmp_path_factory.mktemp("film") / "film.dcm",
        pixels=RAMP,
        RescaleSlope=1,
        RescaleIntercept=0,
        WindowCenter=128,
        WindowWidth=256,
        AnatomicRegionSequence=[Dataset()],
    )
    return path.read_bytes()[128:]


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_whatever_the_bytes_it_is_a_film_or_a_refusal(
    film_bytes: bytes, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    changed = bytearray(film_bytes)
    for position, value in data.draw(
        st.lists(st.tuples(st.integers(4, len(film_bytes) - 1), st.integers(0, 255)), min_size=1, max_size=4)
    ):
        changed[position] = value
    folder = tmp_path_factory.getbasetemp() / "mutated"
    folder.mkdir(exist_ok=True)
    path = folder / "film.dcm"
    path.write_bytes(bytes(128) + bytes(changed[: data.draw(st.integers(8, len(changed)))]))
    with suppress(InferenceRefused):
        film = read_film(read_instances(folder)[0])
        assert np.isfinite(film.pixels).all()
        assert film.low < film.high
