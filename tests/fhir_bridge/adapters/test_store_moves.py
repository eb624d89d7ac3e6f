"""What happens to a job from outside, and what its worker may still write: the same on the SQL store and on its twin."""

from dataclasses import replace

import pytest

from fhir_bridge.errors import StaleClaim
from fhir_bridge.job import Event, Stage, Status
from fhir_bridge.ports import Claim, Move, StepArtifact
from tests.support.builders import an_order
from tests.support.store_house import House


def _record(house: House, claim: Claim) -> None:
    house.queue.record(claim, Move(Event.ADVANCE, Stage.STUDY, artifact=StepArtifact("inputs", "content")))


def _begin_delivery(house: House, claim: Claim) -> None:
    house.store.begin_delivery(claim, "fhir")


def _renew(house: House, claim: Claim) -> None:
    house.queue.renew(claim)


@pytest.mark.parametrize("write", [_record, _begin_delivery, _renew])
def test_every_write_of_a_worker_whose_job_was_cancelled_is_refused(house: House, write) -> None:  # type: ignore[no-untyped-def]
    job = house.take(an_order())
    claim = house.claim()
    house.happen(job, Event.CANCEL)
    with pytest.raises(StaleClaim):
        write(house, claim)


def test_a_cancel_reaches_a_running_job(house: House) -> None:
    job = house.take(an_order())
    house.claim()
    assert (house.happen(job, Event.CANCEL, "order.cancelled"), house.status(job)) == (True, Status.CANCELLED)


def test_a_cancel_comes_too_late_once_a_result_is_on_its_way(house: House) -> None:
    job = house.take(an_order())
    house.store.begin_delivery(house.claim(), "fhir")
    assert (house.happen(job, Event.CANCEL), house.status(job)) == (False, Status.RUNNING)


@pytest.mark.parametrize("status", ["refused", "skipped", "pending"])
def test_a_cancel_comes_too_late_where_an_edition_stands_that_a_later_one_did_not_take_the_place_of(
    house: House, status: str
) -> None:
    job = house.take(an_order())
    claim = house.claim()
    delivery = house.store.begin_delivery(claim, "fhir", "first")
    house.store.end_delivery(claim, replace(delivery, status=status))
    house.queue.record(claim, Move(Event.HOLD, Stage.DELIVER))
    assert (house.happen(job, Event.CANCEL), house.status(job)) == (False, Status.HELD)


@pytest.mark.parametrize(
    ("event", "status", "after"),
    [
        (Event.WAIT, "pending", Status.CANCELLED),  # it did not get out after all
        (Event.HOLD, "pending", Status.CANCELLED),
        (Event.WAIT, "sending", Status.WAITING),  # nobody knows: it is looked for first
        (Event.FINISH, "delivered", Status.DONE),
    ],
)
def test_a_cancel_that_came_too_late_is_kept_as_a_wish(house: House, event: Event, status: str, after: Status) -> None:
    job = house.take(an_order())
    claim = house.claim()
    delivery = house.store.begin_delivery(claim, "fhir")
    house.happen(job, Event.CANCEL)
    house.store.end_delivery(claim, replace(delivery, status=status))
    house.queue.record(claim, Move(event, Stage.DELIVER, wake_at=house.clock.now()))
    assert house.status(job) is after


def test_a_change_does_not_forget_that_a_result_may_be_out(house: House) -> None:
    job = house.take(an_order())
    house.store.begin_delivery(house.claim(), "fhir")
    house.happen(job, Event.CHANGE, stage=Stage.CONTEXT)
    assert house.happen(job, Event.CANCEL) is False


def test_a_job_on_hold_is_not_claimed_until_it_is_released(house: House) -> None:
    job = house.take(an_order())
    house.happen(job, Event.SUSPEND, "order.on-hold")
    on_hold = house.status(job), house.queue.claim("w")
    house.happen(job, Event.RESUME, "order.released")
    assert (on_hold, house.claim().job.id) == ((Status.ON_HOLD, None), job)


def test_a_hold_takes_the_job_from_its_worker(house: House) -> None:
    job = house.take(an_order())
    claim = house.claim()
    house.happen(job, Event.SUSPEND)
    with pytest.raises(StaleClaim):
        _begin_delivery(house, claim)


@pytest.mark.parametrize("end", [Event.HOLD, Event.EXHAUST])
def test_a_hold_of_what_a_person_must_look_at_counts_with_the_replay(house: House, end: Event) -> None:
    job = house.take(an_order())
    house.queue.record(house.claim(), Move(end, Stage.CONTEXT, "patient.not-found"))
    held = house.happen(job, Event.SUSPEND), house.status(job)
    house.happen(job, Event.REPLAY)
    assert (held[0], held[1] in (Status.HELD, Status.FAILED), house.status(job)) == (False, True, Status.ON_HOLD)


def test_a_wish_to_cancel_outlives_a_hold(house: House) -> None:
    job = house.take(an_order())
    begun = house.store.begin_delivery(house.claim(), "fhir")
    for event in (Event.CANCEL, Event.SUSPEND, Event.RESUME):
        house.happen(job, event)
    claim = house.claim()
    house.store.end_delivery(claim, replace(begun, status="pending"))
    house.queue.record(claim, Move(Event.WAIT, Stage.DELIVER, wake_at=house.clock.now()))
    assert house.status(job) is Status.CANCELLED


