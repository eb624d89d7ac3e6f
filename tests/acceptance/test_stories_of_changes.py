"""Orders that come by two doors, change, or are called off: at any time, and always with one job and at most one report."""

import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from fhir_bridge.practice import patients
from mappings.order import Priority
from tests.support.bridge import Bridge, a_story, frozen_model_process
from tests.support.film_bytes import film_of
from tests.support.orthanc import Orthanc

pytestmark = [pytest.mark.real_parts, pytest.mark.tensorflow]


@pytest.fixture(scope="module")
def subscribed(bridge: Bridge) -> Iterator[None]:
    """The FHIR server notifies the bridge, as `fhir-bridge subscribe` has it; until the end of the module."""
    bridge.process.subscribe()
    yield
    bridge.process.unsubscribe()


@pytest.mark.usefixtures("subscribed")
def test_an_order_by_both_doors_makes_one_job_and_one_report(bridge: Bridge, orthanc: Orthanc) -> None:
    story = a_story("both-doors")
    bridge.admit(story)
    bridge.put(patients.service_request(story, datetime.now(UTC)))
    by_hook = bridge.await_status(story, "waiting", stage="study")
    answer = bridge.send(story)
    orthanc.store(film_of(story))
    job = bridge.await_status(story, "done", "held", "failed")
    assert (by_hook.source, answer, job.id, job.status) == ("fhir", "AA", by_hook.id, "done")
    assert len(bridge.jobs_of(story)) == 1
    assert ("received-again", "order.same") in bridge.timeline(story)
    (order,) = bridge.report_of(job)["basedOn"]
    assert order["reference"] == patients.service_request_reference(story)


@pytest.mark.usefixtures("subscribed")
def test_an_order_without_an_accession_number_waits_for_the_imaging_study_to_name_its_study(
    bridge: Bridge, orthanc: Orthanc
) -> None:
    story = a_story("study-named-late")
    bridge.admit(story)
    orthanc.store(film_of(story))
    order = patients.service_request(story, datetime.now(UTC))
    bridge.put({**order, "identifier": [one for one in order["identifier"] if "system" in one]})
    waiting = bridge.await_status(story, "waiting", "held", stage="study")
    study = {
        "resourceType": "ImagingStudy",
        "id": f"practice-{story.name}-study",
        "identifier": [{"system": "urn:dicom:uid", "value": f"urn:oid:{story.study_instance_uid}"}],
        "status": "available",
        "subject": {"reference": patients.patient_reference(story)},
        "basedOn": [{"reference": patients.service_request_reference(story)}],
    }
    bridge.put(study)
    job = bridge.await_status(story, "done", "held", "failed")
    assert (waiting.status, waiting.reason, job.status) == ("waiting", "study.key-missing", "done")
    assert [one["reference"] for one in bridge.report_of(job)["imagingStudy"]] == [f"ImagingStudy/{study['id']}"]


@pytest.mark.usefixtures("subscribed")
def test_an_order_revoked_on_the_fhir_server_is_cancelled(bridge: Bridge) -> None:
    story = a_story("revoked")
    bridge.admit(story)
    order = patients.service_request(story, datetime.now(UTC))
    bridge.put(order)
    bridge.await_status(story, "waiting", stage="study")
    bridge.put({**order, "status": "revoked"})
    job = bridge.await_status(story, "cancelled")
    assert job.reason == "order.revoked"


def test_a_changed_order_is_reported_as_it_was_changed(bridge: Bridge, orthanc: Orthanc) -> None:
    story = a_story("changed")
    bridge.admit(story)
    bridge.send(story)
    bridge.await_status(story, "waiting", stage="study")
    answer = bridge.send(story, "XO", {b"^^R|": b"^^S|", b"XRCHEST1^Chest radiograph, single view": b"XRCHEST2^Two"})
    changed = bridge.job_of(story)
    orthanc.store(film_of(story))
    job = bridge.await_status(story, "done", "held", "failed")
    assert (answer, job.status, job.id) == ("AA", "done", changed.id)
    assert changed.order.priority is Priority.STAT
    assert "XRCHEST2" in {coding["code"] for coding in bridge.report_of(job)["code"]["coding"]}


def test_a_change_reaches_a_job_while_the_model_works_on_it(bridge: Bridge, orthanc: Orthanc) -> None:
    story = a_story("changed-in-analysis")
    bridge.admit(story)
    orthanc.store(film_of(story))
    with frozen_model_process(bridge):
        bridge.send(story)
        bridge.await_status(story, "running", stage="analyse")
        answer = bridge.send(story, "XO", {b"XRCHEST1^Chest radiograph, single view": b"XRCHEST2^Two"})
    job = bridge.await_status(story, "done", "held", "failed")
    assert (answer, job.status) == ("AA", "done")
    assert "XRCHEST2" in {coding["code"] for coding in bridge.report_of(job)["code"]["coding"]}


def test_a_cancel_reaches_a_job_while_the_model_works_on_it(bridge: Bridge, orthanc: Orthanc) -> None:
    story, next_one = a_story("cancelled-in-analysis"), a_story("after-the-cancelled-one")
    bridge.admit(story, next_one)
    for film in (story, next_one):
        orthanc.store(film_of(film))
    with frozen_model_process(bridge):
        bridge.send(story)
        bridge.await_status(story, "running", stage="analyse")
        answer = bridge.send(story, "CA")
        cancelled = bridge.job_of(story)
    bridge.send(next_one)
    bridge.await_status(next_one, "done")  # by then the answer about the cancelled one has come, and was dropped
    job = bridge.job_of(story)
    assert (answer, cancelled.status, job.status, job.reason) == ("AA", "cancelled", "cancelled", "order.cancelled")
    assert bridge.results_about(story) == ()


def test_a_cancel_after_the_report_went_out_is_noted_and_the_report_stays(bridge: Bridge, orthanc: Orthanc) -> None:
    story = a_story("cancelled-too-late")
    bridge.admit(story)
    orthanc.store(film_of(story))
    bridge.send(story)
    job = bridge.await_status(story, "done")
    before = bridge.report_of(job)
    answer = bridge.send(story, "CA")
    assert answer == "AA"
    assert bridge.job_of(story).status == "done"
    assert bridge.timeline(story)[-1] == ("cancel-ignored", "order.done")
    assert bridge.report_of(job) == before


def test_a_model_process_that_is_killed_is_replaced_and_the_order_served(bridge: Bridge, orthanc: Orthanc) -> None:
    story = a_story("model-killed")
    bridge.admit(story)
    orthanc.store(film_of(story))
    with frozen_model_process(bridge) as process:
        bridge.send(story)
        bridge.await_status(story, "running", stage="analyse")
        os.kill(process, signal.SIGKILL)
    job = bridge.await_status(story, "done", "held", "failed")
    assert job.status == "done"
    assert ("wait", "model.unavailable") in bridge.timeline(story)
    assert len(bridge.report_of(job)["conclusionCode"]) == 1
    assert bridge.model_process() != process
