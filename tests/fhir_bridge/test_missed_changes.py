"""What a Subscription should have told and did not: counted when there was time enough to tell it."""

from datetime import timedelta
from typing import Any

import pytest

from fhir_bridge.ports import Notification
from tests.support.asking import KIND, Asking, page
from tests.support.frozen_clock import START, FrozenClock


@pytest.fixture(params=[0, -5, 5], ids=["same time", "server 5 h behind", "server 5 h ahead"])
def asking(clock: FrozenClock, request: pytest.FixtureRequest) -> Asking:
    """A Subscription is active, and a first walk was done, a good while ago."""
    asking = Asking(clock, theirs=FrozenClock(START + timedelta(hours=request.param)))
    asking.catch_up.turn()
    asking.set_feed(wanted=True, status="active", status_since=clock.now())
    asking.pass_time(1000)
    asking.catch_up.turn()
    return asking


def hook(asking: Asking, identity: str, version: str = "1") -> None:
    with asking.store.transaction() as ledger:
        ledger.add_notification(Notification(0, "orders", "PUT", KIND, identity, version, "ready"), b"{}")


def missed(asking: Asking) -> int:
    return asking.feed().missed


def test_a_change_that_was_told_by_nobody_for_a_minute_is_missed_when_it_is_found(asking: Asking) -> None:
    asking.put("1")
    asking.walk_later(300)
    assert (missed(asking), asking.feed().last_missed) == (1, asking.ours.now())


def test_a_change_that_was_told_is_not_missed(asking: Asking) -> None:
    asking.put("1")
    hook(asking, "1")
    asking.walk_later(300)
    assert (missed(asking), asking.feed().last_missed) == (0, None)


def test_a_change_that_was_told_without_its_version_is_not_missed(asking: Asking) -> None:
    """By an id alone, or by a server that numbers no versions in what it sends."""
    asking.put("1")
    hook(asking, "1", version="")
    asking.walk_later(300)
    assert (missed(asking), len(asking.found())) == (0, 2)


def test_what_was_told_without_a_version_before_it_changed_tells_nothing_of_the_change(asking: Asking) -> None:
    hook(asking, "1", version="")
    asking.pass_time(100)
    asking.put("1")
    asking.walk_later(300)
    assert missed(asking) == 1


def test_a_fresh_change_is_missed_only_if_nobody_tells_it_within_a_minute(asking: Asking) -> None:
    asking.pass_time(290)
    asking.put("told late")
    asking.put("never told")
    asking.walk_later(10)
    at_first = missed(asking)
    hook(asking, "told late")
    asking.walk_later(300)
    asking.walk_later(300)
    assert (at_first, missed(asking)) == (0, 1)


def test_what_is_missed_counts_once(asking: Asking) -> None:
    asking.put("1")
    for _ in range(3):
        asking.walk_later(300)
    assert missed(asking) == 1


@pytest.mark.parametrize("state", [{"wanted": False}, {"status": "requested"}, {"status": "missing"}, {"status": ""}])
def test_nothing_is_missed_where_no_subscription_was_to_tell_it(asking: Asking, state: dict[str, Any]) -> None:
    asking.set_feed(**state)
    asking.put("1")
    asking.walk_later(300)
    asking.walk_later(300)
    assert missed(asking) == 0


def test_what_changed_before_the_subscription_was_active_is_not_missed(asking: Asking) -> None:
    asking.put("before")
    asking.pass_time(100)
    asking.set_feed(status_since=asking.ours.now())
    asking.pass_time(1)
    asking.put("since")
    asking.walk_later(200)
    assert missed(asking) == 1


def test_deletions_are_not_missed_for_few_servers_tell_them(asking: Asking) -> None:
    asking.put("1")
    hook(asking, "1")
    asking.server.remove(f"{KIND}/1")
    asking.walk_later(300)
    asking.walk_later(300)
    assert missed(asking) == 0


def test_what_a_hook_told_in_vain_is_not_missed(asking: Asking) -> None:
    asking.put("1")
    hook(asking, "1")
    with asking.store.transaction() as ledger:
        ledger.settle_notification(1, "quarantined", "fhir.not-found")
    asking.walk_later(300)
    assert (missed(asking), len(asking.found())) == (0, 2)


def test_what_was_there_before_the_very_first_walk_is_not_missed(clock: FrozenClock) -> None:
    asking = Asking(clock)
    asking.set_feed(wanted=True, status="active")
    asking.script([page(asking.theirs.now(), 900)])
    asking.catch_up.turn()
    assert (missed(asking), len(asking.found())) == (0, 1)


def test_what_happened_while_we_were_down_for_long_is_missed(asking: Asking) -> None:
    asking.put("1")
    asking.pass_time(7200)
    asking.started().turn()
    assert missed(asking) == 1
