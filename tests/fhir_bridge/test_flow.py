"""A job's way through all steps, on in-memory adapters."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fhir_bridge.errors import Unavailable
from fhir_bridge.flow import STEPS
from fhir_bridge.job import Event, Stage, Status
from inference.prediction import Prediction
from mappings.finding import ReportOutcome
from tests.support.bridge_in_memory import ANALYSED, MODEL, BridgeInMemory
from tests.support.builders import an_order
from tests.support.films import STUDY
from tests.support.frozen_clock import FrozenClock

AWAY = Unavailable("test.unavailable", "peer", "away")


@pytest.fixture
def bridge(tmp_path: Path, clock: FrozenClock) -> Iterator[BridgeInMemory]:
    bridge = BridgeInMemory(tmp_path, clock)
    yield bridge
    bridge.vault.close()


def test_an_order_travels_the_whole_way(bridge: BridgeInMemory) -> None:
    bridge.film()
    job = bridge.order()
    bridge.run_until_quiet()
    (report,) = bridge.destination.versions[job]
    assert (bridge.job(job).status, report.outcome, report.patient) == (
        Status.DONE,
        ReportOutcome.ANALYSED,
        "Patient/7",
    )


def test_the_report_bears_the_original_study_uid_again(bridge: BridgeInMemory) -> None:
    bridge.film()
    job = bridge.order()
    bridge.run_until_quiet()
    assert bridge.destination.versions[job][0].study_instance_uid == STUDY


def test_the_model_sees_only_the_deidentified_folder(bridge: BridgeInMemory) -> None:
    bridge.film()
    bridge.order()
    bridge.run_until_quiet()
    (folder,) = bridge.predictor.analysed
    content = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert folder.is_relative_to(bridge.folder / "deidentified")
    assert (b"DICM" in content, b"CANARY" in content) == (True, False)


def test_the_timeline_says_which_network_guard_was_in_force(bridge: BridgeInMemory) -> None:
    bridge.film()
    job = bridge.order()
    bridge.run_until_quiet()
    assert "model.guard-none" in [entry.reason for entry in bridge.store.history(job)]


def test_an_order_without_images_waits_and_holds_no_worker(bridge: BridgeInMemory) -> None:
    job = bridge.order()
    bridge.run()
    known = bridge.job(job)
    assert (known.status, known.stage, known.reason) == (Status.WAITING, Stage.STUDY, "study.not-there-yet")


def test_images_that_come_later_are_found(bridge: BridgeInMemory) -> None:
    job = bridge.order()
    bridge.run()
    bridge.film()
    bridge.clock.advance(2)
    bridge.run_until_quiet()
    assert bridge.job(job).status is Status.DONE


def test_images_that_never_come_hold_the_job_at_the_deadline(bridge: BridgeInMemory) -> None:
    job = bridge.order()
    bridge.run()
    bridge.clock.advance(101)
    bridge.run()
    assert (bridge.job(job).status, bridge.job(job).reason) == (Status.HELD, "study.no-images")


def test_a_study_still_arriving_is_not_analysed(bridge: BridgeInMemory) -> None:
    bridge.film()
    job = bridge.order()
    bridge.run()
    bridge.clock.advance(4)
    bridge.film()  # another instance: the quiet time begins anew
    bridge.run()
    bridge.clock.advance(4)
    bridge.run()
    assert (bridge.job(job).status, bridge.predictor.analysed) == (Status.WAITING, [])


def test_a_patient_the_server_does_not_know_holds_the_job(bridge: BridgeInMemory) -> None:
    job = bridge.order(mrn="CANARY-404")
    bridge.run()
    assert (bridge.job(job).status, bridge.job(job).reason) == (Status.HELD, "patient.not-found")


def test_a_film_of_another_patient_is_never_analysed(bridge: BridgeInMemory) -> None:
    bridge.film(PatientID="CANARY-2")
    job = bridge.order()
    bridge.run_until_quiet()
    assert (bridge.job(job).reason, bridge.predictor.analysed, bridge.destination.versions) == (
        "identity.mismatch",
        [],
        {},
    )


def test_a_refused_study_is_reported_as_not_analysed_with_its_reason(bridge: BridgeInMemory) -> None:
    refused = Prediction(MODEL, "1.0.0", "ab" * 32, "refused", reason="scope.age", explanation="the patient is older")
    bridge.predictor.script = {MODEL: refused}
    bridge.film()
    job = bridge.order()
    bridge.run_until_quiet()
    report = bridge.destination.versions[job][0]
    assert (bridge.job(job).status, bridge.job(job).reason) == (Status.DONE, "scope.age")
    assert (report.outcome, report.findings) == (ReportOutcome.NOT_ANALYSED, ())


@pytest.mark.parametrize("peer", ["record", "archive", "predictor", "destination"])
def test_a_peer_that_is_away_is_asked_again_later(bridge: BridgeInMemory, peer: str) -> None:
    bridge.film()
    getattr(bridge, peer).outage = AWAY
    job = bridge.order()
    bridge.run_until_quiet()
    meanwhile = bridge.job(job)
    getattr(bridge, peer).outage = None
    bridge.clock.advance(60)
    bridge.run_until_quiet()
    assert (meanwhile.status, meanwhile.reason, bridge.job(job).status) == (
        Status.WAITING,
        "test.unavailable",
        Status.DONE,
    )


def test_a_peer_that_stays_away_makes_a_dead_letter_that_can_be_replayed(bridge: BridgeInMemory) -> None:
    bridge.film()
    bridge.record.outage = AWAY
    job = bridge.order()
    for _ in range(3):
        bridge.run()
        bridge.clock.advance(60)
    dead = bridge.job(job)
    bridge.record.outage = None
    bridge.happen(job, Event.REPLAY)
    bridge.run_until_quiet()
    assert (dead.status, dead.attempts, bridge.job(job).status) == (Status.FAILED, 3, Status.DONE)


def test_a_change_while_waiting_runs_the_job_with_the_new_order(bridge: BridgeInMemory) -> None:
    job = bridge.order()
    bridge.run()
    changed = an_order(study_instance_uid=STUDY, modality="CR")
    bridge.happen(job, Event.CHANGE, Stage.CONTEXT, changed)
    bridge.film()
    bridge.run_until_quiet()
    assert bridge.destination.versions[job][0].modality == "CR"


def test_a_replay_after_another_prediction_is_a_second_version_of_the_same_report(bridge: BridgeInMemory) -> None:
    bridge.film()
    job = bridge.order()
    bridge.run_until_quiet()
    bridge.predictor.script = {MODEL: replace(ANALYSED, outputs={"pneumonia": 0.02})}
    bridge.happen(job, Event.REPLAY, Stage.CONTEXT)
    bridge.run_until_quiet()
    assert [report.findings[0].probability for report in bridge.destination.versions[job]] == [0.97, 0.02]


@pytest.mark.parametrize("stage", list(Stage))
def test_a_worker_that_dies_after_any_step_leaves_a_job_that_another_finishes(
    bridge: BridgeInMemory, stage: Stage
) -> None:
    bridge.film()
    job = bridge.order()
    while bridge.job(job).stage is not stage:
        if not bridge.worker.run_once("dying"):
            bridge.clock.advance(5)
    assert bridge.queue.claim("dying")  # it takes the job and is never heard of again
    bridge.clock.advance(301)
    bridge.run_until_quiet()
    assert (bridge.job(job).status, len(bridge.destination.versions[job])) == (Status.DONE, 1)


def test_an_order_that_names_no_study_waits_until_its_other_door_names_it(bridge: BridgeInMemory) -> None:
    bridge.film()
    nameless = an_order(accession=None)
    with bridge.store.transaction() as ledger:
        job = ledger.add_order(nameless, "fhir")
    bridge.run()
    waiting = bridge.job(job)
    bridge.happen(job, Event.WAKE, order=replace(nameless, study_instance_uid=STUDY))
    bridge.run_until_quiet()
    assert (waiting.status, waiting.reason) == (Status.WAITING, "study.key-missing")
    assert bridge.job(job).status is Status.DONE


def test_an_order_that_never_names_a_study_is_held_at_the_deadline(bridge: BridgeInMemory, clock: FrozenClock) -> None:
    with bridge.store.transaction() as ledger:
        job = ledger.add_order(an_order(accession=None), "hl7v2")
    bridge.run()
    clock.advance(bridge.kit.patience.deadline_seconds)
    bridge.run()
    assert (bridge.job(job).status, bridge.job(job).reason) == (Status.HELD, "study.key-missing")


def test_a_step_that_lost_its_job_does_not_touch_its_successors_files(bridge: BridgeInMemory) -> None:
    bridge.film()
    job = bridge.order()
    while bridge.job(job).stage is not Stage.DEIDENTIFY:
        if not bridge.worker.run_once("w"):
            bridge.clock.advance(5)
    late = bridge.queue.claim("slow")
    assert late is not None
    bridge.clock.advance(301)
    bridge.worker.run_once("w")  # the successor takes the job over and crosses
    STEPS[Stage.DEIDENTIFY](late, bridge.kit)  # the first worker wakes up and goes on
    bridge.run()
    assert bridge.job(job).status is Status.DONE


def test_an_order_of_another_patient_is_never_linked(bridge: BridgeInMemory) -> None:
    stranger = {"resourceType": "ServiceRequest", "id": "9", "status": "active", "subject": {"reference": "Patient/8"}}
    bridge.record.store(stranger, {"resourceType": "Patient", "id": "8"})
    bridge.film()
    job = bridge.order(service_request="ServiceRequest/9")
    bridge.run_until_quiet()
    linked = [report.service_request for report in bridge.destination.versions.get(job, [])]
    assert (linked, bridge.job(job).reason) in (([], "patient.mismatch"), ([""], ""))


def test_a_report_is_linked_to_the_order_that_came_while_the_job_waited(bridge: BridgeInMemory) -> None:
    job = bridge.order()
    bridge.run()
    request = {"resourceType": "ServiceRequest", "id": "9", "status": "active", "subject": {"reference": "Patient/7"}}
    bridge.record.store(request)
    with bridge.store.transaction() as ledger:
        ledger.update_order(job, an_order(study_instance_uid=STUDY, service_request="ServiceRequest/9"))
    bridge.film()
    bridge.clock.advance(2)
    bridge.run_until_quiet()
    assert bridge.destination.versions[job][0].service_request == "ServiceRequest/9"
