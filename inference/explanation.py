"""Attribution maps and their picture: where the network looked for its answer."""

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

Array = npt.NDArray[np.float32]

# Dark red to yellow, monotone in lightness, so that it reads in grey and to the colour-blind.
_LOW, _MIDDLE, _HIGH = np.array([90, 0, 20]), np.array([230, 80, 0]), np.array([255, 240, 120])
_STRONGEST = 0.55  # opacity where the map is 1


def grad_cam(activations: Array, gradients: Array) -> Array:
    """Grad-CAM (Selvaraju et al., ICCV 2017, eq. 1-2), scaled to 0..1; all zero where nothing speaks for the output.

    `activations` and `gradients` are [rows, columns, channels]: a layer's, and those of the output's logit with respect to it.
    """
    weights = gradients.mean(axis=(0, 1))
    positive = np.maximum((activations * weights).sum(axis=-1), 0)
    highest = float(positive.max())
    return np.asarray(positive / highest if highest > 0 else positive, np.float32)


def enlarge(attribution: Array, shape: tuple[int, int]) -> Array:
    """The map on the grid of a picture [rows, columns], interpolated."""
    image = Image.fromarray(attribution.astype(np.float32), mode="F")
    return np.asarray(image.resize(shape[::-1], Image.Resampling.BICUBIC), np.float32).clip(0, 1)


def overlay(picture: Array, attribution: Array) -> bytes:
    """A PNG of the picture (values 0..1) with the map laid over it; the same input gives the same bytes."""
    strength = enlarge(attribution, (picture.shape[0], picture.shape[1]))[..., None]
    colour = np.where(
        strength < 0.5, _LOW + (_MIDDLE - _LOW) * strength * 2, _MIDDLE + (_HIGH - _MIDDLE) * (strength * 2 - 1)
    )
    grey = np.repeat(picture[..., None].clip(0, 1) * 255, 3, axis=-1)
    mixed = grey * (1 - _STRONGEST * strength) + colour * _STRONGEST * strength
    buffer = io.BytesIO()
    Image.fromarray(np.rint(mixed).astype(np.uint8)).save(buffer, "PNG", optimize=False, compress_level=6)
    return buffer.getvalue()


def save_overlay(png: bytes, into: Path, model: str) -> str:
    """Write the picture into a folder; its file name."""
    name = f"{model}-attribution.png"
    into.mkdir(parents=True, exist_ok=True)
    (into / name).write_bytes(png)
    return name
