"""What is particular to a folder: files being written, links, foreign files, changes."""

import csv
import itertools
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file

from fhir_bridge.adapters import dicom_folder
from fhir_bridge.adapters.dicom_folder import DicomFolder
from fhir_bridge.errors import Refused, Unavailable
from fhir_bridge.study import StudyQuery
from tests.support.studies import A_STUDY, a_study, an_instance


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An archive folder, empty."""
    (tmp_path / "pacs").mkdir()
    return tmp_path / "pacs"


def listed(archive: DicomFolder) -> int:
    return len(archive.list_instances(A_STUDY))


@pytest.mark.parametrize("name", ["slice.dcm.part", "slice.PARTIAL", "slice.tmp", ".slice.dcm.Xy12"])
def test_a_file_under_a_working_name_is_ignored(folder: Path, name: str) -> None:
    (folder / name).write_bytes(an_instance())
    assert listed(DicomFolder(folder)) == 0


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("left", [0, 100, 200, 900])
def test_a_file_that_is_not_whole_yet_is_ignored(folder: Path, left: int, compressed: bool) -> None:
    content = an_instance(compressed=compressed)
    (folder / "a").write_bytes(content[: left if left < 900 else len(content) - 1])
    assert listed(DicomFolder(folder)) == 0


def test_a_file_is_listed_once_it_is_whole(folder: Path) -> None:
    content, archive = an_instance(), DicomFolder(folder)
    (folder / "a").write_bytes(content[:-1])
    archive.list_instances(A_STUDY)
    (folder / "a").write_bytes(content)
    assert listed(archive) == 1


def test_a_file_that_stays_broken_is_counted(folder: Path) -> None:
    archive = DicomFolder(folder)
    (folder / "broken").write_bytes(an_instance()[:-1])
    archive.list_instances(A_STUDY)
    first = archive.unreadable
    archive.list_instances(A_STUDY)
    assert (first, archive.unreadable) == (0, 1)


@pytest.mark.parametrize(
    "content", [b"", b"hello", Path(get_testdata_file("DICOMDIR")).read_bytes()], ids=["empty", "text", "DICOMDIR"]
)
def test_a_file_that_is_no_instance_is_neither_listed_nor_counted(folder: Path, content: bytes) -> None:
    (folder / "README").write_bytes(content)
    archive = DicomFolder(folder)
    for _ in range(3):
        assert archive.find_studies(StudyQuery(A_STUDY)) == ()
    assert archive.unreadable == 0


def test_links_are_ignored(folder: Path, tmp_path: Path) -> None:
    outside = a_study(tmp_path / "outside")
    (folder / "file").symlink_to(outside[0])
    (folder / "folder").symlink_to(outside[0].parent)
    assert listed(DicomFolder(folder)) == 0


def test_the_folder_itself_may_be_a_link(folder: Path, tmp_path: Path) -> None:
    a_study(folder)
    (tmp_path / "link").symlink_to(folder)
    assert listed(DicomFolder(tmp_path / "link")) == 3


def test_a_missing_folder_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as error:
        DicomFolder(tmp_path / "nowhere").find_studies(StudyQuery(A_STUDY))
    assert error.value.code == "archive.unavailable"


def test_headers_are_read_once_and_again_after_a_change(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[str] = []
    read = dicom_folder._read
    monkeypatch.setattr(dicom_folder, "_read", lambda path: reads.append(Path(path).name) or read(path))
    a_study(folder)
    archive = DicomFolder(folder)
    listed(archive)
    (folder / "IM0002").write_bytes(an_instance(number=2, size=8))
    listed(archive)
    assert sorted(reads) == ["IM0001", "IM0002", "IM0002", "IM0003"]


def a_folder_that_takes_long(monkeypatch: pytest.MonkeyPatch, archive: DicomFolder) -> list[float]:
    """Each look costs a second of CPU; the archive has looked twice, and has nothing new to tell. The clock, to be set."""
    now, cpu = [1000.0], itertools.count()
    monkeypatch.setattr(dicom_folder.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(dicom_folder.time, "thread_time", lambda: float(next(cpu)))
    for _ in range(3):
        archive.list_instances(A_STUDY)
    return now


def test_a_look_at_a_large_folder_is_good_for_a_hundred_times_as_long_as_it_took(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_study(folder)
    archive = DicomFolder(folder)
    now = a_folder_that_takes_long(monkeypatch, archive)
    (folder / "late").write_bytes(an_instance(number=4))
    now[0] += 99
    before = listed(archive)
    now[0] += 1
    assert (before, listed(archive)) == (3, 4)


def test_what_came_to_a_large_folder_is_fetched_and_told_at_once_after(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_study(folder)
    archive = DicomFolder(folder)
    a_folder_that_takes_long(monkeypatch, archive)
    (folder / "late").write_bytes(an_instance(number=4))
    fetched = len(archive.retrieve(A_STUDY, tmp_path / "phi"))
    (folder / "later").write_bytes(an_instance(number=5))
    assert (fetched, listed(archive)) == (4, 5)


def test_what_fsck_left_is_ignored(folder: Path) -> None:
    (folder / "lost+found").mkdir()
    (folder / "lost+found" / "#7").write_bytes(an_instance())
    assert listed(DicomFolder(folder)) == 0


def test_a_copy_of_the_same_file_makes_no_second_instance(folder: Path, tmp_path: Path) -> None:
    (original, *_) = a_study(folder)
    (folder / "copy").write_bytes(original.read_bytes())
    archive = DicomFolder(folder)
    assert listed(archive) == 3
    assert len(archive.retrieve(A_STUDY, tmp_path / "phi")) == 3


def test_two_different_files_of_one_instance_are_refused(folder: Path, tmp_path: Path) -> None:
    a_study(folder)
    (folder / "other").write_bytes(an_instance(number=1, size=8))
    with pytest.raises(Refused) as refusal:
        DicomFolder(folder).retrieve(A_STUDY, tmp_path / "phi")
    assert refusal.value.code == "archive.conflicting-instances"
    assert list((tmp_path / "phi").iterdir()) == []


def _replaced(path: Path) -> None:
    path.write_bytes(an_instance(number=77))


def _linked(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def _grown(path: Path) -> None:
    with path.open("ab") as file:
        file.write(bytes(16))


@pytest.mark.parametrize("change", [Path.unlink, _replaced, _linked, _grown])
def test_a_file_changed_since_it_was_listed_makes_the_study_incomplete(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]
) -> None:
    victim = a_study(folder)[1]
    copied = dicom_folder._content

    def change_it_first(path: str, *of: object) -> object:
        if path == os.path.realpath(victim):
            change(victim)
        return copied(path, *of)  # type: ignore[arg-type]

    monkeypatch.setattr(dicom_folder, "_content", change_it_first)
    with pytest.raises(Unavailable) as error:
        DicomFolder(folder).retrieve(A_STUDY, tmp_path / "phi")
    assert error.value.code == "archive.incomplete"
    assert list((tmp_path / "phi").iterdir()) == []


def test_the_bytes_are_copied_unchanged(folder: Path, tmp_path: Path) -> None:
    originals = a_study(folder, compressed=True)
    files = DicomFolder(folder).retrieve(A_STUDY, tmp_path / "phi")
    assert [path.read_bytes() for path in files] == [path.read_bytes() for path in originals]


@pytest.mark.parametrize(
    "name", ["MR_small.dcm", "CT_small.dcm", "JPEG2000.dcm", "ExplVR_BigEnd.dcm", "image_dfl.dcm", "liver_1frame.dcm"]
)
def test_files_of_other_makers_are_listed(folder: Path, name: str) -> None:
    source = Path(get_testdata_file(name))
    (folder / name).write_bytes(source.read_bytes())
    dataset = pydicom.dcmread(source, stop_before_pixels=True)
    (instance,) = DicomFolder(folder).list_instances(str(dataset.StudyInstanceUID))
    assert instance.sop_instance_uid == dataset.SOPInstanceUID


TWO_VERSIONS = (
    "DX/chest_NIH_test1.dcm",
    "DX/chest_NIH_test5.dcm",
)  # the same SOP Instance UID in two transfer syntaxes


@pytest.fixture
def collection(repository: Path) -> Path:
    """Real files of many makers, with a manifest by somebody else."""
    folder = repository.parent / "shared" / "dicom"
    if not folder.is_dir():
        pytest.skip("no ../shared/dicom beside the repository")
    return folder


def manifest_of(collection: Path) -> list[dict[str, str]]:
    with (collection / "MANIFEST.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.shared
def test_a_public_collection_is_listed_as_its_manifest_says(collection: Path) -> None:
    rows = [row for row in manifest_of(collection) if row["file"] != TWO_VERSIONS[1]]
    archive = DicomFolder(collection)
    listed = Counter(
        (study, instance.series_instance_uid)
        for study in sorted({row["study"] for row in rows})
        for instance in archive.list_instances(study)
    )
    assert listed == Counter((row["study"], row["series_uid"]) for row in rows)
    assert archive.unreadable == 0


@pytest.mark.shared
def test_two_versions_of_a_public_film_are_refused(collection: Path, tmp_path: Path) -> None:
    (study,) = {row["study"] for row in manifest_of(collection) if row["file"] in TWO_VERSIONS}
    with pytest.raises(Refused) as refusal:
        DicomFolder(collection).retrieve(study, tmp_path)
    assert refusal.value.code == "archive.conflicting-instances"
