"""The preprocessing steps of radiographs: a Film in, a Film out."""

from dataclasses import replace

import numpy as np
import SimpleITK

from inference.film import Film


def invert_monochrome1(film: Film) -> Film:
    """MONOCHROME1 becomes MONOCHROME2, so that bone is bright (PS3.3 C.7.6.3.1.2); others stay as they are."""
    if not film.inverted:
        return film
    turned = (film.low + film.high) - film.pixels
    return replace(film, pixels=turned.astype(np.float32), inverted=False)


def resize(film: Film, rows: float, columns: float) -> Film:
    """Resample to rows x columns pixels, without keeping the aspect (so were the training images).

    Linear interpolation between pixel centres after a Gaussian that matches the two grids' point spread functions
    (Cardoso et al., MICCAI 2015): sigma = sqrt((ratio^2 - 1) / (8 ln 2)) pixels where the ratio exceeds 1. A film that has
    the size already is not touched.
    """
    target = (int(rows), int(columns))
    if film.pixels.shape == target:
        return film
    image = SimpleITK.GetImageFromArray(film.pixels)
    ratios = [have / want for have, want in zip(film.pixels.shape[::-1], target[::-1], strict=True)]  # x, y
    sigmas = [np.sqrt(max(ratio**2 - 1, 0.0) / (8 * np.log(2))) for ratio in ratios]
    for axis, sigma in enumerate(sigmas):
        if sigma > 0:
            image = SimpleITK.RecursiveGaussian(
                image, float(sigma), False, SimpleITK.RecursiveGaussianImageFilter.ZeroOrder, axis
            )
    origin = [(ratio - 1) / 2 for ratio in ratios]  # the first pixel's centre, seen from the old grid
    resampled = SimpleITK.Resample(
        image,
        target[::-1],
        SimpleITK.Transform(),
        SimpleITK.sitkLinear,
        origin,
        ratios,
        (1.0, 0.0, 0.0, 1.0),
        0.0,
        SimpleITK.sitkFloat32,
        True,
    )
    return replace(film, pixels=SimpleITK.GetArrayFromImage(resampled))


def stretch_percentiles(film: Film, low: float, high: float) -> Film:
    """x = clip((pixel - p_low) / (p_high - p_low), 0, 1) with two percentiles of this film; a flat film becomes 0."""
    bottom, top = np.percentile(film.pixels, (low, high))
    if top <= bottom:
        return replace(film, pixels=np.zeros_like(film.pixels), low=0.0, high=1.0)
    stretched = np.clip((film.pixels - bottom) / (top - bottom), 0, 1).astype(np.float32)
    return replace(film, pixels=stretched, low=0.0, high=1.0)
