"""Input that must not become a result: held with its reason, nothing written. And nowhere does a patient show who may not."""

from datetime import UTC, datetime
from typing import Any

import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import CTImageStorage, JPEGLosslessSV1

from fhir_bridge.practice import patients
from fhir_bridge.practice.story import Structure
from tests.support.bridge import Bridge, a_story
from tests.support.film_bytes import film_of
from tests.support.orthanc import Orthanc
from tests.support.patient_leaks import identities_of, leaks, shown_of

pytestmark = [pytest.mark.real_parts, pytest.mark.tensorflow]


def test_an_unknown_patient_is_held_and_nobody_is_made_up(bridge: Bridge, orthanc: Orthanc) -> None:
    story = a_story("unknown-patient")
    orthanc.store(film_of(story))
    answer = bridge.send(story)
    job = bridge.await_status(story, "held", "done")
    assert (answer, job.status, job.reason) == ("AA", "held", "patient.not-found")
    assert bridge.reports_of(job) == ()
    assert bridge.fhir.search("Patient", (("identifier", story.patient.mrn),), limit=5) == ()


def test_a_number_of_two_patients_is_held(bridge: Bridge, orthanc: Orthanc) -> None:
    """The authority of the message is not configured: the number has no system, and two patients have it."""
    story = a_story("ambiguous-patient")
    bridge.admit(story)
    first = patients.history(story)[0]
    (number,) = first["identifier"]
    twin = {
        **first,
        "id": f"{first['id']}-twin",
        "identifier": [{**number, "system": "urn:oid:2.16.840.1.113883.19.9"}],
    }
    bridge.put(twin)
    orthanc.store(film_of(story))
    answer = bridge.send(story, changes={b"^^^HOSP^MR": b"^^^ELSEWHERE^MR"})
    job = bridge.await_status(story, "held", "done")
    assert (answer, job.status, job.reason) == ("AA", "held", "patient.ambiguous")
    assert bridge.reports_of(job) == ()


def test_the_film_of_another_patient_under_the_accession_number_is_held_and_nothing_written(
    bridge: Bridge, orthanc: Orthanc
) -> None:
    story = a_story("mixed-up", structure=Structure.OMG)
    stranger = a_story("stranger")
    bridge.admit(story, stranger)
    orthanc.store(film_of(story, PatientID=stranger.patient.mrn))
    bridge.send(story)
    job = bridge.await_status(story, "held", "done")
    assert (job.status, job.stage, job.reason) == ("held", "study", "identity.mismatch")
    assert bridge.results_about(story, stranger) == ()
    assert bridge.reports_of(job) == ()


# lossless JPEG (ITU-T T.81) whose frame needs a Huffman table that is not there: SOI, SOF3 of 300 x 300, SOS, zeros, EOI
NO_TABLE = "ffd8 ffc3000b08012c012c01011100 ffda0008010100010000" + "00" * 40 + "ffd9"
BROKEN_JPEG = {
    "PixelData": encapsulate([bytes.fromhex(NO_TABLE)]),
    "transfer_syntax": JPEGLosslessSV1,
    "Rows": 300,
    "Columns": 300,
}
JPEG_WITH_WORDS = {
    "PixelData": encapsulate([b"\xff\xd8\xff\xe0 this is no JPEG " * 9]),
    "transfer_syntax": JPEGLosslessSV1,
}


@pytest.mark.parametrize(
    ("name", "attributes", "reason"),
    [
        ("ct", {"SOPClassUID": CTImageStorage, "Modality": "CT"}, "deid.sop-class-unsupported"),
        ("words-in-pixels", JPEG_WITH_WORDS, "deid.pixels-unverified"),
        ("pixels-cut-off", {"PixelData": bytes(100)}, "deid.dicom-unreadable"),
    ],
)
def test_images_that_cannot_be_used_are_held(
    bridge: Bridge, orthanc: Orthanc, name: str, attributes: dict[str, Any], reason: str
) -> None:
    story = a_story(name)
    bridge.admit(story)
    orthanc.store(film_of(story, **attributes))
    bridge.send(story)
    job = bridge.await_status(story, "held", "done")
    assert (job.status, job.stage, job.reason) == ("held", "deidentify", reason)
    assert bridge.results_about(story) == ()


@pytest.mark.parametrize(
    ("name", "changes", "attributes", "reason"),
    [
        ("adult", {"birth_date": datetime(1971, 7, 4, tzinfo=UTC).date()}, {}, "scope.age"),
        ("body-part", {}, {"BodyPartExamined": None, "StudyDescription": "Radiograph"}, "scope.body-part-unknown"),
        ("view", {}, {"ViewPosition": None}, "scope.view-unknown"),
        ("hand", {}, {"BodyPartExamined": "HAND"}, "scope.body-part"),
        ("corrupt-pixels", {}, BROKEN_JPEG, "dicom.undecodable"),
    ],
)
def test_a_film_that_the_model_cannot_answer_for_gets_a_report_that_says_so_and_finds_nothing(
    bridge: Bridge, orthanc: Orthanc, name: str, changes: dict[str, Any], attributes: dict[str, Any], reason: str
) -> None:
    story = a_story(name, **changes)
    bridge.admit(story)
    orthanc.store(film_of(story, **attributes))
    bridge.send(story)
    job = bridge.await_status(story, "held", "done")
    assert (job.status, job.reason) == ("done", reason)
    report = bridge.report_of(job)
    written = bridge.results_about(story)
    findings = [one for one in written if "233604007" in str(one.get("code"))]
    assert "Not analysed" in report["conclusion"]
    assert reason in report["conclusion"]
    assert (report.get("conclusionCode", []), findings) == ([], [])


def test_a_film_whose_description_alone_names_the_chest_is_reported_with_a_caveat(
    bridge: Bridge, orthanc: Orthanc
) -> None:
    story = a_story("chest-by-description")
    bridge.admit(story)
    orthanc.store(film_of(story, BodyPartExamined=None))
    bridge.send(story)
    job = bridge.await_status(story, "held", "done")
    assert (job.status, job.reason) == ("done", "")
    assert "The header names no body part" in bridge.report_of(job)["conclusion"]


def test_no_patient_shows_where_none_may_be_seen(bridge: Bridge, orthanc: Orthanc) -> None:
    """After one more order, of all that this bridge served: what it said, what its pages show, what the model was given."""
    story = a_story("private")
    bridge.admit(story)
    orthanc.store(film_of(story))
    bridge.send(story)
    bridge.await_status(story, "done")
    jobs = bridge.store.jobs()
    shown = shown_of(bridge)
    places = {name.partition(" ")[0] for name in shown}
    assert {"page", "metrics", "output", "model", "deidentified"} <= places
    assert leaks(shown, identities_of(jobs, bridge.data_dir)) == []
