"""A projection image out of a DICOM file: values after the modality LUT, padding blackened, nothing else changed.

Whether an instance is marked de-identified is not asked here but in `predict` (DESIGN §8).
"""

import hashlib
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import isfinite, nan
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.pixels import apply_modality_lut, pixel_array
from pydicom.uid import UID, AllTransferSyntaxes

from inference.refusal import InferenceRefused

Array = npt.NDArray[np.float32]

MOST_PIXELS = 64_000_000  # a 43 x 43 cm film at 0.1 mm has 18.5 million; more is a decompression bomb

# Which decoder reads which transfer syntax. One each, so that the same file gives the same numbers on every installation
# (pydicom alone would take whichever plugin it finds first).
DECODERS = {
    "1.2.840.10008.1.2": "",
    "1.2.840.10008.1.2.1": "",
    "1.2.840.10008.1.2.1.99": "",
    "1.2.840.10008.1.2.2": "",
    "1.2.840.10008.1.2.4.50": "gdcm",  # JPEG baseline
    "1.2.840.10008.1.2.4.51": "gdcm",  # JPEG extended, 12 bits
    "1.2.840.10008.1.2.4.57": "gdcm",  # JPEG lossless
    "1.2.840.10008.1.2.4.70": "gdcm",
    "1.2.840.10008.1.2.4.80": "pyjpegls",  # JPEG-LS
    "1.2.840.10008.1.2.4.81": "pyjpegls",
    "1.2.840.10008.1.2.4.90": "pylibjpeg",  # JPEG 2000
    "1.2.840.10008.1.2.4.91": "pylibjpeg",
    "1.2.840.10008.1.2.4.201": "pylibjpeg",  # HTJ2K
    "1.2.840.10008.1.2.4.202": "pylibjpeg",
    "1.2.840.10008.1.2.4.203": "pylibjpeg",
    "1.2.840.10008.1.2.5": "pylibjpeg",  # RLE
}

# What pydicom and its decoders raise on files that are not what they claim; found by mutating files in the tests.
_UNREADABLE = (
    InvalidDicomError,
    BytesLengthException,
    OSError,
    EOFError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    RuntimeError,
    MemoryError,
    struct.error,
)


@dataclass(frozen=True, slots=True)
class Instance:
    """One DICOM file of the folder, its header only."""

    path: Path
    header: Any = field(repr=False)

    def text(self, keyword: str) -> str:
        """An attribute as upper-case text; empty where absent."""
        value = self.header.get(keyword)
        return "" if value is None else str(value).strip().upper()


@dataclass(frozen=True, slots=True)
class Film:
    """A projection image: `pixels` [row, column] after the modality LUT, in its unit.

    `low` and `high` are the ends of the range a viewer would show: the window where the header gives one, else all that the
    bits can hold. `inverted` says that high values are still dark (MONOCHROME1, PS3.3 C.7.6.3.1.2).
    """

    pixels: Array
    low: float
    high: float
    inverted: bool


@contextmanager
def _quiet() -> Iterator[None]:
    """Without pydicom's warnings: their texts hold attribute values."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def read_instances(folder: Path) -> tuple[Instance, ...]:
    """The headers of all files in the folder, by name.

    Raises InferenceRefused `dicom.no-instances`, `dicom.undecodable`.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    if not paths:
        raise InferenceRefused("dicom.no-instances", "folder", "the folder holds no file")
    return tuple(Instance(path, _header(path, number)) for number, path in enumerate(paths))


def _header(path: Path, number: int) -> Any:
    try:
        with _quiet():
            header = pydicom.dcmread(path, stop_before_pixels=True)
            header.walk(lambda _dataset, _element: None)  # parse every element now, so that none fails later
            return header
    except _UNREADABLE:
        raise InferenceRefused("dicom.undecodable", f"file {number}", "a file is not readable as DICOM") from None


def digest_of(path: Path) -> str:
    """The SHA-256 of a file, lower-case hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_film(instance: Instance) -> Film:
    """The picture of an instance.

    Raises InferenceRefused `dicom.undecodable`, `dicom.transfer-syntax`, `dicom.too-large`.
    """
    try:
        with _quiet():
            return _film(pydicom.dcmread(instance.path))
    except InferenceRefused:
        raise
    except _UNREADABLE:
        raise InferenceRefused("dicom.undecodable", "PixelData", "the pixel data cannot be decoded") from None


def _film(dataset: Any) -> Film:
    syntax = UID(dataset.file_meta.TransferSyntaxUID)
    if syntax not in DECODERS:
        known = syntax if syntax in AllTransferSyntaxes else "unknown"
        raise InferenceRefused("dicom.transfer-syntax", "TransferSyntaxUID", f"no decoder for this coding ({known})")
    if dataset.Rows * dataset.Columns > MOST_PIXELS:
        raise InferenceRefused("dicom.too-large", "Rows, Columns", f"more than {MOST_PIXELS} pixels")
    stored = pixel_array(dataset, decoding_plugin=DECODERS[syntax])
    if stored.ndim != 2:
        raise InferenceRefused("dicom.undecodable", "PixelData", "not one grey picture")
    pixels = np.asarray(apply_modality_lut(stored, dataset), np.float32)
    if not np.isfinite(pixels).all():
        raise InferenceRefused("dicom.undecodable", "PixelData", "values that are no numbers")
    inverted = dataset.PhotometricInterpretation == "MONOCHROME1"
    low, high = _shown_range(dataset)
    return Film(_without_padding(pixels, _padding(dataset, stored), inverted), low, high, inverted)


def _padding(dataset: Any, stored: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Where stored values are padding: Pixel Padding Value and Range Limit, PS3.3 C.7.5.1.1.2."""
    value = dataset.get("PixelPaddingValue")
    if value is None:
        return np.zeros(stored.shape, bool)
    limit = dataset.get("PixelPaddingRangeLimit")
    ends = sorted((int(value), int(value if limit is None else limit)))
    return (stored >= ends[0]) & (stored <= ends[1])


def _without_padding(pixels: Array, padding: npt.NDArray[np.bool_], inverted: bool) -> Array:
    """Padding becomes the darkest valid value, which is the highest while the picture is inverted."""
    if not padding.any() or padding.all():
        return pixels
    valid = pixels[~padding]
    return np.where(padding, valid.max() if inverted else valid.min(), pixels).astype(np.float32)


def _shown_range(dataset: Any) -> tuple[float, float]:
    """The ends of what a viewer shows: the first VOI window (PS3.3 C.11.2.1.2.1), else all values the bits can hold."""
    center, width = (_first(dataset.get(name)) for name in ("WindowCenter", "WindowWidth"))
    if isfinite(center) and isfinite(width) and width > 1:
        return center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2
    if dataset.PixelRepresentation:
        ends = np.array([-(2 ** (dataset.BitsStored - 1)), 2 ** (dataset.BitsStored - 1) - 1])
    else:
        ends = np.array([0, 2**dataset.BitsStored - 1])
    if dataset.get("ModalityLUTSequence"):
        ends = ends.astype(np.uint16 if not dataset.PixelRepresentation else np.int16)
    low, high = sorted(float(end) for end in apply_modality_lut(ends, dataset))
    return low, high if high > low else low + 1.0


def _first(value: Any) -> float:
    """The first of one or several numbers; nan where there is none."""
    if value is None or value == "":
        return nan
    return float(value[0] if hasattr(value, "__getitem__") and not isinstance(value, str) else value)
