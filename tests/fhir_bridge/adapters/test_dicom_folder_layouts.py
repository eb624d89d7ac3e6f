"""A folder of any layout: zip files, files without a preamble, DICOMDIRs, files cut short; and what is hostile in them."""

import errno
import io
import os
import shutil
import struct
import subprocess
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import DeflatedExplicitVRLittleEndian

from fhir_bridge.adapters import dicom_folder, dicom_zip
from fhir_bridge.adapters.dicom_folder import DicomFolder
from fhir_bridge.errors import Unavailable
from fhir_bridge.rendezvous import dicom_header
from tests.support.studies import A_STUDY, a_structured_report, a_study, an_instance

CD = Path(
    get_testdata_file("DICOMDIR")
).parent  # of pydicom: three studies of a patient, 31 files, DICOMDIRs in many styles


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pacs").mkdir()
    return tmp_path / "pacs"


def listed(folder: Path, study: str = A_STUDY) -> int:
    return len(DicomFolder(folder).list_instances(study))


def a_zip(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def incomplete(folder: Path, into: Path, study: str = A_STUDY) -> bool:
    with pytest.raises(Unavailable) as error:
        DicomFolder(folder).retrieve(study, into)
    return error.value.code == "archive.incomplete"


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["stored", "deflated"])
def test_a_zip_is_a_folder_whatever_its_name(folder: Path, tmp_path: Path, method: int) -> None:
    contents = [an_instance(number=number) for number in (1, 2, 3)]
    a_zip(folder / "export", {f"deep/er/{n}": content for n, content in enumerate(contents)}, method)
    files = DicomFolder(folder).retrieve(A_STUDY, tmp_path / "phi")
    assert [path.read_bytes() for path in files] == contents


def test_a_study_may_lie_partly_in_a_zip_and_partly_beside_it(folder: Path, tmp_path: Path) -> None:
    a_zip(folder / "a.zip", {"1": an_instance(number=1), "readme.txt": b"hello", "sub/": b""})
    (folder / "2").write_bytes(an_instance(number=2))
    assert len(DicomFolder(folder).retrieve(A_STUDY, tmp_path / "phi")) == 2


@pytest.mark.parametrize("name", ["../../escaped.dcm", "/tmp/escaped.dcm", "..\\..\\escaped.dcm", "a/../../../escaped"])
def test_names_in_a_zip_become_no_paths(folder: Path, tmp_path: Path, name: str) -> None:
    a_zip(folder / "a.zip", {name: an_instance()})
    DicomFolder(folder).retrieve(A_STUDY, tmp_path / "phi")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()].count("00001.dcm") == 1
    assert not list(tmp_path.rglob("escaped*"))


def test_a_zip_within_a_zip_is_not_opened(folder: Path, tmp_path: Path) -> None:
    inner = a_zip(tmp_path / "inner", {"1": an_instance()}).read_bytes()
    a_zip(folder / "a.zip", {"inner.zip": inner})
    assert listed(folder) == 0


def test_a_zip_that_is_still_written_is_not_there_yet(folder: Path) -> None:
    archive, whole = DicomFolder(folder), a_zip(folder / "a.zip", {"1": an_instance()}).read_bytes()
    (folder / "a.zip").write_bytes(whole[:-30])
    before = len(archive.list_instances(A_STUDY))
    (folder / "a.zip").write_bytes(whole)
    assert (before, len(archive.list_instances(A_STUDY))) == (0, 1)


def _many(archive: zipfile.ZipFile) -> None:
    for number in range(20):
        archive.writestr(str(number), b"")


def _swollen(archive: zipfile.ZipFile) -> None:
    archive.writestr("zeros", an_instance() + bytes(4 << 20))


@pytest.mark.parametrize("fill", [_many, _swollen])
def test_a_zip_bomb_is_not_unpacked(
    folder: Path, monkeypatch: pytest.MonkeyPatch, fill: Callable[[zipfile.ZipFile], None]
) -> None:
    """Limits of the same kind as ours, at sizes that a test can make: too many members, too much from too little."""
    monkeypatch.setattr(dicom_zip, "MOST_MEMBERS", 10)
    monkeypatch.setattr(dicom_zip, "_SMALL_BYTES", 1 << 20)
    with zipfile.ZipFile(folder / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        fill(archive)
    pacs = DicomFolder(folder)
    for _ in range(2):
        assert pacs.list_instances(A_STUDY) == ()
    assert pacs.unreadable == 1


def test_a_directory_that_claims_to_be_larger_than_any_is_not_read(folder: Path) -> None:
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 1, 1, 0xFFFFFFF0, 0, 0)
    (folder / "a.zip").write_bytes(b"PK\x03\x04" + bytes(100) + end)
    assert listed(folder) == 0


