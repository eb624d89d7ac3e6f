"""Wraps a sample film into a DICOM instance, as a modality would have stored it.

CR Image Storage (PS3.3 §A.2) or Digital X-Ray Image Storage - For Presentation (§A.26). No PixelSpacing: the films were resized and their
scale is lost. DX demands ImagerPixelSpacing (Type 1 of §C.8.11.4), which is therefore invented, like the patient and the age.
"""

from pathlib import Path

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
)

from fhir_bridge.practice.story import STUDY_DATE, Story, uid

SAMPLES = Path(__file__).with_name("samples")
_INVENTED_IMAGER_PIXEL_SPACING_MM = "1.5"


def wrap(story: Story) -> Dataset:
    """The story's film as a file-ready instance; the same bytes each time."""
    dataset = Dataset()
    _patient_and_study(dataset, story)
    _series_and_equipment(dataset, story)
    _pixels(dataset, SAMPLES / story.film)
    if story.modality == "DX":
        _digital_x_ray(dataset)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset


def store(story: Story, pacs: Path) -> Path:
    """Put the film into the PACS folder. It appears under its name only once it is whole."""
    target = pacs / f"{story.name}.dcm"
    unfinished = pacs.with_name(f"{pacs.name}-incoming") / target.name
    unfinished.parent.mkdir(parents=True, exist_ok=True)
    pacs.mkdir(parents=True, exist_ok=True)
    wrap(story).save_as(unfinished, enforce_file_format=True)
    return unfinished.replace(target)


def _patient_and_study(dataset: Dataset, story: Story) -> None:
    dataset.PatientName = "CANARY^ZEBRA"
    dataset.PatientID = story.patient.mrn
    dataset.IssuerOfPatientID = "HOSP"
    dataset.PatientBirthDate = f"{story.birth_date:%Y%m%d}"
    dataset.PatientSex = story.sex
    dataset.StudyInstanceUID = story.study_instance_uid
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = f"{STUDY_DATE:%Y%m%d}"
    dataset.StudyTime = dataset.SeriesTime = dataset.AcquisitionTime = dataset.ContentTime = "091500"
    dataset.ReferringPhysicianName = "CANARY^REFERRER"
    dataset.StudyID = story.accession
    dataset.AccessionNumber = story.accession
    dataset.StudyDescription = "Chest radiograph"


def _series_and_equipment(dataset: Dataset, story: Story) -> None:
    digital = story.modality == "DX"
    dataset.SOPClassUID = DigitalXRayImageStorageForPresentation if digital else ComputedRadiographyImageStorage
    dataset.SOPInstanceUID = uid(f"{story.name}/instance")
    dataset.SeriesInstanceUID = uid(f"{story.name}/series")
    dataset.Modality = story.modality
    dataset.SeriesNumber = 1
    dataset.InstanceNumber = 1
    dataset.BodyPartExamined = "CHEST"
    dataset.ViewPosition = "AP"  # small children are filmed lying or held, from the front
    dataset.PatientOrientation = ["L", "F"]
    dataset.Manufacturer = "Practice hospital of fhir-bridge"
    dataset.ManufacturerModelName = "sample film, see fhir_bridge/practice/samples/README.md"
    dataset.SoftwareVersions = "1"
    dataset.InstitutionName = "CANARY PRACTICE HOSPITAL"


def _pixels(dataset: Dataset, picture: Path) -> None:
    """General Image, Image Pixel and VOI LUT modules. The samples are grey, so one channel holds everything."""
    with Image.open(picture) as opened:
        levels = np.asarray(opened.convert("RGB"))[..., 0]
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = levels.shape
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    dataset.PixelRepresentation = 0
    dataset.WindowCenter, dataset.WindowWidth = "128", "256"
    dataset.BurnedInAnnotation = "NO"  # side markers only: all samples were looked at
    dataset.LossyImageCompression = "01"  # the set itself is JPEG
    dataset.LossyImageCompressionMethod = "ISO_10918_1"
    dataset.LossyImageCompressionRatio = f"{levels.nbytes / picture.stat().st_size:.1f}"
    dataset.PixelData = np.ascontiguousarray(levels).tobytes()


def _digital_x_ray(dataset: Dataset) -> None:
    """DX Series, Anatomy Imaged, Image, Detector, Positioning and Acquisition Context modules (PS3.3 §C.8.11, §C.7.6.14)."""
    chest = Dataset()
    chest.CodeValue, chest.CodingSchemeDesignator, chest.CodeMeaning = "51185008", "SCT", "Chest"
    view = Dataset()
    view.CodeValue, view.CodingSchemeDesignator, view.CodeMeaning = "399348003", "SCT", "Antero-posterior"
    dataset.ViewCodeSequence = [view]
    dataset.PositionerType = ""
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.ImageLaterality = "U"
    dataset.AnatomicRegionSequence = [chest]
    dataset.ImageType = ["ORIGINAL", "PRIMARY", ""]
    dataset.PixelIntensityRelationship = "LOG"
    dataset.PixelIntensityRelationshipSign = -1  # brighter where less reached the detector
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = "0", "1", "US"
    dataset.PresentationLUTShape = "IDENTITY"
    dataset.DetectorType = ""
    dataset.ImagerPixelSpacing = [_INVENTED_IMAGER_PIXEL_SPACING_MM] * 2
    dataset.AcquisitionContextSequence = []
