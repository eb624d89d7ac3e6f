"""Event numbers of topic-based Subscriptions: gaps, late ones, repetitions, and servers that begin anew."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_bridge.feed import Feed, asked, counted

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
BEFORE = NOW - timedelta(hours=1)

# last number, numbers of the notification, the server's count -> last number, gaps, resets, is it asked for
COUNTS = {
    "the next": (4, (5,), 5, 5, 0, 0, False),
    "the first of all": (0, (1,), 1, 1, 0, 0, False),
    "the next three in one": (4, (5, 6, 7), 7, 7, 0, 0, False),
    "one is missing": (4, (6,), 6, 6, 1, 0, True),
    "several are missing": (4, (9,), 9, 9, 4, 0, True),
    "one is missing inside of one": (4, (5, 7), 7, 7, 1, 0, True),
    "a repetition": (4, (4,), 4, 4, 0, 0, False),
    "a repetition with the count of now": (9, (4,), 9, 9, 0, 0, False),
    "a late one, counted when it was made": (9, (6,), 6, 9, 0, 0, False),
    "a repetition and the next": (4, (4, 5), 5, 5, 0, 0, False),
    "the server counts from 1": (9, (1,), 1, 1, 0, 1, True),
    "the server counts anew, and the first were lost": (500, (3,), 3, 3, 0, 1, True),
    "a heartbeat that knows no more than we": (4, (), 4, 4, 0, 0, False),
    "a heartbeat that knows more": (4, (), 6, 6, 2, 0, True),
    "a handshake of a new Subscription": (4, (), 0, 0, 0, 1, True),
    "events sent again on request": (9, (3, 4), 9, 9, 0, 0, False),
    "a server that numbers nothing": (4, (), None, 4, 0, 0, False),
    "a server that does not say its count": (4, (6,), None, 6, 1, 0, True),
    "the number zero": (4, (0,), None, 4, 0, 0, False),
}


@pytest.mark.parametrize(
    ("last", "numbers", "events", "after", "gaps", "resets", "is_asked"), COUNTS.values(), ids=COUNTS.keys()
)
def test_event_numbers(
    last: int, numbers: Sequence[int], events: int | None, after: int, gaps: int, resets: int, is_asked: bool
) -> None:
    found = counted(Feed("orders", heard=BEFORE, event_number=last), numbers, events, NOW)
    assert (found.event_number, found.gaps, found.resets, found.asked_for) == (
        after,
        gaps,
        resets,
        NOW if is_asked else None,
    )


def test_a_count_that_began_before_our_time_is_asked_for_and_nobodys_loss() -> None:
    found = counted(Feed("orders"), (500,), 500, NOW)
    assert (found.event_number, found.gaps, found.asked_for) == (500, 0, NOW)


def test_the_order_in_which_hapi_delivered_ten_quick_versions_is_no_loss_but_for_the_first() -> None:
    """2 3 4 5 8 7 9 6 10, as recorded; the two that were overtaken count once as missing, and are asked for."""
    feed = Feed("orders", heard=BEFORE, event_number=1)
    for number in (2, 3, 4, 5, 8, 7, 9, 6, 10):
        feed = counted(feed, (number,), number, NOW)
    assert (feed.event_number, feed.gaps, feed.resets) == (10, 2, 0)


def test_asking_again_is_remembered_by_its_last_time() -> None:
    assert asked(Feed("orders", asked_for=BEFORE), NOW).asked_for == NOW


@given(st.lists(st.integers(1, 60), min_size=1), st.integers(0, 40))
def test_nothing_is_missing_without_being_asked_for(numbers: list[int], last: int) -> None:
    feed = Feed("orders", heard=BEFORE, event_number=last)
    for number in numbers:
        after = counted(feed, (number,), number, NOW)
        assert (after.asked_for == NOW) == (after.gaps + after.resets > feed.gaps + feed.resets)
        feed = Feed("orders", heard=BEFORE, event_number=after.event_number)
