"""The port `ImageArchive`: the same behaviour from the twin, a folder, a scripted DICOMweb server and a real PACS."""

import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pydicom
import pytest

from fhir_bridge.adapters.dicom_folder import DicomFolder
from fhir_bridge.adapters.dicomweb import DicomWeb
from fhir_bridge.adapters.dimse import Dimse
from fhir_bridge.adapters.dimse_association import Peer
from fhir_bridge.adapters.in_memory.archive import InMemoryArchive
from fhir_bridge.errors import Refused, Unavailable, attempt
from fhir_bridge.ports import ImageArchive
from fhir_bridge.study import StudyQuery
from tests.support.dimse_pacs import DimsePacs, dimse_pacs
from tests.support.faulty_pacs import FaultyPacs, running
from tests.support.orthanc import Orthanc, running_orthanc
from tests.support.studies import a_structured_report, a_study_uid, an_instance


class Store(Protocol):
    def __call__(self, content: bytes) -> object: ...


@dataclass(frozen=True)
class Archive:
    """The archive under test, and how an instance gets into it."""

    port: ImageArchive
    store: Store


@pytest.fixture(scope="module")
def orthanc() -> Iterator[Orthanc]:
    with running_orthanc() as server:
        yield server


@pytest.fixture(
    params=[
        "twin",
        "folder",
        "folder of zip files",
        "scripted DICOMweb",
        "scripted DIMSE",
        pytest.param("Orthanc", marks=pytest.mark.real_parts),
        pytest.param("Orthanc by DIMSE", marks=pytest.mark.real_parts),
    ]
)
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Archive]:
    match request.param:
        case "twin":
            twin = InMemoryArchive()
            yield Archive(twin, twin.store)
        case "folder":
            folder = tmp_path / "pacs"
            folder.mkdir()
            yield Archive(DicomFolder(folder), lambda content: _drop(folder, content))
        case "folder of zip files":
            folder = tmp_path / "pacs"
            folder.mkdir()
            yield Archive(DicomFolder(folder), lambda content: _drop(folder, _zipped(content)))
        case "scripted DICOMweb":
            instances: list[bytes] = []
            with running(FaultyPacs(instances, page=2)) as pacs:
                yield Archive(DicomWeb(pacs.url), instances.append)
        case "Orthanc":
            server: Orthanc = request.getfixturevalue("orthanc")
            yield Archive(DicomWeb(server.dicomweb_url, server.auth), server.store)
        case "scripted DIMSE":
            with dimse_pacs(DimsePacs([])) as by_dimse:
                yield Archive(Dimse(by_dimse.peer()), by_dimse.instances.append)
        case "Orthanc by DIMSE":
            server = request.getfixturevalue("orthanc")
            yield Archive(Dimse(Peer("127.0.0.1", server.dicom_port, server.called, "FHIRBRIDGE")), server.store)


def _drop(folder: Path, content: bytes) -> None:
    below = folder / f"{len(list(folder.iterdir())):03d}"
    below.mkdir()
    (below / "any name at all").write_bytes(content)


def _zipped(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("deep/er/any name at all", content)
    return buffer.getvalue()


@pytest.fixture
def study() -> str:
    """A Study Instance UID of this test's own: Orthanc serves them all."""
    return a_study_uid()


def uids_of(files: tuple[Path, ...]) -> set[str]:
    return {str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID) for path in files}


def test_a_study_is_found_by_its_uid(archive: Archive, study: str) -> None:
    archive.store(an_instance(study_uid=study))
    archive.store(an_instance(study_uid=a_study_uid()))
    assert archive.port.find_studies(StudyQuery(study_instance_uid=study)) == (study,)


def test_a_study_is_found_by_its_accession_number(archive: Archive, study: str) -> None:
    accession = f"CANARY{study[-8:]}"
    archive.store(an_instance(study_uid=study, accession=accession))
    archive.store(an_instance(study_uid=a_study_uid(), accession=accession + "0"))
    assert archive.port.find_studies(StudyQuery(accession=f" {accession} ")) == (study,)


def test_two_studies_of_one_accession_number_are_both_found(archive: Archive, study: str) -> None:
    second, accession = a_study_uid(), f"CANARY{study[-8:]}"
    archive.store(an_instance(study_uid=study, accession=accession))
    archive.store(an_instance(study_uid=second, accession=accession))
    assert archive.port.find_studies(StudyQuery(accession=accession)) == tuple(sorted([study, second]))


