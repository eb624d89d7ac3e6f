"""The stored notifications, on the SQL store and on its twin: what is news, what is awaited, what one look settles, what is forgotten."""

from dataclasses import replace
from datetime import timedelta

import pytest

from fhir_bridge.ports import CATCH_UP, Added, Notification
from tests.support.store_house import House

KIND = "ServiceRequest"


def told(version: str = "2", identity: str = "9", method: str = "PUT", by: str = "orders") -> Notification:
    return Notification(0, by, method, KIND, identity, version, "ready")


def found(version: str = "2", identity: str = "9", method: str = "PUT") -> Notification:
    return told(version, identity, method, CATCH_UP)


def hook(house: House, *notifications: Notification) -> list[bool]:
    with house.store.transaction() as ledger:
        return [ledger.add_notification(one, b"{}") for one in notifications]


def ask(house: House, *notifications: Notification, awaited: bool = False) -> Added:
    with house.store.transaction() as ledger:
        return ledger.add_changes(notifications, notifications if awaited else ())


def settle(house: House, number: int, status: str, reason: str = "") -> None:
    with house.store.transaction() as ledger:
        ledger.settle_notification(number, status, reason)


def given_up(house: House) -> int:
    with house.store.transaction() as ledger:
        return ledger.given_up(KIND, house.clock.now() - timedelta(seconds=60))


def kept(house: House) -> list[tuple[str, str, str]]:
    return [(n.subscription, n.method, n.version_id) for n in reversed(house.store.notifications())]


def test_what_asking_found_is_kept_once_and_is_due(house: House) -> None:
    first, again = ask(house, found()), ask(house, found())
    assert (first.stored, again.stored, len(house.store.due_notifications())) == (1, 0, 1)
    assert house.store.notification_body(1) == b""


def test_a_version_that_a_subscription_told_is_not_kept_again(house: House) -> None:
    hook(house, told("2"))
    assert ask(house, found("2"), found("3")) == Added(1, (found("3"),))


def test_a_version_that_asking_found_is_not_kept_again_when_it_is_told(house: House) -> None:
    ask(house, found())
    assert hook(house, told()) == [False]


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_created_and_updated_are_one_however_they_are_told(house: House, method: str) -> None:
    hook(house, told(method=method))
    assert ask(house, found()).stored == 0


def test_the_same_version_number_of_another_resource_is_news(house: House) -> None:
    hook(house, told("1", "a"), told("2", "b"))
    assert ask(house, found("2", "a"), found("1", "b")).stored == 2


def test_a_version_twice_in_one_page_is_kept_once(house: House) -> None:
    assert ask(house, found(), found()).stored == 1


def test_what_a_hook_told_in_vain_is_looked_at_once_more_but_not_as_untold(house: House) -> None:
    hook(house, told())
    settle(house, 1, "quarantined", "fhir.not-found")
    assert ask(house, found()) == Added(1)


def test_what_asking_found_in_vain_is_not_looked_at_with_every_walk(house: House) -> None:
    ask(house, found())
    settle(house, 1, "quarantined", "fhir.not-found")
    assert ask(house, found()).stored == 0


def test_what_asking_found_in_vain_is_taken_when_a_hook_tells_it(house: House) -> None:
    ask(house, found())
    settle(house, 1, "quarantined", "fhir.not-found")
    assert hook(house, told()) == [True]


def test_a_version_number_that_is_used_again_is_news_by_when_it_changed(house: House) -> None:
    """A server that was restored from a backup, or another one under the same address, counts anew."""
    hook(house, told("2"))
    settle(house, 1, "done")
    house.clock.advance(3600)
    changed = replace(found("2"), received=house.clock.now() - timedelta(seconds=200))
    assert [ask(house, changed) for _ in range(2)] == [Added(1), Added(0)]


def test_a_version_that_was_told_at_about_the_time_when_it_changed_is_the_same(house: House) -> None:
    """Clocks and answers are no more exact than that."""
    hook(house, told("2"))
    changed = replace(found("2"), received=house.clock.now() + timedelta(seconds=59))
    house.clock.advance(300)
    assert ask(house, changed).stored == 0


def test_a_deletion_is_news_by_its_version_and_kept_once(house: House) -> None:
    ask(house, found("2"))
    assert [ask(house, found("3", method="DELETE")).stored for _ in range(3)] == [1, 0, 0]


def test_a_deletion_without_a_version_is_kept_unless_the_last_word_is_that_it_is_gone(house: House) -> None:
    stored = [ask(house, found("", method="DELETE")).stored for _ in range(2)]
    hook(house, told("4"))  # it is there again
    stored += [ask(house, found("", method="DELETE")).stored for _ in range(2)]
    assert stored == [1, 0, 1, 0]


def test_a_change_without_version_or_time_is_always_looked_at(house: House) -> None:
    assert [ask(house, found("")) for _ in range(2)] == [Added(1), Added(1)]


