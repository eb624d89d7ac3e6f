"""Sample films as DICOM instances: PS3.3 CR and DX image IODs."""

import hashlib
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import ComputedRadiographyImageStorage, DigitalXRayImageStorageForPresentation

from fhir_bridge.practice.film import SAMPLES, store, wrap
from fhir_bridge.practice.story import STORIES

WITH_FILM = [story for story in STORIES if story.film]
NAMES = [story.name for story in WITH_FILM]
KERMANY = Path(__file__).parents[4] / "shared" / "datasets" / "xray_kermany_pneumonia" / "images" / "test"
# sha256sum of the set's files
DIGESTS = {
    "IM-0023-0001.jpeg": "34440d7f8a2a03fe133cb66d1a2690713eac9b5bfd581717e9d58763581779f8",
    "NORMAL2-IM-0120-0001.jpeg": "73327e8f5876e4a5fb3cebc3f39e4a61753d670b5c1096883e5b4f372557c4d3",
    "NORMAL2-IM-0282-0001.jpeg": "c908d5e8cfe156268d88afd59ac3c8a70c1a1d61a770bcba6658c264f744de62",
    "NORMAL2-IM-0288-0001.jpeg": "bcfee95f736a4dfe25b804457ce6e8d6a1738d1513c81c545efcd2eb2bdf1601",
    "person121_bacteria_575.jpeg": "50ec86b17217fea0e183761cfaf2466bf50e7ce72cda1764232120d6828583f7",
    "person127_bacteria_602.jpeg": "9d4bfe7d27fa6e3e9341e11e1a93d42d6daa18b19ad562819212191ba5c4d364",
    "person136_bacteria_649.jpeg": "4676cdccbf3ac10681dfd4c63b4c80213ab73e9205af8900269e0571d76d6fb0",
    "person144_bacteria_690.jpeg": "4db730a1df8b0ecaabbf7a9c595e6984e3878f5b4bb7978127a9cfbb99fff09a",
}


@pytest.mark.parametrize("story", WITH_FILM, ids=NAMES)
def test_an_instance_is_read_back_as_its_story_tells(story, tmp_path) -> None:
    read = pydicom.dcmread(store(story, tmp_path / "pacs"))
    assert (
        read.SOPClassUID
        == {
            "CR": ComputedRadiographyImageStorage,
            "DX": DigitalXRayImageStorageForPresentation,
        }[read.Modality]
    )
    assert (read.PatientID, read.AccessionNumber) == (story.patient.mrn, story.accession)
    assert read.StudyInstanceUID == story.study_instance_uid
    assert (read.BodyPartExamined, read.ViewPosition) == ("CHEST", "AP")
    assert read.file_meta.MediaStorageSOPInstanceUID == read.SOPInstanceUID


@pytest.mark.parametrize("story", WITH_FILM, ids=NAMES)
def test_the_grey_levels_are_those_of_the_sample(story, tmp_path) -> None:
    stored = pydicom.dcmread(store(story, tmp_path / "pacs")).pixel_array
    with Image.open(SAMPLES / story.film) as sample:
        assert np.array_equal(stored, np.asarray(sample.convert("L")))


def test_wrapping_again_gives_the_same_bytes(tmp_path) -> None:
    first = store(WITH_FILM[0], tmp_path / "one").read_bytes()
    assert store(WITH_FILM[0], tmp_path / "two").read_bytes() == first


def test_no_uid_is_used_twice() -> None:
    films = [wrap(story) for story in WITH_FILM]
    uids = [uid for film in films for uid in (film.StudyInstanceUID, film.SeriesInstanceUID, film.SOPInstanceUID)]
    assert len(set(uids)) == 3 * len(films)
    assert all(uid.startswith("2.25.") and len(uid) <= 64 for uid in uids)


def test_nothing_half_written_ever_lies_in_the_pacs(tmp_path) -> None:
    store(WITH_FILM[0], tmp_path / "pacs")
    assert [path.suffix for path in (tmp_path / "pacs").iterdir()] == [".dcm"]
    assert not list((tmp_path / "pacs-incoming").iterdir())


def test_the_lost_scale_is_not_invented_where_dicom_does_not_force_it() -> None:
    for film in map(wrap, WITH_FILM):
        assert "PixelSpacing" not in film
        assert ("ImagerPixelSpacing" in film) is (film.Modality == "DX")


# Type 1: must have a value; Type 2: must be there. PS3.3 §A.2.3 and §A.26.3 with the modules they make mandatory.
TYPE_1 = [
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "Modality",
    "ImageType",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelData",
]
TYPE_2 = [
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "StudyID",
    "AccessionNumber",
    "SeriesNumber",
    "Manufacturer",
    "InstanceNumber",
    "BodyPartExamined",
    "ViewPosition",
    "PatientOrientation",
]
DX_TYPE_1 = [
    "PresentationIntentType",
    "ImageLaterality",
    "AnatomicRegionSequence",
    "PixelIntensityRelationship",
    "PixelIntensityRelationshipSign",
    "RescaleIntercept",
    "RescaleSlope",
    "RescaleType",
    "PresentationLUTShape",
    "LossyImageCompression",
    "BurnedInAnnotation",
    "ImagerPixelSpacing",
]
DX_TYPE_2 = ["DetectorType", "PositionerType", "AcquisitionContextSequence"]


@pytest.mark.parametrize("story", WITH_FILM, ids=NAMES)
def test_what_the_iod_demands_is_there(story) -> None:
    film = wrap(story)
    digital = story.modality == "DX"
    assert [name for name in TYPE_1 + DX_TYPE_1 * digital if name not in film or film[name].is_empty] == []
    assert [name for name in TYPE_2 + DX_TYPE_2 * digital if name not in film] == []


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (dicom3tools) is not installed")
def test_dciodvfy_finds_nothing(tmp_path) -> None:
    complaints = []
    for story in WITH_FILM:
        command = ["dciodvfy", "-new", store(story, tmp_path / "pacs")]
        done = subprocess.run(command, capture_output=True, text=True)
        complaints += [line for line in done.stderr.splitlines() if line.startswith(("Error", "Warning"))]
    assert complaints == []


def test_the_childrens_films_are_those_of_the_set_byte_for_byte() -> None:
    assert {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in SAMPLES.glob("*.jpeg")} == DIGESTS


@pytest.mark.skipif(not KERMANY.is_dir(), reason="no ../shared/datasets beside the repository")
@pytest.mark.parametrize("name", DIGESTS)
def test_the_childrens_films_come_from_the_official_test_folder(name) -> None:
    folder = KERMANY / ("PNEUMONIA" if name.startswith("person") else "NORMAL")
    assert (folder / name).read_bytes() == (SAMPLES / name).read_bytes()


def test_every_sample_is_named_in_the_readme() -> None:
    readme = (SAMPLES / "README.md").read_text()
    assert [path.name for path in SAMPLES.iterdir() if path.stem not in readme and path.suffix != ".md"] == []
    assert "CC BY 4.0" in readme
    assert "10.17632/rscbjbr9sj.2" in readme


def test_the_samples_are_small() -> None:
    assert sum(path.stat().st_size for path in SAMPLES.iterdir()) < 2_000_000
