"""Radiographs for tests: arrays wrapped into DX or CR objects as de-identification would leave them."""

from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    generate_uid,
)

STUDY = "2.25.1001"

SOP_CLASSES = {"CR": ComputedRadiographyImageStorage, "DX": DigitalXRayImageStorageForPresentation}


def a_film(
    path: Path,
    *,
    pixels: npt.NDArray[np.generic],
    age: str = "004Y",
    view: str = "PA",
    body_part: str = "CHEST",
    modality: str = "DX",
    deidentified: bool = True,
    monochrome1: bool = False,
    **others: object,
) -> Path:
    """A radiograph as a DICOM file; `pixels` is [row, column], uint8 or uint16. `others` are further attributes by keyword.

    An empty `age`, `view` or `body_part` leaves the attribute out. With `monochrome1` the pixels are stored inverted, so that
    the picture shown is the same.
    """
    stored_bits = pixels.dtype.itemsize * 8
    film = Dataset()
    film.file_meta = FileMetaDataset()
    film.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    film.SOPClassUID = film.file_meta.MediaStorageSOPClassUID = SOP_CLASSES.get(modality, SOP_CLASSES["DX"])
    film.SOPInstanceUID = film.file_meta.MediaStorageSOPInstanceUID = generate_uid(prefix="2.25.")
    film.StudyInstanceUID, film.SeriesInstanceUID, film.Modality = STUDY, "2.25.1002", modality
    film.PatientName, film.PatientID, film.PatientSex = "", "PSEUDONYM", "O"
    for keyword, value in (("PatientAge", age), ("ViewPosition", view), ("BodyPartExamined", body_part)):
        if value:
            setattr(film, keyword, value)
    if deidentified:
        film.PatientIdentityRemoved = "YES"
    film.SamplesPerPixel, film.PhotometricInterpretation = 1, "MONOCHROME1" if monochrome1 else "MONOCHROME2"
    film.Rows, film.Columns = pixels.shape
    film.BitsAllocated = film.BitsStored = stored_bits
    film.HighBit, film.PixelRepresentation = stored_bits - 1, 0
    film.PixelData = ((2**stored_bits - 1 - pixels) if monochrome1 else pixels).astype(pixels.dtype).tobytes()
    for keyword, value in others.items():
        setattr(film, keyword, value)
    film.save_as(path, enforce_file_format=True)
    return path


def a_chest(rows: int = 224, columns: int = 224, seed: int = 0) -> npt.NDArray[np.uint8]:
    """A drawing with the tones of a chest film: bright spine and ribs, two dark lungs, texture. No patient, no anatomy."""
    return _chest(rows, columns, seed).copy()


@cache
def _chest(rows: int, columns: int, seed: int) -> npt.NDArray[np.uint8]:
    y, x = np.mgrid[0:rows, 0:columns].astype(float)
    y, x = y / rows, x / columns
    lungs = sum(np.exp(-(((x - centre) / 0.13) ** 4) - ((y - 0.5) / 0.33) ** 4) for centre in (0.28, 0.72))
    ribs = 0.05 * np.sin(2 * np.pi * (y * 9 + 2 * (x - 0.5) ** 2)) * lungs
    spine = 0.15 * np.exp(-(((x - 0.5) / 0.05) ** 4))
    body = 0.68 * np.exp(-(((x - 0.5) / 0.47) ** 16) - ((y - 0.54) / 0.5) ** 16)
    return np.rint(
        np.clip(body - 0.45 * lungs + ribs + spine + 0.05 * _texture(rows, columns, seed), 0, 0.98) * 255
    ).astype(np.uint8)


def _texture(rows: int, columns: int, seed: int) -> npt.NDArray[np.float64]:
    """Vessels and bone marrow, as far as a measure of quality goes: noise with periods of about 8 pixels; standard deviation 1."""
    noise = np.fft.fft2(np.random.RandomState(seed).normal(0, 1, (rows, columns)))
    frequency = np.hypot(np.fft.fftfreq(rows)[:, None], np.fft.fftfreq(columns)[None])
    texture = np.fft.ifft2(noise * np.exp(-(((frequency - 0.13) / 0.03) ** 2))).real
    return texture / texture.std()
