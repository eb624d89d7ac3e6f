"""Walks that do not go smoothly: forgotten searches, servers that do not sort, errors amid the pages, restarts of ours."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from fhir_bridge.catch_up import RESTARTS
from fhir_bridge.changes import Change, ChangePage
from fhir_bridge.errors import Refused, Unavailable
from tests.support.asking import KIND, PACE, Asking, page
from tests.support.frozen_clock import FrozenClock

EXPIRED = Unavailable("fhir.page-expired", "GET ServiceRequest", "the server forgot the search between two pages")
AWAY = Unavailable("fhir.unavailable", "GET ServiceRequest", "status 503")
OVERLAP = PACE.overlap


@pytest.fixture
def asking(clock: FrozenClock) -> Asking:
    """After the very first walk, a good while ago."""
    asking = Asking(clock)
    asking.catch_up.turn()
    asking.pass_time(100_000)
    return asking


def ids(asking: Asking) -> list[str]:
    return [identity for _, identity, _ in asking.found()]


def test_a_search_that_the_server_forgot_goes_on_from_the_page_before(asking: Asking) -> None:
    at = asking.theirs.now()
    server = asking.script(
        [page(at, 9000, 8000), page(at, 7000, 6000), EXPIRED],
        [page(at, 7000, 6000), page(at, 5000)],
    )
    asking.catch_up.turn()
    assert ids(asking) == ["r9000", "r8000", "r7000", "r6000", "r5000"]
    assert server.asked[1] == at - timedelta(seconds=8000) - OVERLAP
    assert (asking.feed().trouble, asking.feed().watermark) == ("", at)


def test_a_search_that_is_always_forgotten_is_trouble_and_loses_nothing(asking: Asking) -> None:
    at = asking.theirs.now()
    server = asking.script(*[[page(at, 9000), page(at, 8000), EXPIRED]] * (RESTARTS + 1), [page(at, 8000), page(at, 7)])
    asking.catch_up.turn()
    assert (asking.feed().trouble, len(server.asked)) == ("fhir.page-expired", RESTARTS + 1)
    asking.walk_later(5)
    assert (ids(asking), asking.feed().trouble) == (["r9000", "r8000", "r7"], "")


def test_a_forgotten_history_is_asked_again_too(asking: Asking) -> None:
    asking.script([page(asking.theirs.now(), 5)]).deletions = [EXPIRED]
    asking.catch_up.turn()
    assert asking.feed().trouble == "fhir.page-expired"


def test_changes_of_the_same_millisecond_at_the_border_of_two_pages_are_all_found(asking: Asking) -> None:
    at = asking.theirs.now()
    same = [Change(KIND, str(n), "1", at - timedelta(seconds=5000)) for n in range(5)]
    pages = [ChangePage(tuple(same[n : n + 2]), at) for n in (0, 2, 4)]
    asking.script([pages[0], pages[1], EXPIRED], pages)
    asking.catch_up.turn()
    assert ids(asking) == ["0", "1", "2", "3", "4"]


def test_an_error_amid_the_pages_keeps_those_before_it_and_goes_on_from_there(asking: Asking) -> None:
    at = asking.theirs.now()
    asking.script([page(at, 9000), page(at, 8000), page(at, 7000), AWAY])
    asking.catch_up.turn()
    assert (ids(asking), asking.feed().trouble) == (["r9000", "r8000", "r7000"], "fhir.unavailable")
    assert asking.feed().watermark == at - timedelta(seconds=8000)
    restarted = asking.script([page(at, 8000), page(at, 7000), page(at, 6000)])
    asking.catch_up.turn()
    assert restarted.asked == [at - timedelta(seconds=8000) - OVERLAP]
    assert ids(asking) == ["r9000", "r8000", "r7000", "r6000"]


@pytest.mark.parametrize(
    "second",
    [(9500, 7000), (7000, 6500, 6800), (9000.5,)],
    ids=["before the first page", "within a page", "just before the first page"],
)
def test_a_server_that_says_it_sorts_and_does_not_moves_the_watermark_only_at_the_end(
    asking: Asking, second: tuple[float, ...]
) -> None:
    at, before = asking.theirs.now(), asking.feed().watermark
    asking.script([page(at, 9000), page(at, *second), page(at, 100), page(at, 90), AWAY])
    asking.catch_up.turn()
    assert asking.feed().watermark == before
    asking.script([page(at, 9000), page(at, *second), page(at, 100)])
    asking.catch_up.turn()
    assert asking.feed().watermark == at


def test_a_server_that_does_not_sort_is_asked_again_from_the_beginning(asking: Asking) -> None:
    at, before = asking.theirs.now(), asking.feed().watermark
    assert before is not None
    server = asking.script([page(at, 9), page(at, 8), EXPIRED], [page(at, 9), page(at, 900)], is_sorted=False)
    asking.catch_up.turn()
    assert server.asked == [before - OVERLAP] * 2
    assert ids(asking) == ["r9", "r8", "r900"]


def test_what_changes_while_we_walk_moves_no_watermark_past_the_pages_to_come(asking: Asking) -> None:
    """HAPI shows it in its old place with its new time."""
    at = asking.theirs.now()
    asking.script([page(at, 9000, -30), page(at, -20, 8000), page(at, -10), AWAY])
    asking.catch_up.turn()
    assert asking.feed().watermark == at - timedelta(seconds=8000)
    assert ids(asking) == ["r9000", "r-30", "r-20", "r8000", "r-10"]


def test_what_slipped_off_a_page_because_another_changed_is_found_by_walking_again(asking: Asking) -> None:
    """Pages by offset (sekmet): 9000 changes between the pages, all move up by one, and 7000 is on no page."""
    at = asking.theirs.now()
    asking.script([page(at, 9000, 8000), page(at, 6000, -5)], [page(at, 8000, 7000), page(at, 6000, -5)])
    asking.catch_up.turn()
    assert sorted(ids(asking)) == ["r-5", "r6000", "r7000", "r8000", "r9000"]


def test_a_page_is_kept_before_the_next_one_is_asked_for(asking: Asking) -> None:
    at, kept = asking.theirs.now(), []

    def pages() -> Iterator[ChangePage]:
        for number in range(20):
            kept.append(len(asking.found()))
            yield page(at, *(9000 - 50 * number - n for n in range(50)))

    asking.script(pages())
    asking.catch_up.turn()
    assert kept == [50 * number for number in range(20)]


def test_a_walk_that_is_stopped_ends_after_its_page_and_goes_on_at_the_next_start(asking: Asking) -> None:
    at = asking.theirs.now()

    def pages() -> Iterator[ChangePage]:
        yield page(at, 9000)
        yield page(at, 8000)
        asking.catch_up.stop()
        yield page(at, 7000)
        raise AssertionError("asked for more")

    asking.script(pages())
    assert asking.catch_up.turn() == 0
    assert asking.feed().watermark == at - timedelta(seconds=8000)
    asking.script([page(at, 8000), page(at, 7000), page(at, 6000)])
    asking.catch_up.turn()
    assert ids(asking) == ["r9000", "r8000", "r7000", "r6000"]


def test_deletions_are_kept_before_the_watermark_moves(asking: Asking) -> None:
    at = asking.theirs.now()
    server = asking.script([page(at, 9000), page(at, 8000), AWAY])
    server.deletions = [ChangePage((Change(KIND, "gone", "2", None, is_deleted=True),), at)]
    asking.catch_up.turn()
    assert asking.found()[0] == ("DELETE", "gone", "2")


@pytest.mark.parametrize("code", ["fhir.rejected", "fhir.not-found"])
def test_a_server_that_refuses_its_history_is_asked_for_changes_all_the_same(asking: Asking, code: str) -> None:
    asking.script([page(asking.theirs.now(), 5)]).deletions = [Refused(code, "GET ServiceRequest", "status 405")]
    asking.catch_up.turn()
    assert (ids(asking), asking.feed().trouble) == (["r5"], "")


TOO_LARGE = Refused("fhir.too-large", "GET ServiceRequest", "the answer exceeds 10 bytes")


@pytest.mark.parametrize("error", [TOO_LARGE, AWAY], ids=lambda error: error.code)
def test_a_history_that_cannot_be_taken_is_trouble_but_the_changes_are_found(
    asking: Asking, error: Refused | Unavailable
) -> None:
    asking.script([page(asking.theirs.now(), 5)]).deletions = [error]
    assert asking.catch_up.turn() == 0
    assert (ids(asking), asking.feed().trouble) == (["r5"], error.code)


@pytest.mark.parametrize("error", [TOO_LARGE, AWAY], ids=lambda error: error.code)
def test_the_watermark_stays_before_deletions_that_could_not_be_taken(
    asking: Asking, error: Refused | Unavailable
) -> None:
    at, before = asking.theirs.now(), asking.feed().watermark
    asking.script([page(at, 9000), page(at, 8000), page(at, 7000)]).deletions = [error]
    asking.catch_up.turn()
    assert (ids(asking), asking.feed().watermark) == (["r9000", "r8000", "r7000"], before)


@pytest.mark.parametrize(
    "error",
    [
        AWAY,
        Unavailable("fhir.foreign-page", "GET ServiceRequest", "x"),
        Unavailable("fhir.not-fhir", "GET ServiceRequest", "the pages of the search go round in a circle"),
        Refused("fhir.too-large", "GET ServiceRequest", "x"),
        ZeroDivisionError(),
    ],
    ids=lambda error: getattr(error, "code", "bug"),
)
def test_any_error_is_trouble_of_that_feed_and_is_over_when_it_goes_well(asking: Asking, error: Exception) -> None:
    asking.script([error], [page(asking.theirs.now(), 5)])
    assert asking.catch_up.turn() == 0
    assert asking.feed().trouble == getattr(error, "code", "internal.bug")
    assert asking.walk_later(5) == 1
    assert (asking.feed().trouble, ids(asking)) == ("", ["r5"])


def test_after_trouble_it_is_tried_again_at_growing_intervals_up_to_the_pace(asking: Asking) -> None:
    server = asking.script(*[[AWAY]] * 9)
    asking.catch_up.turn()
    waits = []
    for tries in range(2, 10):
        waits.append(next(seconds for seconds in range(1, 500) if asking.walk_later(1) or len(server.asked) == tries))
    assert waits == [5, 10, 20, 40, 80, 160, 300, 300]


def test_a_wish_does_not_hammer_a_server_in_trouble(asking: Asking) -> None:
    server = asking.script([AWAY], [AWAY])
    asking.catch_up.turn()
    asking.set_feed(asked_for=asking.ours.now())
    for _ in range(4):
        asking.walk_later(1)
    assert len(server.asked) == 1
    assert asking.feed().asked_for is not None


def test_one_feed_in_trouble_does_not_hold_up_the_other(clock: FrozenClock) -> None:
    asking = Asking(clock)
    server = asking.script([AWAY], [])
    asking.pace = type(PACE)(feeds=("orders", "studies"))
    asking.changes = server
    assert asking.started().turn() == 1
    assert (asking.feed("orders").trouble, asking.feed("studies").trouble) == ("fhir.unavailable", "")


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    with capture_logs() as entries:
        yield entries


def said(logged: list[Any]) -> list[tuple[str, str]]:
    return [(entry["event"], entry.get("code", entry.get("reason", ""))) for entry in logged]


def test_the_log_tells_of_a_change_of_state_once(asking: Asking, logged: list[Any]) -> None:
    asking.script([AWAY], [AWAY], [], [])
    for _ in range(4):
        asking.walk_later(300)
    assert said(logged) == [("catch-up.trouble", "fhir.unavailable"), ("catch-up.well", "")]


def test_what_is_odd_about_a_server_is_said_once(asking: Asking, logged: list[Any]) -> None:
    at = asking.theirs.now()
    odd = [ChangePage((), at, unusable=2), page(at, 5), page(at, 9)]
    asking.script(odd, odd, [])
    for _ in range(3):
        asking.walk_later(300)
    assert said(logged) == [("catch-up.remark", "unsorted unusable-entries"), ("catch-up.remark", "")]