def test_a_damaged_member_is_broken_and_the_study_incomplete(folder: Path, tmp_path: Path) -> None:
    content = an_instance(number=2)
    path = a_zip(folder / "a.zip", {"1": an_instance(), "2": content[:-1]})
    assert listed(folder) == 1
    assert incomplete(folder, tmp_path / "phi")
    stored = a_zip(path, {"1": content}, zipfile.ZIP_STORED).read_bytes()
    at = stored.index(content[-50:])
    path.write_bytes(stored[:at] + b"\xff" * 50 + stored[at + 50 :])  # its checksum does not fit any more
    assert listed(folder) == 0


@pytest.mark.parametrize("bit", [1], ids=["encrypted"])
def test_an_encrypted_member_is_broken(folder: Path, bit: int) -> None:
    path = a_zip(folder / "a.zip", {"1": an_instance()})
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= bit
    path.write_bytes(content)
    pacs = DicomFolder(folder)
    for _ in range(2):
        assert pacs.list_instances(A_STUDY) == ()
    assert pacs.unreadable == 1


def test_a_file_that_lacks_only_its_preamble_is_whole_again_when_it_is_fetched(folder: Path, tmp_path: Path) -> None:
    content = an_instance()
    (folder / "bare").write_bytes(content[132:])
    (file,) = DicomFolder(folder).retrieve(A_STUDY, tmp_path / "phi")
    assert file.read_bytes() == content


@pytest.mark.parametrize("implicit", [False, True], ids=["explicit", "implicit"])
def test_a_bare_dataset_gets_its_file_meta_information(folder: Path, tmp_path: Path, implicit: bool) -> None:
    dataset = pydicom.dcmread(io.BytesIO(an_instance()))
    bare = pydicom.filebase.DicomBytesIO()
    bare.is_little_endian, bare.is_implicit_VR = True, implicit
    pydicom.filewriter.write_dataset(bare, dataset)
    (folder / "bare").write_bytes(bare.getvalue())
    (file,) = DicomFolder(folder).retrieve(A_STUDY, tmp_path / "phi")
    read = pydicom.dcmread(file)
    assert (read.file_meta.MediaStorageSOPInstanceUID, read.PixelData) == (dataset.SOPInstanceUID, dataset.PixelData)
    assert read.file_meta.TransferSyntaxUID.is_implicit_VR is implicit


def test_a_bare_dataset_with_compressed_pixels_is_not_guessed_at(folder: Path) -> None:
    content = an_instance(compressed=True)
    length = struct.unpack("<I", content[140:144])[0]
    (folder / "bare").write_bytes(content[144 + length :])
    assert listed(folder) == 0


@pytest.mark.parametrize(
    "content",
    [b"\x08\x00\x16\x00UI\x04\x001.2\x00", b"\x08\x00" * 300, b"\x02\x00\x00\x00UL\x04\x00", bytes(200), b"PK\x03\x04"],
    ids=["one element", "repeated", "cut meta", "zeros", "cut zip"],
)
def test_what_only_looks_like_dicom_is_left_alone(folder: Path, content: bytes) -> None:
    (folder / "odd").write_bytes(content)
    assert listed(folder) == 0


def test_a_study_with_a_file_cut_short_is_not_fetched(folder: Path, tmp_path: Path) -> None:
    a_study(folder)
    (folder / "IM0004").write_bytes(an_instance(number=4)[:-1])
    assert incomplete(folder, tmp_path / "phi")


def test_a_file_cut_short_that_is_whole_elsewhere_does_not_count(folder: Path, tmp_path: Path) -> None:
    a_study(folder)
    (folder / "again").write_bytes(an_instance(number=3)[:-1])
    assert len(DicomFolder(folder).retrieve(A_STUDY, tmp_path / "phi")) == 3


def test_a_study_of_another_is_fetched_beside_a_file_cut_short(folder: Path, tmp_path: Path) -> None:
    a_study(folder)
    (folder / "other").write_bytes(an_instance(study_uid="1.2.3")[:-1])
    assert len(DicomFolder(folder).retrieve(A_STUDY, tmp_path / "phi")) == 3


