"""Healing by asking: what is found and kept, where the watermark stands, when it is asked."""

from dataclasses import replace
from datetime import timedelta

import pytest

from fhir_bridge.catch_up import CatchUp
from fhir_bridge.changes import Change, ChangePage
from fhir_bridge.errors import Unavailable
from fhir_bridge.ports import CATCH_UP, Notification
from mappings.fhir_observations import own_meta
from tests.support.asking import KIND, PACE, Asking, page
from tests.support.frozen_clock import START, FrozenClock

HOUR = 3600


@pytest.fixture
def asking(clock: FrozenClock) -> Asking:
    return Asking(clock)


@pytest.fixture
def started(asking: Asking) -> Asking:
    """After the very first walk, some time ago."""
    asking.catch_up.turn()
    asking.pass_time(1000)
    asking.catch_up.turn()
    return asking


def test_a_change_that_nobody_told_becomes_a_notification_that_is_due(started: Asking) -> None:
    started.put("1")
    started.walk_later()
    due = started.store.due_notifications()
    assert [replace(n, id=0, received=None) for n in due] == [
        Notification(0, CATCH_UP, "PUT", KIND, "1", "1", "ready")
    ]  # fmt: skip


def test_what_a_hook_told_costs_nothing(started: Asking) -> None:
    started.put("1")
    with started.store.transaction() as ledger:
        ledger.add_notification(Notification(0, "orders", "PUT", KIND, "1", "1", "ready"), b"{}")
    started.walk_later()
    assert len(started.found()) == 1


def test_what_is_asked_for_again_in_the_overlap_is_kept_once(started: Asking) -> None:
    started.put("1")
    for _ in range(3):
        started.walk_later(seconds=300)
    assert started.found() == [("PUT", "1", "1")]


def test_a_version_that_a_restored_server_gives_anew_is_found(clock: FrozenClock) -> None:
    asking = Asking(clock)
    for _ in range(2):  # the second walk is of the restored server
        asking.pass_time(7200)
        change = Change(KIND, "1", "2", asking.theirs.now() - timedelta(seconds=30))
        asking.script([ChangePage((change,), asking.theirs.now())])
        asking.catch_up.turn()
    assert asking.found() == [("PUT", "1", "2")] * 2


def test_a_bundle_that_bears_the_time_of_its_newest_change_makes_nothing_news(started: Asking) -> None:
    at = started.theirs.now()
    two = tuple(Change(KIND, name, "1", at - timedelta(seconds=age)) for name, age in (("a", 100), ("b", 0)))
    for _ in range(4):
        started.script([ChangePage(two, at, latest_time=started.theirs.now())])
        started.catch_up.turn()
        started.pass_time(300)
    assert started.found() == [("PUT", "a", "1"), ("PUT", "b", "1")]


@pytest.mark.parametrize("ahead", [HOUR, 50 * 365 * 24 * HOUR])
def test_what_bears_a_time_to_come_is_kept_once(started: Asking, ahead: int) -> None:
    at = started.theirs.now() + timedelta(seconds=ahead)
    for _ in range(3):
        started.pass_time(300)
        started.script([ChangePage((Change(KIND, "1", "2", at),), started.theirs.now())])
        started.catch_up.turn()
    assert started.found() == [("PUT", "1", "2")]


def test_our_own_results_are_left_out(started: Asking) -> None:
    started.put("1", meta=own_meta())
    started.walk_later()
    assert started.found() == []


def test_of_several_versions_the_current_one_is_found(started: Asking) -> None:
    started.put("1")
    started.put("1", status="on-hold")
    started.walk_later()
    assert started.found() == [("PUT", "1", "2")]


def test_a_deletion_is_found_once(started: Asking) -> None:
    started.put("1")
    started.walk_later()
    started.server.remove(f"{KIND}/1")
    for _ in range(3):
        started.walk_later(seconds=300)
    assert started.found() == [("PUT", "1", "1"), ("DELETE", "1", "2")]


def test_what_was_deleted_and_is_there_again_is_found_last_as_there(started: Asking) -> None:
    started.put("1")
    started.server.remove(f"{KIND}/1")
    started.put("1")
    started.walk_later()
    assert started.found() == [("DELETE", "1", "2"), ("PUT", "1", "3")]


def test_where_the_server_tells_no_deletions_the_changes_are_found_still(started: Asking) -> None:
    started.server.tells_deletions = False
    started.put("1")
    started.put("2")
    started.server.remove(f"{KIND}/2")
    started.walk_later()
    assert started.found() == [("PUT", "1", "1")]


def test_the_very_first_time_it_is_from_now_on(asking: Asking) -> None:
    asking.put("before")
    asking.pass_time(1)
    asking.catch_up.turn()
    asking.put("after")
    asking.walk_later()
    asking.walk_later()
    assert asking.found() == [("PUT", "after", "1")]


def test_the_very_first_time_it_is_from_so_many_hours_ago_where_the_site_wants_that(clock: FrozenClock) -> None:
    asking = Asking(clock, pace=replace(PACE, first_hours=24))
    asking.put("two days ago")
    asking.pass_time(30 * HOUR)
    asking.put("this morning")
    asking.pass_time(18 * HOUR)
    asking.catch_up.turn()
    asking.walk_later()
    assert asking.found() == [("PUT", "this morning", "1")]


@pytest.mark.parametrize("hours", [-30, -1, 1, 30])
def test_our_clock_may_be_hours_off(clock: FrozenClock, hours: float) -> None:
    asking = Asking(clock, theirs=FrozenClock(START + timedelta(hours=hours)))
    asking.catch_up.turn()
    for number in range(3):
        asking.put(str(number))
        asking.walk_later()
    assert asking.found() == [("PUT", "0", "1"), ("PUT", "1", "1"), ("PUT", "2", "1")]
    assert asking.feed().watermark == asking.theirs.now()


