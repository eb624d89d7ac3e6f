"""Small synthetic studies as DICOM files, all of the invented patient CANARY^ZEBRA."""

import io
import secrets
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, EnhancedSRStorage, ExplicitVRLittleEndian, RLELossless

A_STUDY = "1.2.826.0.1.3680043.8.498.1"


def an_instance(
    *,
    study_uid: str = A_STUDY,
    series_uid: str = "",
    sop_uid: str = "",
    number: int = 1,
    accession: str = "CANARY-ACC-1",
    patient_id: str = "CANARY-1",
    birth_date: str = "20190412",
    sex: str = "F",
    size: int = 16,
    compressed: bool = False,
) -> bytes:
    """One CT slice of seeded noise as the bytes of a DICOM file (PS3.10). `sop_uid` defaults to study UID + number."""
    dataset = _header(sop_uid or f"{study_uid}.1.{number}", CTImageStorage)
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study_uid, series_uid or f"{study_uid}.1"
    dataset.PatientName, dataset.PatientID = "CANARY^ZEBRA", patient_id
    dataset.PatientBirthDate, dataset.PatientSex = birth_date, sex
    dataset.AccessionNumber, dataset.Modality, dataset.InstanceNumber = accession, "CT", number
    dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [0, 0, number], [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing, dataset.SliceThickness = [1, 1], 1
    dataset.Rows = dataset.Columns = size
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PixelRepresentation = 1, "MONOCHROME2", 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    pixels = np.random.default_rng(number).integers(0, 1 << 12, (size, size), dtype=np.uint16)
    dataset.PixelData = pixels.tobytes()
    if compressed:
        dataset.compress(RLELossless, generate_instance_uid=False)
    return _written(dataset)


def a_structured_report(*, study_uid: str = A_STUDY, accession: str = "CANARY-ACC-1") -> bytes:
    """A result in the same study, such as ours."""
    dataset = _header(f"{study_uid}.9.1", EnhancedSRStorage)
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study_uid, f"{study_uid}.9"
    dataset.PatientName, dataset.PatientID, dataset.AccessionNumber = "CANARY^ZEBRA", "CANARY-1", accession
    dataset.Modality, dataset.InstanceNumber = "SR", 1
    return _written(dataset)


def a_study(
    folder: Path,
    *,
    study_uid: str = A_STUDY,
    instances: int = 3,
    accession: str = "CANARY-ACC-1",
    patient_id: str = "CANARY-1",
    compressed: bool = False,
) -> tuple[Path, ...]:
    """A CT series as files below `folder`, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for number in range(1, instances + 1):
        path = folder / f"IM{number:04d}"
        path.write_bytes(
            an_instance(
                study_uid=study_uid, number=number, accession=accession, patient_id=patient_id, compressed=compressed
            )
        )
        files.append(path)
    return tuple(files)


def a_study_uid() -> str:
    """A UID nobody has used: for tests that share one PACS."""
    return f"1.2.826.0.1.3680043.8.498.{secrets.randbelow(10**20)}"


def _header(sop_uid: str, sop_class: UID) -> Dataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = sop_class, sop_uid
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, sop_uid
    dataset.StudyDate, dataset.StudyTime = "20260302", "093000"
    dataset.StudyID, dataset.SeriesNumber, dataset.ReferringPhysicianName = "1", 1, ""
    return dataset


def _written(dataset: Dataset) -> bytes:
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()
