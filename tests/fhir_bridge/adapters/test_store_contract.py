"""The same tests on the SQL store with its queue and on their in-memory twins."""

import threading
from dataclasses import replace
from datetime import timedelta

import pytest

from fhir_bridge.errors import StaleClaim
from fhir_bridge.job import Event, Stage, Status
from fhir_bridge.ports import Claim, Move, Notification, StepArtifact
from mappings.order import OrderControl, OrderKey, Priority, Standing
from tests.support.builders import an_order
from tests.support.store_house import LEASE, MAX_LOSSES, House


def _record(house: House, claim: Claim) -> None:
    house.queue.record(claim, Move(Event.ADVANCE, Stage.STUDY, artifact=StepArtifact("inputs", "content")))


def test_an_order_becomes_one_ready_job_at_its_first_step(house: House) -> None:
    job = house.store.job(house.take(an_order()))
    assert job is not None
    assert (job.status, job.stage, job.source, job.order) == (Status.READY, Stage.CONTEXT, "hl7v2", an_order())


def test_an_order_is_found_by_any_of_its_keys(house: House) -> None:
    job = house.take(an_order())
    with house.store.transaction() as ledger:
        found = [ledger.orders_by_keys([key])[0].job.id for key in an_order().keys()]  # noqa: SIM118
    assert found == [job, job]


def test_an_order_may_claim_other_keys_than_its_own(house: House) -> None:
    key = OrderKey("conflict-accession", "urn:x|CANARY-1", "CANARY-A1")
    with house.store.transaction() as ledger:
        job = ledger.add_order(an_order(), "hl7v2", held="order.patient-conflict", keys=[key])
        assert ledger.orders_by_keys(an_order().keys()) == ()
        assert [known.job.id for known in ledger.orders_by_keys([key])] == [job]


def test_a_key_stays_with_the_job_that_had_it_first(house: House) -> None:
    first = house.take(an_order())
    house.take(an_order(placer=None))
    with house.store.transaction() as ledger:
        assert [known.job.id for known in ledger.orders_by_keys(an_order().keys())] == [first]


@pytest.mark.parametrize(("owner", "found"), [(0, 1), (1, 0)], ids=["its own", "another job's"])
def test_a_key_is_released_by_the_job_that_has_it(house: House, owner: int, found: int) -> None:
    key = OrderKey("task", "", "Task/1")
    with house.store.transaction() as ledger:
        jobs = [ledger.add_order(an_order(number), "fhir", keys=[key]) for number in ("1", "2")]
        ledger.release_key(jobs[owner], key)
        ledger.update_order(jobs[1], an_order("2", standings=(Standing("Task/1", OrderControl.NEW),)))
        assert [known.job.id for known in ledger.orders_by_keys([key])] == [jobs[found]]


def test_a_failed_transaction_leaves_nothing(house: House) -> None:
    with pytest.raises(RuntimeError), house.store.transaction() as ledger:
        ledger.add_order(an_order(), "hl7v2")
        raise RuntimeError
    assert house.store.jobs() == ()


def test_a_failed_savepoint_leaves_the_rest_of_the_transaction(house: House) -> None:
    with house.store.transaction() as ledger:
        ledger.add_order(an_order("1"), "hl7v2")
        with pytest.raises(RuntimeError), ledger.savepoint():
            ledger.add_order(an_order("2", mrn="CANARY-2"), "hl7v2")
            raise RuntimeError
    assert [job.order for job in house.store.jobs()] == [an_order("1")]


def test_the_same_version_of_a_resource_is_stored_once(house: House) -> None:
    notification = Notification(0, "orders", "PUT", "ServiceRequest", "9", "2", "ready")
    with house.store.transaction() as ledger:
        first, second = (ledger.add_notification(notification, b"{}") for _ in range(2))
    assert (first, second, len(house.store.due_notifications())) == (True, False, 1)


def test_a_notification_put_off_is_due_when_its_time_has_come(house: House) -> None:
    with house.store.transaction() as ledger:
        ledger.add_notification(Notification(0, "orders", "PUT", "ServiceRequest", "9", "2", "ready"), b"{}")
    number = house.store.due_notifications()[0].id
    with house.store.transaction() as ledger:
        ledger.settle_notification(number, "ready", "fhir.unavailable", house.clock.now() + timedelta(seconds=5))
    before = house.store.due_notifications()
    house.clock.advance(5)
    after = house.store.due_notifications()
    assert (before, [(n.id, n.attempts) for n in after]) == ((), [(number, 1)])


def test_a_version_that_could_not_be_used_is_taken_again(house: House) -> None:
    notification = Notification(0, "orders", "PUT", "ServiceRequest", "9", "2", "ready")
    with house.store.transaction() as ledger:
        ledger.add_notification(notification, b"{}")
        ledger.settle_notification(1, "quarantined", "fhir.not-found")
        assert ledger.add_notification(notification, b"{}")


