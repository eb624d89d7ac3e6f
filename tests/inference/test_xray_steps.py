"""The preprocessing steps of radiographs."""

import numpy as np
import pytest

from inference.film import Film
from inference.manifest import manifest_of
from inference.preprocess import prepare
from inference.preprocess.xray import invert_monochrome1, resize, stretch_percentiles
from tests.support.films import a_chest


def a_picture(pixels: object, *, inverted: bool = False) -> Film:
    return Film(np.asarray(pixels, np.float32), low=0.0, high=255.0, inverted=inverted)


def test_monochrome1_is_turned_within_the_shown_range() -> None:
    turned = invert_monochrome1(a_picture([[0, 55, 255]], inverted=True))
    assert (turned.pixels.tolist(), turned.inverted) == ([[255, 200, 0]], False)


def test_monochrome2_stays() -> None:
    film = a_picture([[0, 55, 255]])
    assert invert_monochrome1(film) is film


def test_a_film_of_the_wanted_size_is_not_touched() -> None:
    film = a_picture(a_chest())
    assert resize(film, 224, 224) is film


@pytest.mark.parametrize("shape", [(2000, 1700), (448, 448), (300, 500), (120, 90)])
def test_a_ramp_stays_a_ramp(shape: tuple[int, int]) -> None:
    rows, columns = shape
    ramp = np.add.outer(np.linspace(0, 100, rows), np.linspace(0, 50, columns))
    resized = resize(a_picture(ramp), 224, 224).pixels
    expected = np.add.outer(_centres(rows), _centres(columns) / 2)
    inner = slice(6, -6)  # the filter sees an end of the ramp at the edges
    assert np.abs(resized - expected)[inner, inner].max() < 0.05


def _centres(old: int) -> np.ndarray:
    """Where a ramp 0..100 over `old` samples stands at the centres of 224 pixels laid over the same width."""
    return ((np.arange(224) + 0.5) * old / 224 - 0.5) * 100 / (old - 1)


def test_a_pattern_finer_than_the_new_pixels_does_not_fold_back() -> None:
    stripes = np.tile([0.0, 255.0], 896 // 2)[None, :].repeat(896, axis=0)  # one pixel wide, four to a new pixel
    resized = resize(a_picture(stripes), 224, 224).pixels[:, 6:-6]
    assert np.abs(resized - 127.5).max() < 2


def test_the_mean_stays_when_a_film_shrinks() -> None:
    film = a_picture(a_chest(900, 1100))
    assert resize(film, 224, 224).pixels.mean() == pytest.approx(film.pixels.mean(), rel=0.005)


def test_a_large_film_gives_nearly_the_small_one() -> None:
    small = a_chest()
    large = np.kron(small, np.ones((4, 4)))
    back = resize(a_picture(large), 224, 224).pixels
    assert np.abs(back - small).mean() < 4  # grey levels; the antialiasing filter softens the texture


def test_percentiles_are_stretched_and_the_rest_is_clipped() -> None:
    film = a_picture(np.arange(1001).reshape(7, 143))
    stretched = stretch_percentiles(film, 0.5, 99.5).pixels.ravel()
    assert stretched[[0, 5, 500, 995, 1000]].tolist() == pytest.approx([0, 0, 0.5, 1, 1])


def test_a_flat_film_becomes_black() -> None:
    assert stretch_percentiles(a_picture(np.full((8, 8), 7)), 0.5, 99.5).pixels.max() == 0


@pytest.mark.parametrize(("gain", "offset"), [(16, 0), (0.1, 5), (1, -1024)])
def test_the_prepared_film_does_not_depend_on_linear_scaling(gain: float, offset: float) -> None:
    steps = manifest_of("xray_pneumonia").preprocessing
    chest = a_chest().astype(np.float32)
    _, plain = prepare(a_picture(chest), steps, "resize")
    _, scaled = prepare(a_picture(chest * gain + offset), steps, "resize")
    assert np.abs(plain.pixels - scaled.pixels).max() < 1e-4


def test_quality_is_measured_before_the_stretching() -> None:
    chest = a_picture(a_chest(448, 448))
    measured, prepared = prepare(chest, manifest_of("xray_pneumonia").preprocessing, "resize")
    assert measured.pixels.shape == prepared.pixels.shape == (224, 224)
    assert measured.high == 255
    assert (prepared.pixels.min(), prepared.pixels.max()) == (0, 1)