def test_an_awaited_change_that_nobody_tells_is_given_up_once(house: House) -> None:
    ask(house, found("1"), found("2"), awaited=True)
    early = given_up(house)
    house.clock.advance(61)
    assert (early, given_up(house), given_up(house)) == (0, 2, 0)


@pytest.mark.parametrize("late", [told("2"), told("")], ids=["by its version", "without a version"])
def test_an_awaited_change_that_a_hook_tells_late_is_not_given_up(house: House, late: Notification) -> None:
    ask(house, found("2"), awaited=True)
    hook(house, late)
    house.clock.advance(61)
    assert given_up(house) == 0


def test_a_late_hook_of_another_resource_or_version_tells_nothing_of_it(house: House) -> None:
    ask(house, found("2", "9"), awaited=True)
    hook(house, told("2", "8"), told("1", "9"), told("", "7"))
    house.clock.advance(61)
    assert given_up(house) == 1


def test_of_what_is_not_awaited_nothing_is_given_up(house: House) -> None:
    ask(house, found())
    house.clock.advance(61)
    assert given_up(house) == 0


def test_one_look_settles_what_waits_of_that_resource_and_was_told_before_it(house: House) -> None:
    hook(house, told("1"), told("2"), told("1", "other"), told("3"))
    settle(house, 1, "quarantined", "x")
    with house.store.transaction() as ledger:
        ledger.settle_told(KIND, "9", 3, "done", "notification.no-order")
    states = [(n.id, n.status, n.reason) for n in reversed(house.store.notifications())]
    settled = "done", "notification.no-order"
    assert states == [(1, *settled), (2, *settled), (3, "ready", ""), (4, "ready", "")]


def test_a_look_in_vain_changes_nothing_of_an_earlier_one(house: House) -> None:
    hook(house, told("1"), told("2"))
    settle(house, 1, "quarantined", "x")
    with house.store.transaction() as ledger:
        ledger.settle_told(KIND, "9", 2, "quarantined", "y")
    assert [n.reason for n in reversed(house.store.notifications())] == ["x", "y"]


@pytest.mark.parametrize("status", ["quarantined", "done", "ready"])
def test_a_replayed_notification_is_due_at_once_as_if_never_tried(house: House, status: str) -> None:
    hook(house, told())
    with house.store.transaction() as ledger:
        ledger.settle_notification(1, status, "fhir.unavailable", house.clock.now() + timedelta(hours=1))
        known = ledger.replay_notification(1)
    assert known
    assert [(n.id, n.status, n.reason, n.attempts) for n in house.store.due_notifications()] == [(1, "ready", "", 0)]


def test_an_unknown_notification_is_not_replayed(house: House) -> None:
    with house.store.transaction() as ledger:
        assert not ledger.replay_notification(7)


def test_what_was_put_off_does_not_hold_up_what_came_since(house: House) -> None:
    hook(house, told("1"), told("2"))
    with house.store.transaction() as ledger:
        ledger.settle_notification(1, "ready", "fhir.unavailable", house.clock.now() + timedelta(seconds=5))
    house.clock.advance(6)
    hook(house, told("3"))
    assert [n.version_id for n in house.store.due_notifications()] == ["2", "1", "3"]
    assert [n.version_id for n in house.store.due_notifications(limit=1)] == ["2"]


def test_only_what_was_done_long_ago_is_forgotten(house: House) -> None:
    hook(house, told("1"), told("2"), told("3"), told("4"))
    settle(house, 1, "done")
    settle(house, 2, "quarantined", "x")
    house.clock.advance(100)
    settle(house, 3, "done")
    with house.store.transaction() as ledger:
        count = ledger.forget_notifications(house.clock.now() - timedelta(seconds=50))
    assert (count, [version for _, _, version in kept(house)]) == (1, ["2", "3", "4"])


def test_what_names_no_resource_is_forgotten_though_it_could_not_be_used(house: House) -> None:
    """A person can do nothing with it: the server was asked what changed, and a replay has nothing to read."""
    nothing = Notification(0, "orders", "POST", "", "", "", "quarantined", reason="hook.content-type")
    hook(house, nothing, told("2"))
    settle(house, 2, "quarantined", "order.patient-conflict")
    house.clock.advance(100)
    hook(house, nothing)
    with house.store.transaction() as ledger:
        count = ledger.forget_notifications(house.clock.now() - timedelta(seconds=50))
    assert (count, [n.id for n in house.store.notifications()]) == (1, [3, 2])


def test_numbers_of_notifications_are_not_used_again(house: House) -> None:
    hook(house, told("1"), told("2"))
    settle(house, 1, "done")
    house.clock.advance(100)
    with house.store.transaction() as ledger:
        ledger.forget_notifications(house.clock.now())
    hook(house, told("3"))
    assert [n.id for n in house.store.notifications()] == [3, 2]
