import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_bridge.job import MOVES, STAGES, Event, ForbiddenMove, Stage, Status, after, next_stage

FINAL = {Status.CANCELLED}


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
def test_no_history_leads_out_of_a_final_status(events: list[Event]) -> None:
    status = Status.READY
    for event in events:
        if (status, event) in MOVES:
            assert status not in FINAL
            status = MOVES[status, event]


def test_every_status_but_the_final_ones_can_be_left() -> None:
    assert {status for status, _ in MOVES} == set(Status) - FINAL


def test_the_stages_follow_each_other_and_end() -> None:
    pairs = list(itertools.pairwise(STAGES))
    assert [next_stage(stage) for stage, _ in pairs] == [following for _, following in pairs]
    assert next_stage(Stage.DELIVER) is None
