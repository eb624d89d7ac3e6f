"""What archives do wrong by DIMSE: every one of these ends in a coded error, and none in a file."""

import contextlib
import io
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pydicom
import pytest
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind, Verification

from fhir_bridge.adapters.dimse import Dimse
from fhir_bridge.adapters.dimse_association import Peer
from fhir_bridge.errors import BridgeError, Refused, Unavailable
from fhir_bridge.study import StudyQuery
from tests.support.dimse_pacs import CALLED, CALLING, DimsePacs, dimse_pacs
from tests.support.studies import A_STUDY, an_instance

THREE = [an_instance(number=number) for number in (1, 2, 3)]

FAULTS = [
    ("aborted-in-the-middle", Unavailable, "archive.truncated", "it broke the association off"),
    ("connection-lost", Unavailable, "archive.truncated", "it broke the association off"),
    ("missing-slice", Unavailable, "archive.incomplete", "3 instances listed, 1 missing, 0 not listed"),
    ("extra-instance", Unavailable, "archive.incomplete", "3 instances listed, 0 missing, 1 not listed"),
    ("too-many", Unavailable, "archive.incomplete", "more instances than are listed"),
    ("one-failed", Unavailable, "archive.incomplete", "1 instances failed, 0 with a warning"),
    ("one-failed-yet-success", Unavailable, "archive.incomplete", "1 instances failed, 0 with a warning"),
    ("one-warned", Unavailable, "archive.incomplete", "0 instances failed, 1 with a warning"),
    ("failed-without-counts", Unavailable, "archive.incomplete", "does not say how many failed"),
    ("failed-in-the-middle", Unavailable, "archive.incomplete", "1 instances failed, 0 with a warning"),
    ("out-of-resources", Unavailable, "archive.unavailable", "status 0xA702: out of resources"),
    ("cancelled", Unavailable, "archive.unavailable", "status 0xFE00: it cancelled"),
    ("no-roles", Unavailable, "archive.unavailable", "it agrees to send none of the study's SOP classes"),
    ("silent", Unavailable, "archive.unavailable", "silent for 0.5 s"),
    ("slow", Unavailable, "archive.unavailable", "slower than 0.8 s"),
    ("another-uid", Refused, "archive.corrupt", "another one than its C-STORE says"),
    ("foreign-instance", Refused, "archive.foreign-instance", "belongs to another study"),
    ("twice-but-different", Refused, "archive.conflicting-instances", "two different files"),
    ("find-out-of-resources", Unavailable, "archive.unavailable", "C-FIND: status 0xA700: out of resources"),
    ("find-not-understood", Unavailable, "archive.unavailable", "status 0xA900: it does not understand the query"),
    ("find-failed", Unavailable, "archive.unavailable", "status 0xC001: it could not do it"),
    ("find-aborted", Unavailable, "archive.unavailable", "it broke the association off"),
    ("find-silent", Unavailable, "archive.unavailable", "silent for 0.5 s"),
    ("no-names", Unavailable, "archive.unavailable", "an answer to C-FIND names nothing"),
]

_PATIENCE = {
    "silent": {"timeout_seconds": 0.5},
    "find-silent": {"timeout_seconds": 0.5},
    "slow": {"deadline_seconds": 0.8},  # 0.3 s an instance
}


@pytest.mark.parametrize(("fault", "kind", "code", "said"), FAULTS)
def test_a_faulty_retrieval_is_an_error_that_says_why_and_leaves_no_file(
    fault: str, kind: type[BridgeError], code: str, said: str, tmp_path: Path
) -> None:
    patience = _PATIENCE.get(fault, {})
    with dimse_pacs(DimsePacs(THREE, fault)) as pacs, pytest.raises(kind) as error:
        Dimse(pacs.peer(**patience)).retrieve(A_STUDY, tmp_path)
    assert error.value.code == code
    assert said in error.value.explanation
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fault", ["twice-the-same", "ignores-keys", "no-classes", "optional-keys-unsupported"])
def test_what_the_standard_allows_is_no_fault(fault: str, tmp_path: Path) -> None:
    other = an_instance(study_uid="1.2.3", number=7)
    with dimse_pacs(DimsePacs([*THREE, other], fault)) as pacs:
        assert len(Dimse(pacs.peer()).retrieve(A_STUDY, tmp_path)) == 3


