"""Images come from a real PACS: found, whole, as stored; and a PACS that dies on the way leaves nothing behind."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file

from fhir_bridge.adapters.dicomweb import DicomWeb
from fhir_bridge.errors import Unavailable
from fhir_bridge.rendezvous.completeness import Complete, NotYet, Watch, fingerprint, judge, source_instances
from fhir_bridge.rendezvous.identity import ImageIdentity, read_identity
from fhir_bridge.study import StudyQuery
from tests.support.orthanc import Orthanc, running_orthanc
from tests.support.studies import a_structured_report, a_study, a_study_uid, an_instance

pytestmark = pytest.mark.real_parts

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


@pytest.fixture
def study() -> str:
    return a_study_uid()


def dicomweb(server: Orthanc) -> DicomWeb:
    return DicomWeb(server.dicomweb_url, server.auth)


@pytest.mark.parametrize("by", ["study UID", "accession number"])
def test_a_study_sent_by_c_store_is_retrieved(orthanc: Orthanc, study: str, tmp_path: Path, by: str) -> None:
    accession = f"CANARY-{study[-9:]}"
    originals = a_study(tmp_path / "modality", study_uid=study, accession=accession, instances=9)
    orthanc.receive(tmp_path / "modality")
    archive = dicomweb(orthanc)
    query = StudyQuery(study_instance_uid=study) if by == "study UID" else StudyQuery(accession=accession)
    (found,) = archive.find_studies(query)
    files = archive.retrieve(found, tmp_path / "phi")
    assert pixels_of(files) == pixels_of(originals)


def pixels_of(files: tuple[Path, ...]) -> dict[str, bytes]:
    datasets = [pydicom.dcmread(path) for path in files]
    return {str(dataset.SOPInstanceUID): dataset.PixelData for dataset in datasets}


@pytest.mark.parametrize(
    "name",
    [
        "MR_small_RLE.dcm",
        "JPEG2000.dcm",
        "JPEG-LL.dcm",
        "US1_J2KI.dcm",
        "emri_small_jpeg_ls_lossless.dcm",
        "MR_small_jp2klossless.dcm",
        "SC_rgb_small_odd_jpeg.dcm",
        "eCT_Supplemental.dcm",
    ],
)
def test_pixels_come_back_as_they_were_stored(orthanc: Orthanc, tmp_path: Path, name: str) -> None:
    source = Path(get_testdata_file(name, download=False))
    stored = pydicom.dcmread(source)
    orthanc.store(source.read_bytes())
    files = dicomweb(orthanc).retrieve(str(stored.StudyInstanceUID), tmp_path)
    retrieved = [dataset for dataset in map(pydicom.dcmread, files) if dataset.SOPInstanceUID == stored.SOPInstanceUID]
    assert [dataset.file_meta.TransferSyntaxUID for dataset in retrieved] == [stored.file_meta.TransferSyntaxUID]
    assert retrieved[0].PixelData == stored.PixelData


def test_the_retrieved_files_say_whose_they_are(orthanc: Orthanc, study: str, tmp_path: Path) -> None:
    orthanc.store(an_instance(study_uid=study))
    files = dicomweb(orthanc).retrieve(study, tmp_path)
    assert read_identity(files) == (ImageIdentity("CANARY-1", datetime(2019, 4, 12).date(), "female", study),)


def test_a_late_slice_changes_the_fingerprint(orthanc: Orthanc, study: str) -> None:
    archive = dicomweb(orthanc)
    orthanc.store(an_instance(study_uid=study, number=1))
    before = fingerprint(source_instances(archive.list_instances(study)))
    orthanc.store(an_instance(study_uid=study, number=2))
    assert fingerprint(source_instances(archive.list_instances(study))) != before


def test_our_own_report_does_not(orthanc: Orthanc, study: str) -> None:
    archive = dicomweb(orthanc)
    orthanc.store(an_instance(study_uid=study))
    before = fingerprint(source_instances(archive.list_instances(study)))
    orthanc.store(a_structured_report(study_uid=study))
    assert len(archive.list_instances(study)) == 2
    assert fingerprint(source_instances(archive.list_instances(study))) == before


def test_a_study_is_complete_only_after_its_last_slice_stood_still(orthanc: Orthanc, study: str) -> None:
    """Looks 60 s apart by a clock of the test's own: nothing, one slice, two, two."""
    archive = dicomweb(orthanc)
    arrivals: dict[int, int] = {1: 1, 2: 2}  # look -> slice that arrives before it
    watch: Watch | None = None
    verdicts = []
    for number in range(4):
        if number in arrivals:
            orthanc.store(an_instance(study_uid=study, number=arrivals[number]))
        now = NOON + timedelta(seconds=60 * number)
        verdict = judge(archive.list_instances(study), watch, now, 60, 7200, NOON)
        watch = verdict.watch if isinstance(verdict, NotYet) else watch
        verdicts.append(type(verdict))
    assert verdicts == [NotYet, NotYet, NotYet, Complete]


def test_wrong_credentials_are_told_apart_from_an_empty_pacs(orthanc: Orthanc, study: str) -> None:
    with pytest.raises(Unavailable) as error:
        DicomWeb(orthanc.dicomweb_url, ("bridge", "wrong")).find_studies(StudyQuery(study))
    assert error.value.code == "archive.unauthorized"


def test_a_server_that_has_no_dicomweb_at_this_url_is_named_by_ping(orthanc: Orthanc) -> None:
    with pytest.raises(Unavailable) as error:
        DicomWeb(orthanc.dicomweb_url + "/nothing-here", orthanc.auth).ping()
    assert error.value.code == "archive.unavailable"


def test_a_pacs_killed_midway_leaves_nothing_and_succeeds_after_its_restart(study: str, tmp_path: Path) -> None:
    storage, into = tmp_path / "storage", tmp_path / "phi"
    with running_orthanc(storage) as first:
        for number in range(1, 21):
            first.store(an_instance(study_uid=study, number=number, size=512))
        with relay(first.http_port, 4 << 20, first.kill) as port, pytest.raises(Unavailable) as error:
            DicomWeb(f"http://127.0.0.1:{port}/dicom-web", first.auth).retrieve(study, into)
    left = list(into.iterdir())
    with running_orthanc(storage) as second:
        files = dicomweb(second).retrieve(study, into)
    assert error.value.code == "archive.truncated"
    assert left == []
    assert len(files) == 20


@contextlib.contextmanager
def relay(port: int, limit: int, act: Callable[[], None]) -> Iterator[int]:
    """A port that passes connections on to `port`, calls `act` after `limit` bytes of answers and passes on no more."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_pass_on, args=(server, port, limit, act))
        thread.start()
        yield int(server.getsockname()[1])
        thread.join()


def _pass_on(server: socket.socket, port: int, limit: int, act: Callable[[], None]) -> None:
    while limit > 0:
        near, _ = server.accept()
        with near, socket.create_connection(("127.0.0.1", port)) as far:
            far.sendall(near.recv(1 << 16))
            while limit > 0 and (data := far.recv(1 << 16)):
                near.sendall(data)
                limit -= len(data)
    act()
