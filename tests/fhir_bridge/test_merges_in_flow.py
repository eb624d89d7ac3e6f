"""A merge at every boundary of the flow: whatever happens when, the result is the surviving patient's (facts item 32, A40)."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fhir_bridge.adapters.in_memory.delivery import InMemoryDelivery
from fhir_bridge.adapters.in_memory.queue import InMemoryQueue
from fhir_bridge.errors import Refused, Uncertain
from fhir_bridge.job import STAGES, Event, Stage, Status
from fhir_bridge.order_intake import accept_order
from fhir_bridge.ports import Claim, Receipt
from mappings.finding import Report
from mappings.order import OrderControl
from tests.support.adt_messages import adt, cx, merge, mrg, pid, take_adt
from tests.support.bridge_in_memory import PATIENT, BridgeInMemory
from tests.support.builders import MRN_SYSTEM, an_order
from tests.support.films import STUDY
from tests.support.frozen_clock import FrozenClock

A40 = merge("CANARY-2", "CANARY-1")
LINKED = {"active": False, "link": [{"type": "replaced-by", "other": {"reference": "Patient/8"}}]}


def survivor(**changes: object) -> dict[str, object]:
    number = {"system": MRN_SYSTEM, "value": "CANARY-2"}
    return PATIENT | {"id": "8", "identifier": [number]} | changes


@pytest.fixture
def bridge(tmp_path: Path, clock: FrozenClock) -> Iterator[BridgeInMemory]:
    """Patient/7 is CANARY-1, Patient/8 CANARY-2; the film was taken of CANARY-1."""
    bridge = BridgeInMemory(tmp_path, clock)
    bridge.record.store(survivor())
    bridge.film()
    yield bridge
    bridge.vault.close()


def step_until(bridge: BridgeInMemory, job: str, stage: Stage) -> None:
    while bridge.job(job).stage is not stage or bridge.job(job).status is Status.RUNNING:
        if not bridge.worker.run_once("w"):
            bridge.clock.advance(5)


def finish(bridge: BridgeInMemory) -> None:
    for _ in range(3):
        bridge.clock.advance(60)
        bridge.run()


def last(bridge: BridgeInMemory, job: str) -> tuple[str, list[str]]:
    """Whose the delivered report is: the resource, and the number in it."""
    report = bridge.destination.versions[job][-1]
    return report.patient, [number.value for number in report.patient_identity.identifiers]


# item 32: A40 between any two steps
@pytest.mark.parametrize("stage", STAGES)
def test_a_merge_before_any_step_sends_the_result_to_the_survivor_alone(bridge: BridgeInMemory, stage: Stage) -> None:
    job = bridge.order()
    step_until(bridge, job, stage)
    take_adt(bridge.store, A40)
    finish(bridge)
    assert (bridge.job(job).status, last(bridge, job)) == (Status.DONE, ("Patient/8", ["CANARY-2"]))
    assert len(bridge.destination.versions[job]) == 1


# item 32, order control XO: what a person is to look at goes out by no merge
def test_a_merge_sends_no_result_of_another_study_than_the_changed_order_names(bridge: BridgeInMemory) -> None:
    job = bridge.order()
    finish(bridge)
    with bridge.store.transaction() as ledger:
        accept_order(ledger, an_order(control=OrderControl.CHANGE, study_instance_uid="2.25.9"), "hl7v2")
    take_adt(bridge.store, A40)
    finish(bridge)
    assert (bridge.job(job).status, bridge.job(job).reason) == (Status.HELD, "identity.mismatch")
    assert len(bridge.destination.versions[job]) == 1


class Overtaken(InMemoryQueue):
    """Something happens as soon as a worker has claimed the job at a stage, once."""

    def __init__(self, bridge: BridgeInMemory, stage: Stage, happening: Callable[[], object]) -> None:
        super().__init__(bridge.store, bridge.clock)
        self.stage, self.happening, self.happened = stage, happening, False

    def claim(self, worker: str) -> Claim | None:
        claim = super().claim(worker)
        if claim and claim.job.stage is self.stage and not self.happened:
            self.happened = True
            self.happening()
        return claim


# item 32: A40 while any step runs
@pytest.mark.parametrize("stage", STAGES)
def test_a_merge_while_a_step_runs_takes_its_result_away(bridge: BridgeInMemory, stage: Stage) -> None:
    bridge.queue = Overtaken(bridge, stage, lambda: take_adt(bridge.store, A40))
    bridge.worker = bridge.a_worker()
    job = bridge.order()
    bridge.run_until_quiet()
    finish(bridge)
    assert (bridge.job(job).status, last(bridge, job)) == (Status.DONE, ("Patient/8", ["CANARY-2"]))
    assert len(bridge.destination.versions[job]) == 1


class Interrupted(InMemoryDelivery):
    """A destination during whose first delivery something happens: before it takes the report, or after."""

    def __init__(self, happening: Callable[[], object], *, before: bool) -> None:
        super().__init__()
        self.happening, self.before, self.calls = happening, before, 0

    def deliver(self, report: Report) -> Receipt:
        self.calls += 1
        if self.calls == 1 and self.before:
            self.happening()
        receipt = super().deliver(report)
        if self.calls == 1 and not self.before:
            self.happening()
        return receipt


# item 32: A40 while the report is `sending`
@pytest.mark.parametrize("before", [True, False])
def test_a_merge_while_the_report_is_on_its_way_is_followed_by_a_corrected_one(
    bridge: BridgeInMemory, before: bool
) -> None:
    bridge.destination = Interrupted(lambda: take_adt(bridge.store, A40), before=before)
    second = InMemoryDelivery("second")
    bridge.with_deliveries(bridge.destination, second)
    job = bridge.order()
    bridge.run_until_quiet()
    finish(bridge)
    assert (bridge.job(job).status, last(bridge, job)) == (Status.DONE, ("Patient/8", ["CANARY-2"]))
    assert [report.patient for report in second.versions[job]] == ["Patient/8"]  # the merge came before it was asked


# item 32: A40, and the old worker's request arrives only after the new one's
def test_a_report_that_was_overtaken_by_the_survivors_does_not_come_back(bridge: BridgeInMemory) -> None:
    def overtake() -> None:
        take_adt(bridge.store, A40)
        bridge.clock.advance(1)
        finish(bridge)

    bridge.destination = Interrupted(overtake, before=True)
    bridge.with_deliveries(bridge.destination)
    job = bridge.order()
    bridge.run_until_quiet()
    finish(bridge)
    assert [report.patient for report in bridge.destination.versions[job]] == ["Patient/8"]


# item 32: A40 after an uncertain delivery
def test_a_merge_after_an_uncertain_delivery_sends_to_the_survivor(bridge: BridgeInMemory) -> None:
    bridge.destination.outage = Uncertain("test.uncertain", "peer", "timed out")
    job = bridge.order()
    bridge.run_until_quiet()
    take_adt(bridge.store, A40)
    bridge.destination.outage = None
    finish(bridge)
    assert last(bridge, job) == ("Patient/8", ["CANARY-2"])


# item 32: A40 after the result went out
def test_a_delivered_report_goes_out_anew_to_the_survivor_without_a_new_analysis(bridge: BridgeInMemory) -> None:
    job = bridge.order()
    bridge.run_until_quiet()
    first = bridge.destination.versions[job][-1]
    take_adt(bridge.store, A40)
    finish(bridge)
    again = bridge.destination.versions[job][-1]
    assert (first.patient, again.patient, bridge.job(job).status) == ("Patient/7", "Patient/8", Status.DONE)
    assert (again.findings, len(bridge.predictor.analysed)) == (first.findings, 1)


# item 32: A40 after a person signed the result
def test_a_signed_report_stays_as_it_is(bridge: BridgeInMemory) -> None:
    job = bridge.order()
    bridge.run_until_quiet()
    take_adt(bridge.store, A40)
    bridge.destination.outage = Refused("fhir.report-signed", "DiagnosticReport.status", "signed")
    finish(bridge)
    (delivery,) = bridge.store.deliveries(job)
    assert (bridge.job(job).status, delivery.status, delivery.reason) == (
        Status.DONE,
        "delivered",
        "fhir.report-signed",
    )
    assert last(bridge, job)[0] == "Patient/7"


# item 32: A43 after a person signed the result on the server: it stands with somebody whose images these never were
def test_a_signed_report_of_the_wrong_patient_is_for_a_person_to_see(bridge: BridgeInMemory) -> None:
    job = bridge.order()
    bridge.run_until_quiet()
    bridge.record.store(PATIENT | {"identifier": []}, survivor(identifier=PATIENT["identifier"]))
    take_adt(bridge.store, adt("A43", pid(cx("CANARY-1")), mrg(cx("CANARY-1"))))
    bridge.destination.outage = Refused("fhir.report-signed", "DiagnosticReport.status", "signed")
    finish(bridge)
    (delivery,) = bridge.store.deliveries(job)
    assert (bridge.job(job).status, bridge.job(job).reason) == (Status.HELD, "fhir.report-signed")
    assert (delivery.status, bridge.happen(job, Event.CANCEL)) == ("refused", False)


# item 32: the survivor must be the person of the images
@pytest.mark.parametrize("delivered", [False, True])
@pytest.mark.parametrize("described", [{"birth": "20210101"}, {"sex": "M"}])
def test_a_survivor_whom_the_images_do_not_fit_gets_no_result(
    bridge: BridgeInMemory, delivered: bool, described: dict[str, str]
) -> None:
    job = bridge.order()
    if delivered:
        bridge.run_until_quiet()
    birth, sex = described.get("birth", "20220304"), described.get("sex", "F")
    bridge.record.store(
        survivor(birthDate=f"{birth[:4]}-{birth[4:6]}-{birth[6:]}", gender={"F": "female", "M": "male"}[sex])
    )
    take_adt(bridge.store, merge("CANARY-2", "CANARY-1", **described))
    finish(bridge)
    assert (bridge.job(job).status, bridge.job(job).reason) == (Status.HELD, "identity.mismatch")
    assert "Patient/8" not in [report.patient for report in bridge.destination.versions.get(job, [])]


# item 32: images under a number that no merge proves
def test_images_of_a_third_number_are_not_the_survivors(bridge: BridgeInMemory) -> None:
    bridge.film(PatientID="CANARY-3", StudyInstanceUID="2.25.3", SeriesInstanceUID="2.25.4")
    with bridge.store.transaction() as ledger:
        job = ledger.add_order(an_order(study_instance_uid="2.25.3"), "hl7v2")
    take_adt(bridge.store, A40)
    bridge.run_until_quiet()
    finish(bridge)
    assert (bridge.job(job).reason, bridge.destination.versions) == ("identity.mismatch", {})


# item 32: what the FHIR server knows of the merge when we ask it
@pytest.mark.parametrize(
    ("patients", "expected"),
    [
        ([PATIENT, survivor()], "Patient/8"),  # nothing: two patients
        ([PATIENT | LINKED, survivor()], "Patient/8"),
        ([survivor()], "Patient/8"),  # the old resource is gone
        ([PATIENT | {"identifier": [*PATIENT["identifier"], {"system": MRN_SYSTEM, "value": "CANARY-2"}]}], "Patient/7"),
        ([PATIENT], "Patient/7"),  # the survivor has not come there yet
        ([PATIENT | {"active": False}, survivor(identifier=[{"system": MRN_SYSTEM, "value": v} for v in ("CANARY-1", "CANARY-2")])], "Patient/8"),
    ],
    ids=["unmerged", "linked", "only-the-survivor", "renumbered", "only-the-old", "inactive"],
)  # fmt: skip
def test_the_result_goes_to_the_patient_in_use(
    bridge: BridgeInMemory, patients: list[dict[str, object]], expected: str
) -> None:
    for reference in ("Patient/7", "Patient/8"):
        bridge.record.remove(reference)
    bridge.record.store(*patients)
    job = bridge.order()
    take_adt(bridge.store, A40)
    bridge.run_until_quiet()
    finish(bridge)
    assert (bridge.job(job).status, last(bridge, job)[0]) == (Status.DONE, expected)


# item 32: the server merges, and no ADT tells us
@pytest.mark.parametrize("stage", [Stage.STUDY, Stage.ANALYSE, Stage.REPORT])
def test_a_merge_on_the_server_alone_is_found_out_before_the_report(bridge: BridgeInMemory, stage: Stage) -> None:
    job = bridge.order()
    step_until(bridge, job, stage)
    bridge.record.store(PATIENT | LINKED)
    finish(bridge)
    assert (bridge.job(job).status, last(bridge, job)[0]) == (Status.DONE, "Patient/8")


# item 32: the order's ServiceRequest and the study's resource still name the old patient
@pytest.mark.parametrize("kind", ["ServiceRequest", "ImagingStudy"])
def test_what_the_server_still_keeps_under_the_old_patient_is_the_survivors(bridge: BridgeInMemory, kind: str) -> None:
    uid = {"system": "urn:dicom:uid", "value": f"urn:oid:{STUDY}"}
    bridge.record.store(
        {
            "resourceType": kind,
            "id": "9",
            "status": "active",
            "subject": {"reference": "Patient/7"},
            "identifier": [uid],
        }
    )
    job = bridge.order(service_request="ServiceRequest/9" if kind == "ServiceRequest" else "")
    take_adt(bridge.store, A40)
    bridge.run_until_quiet()
    finish(bridge)
    report = bridge.destination.versions[job][-1]
    assert f"{kind}/9" in (report.service_request, report.imaging_study)


# item 32: A43 between any two steps; the server moves the number to another resource, or rewrites the one it has
@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize("stage", STAGES)
def test_a_number_that_is_another_persons_now_gets_no_result_of_the_images(
    bridge: BridgeInMemory, stage: Stage, in_place: bool
) -> None:
    job = bridge.order()
    step_until(bridge, job, stage)
    if in_place:
        bridge.record.store(PATIENT | {"birthDate": "2010-01-01"})
    else:
        other = survivor(identifier=PATIENT["identifier"], birthDate="2010-01-01")
        bridge.record.store(PATIENT | {"identifier": []}, other)
    take_adt(bridge.store, adt("A43", pid(cx("CANARY-1"), birth="20100101"), mrg(cx("CANARY-1"))))
    finish(bridge)
    assert (bridge.job(job).reason, bridge.destination.versions) == ("identity.mismatch", {})


# item 32: a job that was cancelled before the merge is replayed after it, from where it stood
@pytest.mark.parametrize("stage", STAGES)
def test_a_cancelled_job_that_is_replayed_after_a_merge_is_the_survivors(bridge: BridgeInMemory, stage: Stage) -> None:
    job = bridge.order()
    step_until(bridge, job, stage)
    bridge.happen(job, Event.CANCEL)
    take_adt(bridge.store, A40)
    bridge.happen(job, Event.REPLAY)
    finish(bridge)
    assert (bridge.job(job).status, last(bridge, job)[0]) == (Status.DONE, "Patient/8")


# item 32: A08 of a job that was held because the birth date did not agree
def test_a_corrected_birth_date_lets_a_held_job_go_on(bridge: BridgeInMemory) -> None:
    bridge.record.store(PATIENT | {"birthDate": "2020-01-01"})
    job = bridge.order()
    bridge.run_until_quiet()
    held = bridge.job(job).reason
    bridge.record.store(PATIENT)
    take_adt(bridge.store, adt("A08", pid(cx("CANARY-1"), cx("CANARY-X", "CLINIC"))))
    finish(bridge)
    assert (held, bridge.job(job).status) == ("patient.mismatch", Status.DONE)


# item 32: A08 between any two steps; a report that is made stays as it is
@pytest.mark.parametrize("stage", STAGES)
def test_an_update_that_the_images_do_not_fit_holds_what_is_not_reported(bridge: BridgeInMemory, stage: Stage) -> None:
    job = bridge.order()
    step_until(bridge, job, stage)
    bridge.record.store(PATIENT | {"birthDate": "2010-01-01"})
    take_adt(bridge.store, adt("A08", pid(cx("CANARY-1"), birth="20100101")))
    finish(bridge)
    expected = "" if stage is Stage.DELIVER else "identity.mismatch"
    assert bridge.job(job).reason == expected