def test_a_cancelled_job_can_be_ordered_anew(house: House) -> None:
    job = house.take(an_order())
    house.happen(job, Event.CANCEL)
    assert (house.happen(job, Event.REPLAY, stage=Stage.CONTEXT), house.claim().job.id) == (True, job)


def test_a_move_the_table_does_not_have_changes_nothing(house: House) -> None:
    job = house.take(an_order())
    assert (house.happen(job, Event.REPLAY), house.status(job)) == (False, Status.READY)


def test_the_artifact_of_a_stale_worker_does_not_count(house: House) -> None:
    job = house.take(an_order())
    claim = house.claim()
    house.happen(job, Event.CANCEL)
    with pytest.raises(StaleClaim):
        _record(house, claim)
    assert house.store.latest_artifact(job, Stage.CONTEXT) is None


def test_a_change_starts_the_job_anew_and_forgets_what_was_computed(house: House) -> None:
    job = house.take(an_order())
    _record(house, house.claim())
    house.happen(job, Event.CHANGE, "order.changed", Stage.CONTEXT)
    known = house.store.job(job)
    assert known is not None
    assert (known.status, known.stage, house.store.latest_artifact(job, Stage.CONTEXT)) == (
        Status.READY,
        Stage.CONTEXT,
        None,
    )


def test_a_replay_delivers_again(house: House) -> None:
    job = house.take(an_order())
    claim = house.claim()
    begun = house.store.begin_delivery(claim, "fhir")
    house.store.end_delivery(claim, replace(begun, status="delivered"))
    house.queue.record(claim, Move(Event.FINISH, Stage.DELIVER))
    house.happen(job, Event.REPLAY, stage=Stage.CONTEXT)
    assert [delivery.status for delivery in house.store.deliveries(job)] == ["stale"]
    assert house.store.begin_delivery(house.claim(), "fhir").status == "sending"


def test_a_step_gets_another_artifact_only_in_place_of_the_one_that_was_seen(house: House) -> None:
    job = house.take(an_order())
    claim = house.claim()
    house.queue.record(claim, Move(Event.ADVANCE, Stage.STUDY, artifact=StepArtifact("inputs", "first")))
    with house.store.transaction() as ledger:
        done = [
            ledger.replace_artifact(job, Stage.CONTEXT, "second", instead_of=seen)
            for seen in ("other", "first", "first")
        ]
    assert (done, house.store.latest_artifact(job, Stage.CONTEXT)) == ([False, True, False], "second")


def test_a_step_without_an_artifact_gets_one(house: House) -> None:
    job = house.take(an_order())
    with house.store.transaction() as ledger:
        done = ledger.replace_artifact(job, Stage.REPORT, "made", instead_of="")
    assert (done, house.store.latest_artifact(job, Stage.REPORT)) == (True, "made")


def test_a_delivery_remembers_every_report_that_may_be_there(house: House) -> None:
    job = house.take(an_order())
    claim = house.claim()
    for content in ("one", "two", "one"):
        begun = house.store.begin_delivery(claim, "fhir", content)
    house.store.end_delivery(claim, replace(begun, status="delivered", contents=("one",)))
    (kept,) = house.store.deliveries(job)
    assert (begun.contents, kept.contents) == (("two", "one"), ("one",))


@pytest.mark.parametrize("event", [Event.SIGN, Event.RETRACT])
def test_a_decision_sends_what_is_out_anew_and_keeps_the_report(house: House, event: Event) -> None:
    job = house.take(an_order())
    claim = house.claim()
    begun = house.store.begin_delivery(claim, "fhir", "report")
    house.store.end_delivery(claim, replace(begun, status="delivered"))
    house.queue.record(claim, Move(Event.FINISH, Stage.DELIVER))
    with house.store.transaction() as ledger:
        ledger.replace_artifact(job, Stage.REPORT, "signed", instead_of="")
    assert house.happen(job, event, "report.final", Stage.DELIVER)
    (kept,) = house.store.deliveries(job)
    assert (house.status(job), kept.status, house.store.latest_artifact(job, Stage.REPORT)) == (
        Status.READY, "stale", "signed",
    )  # fmt: skip


def test_a_retraction_outlives_what_senders_say(house: House) -> None:
    job = house.take(an_order())
    claim = house.claim()
    house.store.begin_delivery(claim, "fhir", "report")
    house.happen(job, Event.RETRACT, "", Stage.DELIVER)
    assert [house.happen(job, event) for event in (Event.PATIENT, Event.CHANGE, Event.CANCEL)] == [False] * 3
    assert house.status(job) is Status.READY


def test_a_job_can_be_looked_at_inside_a_transaction(house: House) -> None:
    """Before anything is written, it is as nobody else can change it until the end: by that a signature is of what was seen."""
    job = house.take(an_order())
    with house.store.transaction() as ledger:
        seen = house.store.job(job)
        ledger.happen(job, Event.HOLD)
    now = house.store.job(job)
    assert seen is not None
    assert now is not None
    assert now.fence == seen.fence + 1
