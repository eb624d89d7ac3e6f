"""`fhir-bridge study find | fetch | describe`, against a folder, Orthanc, dcmqrscp and archives that misbehave."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fhir_bridge.cli.root import main
from tests.support.dcmqrscp import running_dcmqrscp
from tests.support.faulty_pacs import FaultyPacs, running
from tests.support.orthanc import running_orthanc
from tests.support.studies import a_structured_report, a_study, a_study_uid, an_instance


@dataclass(frozen=True)
class Archive:
    """How an instance gets into the archive, and the settings that lead to it."""

    store: Callable[[bytes], object]
    settings: list[str]
    study: str = field(default_factory=a_study_uid)

    def __call__(self, *words: str, given: str = "") -> Result:
        sets = [word for setting in self.settings for word in ("--set", setting)]
        return CliRunner().invoke(main, ["study", *words, *sets, "--data-dir", "data"], input=given)


def _in_folder(tmp_path: Path) -> Archive:
    pacs = tmp_path / "data" / "pacs"
    pacs.mkdir(parents=True)
    return Archive(lambda content: (pacs / f"f{len(list(pacs.iterdir()))}").write_bytes(content), [])


REAL = ("Orthanc by DICOMweb", "Orthanc by DIMSE", "dcmqrscp")


@pytest.fixture(params=["folder", *(pytest.param(name, marks=pytest.mark.real_parts) for name in REAL)])
def archive(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Archive]:
    monkeypatch.chdir(tmp_path)
    match request.param:
        case "folder":
            yield _in_folder(tmp_path)
        case "dcmqrscp":
            with running_dcmqrscp() as old:
                yield Archive(old.store, _by_dimse(old.dicom_port, old.called))
        case "Orthanc by DIMSE":
            with running_orthanc() as server:
                yield Archive(server.store, _by_dimse(server.dicom_port, server.called))
        case "Orthanc by DICOMweb":
            with running_orthanc() as server:
                username, password = server.auth
                monkeypatch.setenv("FHIR_BRIDGE_ARCHIVE__PASSWORD", password)
                where = ["archive.kind=dicomweb", f"archive.dicomweb_url={server.dicomweb_url}"]
                yield Archive(server.store, [*where, f"archive.username={username}"])


def _by_dimse(port: int, called: str) -> list[str]:
    at = ["archive.kind=dimse", "archive.host=127.0.0.1", f"archive.port={port}"]
    return [*at, f"archive.called_ae_title={called}"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Archive:
    monkeypatch.chdir(tmp_path)
    return _in_folder(tmp_path)


def lines(done: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_study_is_found_by_accession_number(archive: Archive) -> None:
    for content in (
        *(an_instance(study_uid=archive.study, number=n) for n in (1, 2)),
        a_structured_report(study_uid=archive.study),
    ):
        archive.store(content)
    done = archive("find", "--json", given="CANARY-ACC-1\n")
    found = {"instances": 3, "sources": 2, "series": 2, "modalities": {"CT": 2, "SR": 1}}
    assert (done.exit_code, lines(done)) == (0, [{"line": 1, "studies": [found]}])


def test_a_study_is_found_by_uid_and_another_is_not(archive: Archive) -> None:
    archive.store(an_instance(study_uid=archive.study))
    done = archive("find", "--by", "uid", given=f"{archive.study}\n\n1.2.3.4\n")
    assert (done.exit_code, done.stdout) == (
        1,
        "line 1: 1 study\n  1 instance in 1 series (1 CT)\nline 2: 0 studies\n",
    )


def test_a_study_is_fetched_whole(archive: Archive, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        archive.store(an_instance(study_uid=archive.study, number=number))
    done = archive("fetch", "--into", "film", "--json", given="CANARY-ACC-1")
    (answer,) = lines(done)
    assert (done.exit_code, answer["status"], answer["instances"]) == (0, "complete", 3)
    assert answer["bytes"] == sum(path.stat().st_size for path in (tmp_path / "film").iterdir())


def test_what_was_fetched_is_described(archive: Archive) -> None:
    for number in (1, 2, 3):
        archive.store(an_instance(study_uid=archive.study, number=number))
    archive("fetch", "--by", "uid", "--into", "film", given=archive.study)
    done = CliRunner().invoke(main, ["study", "describe", "film", "--json"])
    (answer,) = lines(done)
    assert (done.exit_code, answer["instances"], answer["refused"]) == (0, 3, [])
    assert answer["series"] == [
        {
            "study": 1,
            "number": "1",
            "modality": ["CT"],
            "sop_class": ["CT Image Storage"],
            "transfer_syntax": ["Explicit VR Little Endian"],
            "size": [[16, 16]],
            "photometric": ["MONOCHROME2"],
            "instances": 3,
            "frames": 3,
            "kinds": {},
            "orientation": ["axial"],
            "spacing": [[1, 1]],
            "thickness": [1],
            "slice_spacing": 1,
            "volume": "regular",
            "mixed_patients": [],
        }
    ]


def test_uids_are_printed_where_they_are_asked_for(folder: Archive) -> None:
    folder.store(an_instance(study_uid=folder.study))
    asked = folder("find", "--identifiers", "--json", given="CANARY-ACC-1")
    assert folder.study in asked.stdout
    assert folder.study not in folder("find", "--json", given="CANARY-ACC-1").output
    assert folder.study not in folder("find", given="CANARY-ACC-1").output


def test_numbers_are_read_from_a_file(folder: Archive, tmp_path: Path) -> None:
    folder.store(an_instance(study_uid=folder.study))
    (tmp_path / "numbers.txt").write_text("CANARY-ACC-1\nCANARY-ACC-2\n")
    done = folder("find", "--file", "numbers.txt", "--json")
    assert [(line["line"], len(line["studies"])) for line in lines(done)] == [(1, 1), (2, 0)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("words", "given"),
    [
        (("find",), ""),
        (("find",), "\n \n"),
        (("find", "--by", "uid"), "CANARY-ACC-1"),
        (("find", "--by", "uid"), "1.2.3/../../../instances"),
        (("find", "--by", "uid"), "1." * 40),
        (("fetch", "--into", "film"), ""),
        (("fetch", "--into", "film"), "CANARY-1\nCANARY-2\n"),
        (("fetch", "--into", "."), "CANARY-1"),
        (("fetch",), "CANARY-1"),
    ],
)
def test_what_cannot_be_asked_is_exit_code_2(folder: Archive, words: tuple[str, ...], given: str) -> None:
    done = folder(*words, given=given)
    assert (done.exit_code, type(done.exception)) == (2, SystemExit)


def not_fetched(archive: Archive, given: str = "CANARY-ACC-1") -> tuple[int, object]:
    """Exit code and reason; nothing may be left."""
    done = archive("fetch", "--into", "film", "--json", given=given)
    assert not Path("film").exists()
    return done.exit_code, lines(done)[0]["code"]


def test_a_study_that_is_not_there_is_not_fetched(archive: Archive) -> None:
    assert not_fetched(archive) == (1, "study.not-found")


def test_two_studies_of_one_accession_number_are_not_fetched(folder: Archive) -> None:
    folder.store(an_instance(study_uid=folder.study))
    folder.store(an_instance(study_uid="1.2.3"))
    assert not_fetched(folder) == (1, "study.ambiguous")


def test_a_study_with_a_file_cut_short_is_not_fetched(folder: Archive) -> None:
    folder.store(an_instance(study_uid=folder.study))
    folder.store(an_instance(study_uid=folder.study, number=2)[:-1])
    assert not_fetched(folder) == (1, "archive.incomplete")


def test_a_study_of_two_patients_is_not_fetched(archive: Archive) -> None:
    archive.store(an_instance(study_uid=archive.study))
    archive.store(an_instance(study_uid=archive.study, number=2, patient_id="CANARY-2"))
    # Orthanc makes two studies of it, and by DICOMweb sends one of them
    assert not_fetched(archive) in {(1, "identity.mismatch"), (1, "archive.incomplete")}


def test_two_patients_are_named_by_the_field_alone(folder: Archive) -> None:
    folder.store(an_instance(study_uid=folder.study))
    folder.store(an_instance(study_uid=folder.study, number=2, patient_id="CANARY-2"))
    done = folder("fetch", "--into", "film", given="CANARY-ACC-1")
    assert done.stderr == (
        "not fetched: identity.mismatch at PatientID: the files of the study name different patients\n"
    )


def test_two_different_files_of_one_instance_are_not_fetched(folder: Archive) -> None:
    folder.store(an_instance(study_uid=folder.study))
    folder.store(an_instance(study_uid=folder.study, size=8))
    assert not_fetched(folder) == (1, "archive.conflicting-instances")


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("cut-inside-a-part", "archive.truncated"),
        ("missing-slice", "archive.incomplete"),
        ("twice-but-different", "archive.conflicting-instances"),
        ("not-dicom", "archive.corrupt"),
    ],
)
def test_what_a_bad_archive_sends_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, code: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with running(FaultyPacs([an_instance(number=n) for n in (1, 2)], fault)) as pacs:
        archive = Archive(lambda _: None, ["archive.kind=dicomweb", f"archive.dicomweb_url={pacs.url}"])
        assert not_fetched(archive) == (1, code)


def test_an_archive_that_does_not_answer_is_exit_code_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    archive = Archive(lambda _: None, ["archive.kind=dicomweb", "archive.dicomweb_url=http://127.0.0.1:1/"])
    assert not_fetched(archive) == (2, "archive.unavailable")
    assert archive("find", given="CANARY-ACC-1").exit_code == 2


def test_an_empty_folder_that_exists_is_taken(folder: Archive) -> None:
    folder.store(an_instance(study_uid=folder.study))
    Path("film").mkdir()
    assert folder("fetch", "--into", "film", given="CANARY-ACC-1").exit_code == 0


def described(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(main, ["study", "describe", str(folder), *words])


def test_a_folder_is_described_for_people(tmp_path: Path) -> None:
    a_study(tmp_path / "film")
    (tmp_path / "film" / "README").write_text("no film")
    shutil.copy(tmp_path / "film" / "IM0001", tmp_path / "film" / "again")
    done = described(tmp_path / "film")
    assert (done.exit_code, "regular" in done.stdout) == (0, True)
    assert done.stdout.splitlines()[-1] == "3 instances, 1 once more, 1 no DICOM"


def test_what_cannot_be_used_is_named_with_the_reason(tmp_path: Path) -> None:
    a_study(tmp_path / "film")
    (tmp_path / "film" / "cut").write_bytes(an_instance(number=4)[:-1])
    done = described(tmp_path / "film")
    assert (done.exit_code, "refused: cut: less pixel data than declared\n" in done.stdout) == (1, True)


def test_two_patients_in_one_study_are_said(tmp_path: Path) -> None:
    a_study(tmp_path / "film")
    (tmp_path / "film" / "other").write_bytes(an_instance(number=4, patient_id="CANARY-2"))
    done = described(tmp_path / "film")
    assert (done.exit_code, "study 1 names different patients\n" in done.stdout) == (1, True)


def test_a_folder_without_dicom_fails_the_verdict(tmp_path: Path) -> None:
    assert described(tmp_path).exit_code == 1


def test_a_folder_that_is_none_is_exit_code_2(tmp_path: Path) -> None:
    assert described(tmp_path / "nowhere").exit_code == 2
