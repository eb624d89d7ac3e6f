import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_bridge.job import MOVES, STAGES, Event, ForbiddenMove, Stage, Status, after, from_outside, next_stage


@pytest.mark.parametrize(
    ("status", "event", "expected"),
    [
        (Status.READY, Event.CLAIM, Status.RUNNING),
        (Status.RUNNING, Event.ADVANCE, Status.READY),
        (Status.RUNNING, Event.LOSE, Status.READY),
        (Status.RUNNING, Event.CANCEL, Status.CANCELLED),
        (Status.WAITING, Event.CANCEL, Status.CANCELLED),
        (Status.HELD, Event.REPLAY, Status.READY),
        (Status.FAILED, Event.REPLAY, Status.READY),
        (Status.CANCELLED, Event.REPLAY, Status.READY),  # ordered anew
        (Status.READY, Event.SUSPEND, Status.ON_HOLD),
        (Status.RUNNING, Event.SUSPEND, Status.ON_HOLD),
        (Status.WAITING, Event.SUSPEND, Status.ON_HOLD),
        (Status.ON_HOLD, Event.RESUME, Status.READY),
        (Status.ON_HOLD, Event.CHANGE, Status.ON_HOLD),
        (Status.ON_HOLD, Event.CANCEL, Status.CANCELLED),
    ],
)
def test_good_moves(status: Status, event: Event, expected: Status) -> None:
    assert after(status, event) is expected


@pytest.mark.parametrize(
    ("status", "event"),
    [
        (Status.WAITING, Event.CLAIM),  # a waiting job holds no worker
        (Status.DONE, Event.CANCEL),  # what is delivered is delivered
        (Status.DONE, Event.CHANGE),
        (Status.CANCELLED, Event.CLAIM),
        (Status.CANCELLED, Event.CHANGE),
        (Status.HELD, Event.CLAIM),  # a person must act first
        (Status.READY, Event.ADVANCE),  # only a claimed job advances
        (Status.ON_HOLD, Event.CLAIM),
        (Status.ON_HOLD, Event.WAKE),  # images do not release a hold
        (Status.DONE, Event.SUSPEND),
        (Status.HELD, Event.RESUME),  # the sender's release does not do what a person must do
    ],
)
def test_bad_moves_are_forbidden(status: Status, event: Event) -> None:
    with pytest.raises(ForbiddenMove):
        after(status, event)


@given(st.lists(st.sampled_from(list(Event))))
def test_only_a_person_or_the_patient_brings_an_ended_job_back(events: list[Event]) -> None:
    status = Status.READY
    for event in events:
        ended = status in (Status.DONE, Status.CANCELLED)
        if (status, event) in MOVES:
            status = MOVES[status, event]
            assert not ended or event in (Event.REPLAY, Event.CANCEL, Event.PATIENT, Event.SIGN, Event.RETRACT)


@pytest.mark.parametrize("status", [Status.HELD, Status.FAILED])
def test_a_hold_of_what_a_person_must_look_at_counts_from_the_replay_on(status: Status) -> None:
    stays, wish = from_outside(status, Event.SUSPEND, "", out=False)
    assert (stays, from_outside(status, Event.REPLAY, wish, out=False)) == (None, (Status.ON_HOLD, ""))


@pytest.mark.parametrize("status", [Status.HELD, Status.FAILED])
def test_a_release_takes_back_the_hold_of_what_a_person_must_look_at(status: Status) -> None:
    assert from_outside(status, Event.RESUME, Event.SUSPEND, out=False) == (None, "")


@pytest.mark.parametrize("event", [Event.SUSPEND, Event.WAKE])
def test_a_wish_to_cancel_outlives_a_hold(event: Event) -> None:
    assert from_outside(Status.WAITING, event, Event.CANCEL, out=True)[1] == Event.CANCEL


@pytest.mark.parametrize("status", [s for s in Status if s is not Status.CANCELLED])
def test_what_is_out_can_be_taken_back_whatever_the_job_does(status: Status) -> None:
    assert from_outside(status, Event.RETRACT, Event.SUSPEND, out=True) == (Status.READY, Event.RETRACT)


@pytest.mark.parametrize("event", [Event.PATIENT, Event.CHANGE, Event.CANCEL, Event.SUSPEND, Event.HOLD, Event.SIGN])
def test_what_was_taken_back_stays_so_whatever_a_sender_says(event: Event) -> None:
    assert from_outside(Status.DONE, event, Event.RETRACT, out=True) == (None, Event.RETRACT)


@pytest.mark.parametrize(("stage", "wish"), [(Stage.DELIVER, Event.RETRACT), (Stage.REPORT, "")])
def test_a_replay_of_more_than_the_delivery_ends_a_retraction(stage: Stage, wish: str) -> None:
    assert from_outside(Status.HELD, Event.REPLAY, Event.RETRACT, out=True, stage=stage) == (Status.READY, wish)


@pytest.mark.parametrize("status", [s for s in Status if s not in (Status.DONE, Status.HELD)])
def test_a_job_under_way_has_nothing_to_sign(status: Status) -> None:
    assert from_outside(status, Event.SIGN, "", out=True)[0] is None


def test_every_status_can_be_left() -> None:
    assert {status for (status, _), following in MOVES.items() if status is not following} == set(Status)


def test_the_stages_follow_each_other_and_end() -> None:
    pairs = list(itertools.pairwise(STAGES))
    assert [next_stage(stage) for stage, _ in pairs] == [following for _, following in pairs]
    assert next_stage(Stage.DELIVER) is None