def test_the_uid_decides_where_both_are_given(archive: Archive, study: str) -> None:
    archive.store(an_instance(study_uid=study, accession="CANARY-A"))
    assert archive.port.find_studies(StudyQuery(study, "CANARY-B")) == (study,)


@pytest.mark.parametrize("accession", ["CANARY*", "CANARY?", "*", "CANARY%", "CANARY/1", "canary7"])
def test_an_accession_number_is_no_pattern(archive: Archive, study: str, accession: str) -> None:
    """Nothing is found, or, where the archive could not but read it as one (DIMSE), nothing is asked."""
    archive.store(an_instance(study_uid=study, accession="CANARY7"))
    found = attempt(lambda: archive.port.find_studies(StudyQuery(accession=accession)))
    refused = isinstance(archive.port, Dimse) and found.error is not None and found.error.code
    assert found.value == () or refused == "archive.query-pattern"


def test_a_query_without_a_key_is_refused(archive: Archive) -> None:
    archive.store(an_instance(study_uid=a_study_uid()))
    with pytest.raises(Refused) as refusal:
        archive.port.find_studies(StudyQuery(" ", ""))
    assert refusal.value.code == "archive.query-empty"


def test_an_unknown_study_has_no_instances(archive: Archive, study: str) -> None:
    assert archive.port.list_instances(study) == ()


def test_the_listing_names_every_instance_with_its_class_series_and_modality(archive: Archive, study: str) -> None:
    for content in (*(an_instance(study_uid=study, number=n) for n in (1, 2, 3)), a_structured_report(study_uid=study)):
        archive.store(content)
    listed = archive.port.list_instances(study)
    assert {(i.sop_instance_uid, i.sop_class_uid, i.series_instance_uid, i.modality) for i in listed} == {
        *((f"{study}.1.{n}", "1.2.840.10008.5.1.4.1.1.2", f"{study}.1", "CT") for n in (1, 2, 3)),
        (f"{study}.9.1", "1.2.840.10008.5.1.4.1.1.88.22", f"{study}.9", "SR"),
    }


def test_every_listed_instance_is_retrieved_as_a_file_of_its_own(archive: Archive, study: str, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        archive.store(an_instance(study_uid=study, number=number))
    files = archive.port.retrieve(study, tmp_path / "phi" / "new")
    assert [path.name for path in files] == ["00001.dcm", "00002.dcm", "00003.dcm"]
    assert uids_of(files) == {f"{study}.1.{number}" for number in (1, 2, 3)}
    assert sorted((tmp_path / "phi" / "new").iterdir()) == sorted(files)


def test_compressed_pixels_come_back_as_stored(archive: Archive, study: str, tmp_path: Path) -> None:
    content = an_instance(study_uid=study, compressed=True)
    archive.store(content)
    (file,) = archive.port.retrieve(study, tmp_path / "phi")
    stored = pydicom.dcmread(pydicom.filebase.DicomBytesIO(content))
    retrieved = pydicom.dcmread(file)
    assert retrieved.file_meta.TransferSyntaxUID == stored.file_meta.TransferSyntaxUID
    assert retrieved.PixelData == stored.PixelData


def test_what_an_earlier_attempt_left_is_gone(archive: Archive, study: str, tmp_path: Path) -> None:
    for name in ("00007.dcm", "00001.dcm.part"):
        (tmp_path / name).write_bytes(b"left by a killed process")
    archive.store(an_instance(study_uid=study))
    archive.port.retrieve(study, tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["00001.dcm"]


def test_a_study_that_is_not_there_is_incomplete(archive: Archive, study: str, tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as unavailable:
        archive.port.retrieve(study, tmp_path / "phi")
    assert unavailable.value.code == "archive.incomplete"


def test_a_folder_that_cannot_be_written_is_our_own_trouble(archive: Archive, study: str, tmp_path: Path) -> None:
    archive.store(an_instance(study_uid=study))
    (tmp_path / "a file").write_bytes(b"")
    with pytest.raises(Unavailable) as unavailable:
        archive.port.retrieve(study, tmp_path / "a file" / "phi")
    assert unavailable.value.code == "archive.storage-failed"