def test_our_own_downtime_is_caught_up_at_the_start(started: Asking) -> None:
    started.put("1")
    started.pass_time(10 * HOUR)
    started.started().turn()
    assert started.found() == [("PUT", "1", "1")]


def test_a_transaction_that_is_seen_late_with_an_older_time_is_found(started: Asking) -> None:
    started.walk_later()
    watermark = started.feed().watermark
    assert watermark is not None
    started.server.clock = FrozenClock(watermark - timedelta(seconds=100))  # stamped when it began
    started.put("late")
    started.server.clock = started.theirs
    started.walk_later()
    assert started.found() == [("PUT", "late", "1")]


def test_after_a_walk_the_watermark_is_the_servers_time_at_its_first_answer(started: Asking) -> None:
    first = started.theirs.now()
    started.script([page(first, 5), replace(page(first, 4), server_time=first + timedelta(seconds=50))])
    started.catch_up.turn()
    assert started.feed().watermark == first


def test_a_server_that_says_no_time_with_its_pages_moves_the_watermark_by_its_changes(started: Asking) -> None:
    at = started.theirs.now() + timedelta(seconds=500)
    started.script([replace(page(at, 5, 4), server_time=None)])
    started.catch_up.turn()
    assert started.feed().watermark == at - timedelta(seconds=4)


def test_an_answer_from_before_sets_the_watermark_not_back(started: Asking) -> None:
    watermark = started.feed().watermark
    assert watermark is not None
    started.script([page(watermark - timedelta(seconds=60))])
    started.catch_up.turn()
    assert started.feed().watermark == watermark


def test_a_server_whose_clock_is_set_back_is_asked_from_its_new_time_on(started: Asking) -> None:
    started.theirs.advance(-HOUR)
    started.walk_later()
    started.put("1")
    started.walk_later()
    assert started.found() == [("PUT", "1", "1")]


def test_a_server_that_never_says_what_time_it_is_is_trouble_not_our_time(asking: Asking) -> None:
    asking.script().at = None  # type: ignore[assignment]
    asking.catch_up.turn()
    assert (asking.feed().trouble, asking.feed().watermark) == ("fhir.no-date", None)


def test_a_start_is_a_walk_and_then_so_many_seconds_are_waited(asking: Asking) -> None:
    assert [asking.catch_up.turn(), asking.walk_later(299), asking.walk_later(1), asking.catch_up.turn()] == [
        1,
        0,
        1,
        0,
    ]


def test_all_feeds_that_are_wanted_are_walked(clock: FrozenClock) -> None:
    asking = Asking(clock, pace=replace(PACE, feeds=("orders", "studies", "tasks")))
    assert asking.catch_up.turn() == 3
    assert [feed.name for feed in asking.store.feeds() if feed.caught_up] == ["orders", "studies", "tasks"]


def test_a_burst_of_wishes_is_one_walk(started: Asking) -> None:
    walked = []
    for _ in range(10):
        started.set_feed(asked_for=started.ours.now())
        walked.append(started.walk_later(0.2))
    walked += [started.walk_later(0.2) for _ in range(5)]
    assert (sum(walked), walked[:9]) == (1, [0] * 9)
    assert started.feed().asked_for is None


def test_a_wish_that_comes_during_the_walk_stands(started: Asking) -> None:
    started.set_feed(asked_for=started.ours.now())

    def pages():  # type: ignore[no-untyped-def]
        started.set_feed(asked_for=started.ours.now() + timedelta(seconds=1))
        yield page(started.theirs.now(), 5)

    started.script(pages())
    started.catch_up.turn()
    assert started.feed().asked_for is not None
    assert [started.walk_later(1), started.walk_later(1), started.walk_later(1)] == [0, 0, 1]


def test_a_clock_that_is_put_back_makes_us_wait_for_no_hours(started: Asking) -> None:
    started.ours.advance(-2 * HOUR)
    assert started.catch_up.turn() == 1


def test_done_notifications_are_forgotten_after_thirty_days(started: Asking) -> None:
    started.put("1")
    started.walk_later()
    with started.store.transaction() as ledger:
        ledger.settle_notification(1, "done")
    started.walk_later(29 * 24 * HOUR)
    before = len(started.found())
    started.walk_later(25 * HOUR)
    assert (before, started.found()) == (1, [])


def test_nothing_is_forgotten_that_the_overlap_asks_for_again(clock: FrozenClock) -> None:
    asking = Asking(clock, pace=replace(PACE, overlap_seconds=40 * 24 * HOUR))
    asking.catch_up.turn()
    asking.put("1")
    asking.walk_later()
    with asking.store.transaction() as ledger:
        ledger.settle_notification(1, "done")
    asking.walk_later(39 * 24 * HOUR)
    assert [n.status for n in asking.store.notifications()] == ["done"]


def test_without_settings_it_is_every_five_minutes_with_as_much_overlap(clock: FrozenClock) -> None:
    asking = Asking(clock)
    catch_up = CatchUp(asking.store, asking.server, clock)
    assert catch_up.turn() == 2


def test_a_store_that_is_away_is_raised_to_the_worker(started: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> None:
        raise Unavailable("store.unavailable")

    started.put("1")
    monkeypatch.setattr(started.store, "transaction", away)
    with pytest.raises(Unavailable):
        started.walk_later()
    monkeypatch.undo()
    started.walk_later(10)
    assert started.found() == [("PUT", "1", "1")]
