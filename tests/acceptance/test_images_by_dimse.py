"""Images come from real archives by DIMSE: Orthanc, and DCMTK's dcmqrscp, which says and sends as little as the standard lets it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file

from fhir_bridge.adapters.dimse import Dimse
from fhir_bridge.adapters.dimse_association import ArchiveTls, Peer
from fhir_bridge.cli.setup import checks_of
from fhir_bridge.compose import Parts
from fhir_bridge.errors import Unavailable, attempt
from fhir_bridge.settings import load
from fhir_bridge.study import StudyQuery
from tests.support.certificates import Authority
from tests.support.dcmqrscp import Dcmqrscp, running_dcmqrscp
from tests.support.orthanc import Orthanc, running_orthanc
from tests.support.studies import a_structured_report, a_study, a_study_uid, an_instance

pytestmark = pytest.mark.real_parts


@pytest.fixture(scope="module")
def dcmqrscp() -> Iterator[Dcmqrscp]:
    with running_dcmqrscp() as server:
        yield server


@pytest.fixture
def study() -> str:
    return a_study_uid()


@pytest.fixture(params=["orthanc", "dcmqrscp"])
def server(request: pytest.FixtureRequest) -> Orthanc | Dcmqrscp:
    found: Orthanc | Dcmqrscp = request.getfixturevalue(request.param)
    return found


def by_dimse(server: Orthanc | Dcmqrscp, called: str = "", tls: ArchiveTls | None = None) -> Dimse:
    return Dimse(Peer("127.0.0.1", server.dicom_port, called or server.called, "FHIRBRIDGE", 20, 60, tls))


@pytest.mark.parametrize("by", ["study UID", "accession number"])
def test_a_study_is_found_and_retrieved_whole(server: Orthanc | Dcmqrscp, study: str, tmp_path: Path, by: str) -> None:
    accession = f"CANARY{study[-8:]}"
    originals = a_study(tmp_path / "modality", study_uid=study, accession=accession, instances=9)
    for file in originals:
        server.store(file.read_bytes())
    server.store(an_instance(study_uid=a_study_uid(), accession=accession + "0"))
    archive = by_dimse(server)
    (found,) = archive.find_studies(StudyQuery(study) if by == "study UID" else StudyQuery(accession=accession))
    assert pixels_of(archive.retrieve(found, tmp_path / "phi")) == pixels_of(originals)


def pixels_of(files: tuple[Path, ...]) -> dict[str, bytes]:
    datasets = [pydicom.dcmread(path) for path in files]
    return {str(dataset.SOPInstanceUID): dataset.PixelData for dataset in datasets}


def test_images_and_reports_of_one_study_come_together(server: Orthanc | Dcmqrscp, study: str, tmp_path: Path) -> None:
    """dcmqrscp lists no SOP class at all: those usual for CT and SR are offered."""
    server.store(an_instance(study_uid=study))
    server.store(a_structured_report(study_uid=study))
    archive = by_dimse(server)
    assert {instance.modality for instance in archive.list_instances(study)} == {"CT", "SR"}
    assert len(archive.retrieve(study, tmp_path)) == 2


def test_an_unknown_study_is_nowhere(server: Orthanc | Dcmqrscp, study: str, tmp_path: Path) -> None:
    archive = by_dimse(server)
    assert archive.find_studies(StudyQuery(study)) == ()
    assert archive.find_studies(StudyQuery(accession="CANARY-LONGER-THAN-SIXTEEN")) == ()
    assert archive.list_instances(study) == ()
    with pytest.raises(Unavailable) as error:
        archive.retrieve(study, tmp_path)
    assert error.value.code == "archive.incomplete"


def test_ping_finds_all_that_is_needed(server: Orthanc | Dcmqrscp) -> None:
    by_dimse(server).ping()


def test_a_wrong_called_ae_title_is_named(server: Orthanc | Dcmqrscp) -> None:
    with pytest.raises(Unavailable) as error:
        by_dimse(server, called="NOBODY").ping()
    assert error.value.code == "archive.unauthorized"
    assert error.value.explanation == "its AE title is not archive.called_ae_title"


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
    files = by_dimse(orthanc).retrieve(str(stored.StudyInstanceUID), tmp_path)
    (retrieved,) = (
        dataset for dataset in map(pydicom.dcmread, files) if dataset.SOPInstanceUID == stored.SOPInstanceUID
    )
    assert retrieved.file_meta.TransferSyntaxUID == stored.file_meta.TransferSyntaxUID
    assert retrieved.PixelData == stored.PixelData


def test_what_an_archive_cannot_send_is_missing_and_not_left_out(
    dcmqrscp: Dcmqrscp, study: str, tmp_path: Path
) -> None:
    """dcmqrscp 3.6.7 takes the first context of a SOP class, and cannot decompress RLE for it: a failed sub-operation."""
    dcmqrscp.store(an_instance(study_uid=study, number=1))
    dcmqrscp.store(an_instance(study_uid=study, number=2, compressed=True))
    with pytest.raises(Unavailable) as error:
        by_dimse(dcmqrscp).retrieve(study, tmp_path)
    assert error.value.code == "archive.incomplete"
    assert list(tmp_path.iterdir()) == []


def test_an_archive_that_wants_our_certificate_gets_it(study: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "pki")
    with _tls_orthanc(authority) as server:
        server.store(an_instance(study_uid=study))
        archive = Dimse(Peer("localhost", server.dicom_port, "PACS", "FHIRBRIDGE", 10, 30, _ours(authority)))
        archive.ping()
        assert len(archive.retrieve(study, tmp_path / "phi")) == 1


@pytest.mark.parametrize("shown", ["no certificate", "no TLS", "a certificate of nobody's"])
def test_an_archive_with_tls_takes_nobody_without(tmp_path: Path, shown: str) -> None:
    authority, stranger = Authority(tmp_path / "pki"), Authority(tmp_path / "other", "stranger")
    tls: dict[str, Callable[[], ArchiveTls | None]] = {
        "no certificate": lambda: ArchiveTls(authority.ca_file),
        "no TLS": lambda: None,
        "a certificate of nobody's": lambda: ArchiveTls(authority.ca_file, *stranger.sign("FHIRBRIDGE")),
    }
    with _tls_orthanc(authority) as server, pytest.raises(Unavailable) as error:
        Dimse(Peer("localhost", server.dicom_port, "PACS", "FHIRBRIDGE", 3, 10, tls[shown]())).ping()
    assert error.value.code == "archive.unavailable"


def test_an_archive_whose_certificate_nobody_we_trust_signed_is_not_talked_to(tmp_path: Path) -> None:
    authority, stranger = Authority(tmp_path / "pki"), Authority(tmp_path / "other", "stranger")
    tls = ArchiveTls(stranger.ca_file, *authority.sign("FHIRBRIDGE"))
    with _tls_orthanc(authority) as server, pytest.raises(Unavailable) as error:
        Dimse(Peer("localhost", server.dicom_port, "PACS", "FHIRBRIDGE", 3, 10, tls)).ping()
    assert error.value.explanation == "no connection, or none by TLS that both sides trust"


def _ours(authority: Authority) -> ArchiveTls:
    return ArchiveTls(authority.ca_file, *authority.sign("FHIRBRIDGE"))


def _tls_orthanc(authority: Authority) -> AbstractContextManager[Orthanc]:
    certificate, key = authority.sign("localhost")
    return running_orthanc(
        DicomTlsEnabled=True,
        DicomTlsCertificate=str(certificate),
        DicomTlsPrivateKey=str(key),
        DicomTlsTrustedCertificates=str(authority.ca_file),
    )


@pytest.mark.parametrize(
    ("called", "said"),
    [("PACS", ("dimse", None)), ("NOBODY", (None, "its AE title is not archive.called_ae_title"))],
)
def test_check_says_whether_the_archive_can_be_used(
    orthanc: Orthanc, tmp_path: Path, called: str, said: tuple[str | None, str | None]
) -> None:
    where = {"kind": "dimse", "host": "127.0.0.1", "port": orthanc.dicom_port, "called_ae_title": called}
    parts = Parts(load(tmp_path / "data", tuple(f"archive.{key}={value}" for key, value in where.items())))
    checked = attempt(checks_of(parts)["archive"])
    assert (checked.value, checked.error and checked.error.explanation) == said