def test_stat_overtakes_and_the_rest_goes_by_age(house: House) -> None:
    first = house.take(an_order("1"))
    second = house.take(an_order("2", mrn="CANARY-2"))
    urgent = house.take(an_order("3", mrn="CANARY-3", priority=Priority.STAT))
    assert [house.claim().job.id for _ in range(3)] == [urgent, first, second]


def test_one_patients_jobs_run_one_after_the_other(house: House) -> None:
    first, second = house.take(an_order("1")), house.take(an_order("2"))
    claim = house.claim()
    meanwhile = house.queue.claim("other")
    house.queue.record(claim, Move(Event.FINISH, Stage.DELIVER))
    assert (claim.job.id, meanwhile, house.claim().job.id) == (first, None, second)


def test_a_waiting_job_is_claimed_when_its_time_has_come(house: House) -> None:
    job = house.take(an_order())
    wake_at = house.clock.now() + timedelta(seconds=10)
    house.queue.record(house.claim(), Move(Event.WAIT, Stage.STUDY, "study.not-there-yet", wake_at, memo="m"))
    early = house.queue.claim("w")
    house.clock.advance(10)
    claim = house.claim()
    assert (early, claim.job.id, claim.job.stage, claim.job.memo) == (None, job, Stage.STUDY, "m")


def test_the_fence_grows_with_every_claim(house: House) -> None:
    house.take(an_order())
    first = house.claim()
    house.queue.record(first, Move(Event.ADVANCE, Stage.STUDY))
    assert house.claim().fence > first.fence


def test_an_expired_lease_is_taken_over_and_the_old_worker_is_refused(house: House) -> None:
    house.take(an_order())
    old = house.claim()
    house.clock.advance(LEASE + 1)
    house.claim()
    with pytest.raises(StaleClaim):
        house.queue.record(old, Move(Event.ADVANCE, Stage.STUDY))


def test_a_renewed_lease_is_not_taken_over(house: House) -> None:
    house.take(an_order())
    claim = house.claim()
    house.clock.advance(LEASE - 1)
    house.queue.renew(claim)
    house.clock.advance(LEASE - 1)
    assert house.queue.claim("other") is None


def test_a_job_that_is_lost_too_often_becomes_a_dead_letter(house: House) -> None:
    job = house.take(an_order())
    for _ in range(MAX_LOSSES + 1):
        house.claim()
        house.clock.advance(LEASE + 1)
    assert (house.queue.claim("w"), house.status(job)) == (None, Status.FAILED)


def test_a_steps_artifact_counts_with_its_move(house: House) -> None:
    job = house.take(an_order())
    before = house.store.latest_artifact(job, Stage.CONTEXT)
    _record(house, house.claim())
    assert (before, house.store.latest_artifact(job, Stage.CONTEXT)) == (None, "content")


def _run_context(house: House, inputs: str, content: str) -> None:
    house.queue.record(house.claim(), Move(Event.ADVANCE, Stage.STUDY, artifact=StepArtifact(inputs, content)))


def test_the_latest_artifact_of_a_step_counts(house: House) -> None:
    job = house.take(an_order())
    for inputs, content in (("a", "1"), ("b", "2"), ("a", "3")):
        house.clock.advance(1)
        house.happen(job, Event.CHANGE, stage=Stage.CONTEXT)
        _run_context(house, inputs, content)
    assert house.store.latest_artifact(job, Stage.CONTEXT) == "3"


def test_a_delivered_result_is_not_begun_again(house: House) -> None:
    house.take(an_order())
    claim = house.claim()
    begun = house.store.begin_delivery(claim, "fhir")
    house.store.end_delivery(claim, replace(begun, status="delivered", reference="DiagnosticReport/1"))
    again = house.store.begin_delivery(claim, "fhir")
    assert (begun.status, again.status, again.reference, again.attempts) == (
        "sending",
        "delivered",
        "DiagnosticReport/1",
        1,
    )


def test_the_timeline_tells_what_happened(house: House) -> None:
    job = house.take(an_order())
    house.queue.record(house.claim(), Move(Event.HOLD, Stage.CONTEXT, "patient.not-found"))
    timeline = [(entry.event, entry.status, entry.reason) for entry in house.store.history(job)]
    assert timeline == [("received", "ready", ""), ("claim", "running", ""), ("hold", "held", "patient.not-found")]


def test_an_updated_order_is_found_by_its_new_keys(house: House) -> None:
    job = house.take(an_order(accession=None))
    with house.store.transaction() as ledger:
        ledger.update_order(job, an_order(control=OrderControl.NEW))
    with house.store.transaction() as ledger:
        found = ledger.orders_by_keys(an_order(placer=None).keys())
    assert [known.job.id for known in found] == [job]


def test_many_threads_claim_every_job_exactly_once(house: House) -> None:
    jobs = {house.take(an_order(str(n), mrn=f"CANARY-{n}")) for n in range(20)}
    claimed: list[str] = []

    def work() -> None:
        while claim := house.queue.claim("w"):
            claimed.append(claim.job.id)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == sorted(jobs)
