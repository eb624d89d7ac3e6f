"""What DICOMweb servers do wrong: every one of these ends in a coded error, and none in a file."""

from pathlib import Path

import pytest

from fhir_bridge.adapters.dicomweb import BearerToken, DicomWeb
from fhir_bridge.errors import BridgeError, Refused, Unavailable
from fhir_bridge.study import StudyQuery
from tests.support.faulty_pacs import FaultyPacs, running
from tests.support.studies import A_STUDY, an_instance

THREE = [an_instance(number=number) for number in (1, 2, 3)]

FAULTS = [
    ("cut-inside-a-part", Unavailable, "archive.truncated"),
    ("no-closing-delimiter", Unavailable, "archive.truncated"),
    ("wrong-part-length", Unavailable, "archive.truncated"),
    ("missing-slice", Unavailable, "archive.incomplete"),
    ("extra-instance", Unavailable, "archive.incomplete"),
    ("endless", Unavailable, "archive.incomplete"),
    ("partial-content", Unavailable, "archive.incomplete"),
    ("gone", Unavailable, "archive.incomplete"),
    ("server-error", Unavailable, "archive.unavailable"),
    ("busy", Unavailable, "archive.unavailable"),
    ("redirect", Unavailable, "archive.unavailable"),
    ("html", Unavailable, "archive.unavailable"),
    ("silent", Unavailable, "archive.unavailable"),
    ("trickling", Unavailable, "archive.unavailable"),
    ("unauthorized", Unavailable, "archive.unauthorized"),
    ("foreign-instance", Refused, "archive.foreign-instance"),
    ("twice-but-different", Refused, "archive.conflicting-instances"),
    ("not-dicom", Refused, "archive.corrupt"),
    ("half-an-instance", Refused, "archive.corrupt"),
]


@pytest.mark.parametrize(("fault", "kind", "code"), FAULTS)
def test_a_faulty_retrieval_is_an_error_and_leaves_no_file(
    fault: str, kind: type[BridgeError], code: str, tmp_path: Path
) -> None:
    with running(FaultyPacs(THREE, fault)) as pacs, pytest.raises(kind) as error:
        DicomWeb(pacs.url, timeout_seconds=0.5, deadline_seconds=1).retrieve(A_STUDY, tmp_path)
    assert error.value.code == code
    assert list(tmp_path.iterdir()) == []


def test_an_instance_sent_twice_is_kept_once(tmp_path: Path) -> None:
    with running(FaultyPacs(THREE, "twice-the-same")) as pacs:
        assert len(DicomWeb(pacs.url).retrieve(A_STUDY, tmp_path)) == 3


def test_the_wish_of_a_busy_server_is_kept(tmp_path: Path) -> None:
    with running(FaultyPacs(THREE, "busy")) as pacs, pytest.raises(Unavailable) as error:
        DicomWeb(pacs.url).retrieve(A_STUDY, tmp_path)
    assert error.value.retry_after == 7


def test_an_instance_over_the_limit_is_not_taken(tmp_path: Path) -> None:
    with running(FaultyPacs([an_instance(size=200)])) as pacs, pytest.raises(Unavailable) as error:
        DicomWeb(pacs.url, max_instance_bytes=1000).retrieve(A_STUDY, tmp_path)
    assert error.value.code == "archive.unavailable"


@pytest.mark.parametrize("page", [1, 2, 3, 1000])
def test_a_listing_in_pages_is_read_to_its_end(page: int) -> None:
    with running(FaultyPacs(THREE, page=page)) as pacs:
        assert len(DicomWeb(pacs.url).list_instances(A_STUDY)) == 3


def test_a_server_that_knows_no_offset_is_not_asked_for_ever() -> None:
    with running(FaultyPacs(THREE, knows_offset=False)) as pacs:
        assert len(DicomWeb(pacs.url).list_instances(A_STUDY)) == 3


def test_an_accession_number_not_found_encoded_is_asked_for_once_more_plain() -> None:
    with running(FaultyPacs([])) as pacs:
        DicomWeb(pacs.url).find_studies(StudyQuery(accession="CANARY/1 2"))
        asked = [query.split("&")[0] for query in pacs.queries]
    assert asked == ["AccessionNumber=CANARY%2F1%202", "AccessionNumber=CANARY/1%202"]


def test_a_plain_accession_number_is_asked_for_once() -> None:
    with running(FaultyPacs([])) as pacs:
        DicomWeb(pacs.url).find_studies(StudyQuery(accession="CANARY-1"))
        assert len(pacs.queries) == 1


def test_a_server_that_is_down_is_unavailable() -> None:
    with running(FaultyPacs(THREE)) as pacs:
        pass
    with pytest.raises(Unavailable) as error:
        DicomWeb(pacs.url).find_studies(StudyQuery(accession="CANARY-1"))
    assert error.value.code == "archive.unavailable"


def test_no_error_text_holds_the_accession_number() -> None:
    with running(FaultyPacs(THREE)) as pacs:
        pass
    with pytest.raises(Unavailable) as error:
        DicomWeb(pacs.url).find_studies(StudyQuery(accession="CANARY-1"))
    assert "CANARY" not in str(error.value)


@pytest.mark.parametrize(
    ("auth", "header"),
    [
        (None, ""),
        (BearerToken("mF_9.B5f-4.1JqM"), "Bearer mF_9.B5f-4.1JqM"),  # RFC 6750 §2.1
        (("Aladdin", "open sesame"), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),  # RFC 2617 §2
    ],
)
def test_credentials_are_sent_as_the_standards_say(auth: BearerToken | tuple[str, str] | None, header: str) -> None:
    with running(FaultyPacs([])) as pacs:
        DicomWeb(pacs.url, auth).ping()
    assert pacs.credentials == [header]


def test_credentials_are_not_shown() -> None:
    assert "CANARY" not in repr(DicomWeb("https://pacs/dicom-web", BearerToken("CANARY-TOKEN")))