@pytest.mark.parametrize("fault", ["", "twice-the-same"])
def test_the_archive_hears_of_success_for_each_instance(fault: str, tmp_path: Path) -> None:
    with dimse_pacs(DimsePacs(THREE, fault)) as pacs:
        Dimse(pacs.peer()).retrieve(A_STUDY, tmp_path)
    assert set(pacs.stored) == {0x0000}
    assert len(pacs.stored) == (4 if fault else 3)


def test_success_is_said_only_of_what_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    pacs = DimsePacs(THREE)
    monkeypatch.setattr("os.fsync", lambda descriptor: order.append("fsync"))
    monkeypatch.setattr(pacs, "heard", lambda event: order.append(type(event.message).__name__))
    with dimse_pacs(pacs):
        Dimse(pacs.peer()).retrieve(A_STUDY, tmp_path)
    told = [what for what in order if what in ("fsync", "C_STORE_RSP")]
    assert told == ["fsync", "C_STORE_RSP"] * 3 + ["fsync"]  # the last one is that of the folder


def test_the_data_set_is_kept_byte_by_byte(tmp_path: Path) -> None:
    with dimse_pacs(DimsePacs([THREE[0]])) as pacs:
        (file,) = Dimse(pacs.peer()).retrieve(A_STUDY, tmp_path)
    assert file.read_bytes()[_data_set_at(file.read_bytes()) :] == THREE[0][_data_set_at(THREE[0]) :]


def _data_set_at(content: bytes) -> int:
    """Behind preamble, prefix, the element (0002,0000) and the length that it says (PS3.10 §7.1)."""
    return 144 + int(pydicom.dcmread(io.BytesIO(content)).file_meta.FileMetaInformationGroupLength)


def test_an_instance_over_the_limit_is_not_taken(tmp_path: Path) -> None:
    with dimse_pacs(DimsePacs([an_instance(size=200)])) as pacs, pytest.raises(Unavailable) as error:
        Dimse(pacs.peer(), max_instance_bytes=50_000).retrieve(A_STUDY, tmp_path)
    assert error.value.explanation == "more than 50000 bytes at once"
    assert list(tmp_path.iterdir()) == []


def test_many_instances_under_the_limit_are_taken(tmp_path: Path) -> None:
    instances = [an_instance(number=number, size=100) for number in range(1, 8)]  # 20 KB each
    with dimse_pacs(DimsePacs(instances)) as pacs:
        assert len(Dimse(pacs.peer(), max_instance_bytes=50_000).retrieve(A_STUDY, tmp_path)) == 7


def test_answers_without_end_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fhir_bridge.adapters.dimse_find._MAX_LISTED", 2)
    with dimse_pacs(DimsePacs(THREE)) as pacs, pytest.raises(Refused) as refusal:
        Dimse(pacs.peer()).list_instances(A_STUDY)
    assert refusal.value.code == "archive.too-large"


@pytest.mark.parametrize(
    "query",
    [
        StudyQuery(accession="CANARY*"),
        StudyQuery(accession="CANARY?"),
        StudyQuery(accession="CANARY-1\\CANARY-2"),
        StudyQuery(accession="CANARY\n1"),
        StudyQuery("1.2.*"),
        StudyQuery("1.2.3\\1.2.4"),
    ],
)
def test_a_pattern_is_never_asked(query: StudyQuery) -> None:
    with dimse_pacs(DimsePacs(THREE)) as pacs, pytest.raises(Refused) as refusal:
        Dimse(pacs.peer()).find_studies(query)
    assert refusal.value.code == "archive.query-pattern"
    assert pacs.queries == []


def test_a_study_is_asked_for_level_by_level_with_its_unique_keys() -> None:
    """PS3.4 §C.4.1.2.1: a query below the study holds the unique keys of the levels above."""
    with dimse_pacs(DimsePacs(THREE)) as pacs:
        Dimse(pacs.peer()).list_instances(A_STUDY)
    series = {"StudyInstanceUID": A_STUDY, "SeriesInstanceUID": f"{A_STUDY}.1"}
    assert pacs.queries == [
        {"StudyInstanceUID": A_STUDY, "SeriesInstanceUID": "", "Modality": ""},
        {**series, "SOPInstanceUID": "", "SOPClassUID": ""},
    ]


