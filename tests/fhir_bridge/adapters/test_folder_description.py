"""Real files of many makers: every one is described, or refused with a reason; and what is said of them is what others say."""

import csv
import shutil
import zipfile
from collections import Counter
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import UID

from fhir_bridge.adapters.folder_description import Description, describe
from fhir_bridge.errors import Unavailable
from tests.support.studies import a_structured_report, a_study, an_instance

OF_PYDICOM = Path(get_testdata_file("CT_small.dcm")).parent
CD = OF_PYDICOM / "dicomdirtests"


def accounted_for(found: Description) -> int:
    return found.instances + found.copies + found.foreign + found.indexes + len(found.refused)


def is_dicom(path: Path) -> bool:
    """By its prefix (PS3.10 §7.1)."""
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def files_of(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]


@pytest.mark.filterwarnings("ignore:Expected explicit VR")  # of pydicom, which reads such a file all the same
@pytest.mark.parametrize("folder", [OF_PYDICOM, Path(get_testdata_file("693_J2KI.dcm", download=False)).parent])
def test_every_file_that_pydicom_ships_is_described_or_refused_with_a_reason(folder: Path) -> None:
    files, found = files_of(folder), describe(folder)
    assert accounted_for(found) == len(files)
    assert all(reason for _, reason in found.refused)
    assert found.foreign <= sum(not is_dicom(path) for path in files)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("MR_truncated.dcm", "less pixel data than declared"),
        ("rtplan_truncated.dcm", "less than declared"),
        ("meta_missing_tsyntax.dcm", "no transfer syntax"),
        ("emri_small_jpeg_2k_lossless_too_short.dcm", "encapsulated pixel data without its end"),
        ("UN_sequence.dcm", "no SOP Instance UID or no Study Instance UID"),
    ],
)
def test_broken_files_of_others_are_refused_for_what_they_lack(tmp_path: Path, name: str, reason: str) -> None:
    shutil.copy(get_testdata_file(name, download=False), tmp_path)
    assert describe(tmp_path).refused == ((name, reason),)


@pytest.fixture
def collection(repository: Path) -> Path:
    folder = repository.parent / "shared" / "dicom"
    if not folder.is_dir():
        pytest.skip("no ../shared/dicom beside the repository")
    return folder


@pytest.mark.shared
def test_a_public_collection_is_described_as_its_manifest_says(collection: Path) -> None:
    with (collection / "MANIFEST.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["file"] != "DX/chest_NIH_test5.dcm"]
    found = describe(collection)
    assert found.refused == (("DX/chest_NIH_test5.dcm", "another file with other contents is the same instance"),)
    series = Counter(row["series_uid"] for row in rows)
    assert Counter(one.summary.instances for one in found.series) == Counter(series.values())
    for column, said in (
        ("modality", Counter(one.summary.modality[0] for one in found.series)),
        ("transfer_syntax", Counter(UID(one.summary.transfer_syntaxes[0]).name for one in found.series)),
    ):
        of_series = {
            row["series_uid"]: Counter(r[column] for r in rows if r["series_uid"] == row["series_uid"]) for row in rows
        }
        assert said.total() == len(of_series)
        assert said == Counter(values.most_common(1)[0][0] for values in of_series.values())


@pytest.mark.shared
def test_a_gantry_tilt_of_a_public_head_is_said(collection: Path) -> None:
    (one,) = describe(collection / "CT" / "head_ge_gantry_tilt").series
    assert {"tilted", "uneven-spacing"} & set(one.summary.volume)


def test_a_missing_folder_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as error:
        describe(tmp_path / "nowhere")
    assert error.value.code == "archive.unavailable"


def test_what_a_dicomdir_names_and_is_not_there_is_counted(tmp_path: Path) -> None:
    for part in ("77654033", "98892001"):
        shutil.copytree(CD / part, tmp_path / part)
    shutil.copy(CD / "DICOMDIR", tmp_path)
    gone = len(files_of(CD / "98892003"))
    found = describe(tmp_path)
    assert (found.indexes, found.missing, found.is_sound) == (1, gone, False)


def test_a_zip_is_described_member_by_member(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("1", an_instance())
        archive.writestr("deep/2", an_instance(number=2)[:-1])
        archive.writestr("readme.txt", b"hello")
    found = describe(tmp_path)
    assert (found.instances, found.foreign) == (1, 1)
    assert found.refused == (("a.zip: deep/2", "less pixel data than declared"),)


def test_series_are_in_the_order_of_study_and_number(tmp_path: Path) -> None:
    a_study(tmp_path / "b", study_uid="1.2.30")
    (tmp_path / "sr").write_bytes(a_structured_report(study_uid="1.2.30"))
    a_study(tmp_path / "a", study_uid="1.2.4", instances=2)
    found = describe(tmp_path)
    assert [(one.study, one.summary.instances, one.summary.volume) for one in found.series] == [
        (1, 3, ()),
        (1, 1, ("no-image",)),
        (2, 2, ()),
    ]


def test_links_are_not_followed(tmp_path: Path) -> None:
    a_study(tmp_path / "outside")
    (tmp_path / "film").mkdir()
    (tmp_path / "film" / "link").symlink_to(tmp_path / "outside")
    (tmp_path / "film" / "file").symlink_to(tmp_path / "outside" / "IM0001")
    assert accounted_for(describe(tmp_path / "film")) == 0


def test_nothing_of_the_patient_is_in_the_description(tmp_path: Path) -> None:
    a_study(tmp_path)
    said = repr(describe(tmp_path))
    header = pydicom.dcmread(tmp_path / "IM0001")
    values = ("CANARY", "20190412", str(header.StudyInstanceUID), str(header.SOPInstanceUID))
    assert not [value for value in values if value in said]
