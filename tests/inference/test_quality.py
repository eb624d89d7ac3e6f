"""Quality measures against hand-made pictures and graded corruption; the gate and the score.

No set of really bad films with labels was at hand: noise, blur, loss of gain and burn-out are simulated.
"""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from inference.film import Film
from inference.manifest import manifest_of
from inference.quality import measure, quality_score, require_quality
from inference.quality.measures import contrast, noise, saturation, sharpness, snr_db
from inference.refusal import InferenceRefused
from tests.support.films import a_chest

MANIFEST = manifest_of("xray_pneumonia")
DATA = Path(__file__).resolve().parents[3] / "shared" / "datasets" / "xray_kermany_pneumonia"


def with_noise(picture: np.ndarray, strength: float) -> np.ndarray:
    return picture + np.random.RandomState(5).normal(0, 0.04 * strength, picture.shape)


def blurred(picture: np.ndarray, strength: float) -> np.ndarray:
    grey = Image.fromarray(np.rint(picture.clip(0, 1) * 255).astype(np.uint8))
    return np.asarray(grey.filter(ImageFilter.GaussianBlur(4 * strength)), float) / 255


def with_less_gain(picture: np.ndarray, strength: float) -> np.ndarray:
    return picture * (1 - 0.9 * strength)


def burnt_out(picture: np.ndarray, strength: float) -> np.ndarray:
    return np.clip(picture * (1 + 1.5 * strength), 0, 1)


CORRUPTIONS: list[tuple[Callable[[np.ndarray, float], np.ndarray], str, int, str]] = [
    (with_noise, "snr_db", -1, "quality.noise"),
    (blurred, "sharpness", -1, "quality.sharpness"),
    (with_less_gain, "contrast", -1, "quality.contrast"),
    (burnt_out, "saturation", 1, "quality.saturation"),
]
GRADED = pytest.mark.parametrize(
    ("corrupt", "name", "direction", "code"), CORRUPTIONS, ids=[corruption[0].__name__ for corruption in CORRUPTIONS]
)


def measured(picture: np.ndarray) -> dict[str, float]:
    return measure(Film(np.rint(picture.clip(0, 1) * 255).astype(np.float32), low=0.0, high=255.0, inverted=False))


def films() -> list[np.ndarray]:
    return [a_chest(seed=seed) / 255 for seed in range(3)]


@GRADED
def test_the_measure_follows_the_strength_of_its_corruption(
    corrupt: Callable[[np.ndarray, float], np.ndarray], name: str, direction: int, code: str
) -> None:
    for film in films():
        values = [measured(corrupt(film, strength))[name] for strength in (0, 0.25, 0.5, 0.75, 1)]
        assert (np.diff(values) * direction > 0).all(), values


@GRADED
def test_the_score_falls_with_every_corruption(
    corrupt: Callable[[np.ndarray, float], np.ndarray], name: str, direction: int, code: str
) -> None:
    for film in films():
        scores = [quality_score(measured(corrupt(film, s)), MANIFEST.quality) for s in (0, 0.25, 0.5, 0.75, 1)]
        assert (np.diff(scores) <= 0).all(), scores
        assert scores[0] > scores[-1] == 0


@GRADED
def test_the_gate_names_the_measure_that_failed(
    corrupt: Callable[[np.ndarray, float], np.ndarray], name: str, direction: int, code: str
) -> None:
    with pytest.raises(InferenceRefused) as caught:
        require_quality(measured(corrupt(a_chest() / 255, 1)), MANIFEST.quality)
    assert (caught.value.code, caught.value.where) == (code, name)


def test_a_clean_film_passes() -> None:
    for film in films():
        require_quality(measured(film), MANIFEST.quality)
        assert quality_score(measured(film), MANIFEST.quality) > 0.5


def test_the_score_is_that_of_the_weakest_measure() -> None:
    at = {limit.measure: limit.typical for limit in MANIFEST.quality.limits}
    assert quality_score(at, MANIFEST.quality) == 1
    half = {
        **at,
        "contrast": sum((q.worst + q.typical) / 2 for q in MANIFEST.quality.limits if q.measure == "contrast"),
    }
    assert quality_score(half, MANIFEST.quality) == pytest.approx(0.5)


def test_a_value_at_the_bound_is_still_accepted() -> None:
    at = {limit.measure: limit.worst for limit in MANIFEST.quality.limits}
    require_quality(at, MANIFEST.quality)
    assert quality_score(at, MANIFEST.quality) == 0


def test_a_value_that_is_no_number_does_not_pass() -> None:
    at = {limit.measure: limit.typical for limit in MANIFEST.quality.limits}
    with pytest.raises(InferenceRefused):
        require_quality({**at, "snr_db": float("nan")}, MANIFEST.quality)


def test_noise_of_a_known_strength_is_found() -> None:
    picture = np.random.RandomState(3).normal(0.5, 0.02, (224, 224))
    assert noise(picture) == pytest.approx(0.02, rel=0.03)


def test_a_ramp_has_no_noise() -> None:
    assert noise(np.add.outer(np.linspace(0, 1, 50), np.linspace(0, 1, 60))) == pytest.approx(0, abs=1e-12)


def test_contrast_of_a_checkerboard_by_hand() -> None:
    board = np.indices((8, 8)).sum(axis=0) % 2
    assert contrast(board * 0.5) == 0.25  # values 0 and 0.5: a quarter on either side of the mean


def test_snr_is_twenty_decibels_at_a_tenth_of_noise() -> None:
    wave = np.tile(np.sin(2 * np.pi * np.arange(400) / 400), (400, 1))
    disturbed = wave + np.random.RandomState(4).normal(0, 0.1 * wave.std(), wave.shape)
    assert snr_db(disturbed) == pytest.approx(20, abs=0.3)


def test_a_flat_picture_is_the_worst_in_all_but_saturation() -> None:
    flat = np.full((64, 64), 0.5)
    assert (snr_db(flat), contrast(flat), sharpness(flat), saturation(flat)) == (-60, 0, 0, 0)


def test_white_noise_is_sharp_and_a_slow_wave_is_not() -> None:
    assert sharpness(np.random.RandomState(2).normal(0.5, 0.1, (224, 224))) > 0.8
    wave = np.sin(2 * np.pi * np.arange(224) / 224)
    assert sharpness(np.add.outer(wave, wave)) < 0.05


def test_saturation_is_the_share_of_burnt_out_pixels() -> None:
    picture = np.zeros((10, 10))
    picture[:2] = 1
    assert saturation(picture) == 0.2


@pytest.mark.skipif(not DATA.is_dir(), reason="no ../shared/datasets beside the repository")
def test_the_calibration_is_that_of_the_films() -> None:
    with (MANIFEST.folder / "quality_calibration.csv").open(newline="", encoding="utf-8") as file:
        kept = {(row["split"], row["id"]): row for row in csv.DictReader(file)}
    with (DATA / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] in ("train", "test")]
    for row in rows[::60]:
        pixels = np.asarray(Image.open(DATA / row["file"]).convert("L"), np.float32)
        found = measure(Film(pixels, low=0.0, high=255.0, inverted=False))
        expected = kept[row["split"], Path(row["file"]).stem]
        assert {name: round(value, 5) for name, value in found.items()} == pytest.approx(
            {name: float(expected[name]) for name in found}, abs=2e-5
        )
