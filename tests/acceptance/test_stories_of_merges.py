"""Patients who turn out to be one (ADT^A40), with real processes and a real FHIR server: the result is the survivor's (facts item 32)."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from fhir_bridge.practice import patients
from fhir_bridge.practice.story import Story
from tests.support.bridge import Bridge, a_story, frozen_model_process
from tests.support.film_bytes import film_of
from tests.support.orthanc import Orthanc
from tests.support.processes import until

pytestmark = [pytest.mark.real_parts, pytest.mark.tensorflow]


def two_of_one(name: str) -> tuple[Story, Story]:
    """One person under two numbers: the second is who survives."""
    prior = a_story(name)
    return prior, replace(a_story(f"{name}-survivor"), birth_date=prior.birth_date, sex=prior.sex)


def merge(bridge: Bridge, prior: Story, survivor: Story) -> str:
    """MSA-1 of the answer to the EMR's A40. It is a while later than what was sent before."""
    now = datetime.now(UTC) + timedelta(seconds=2)
    pid = f"PID|1||{survivor.patient.mrn}^^^HOSP^MR||CANARY^ZEBRA||{survivor.birth_date:%Y%m%d}|{survivor.sex}"
    message = "\r".join(
        (
            rf"MSH|^~\&|EMR|HOSP|FHIR-BRIDGE|HOSP|{now:%Y%m%d%H%M%S}+0000||ADT^A40^ADT_A39|{bridge.ris.next_control_id()}|P|2.5.1",
            f"EVN||{now:%Y%m%d%H%M%S}+0000",
            pid,
            f"MRG|{prior.patient.mrn}^^^HOSP^MR",
            "",
        )
    )
    return bridge.ris.send(message.encode())


def subjects(bridge: Bridge, prior: Story, survivor: Story) -> dict[str, int]:
    """How many reports and results of ours stand under whom."""
    found = [
        resource["subject"]["reference"]
        for resource in bridge.results_about(prior, survivor)
        if resource["resourceType"] in ("DiagnosticReport", "Observation")
    ]
    return {reference: found.count(reference) for reference in set(found)}


# item 32: A40 while the job runs
def test_a_merge_while_the_model_works_sends_the_result_to_the_survivor(bridge: Bridge, orthanc: Orthanc) -> None:
    prior, survivor = two_of_one("merged-in-analysis")
    bridge.admit(prior, survivor)
    orthanc.store(film_of(prior))
    with frozen_model_process(bridge):
        bridge.send(prior)
        bridge.await_status(prior, "running", stage="analyse")
        answer = merge(bridge, prior, survivor)
        until(lambda: ("patient", "patient.merged") in bridge.timeline(prior), "the merge in the timeline")
    job = bridge.await_status(prior, "done", "held", "failed")
    assert (answer, job.status) == ("AA", "done")
    assert bridge.report_of(job)["subject"]["reference"] == patients.patient_reference(survivor)
    assert set(subjects(bridge, prior, survivor)) == {patients.patient_reference(survivor)}


# item 32: A40 after the result went out
def test_a_report_that_is_out_is_handed_to_the_survivor(bridge: Bridge, orthanc: Orthanc) -> None:
    prior, survivor = two_of_one("merged-after-delivery")
    bridge.admit(prior, survivor)
    orthanc.store(film_of(prior))
    bridge.send(prior)
    before = bridge.report_of(bridge.await_status(prior, "done"))
    merge(bridge, prior, survivor)

    def handed_over() -> bool:
        job = bridge.job_of(prior)
        return job.status == "done" and bridge.report_of(job)["subject"] != before["subject"]

    until(handed_over, "the report under the survivor")
    after = bridge.report_of(bridge.job_of(prior))
    assert (after["id"], after["subject"]["reference"]) == (before["id"], patients.patient_reference(survivor))
    assert after["conclusionCode"] == before["conclusionCode"]
    assert set(subjects(bridge, prior, survivor)) == {patients.patient_reference(survivor)}


# item 32: an order under the old number after the merge, which the FHIR server has taken over meanwhile
def test_an_order_under_the_old_number_is_the_survivors(bridge: Bridge, orthanc: Orthanc) -> None:
    prior, survivor = two_of_one("ordered-after-merge")
    bridge.admit(prior, survivor)
    merge(bridge, prior, survivor)
    old = patients.history(prior)[0]
    link = [{"type": "replaced-by", "other": {"reference": patients.patient_reference(survivor)}}]
    bridge.put({**old, "active": False, "link": link})
    orthanc.store(film_of(prior))
    bridge.send(prior)
    job = bridge.await_status(prior, "done", "held", "failed")
    assert job.status == "done"
    assert bridge.report_of(job)["subject"]["reference"] == patients.patient_reference(survivor)


# item 32: one who is not the person of the images is not handed the result
def test_a_merge_into_somebody_born_on_another_day_is_held(bridge: Bridge, orthanc: Orthanc) -> None:
    prior, survivor = two_of_one("merged-wrongly")
    survivor = replace(survivor, birth_date=prior.birth_date + timedelta(days=1))
    bridge.admit(prior, survivor)
    bridge.send(prior)
    bridge.await_status(prior, "waiting", stage="study")
    merge(bridge, prior, survivor)
    orthanc.store(film_of(prior))
    job = bridge.await_status(prior, "done", "held", "failed")
    assert (job.status, job.reason) == ("held", "identity.mismatch")
    assert subjects(bridge, prior, survivor) == {}