def a_cd(folder: Path, index: str) -> dict[str, list[Path]]:
    """The files of a CD below `folder` with this DICOMDIR, by study, as pydicom reads them."""
    for part in ("77654033", "98892001", "98892003"):
        shutil.copytree(CD / part, folder / part)
    shutil.copy(CD / index, folder / "DICOMDIR")
    studies: dict[str, list[Path]] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "DICOMDIR"):
        studies.setdefault(str(pydicom.dcmread(path).StudyInstanceUID), []).append(path)
    return studies


STYLES = ["DICOMDIR", "DICOMDIR-bigEnd", "DICOMDIR-implicit", "DICOMDIR-nooffset", "DICOMDIR-reordered"]


@pytest.mark.parametrize("index", [*STYLES, "DICOMDIR-nopatient", "DICOMDIR-empty.dcm"])
def test_a_whole_cd_is_fetched_whatever_its_index_says(folder: Path, tmp_path: Path, index: str) -> None:
    for study, files in a_cd(folder, index).items():
        assert len(DicomFolder(folder).retrieve(study, tmp_path / study)) == len(files)


@pytest.mark.parametrize("index", STYLES)
def test_a_file_that_the_index_of_a_cd_names_and_that_is_not_there_is_missing(
    folder: Path, tmp_path: Path, index: str
) -> None:
    studies = a_cd(folder, index)
    poorer, *others = sorted(studies, key=lambda study: -len(studies[study]))
    studies[poorer][0].unlink()
    assert incomplete(folder, tmp_path / "phi", poorer)
    assert [len(DicomFolder(folder).retrieve(s, tmp_path / s)) for s in others] == [len(studies[s]) for s in others]


def test_files_count_that_the_index_of_a_cd_does_not_name_or_names_elsewhere(folder: Path) -> None:
    studies = a_cd(folder, "DICOMDIR")
    study, (first, *_) = max(studies.items(), key=lambda of: len(of[1]))
    first.rename(folder / "elsewhere")
    dataset = pydicom.dcmread(folder / "elsewhere")
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    dataset.save_as(folder / "unnamed")
    assert listed(folder, study) == len(studies[study]) + 1


def test_an_index_that_leads_in_a_circle_ends(folder: Path) -> None:
    index = pydicom.dcmread(CD / "DICOMDIR")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for record in index.DirectoryRecordSequence:
            record.OffsetOfTheNextDirectoryRecord = index.OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity
        index.save_as(folder / "DICOMDIR")
    assert listed(folder) == 0


def test_a_deflated_file_that_would_fill_the_memory_is_broken(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_header, "_MOST_INFLATED", 64 << 20)
    plain = io.BytesIO(a_structured_report())
    dataset = pydicom.dcmread(plain)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    deflated = io.BytesIO()
    dataset.save_as(deflated)
    content = deflated.getvalue()
    length = struct.unpack("<I", content[140:144])[0]
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    element = struct.pack("<HH2sHI", 0x0009, 0x1001, b"OB", 0, 80 << 20)
    parts = [packer.compress(element), *(packer.compress(bytes(1 << 24)) for _ in range(5)), packer.flush()]
    (folder / "bomb").write_bytes(content[: 144 + length] + b"".join(parts))
    pacs = DicomFolder(folder)
    for _ in range(2):
        assert pacs.list_instances(A_STUDY) == ()
    assert pacs.unreadable == 1


def test_a_header_that_claims_absurd_sizes_allocates_nothing(folder: Path) -> None:
    content = an_instance()
    claims = content.replace(
        struct.pack("<HH2sHH", 0x28, 0x10, b"US", 2, 16), struct.pack("<HH2sHH", 0x28, 0x10, b"US", 2, 60000)
    )
    (folder / "absurd").write_bytes(claims)
    assert listed(folder) == 1  # as whole as its own length of pixel data says


def test_folders_a_thousand_deep_are_walked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    for _ in range(1500):
        Path("d").mkdir()
        os.chdir("d")
    Path("f").write_bytes(an_instance())
    monkeypatch.undo()
    found = listed(folder)
    subprocess.run(["/bin/rm", "-rf", str(folder)], check=True)  # Python's own ways recurse
    assert found == 1


def test_a_file_that_we_may_not_read_is_broken(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: str) -> object:
        raise PermissionError(errno.EACCES, "Permission denied")

    (folder / "a").write_bytes(an_instance())
    monkeypatch.setattr(dicom_folder, "opened", refused)  # root, as tests may run, may read everything
    pacs = DicomFolder(folder)
    for _ in range(2):
        pacs.list_instances(A_STUDY)
    assert pacs.unreadable == 1