def test_a_wrong_called_ae_title_is_named() -> None:
    with dimse_pacs(DimsePacs(THREE, called="OTHER")) as pacs, pytest.raises(Unavailable) as error:
        Dimse(pacs.peer()).ping()
    assert (error.value.code, error.value.explanation) == (
        "archive.unauthorized",
        "its AE title is not archive.called_ae_title",
    )


def test_an_unknown_calling_ae_title_is_named() -> None:
    with dimse_pacs(DimsePacs(THREE, calling="OTHER")) as pacs, pytest.raises(Unavailable) as error:
        Dimse(pacs.peer()).ping()
    assert (error.value.code, error.value.explanation) == (
        "archive.unauthorized",
        "it does not know our AE title: register dicom.ae_title there",
    )


@pytest.mark.parametrize(
    ("offered", "said"),
    [
        ((Verification,), "it offers no C-FIND by study"),
        ((Verification, StudyRootQueryRetrieveInformationModelFind), "it offers no C-GET by study"),
        (("1.2.840.10008.5.1.4.31",), "it offers nothing of what we ask for"),
    ],
)
def test_ping_names_what_the_archive_lacks(offered: tuple[str, ...], said: str) -> None:
    with dimse_pacs(DimsePacs(THREE, sop_classes=offered)) as pacs, pytest.raises(Unavailable) as error:
        Dimse(pacs.peer()).ping()
    assert error.value.explanation == said


def test_ping_of_a_whole_archive_is_silent() -> None:
    with dimse_pacs(DimsePacs(THREE, called=CALLED, calling=CALLING)) as pacs:
        Dimse(pacs.peer()).ping()


def test_nobody_at_the_port_is_named() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(Unavailable) as error:
            Dimse(Peer("127.0.0.1", free.getsockname()[1], CALLED, CALLING)).ping()
    assert error.value.explanation == "no connection"


def test_a_host_that_nobody_knows_is_named() -> None:
    with pytest.raises(Unavailable) as error:
        Dimse(Peer("pacs.invalid", 104, CALLED, CALLING)).ping()
    assert error.value.explanation == "archive.host: no such host"


def _http(near: socket.socket) -> None:
    near.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def _huge(near: socket.socket) -> None:
    near.sendall(b"\x02\x00\xff\xff\xff\xf0" + bytes(1000))  # an A-ASSOCIATE-AC of 4 GiB, PS3.8 §9.3.3


def _half(near: socket.socket) -> None:
    near.sendall(b"\x02\x00\x00\x00\x01\x00\x00\x01")


def _nothing(near: socket.socket) -> None:
    """Waits."""


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (_http, "it broke the request for an association off"),
        (_huge, "a PDU longer than we agreed to"),
        (_half, "silent for 0.4 s"),
        (_nothing, "silent for 0.4 s"),
    ],
)
def test_what_answers_otherwise_than_by_dicom_is_named(answer: Callable[[socket.socket], None], said: str) -> None:
    with _peer(answer) as port, pytest.raises(Unavailable) as error:
        Dimse(Peer("127.0.0.1", port, CALLED, CALLING, timeout_seconds=0.4)).ping()
    assert error.value.explanation == said


@contextlib.contextmanager
def _peer(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """Answers the first connection so, and reads it to its end."""

    def serve() -> None:
        near, _ = server.accept()
        with near:
            near.recv(1 << 16)
            answer(near)
            with contextlib.suppress(ConnectionError):
                while near.recv(1 << 16):
                    pass

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        thread.join(10)


@pytest.mark.parametrize("fault", ["", "aborted-in-the-middle", "another-uid", "find-failed"])
def test_pynetdicom_writes_nothing_into_the_log(fault: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with dimse_pacs(DimsePacs(THREE, fault)) as pacs, contextlib.suppress(BridgeError):
        Dimse(pacs.peer()).retrieve(A_STUDY, tmp_path)
    assert [record.name for record in caplog.records if record.name.startswith("pynetdicom")] == []
