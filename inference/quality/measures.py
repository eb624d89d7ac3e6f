"""Image quality of a radiograph in four numbers, measured on the model's grid: what the model sees is what must be good.

All take a picture [row, column] whose values are fractions of the shown range (0 its lower end, 1 its upper end).
"""

import numpy as np
import numpy.typing as npt

from inference.film import Film

Picture = npt.NDArray[np.float64]

HIGHEST_SNR_DB = 60.0  # a picture without any noise has none; this is "more than can matter"


def measure(film: Film) -> dict[str, float]:
    """All measures of a film by name: `snr_db` (dB), `contrast`, `sharpness`, `saturation` (dimensionless, 0..1)."""
    picture = (film.pixels.astype(np.float64) - film.low) / (film.high - film.low)
    return {
        "snr_db": snr_db(picture),
        "contrast": contrast(picture),
        "sharpness": sharpness(picture),
        "saturation": saturation(picture),
    }


def contrast(picture: Picture) -> float:
    """RMS contrast: the standard deviation of the grey values (Peli, J Opt Soc Am A 1990;7:2032)."""
    return float(picture.std())


def noise(picture: Picture) -> float:
    """Standard deviation of the noise by the Laplacian difference mask (Immerkaer, Comput Vis Image Underst 1996;64:300).

    Fine anatomy counts as noise too: the figure is an upper bound, comparable between films of one kind.
    """
    inner = picture[1:-1, 1:-1]
    sides = picture[:-2, 1:-1] + picture[2:, 1:-1] + picture[1:-1, :-2] + picture[1:-1, 2:]
    corners = picture[:-2, :-2] + picture[:-2, 2:] + picture[2:, :-2] + picture[2:, 2:]
    return float(np.sqrt(np.pi / 2) * np.abs(4 * inner - 2 * sides + corners).mean() / 6)


def snr_db(picture: Picture) -> float:
    """Signal to noise, 20 log10(RMS contrast / noise), at most 60 dB; -60 dB for a flat picture."""
    signal, disturbance = contrast(picture), noise(picture)
    if signal <= 0:
        return -HIGHEST_SNR_DB
    if disturbance <= 0:
        return HIGHEST_SNR_DB
    return float(np.clip(20 * np.log10(signal / disturbance), -HIGHEST_SNR_DB, HIGHEST_SNR_DB))


def sharpness(picture: Picture) -> float:
    """1 - blur effect (Crete et al., SPIE 6492, 2007): how much of the neighbour differences a 9-pixel mean takes away."""
    return float(min(_kept(picture), _kept(picture.T)))


def _kept(picture: Picture) -> float:
    """The share of the differences along the first axis that goes when the picture is blurred along it."""
    window = 9
    sums = np.cumsum(np.vstack([np.zeros((1, picture.shape[1])), picture]), axis=0)
    blurred = (sums[window:] - sums[:-window]) / window
    original = np.abs(np.diff(picture[window // 2 : -(window // 2)], axis=0))
    total = original.sum()
    if total <= 0:
        return 0.0
    return float(np.maximum(original - np.abs(np.diff(blurred, axis=0)), 0).sum() / total)


def saturation(picture: Picture) -> float:
    """The share of pixels at or beyond the upper end of the shown range: burnt out, nothing left to see in them."""
    return float((picture >= 1.0 - 1e-6).mean())
