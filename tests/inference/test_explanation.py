"""Attribution maps by hand calculation, and their picture."""

import io

import numpy as np
import pytest
from PIL import Image

from inference.explanation import enlarge, grad_cam, overlay
from tests.support.films import a_chest

PICTURE = (a_chest() / 255).astype(np.float32)


def test_grad_cam_by_hand() -> None:
    activations = np.zeros((2, 2, 2), np.float32)
    activations[0, 0, 0], activations[1, 1, 0], activations[0, 1, 1] = 2, 1, 5
    gradients = np.zeros((2, 2, 2), np.float32)
    gradients[..., 0], gradients[..., 1] = 0.5, -1  # channel weights: 0.5 and -1
    # weighted sums: 1, -5, 0, 0.5; negative ones count as 0, the highest becomes 1
    assert grad_cam(activations, gradients).tolist() == [[1, 0], [0, 0.5]]


def test_a_map_with_nothing_for_the_output_is_empty() -> None:
    ones = np.ones((7, 7, 4), np.float32)
    assert grad_cam(ones, -ones).max() == 0


def test_an_enlarged_map_stays_in_its_place_and_range() -> None:
    small = np.zeros((7, 7), np.float32)
    small[1, 5] = 1
    large = enlarge(small, (224, 224))
    assert np.unravel_index(large.argmax(), large.shape) == pytest.approx((47.5, 175.5), abs=1)  # centre of that cell
    assert (large.min(), large.max() <= 1) == (0, True)


def test_the_overlay_leaves_the_film_grey_where_the_map_is_empty() -> None:
    attribution = np.zeros((7, 7), np.float32)
    attribution[0, 0] = 1
    shown = np.asarray(Image.open(io.BytesIO(overlay(PICTURE, attribution))), int)
    assert shown.shape == (224, 224, 3)
    assert np.array_equal(shown[112:, 112:, 0], np.rint(PICTURE[112:, 112:] * 255))
    assert np.ptp(shown[112:, 112:], axis=-1).max() == 0
    assert np.ptp(shown[:16, :16], axis=-1).min() > 20


def test_the_same_input_gives_the_same_bytes() -> None:
    attribution = np.linspace(0, 1, 49, dtype=np.float32).reshape(7, 7)
    assert overlay(PICTURE, attribution) == overlay(PICTURE.copy(), attribution.copy())
