import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_bridge.job import MOVES, STAGES, Event, ForbiddenMove, Stage, Status, after, next_stage


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
    ],
)
def test_bad_moves_are_forbidden(status: Status, event: Event) -> None:
    with pytest.raises(ForbiddenMove):
        after(status, event)


@given(st.lists(st.sampled_from(list(Event))))
def test_only_a_replay_brings_an_ended_job_back(events: list[Event]) -> None:
    status = Status.READY
    for event in events:
        ended = status in (Status.DONE, Status.CANCELLED)
        if (status, event) in MOVES:
            status = MOVES[status, event]
            assert not ended or event in (Event.REPLAY, Event.CANCEL)


def test_every_status_can_be_left() -> None:
    assert {status for (status, _), following in MOVES.items() if status is not following} == set(Status)


def test_the_stages_follow_each_other_and_end() -> None:
    pairs = list(itertools.pairwise(STAGES))
    assert [next_stage(stage) for stage, _ in pairs] == [following for _, following in pairs]
    assert next_stage(Stage.DELIVER) is None
