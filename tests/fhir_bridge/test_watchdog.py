"""The watchdog over our Subscriptions: what it mends, when it looks, what it leaves alone."""

from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import timedelta

import pytest

from fhir_bridge import log
from fhir_bridge.adapters.in_memory.store import InMemoryStore
from fhir_bridge.errors import Refused, Unavailable
from fhir_bridge.feed import Feed
from fhir_bridge.watchdog import Survey, Watchdog
from tests.support.fake_subscriptions import FakeSubscriptions
from tests.support.frozen_clock import FrozenClock

WATCH = 300.0
AWAY = Unavailable("fhir.unavailable", "GET Subscription", "no connection")
BUSY = Unavailable("fhir.conflict", "PUT Subscription", "status 409")


@pytest.fixture
def server() -> FakeSubscriptions:
    """Both are there and active."""
    server = FakeSubscriptions("orders", "studies")
    server.stands("orders")
    server.stands("studies")
    return server


@pytest.fixture
def store(clock: FrozenClock) -> InMemoryStore:
    """Both feeds are wanted."""
    store = InMemoryStore(clock)
    for name in ("orders", "studies"):
        keep(store, name, wanted=True, status="active", reference=f"Subscription/{name}", status_since=clock.now())
    return store


@pytest.fixture
def watchdog(store: InMemoryStore, server: FakeSubscriptions, clock: FrozenClock) -> Watchdog:
    return Watchdog(store, server, clock, WATCH)


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, object]]:
    """Event and code or reason of each line."""
    lines: list[tuple[str, object]] = []

    def keep_line(name: str, **fields: object) -> None:
        lines.append((name, fields.get("code") or fields.get("reason") or fields.get("where")))

    monkeypatch.setattr(log, "event", keep_line)
    return lines


def keep(store: InMemoryStore, name: str, **changes: object) -> None:
    with store.transaction() as ledger:
        ledger.keep_feed(replace(ledger.feed(name), **changes))  # type: ignore[arg-type]


def feed_of(store: InMemoryStore, name: str = "orders") -> Feed:
    with store.transaction() as ledger:
        return ledger.feed(name)


def test_one_that_is_active_and_as_wanted_is_not_written(watchdog: Watchdog, server: FakeSubscriptions) -> None:
    assert watchdog.turn() == 1
    assert (server.looks, server.mended) == (1, [])


def test_what_was_seen_is_kept(watchdog: Watchdog, store: InMemoryStore, clock: FrozenClock) -> None:
    watchdog.turn()
    feed = feed_of(store)
    assert (feed.status, feed.reference, feed.looked) == ("active", "Subscription/orders", clock.now())


BROKEN: dict[str, Callable[[FakeSubscriptions], None]] = {
    "deleted": lambda server: server.states.update(orders=replace(server.states["orders"], status="missing")),
    "off": lambda server: server.stands("orders", "off"),
    "error": lambda server: server.stands("orders", "error"),
    "changed": lambda server: server.stands("orders", differs=("channel.endpoint",)),
    "doubled": lambda server: server.stands("orders", doubled=1),
}


@pytest.mark.parametrize("break_it", BROKEN.values(), ids=BROKEN.keys())
def test_one_that_is_not_as_wanted_is_mended_counted_and_asked_after(
    watchdog: Watchdog,
    server: FakeSubscriptions,
    store: InMemoryStore,
    clock: FrozenClock,
    break_it: Callable[[FakeSubscriptions], None],
) -> None:
    break_it(server)
    watchdog.turn()
    assert server.mended == ["orders"]
    assert (feed_of(store).repairs, feed_of(store).asked_for) == (1, clock.now())
    assert (feed_of(store, "studies").repairs, feed_of(store, "studies").asked_for) == (0, None)


def test_the_server_is_asked_again_once_it_has_activated_one(
    watchdog: Watchdog, server: FakeSubscriptions, store: InMemoryStore, clock: FrozenClock
) -> None:
    server.stands("orders", "off")
    watchdog.turn()
    keep(store, "orders", asked_for=None)  # the catch-up was made, before the activation
    server.stands("orders", "active")
    watched_again = clock.advance(5)
    watchdog.turn()
    assert (feed_of(store).status, feed_of(store).asked_for) == ("active", watched_again)


def test_it_looks_at_once_in_a_new_process_and_then_in_its_time(
    watchdog: Watchdog, server: FakeSubscriptions, clock: FrozenClock
) -> None:
    assert [watchdog.turn(), watchdog.turn()] == [1, 0]
    clock.advance(WATCH - 1)
    assert watchdog.turn() == 0
    clock.advance(1)
    assert watchdog.turn() == 1
    assert server.looks == 2


def test_it_looks_at_once_where_a_notification_cast_doubt(
    watchdog: Watchdog, server: FakeSubscriptions, store: InMemoryStore
) -> None:
    watchdog.turn()
    keep(store, "orders", looked=None)
    assert [watchdog.turn(), watchdog.turn()] == [1, 0]
    assert server.looks == 2


def test_doubt_that_was_cast_while_it_looked_is_not_forgotten(
    store: InMemoryStore, server: FakeSubscriptions, clock: FrozenClock
) -> None:
    keep(store, "orders", looked=clock.now())

    class Hooked(FakeSubscriptions):
        def look(self, names):  # type: ignore[no-untyped-def]
            keep(store, "orders", looked=None, heard=clock.now())
            return server.look(names)

    Watchdog(store, Hooked("orders", "studies"), clock, WATCH).turn()
    assert (feed_of(store).looked, feed_of(store).heard) == (None, clock.now())


def test_one_that_waits_for_its_activation_is_looked_at_soon_but_not_for_ever(
    watchdog: Watchdog, server: FakeSubscriptions, clock: FrozenClock
) -> None:
    server.stands("orders", "requested")
    looks = 0
    for _ in range(int(timedelta(minutes=30).total_seconds())):
        looks += watchdog.turn()
        clock.advance(1)
    assert server.mended == []
    assert 120 <= looks <= 126  # ten minutes each 5 s, then each 300 s


def test_a_server_that_is_away_changes_no_state_and_is_said_once(
    watchdog: Watchdog,
    server: FakeSubscriptions,
    store: InMemoryStore,
    clock: FrozenClock,
    logged: list[tuple[str, object]],
) -> None:
    before = feed_of(store)
    server.away = AWAY
    for _ in range(600):
        assert watchdog.turn() == 0
        clock.advance(1)
    assert feed_of(store) == before
    assert logged == [("subscription.trouble", "fhir.unavailable")]
    assert server.looks == 7  # at 0, 5, 15, 35, 75, 155 and 315 s


def test_a_doubt_does_not_shorten_the_wait_for_a_server_that_is_away(
    watchdog: Watchdog, server: FakeSubscriptions, store: InMemoryStore
) -> None:
    server.away = AWAY
    keep(store, "orders", looked=None)
    assert [watchdog.turn() for _ in range(5)] == [0] * 5
    assert server.looks == 1


def test_trouble_that_comes_again_is_said_again(
    watchdog: Watchdog, server: FakeSubscriptions, clock: FrozenClock, logged: list[tuple[str, object]]
) -> None:
    for away in (AWAY, None, AWAY):
        server.away = away
        watchdog.turn()
        clock.advance(WATCH)
    assert logged == [("subscription.trouble", "fhir.unavailable")] * 2


def test_one_that_the_server_writes_at_this_moment_is_mended_soon_after(
    watchdog: Watchdog, server: FakeSubscriptions, store: InMemoryStore, clock: FrozenClock
) -> None:
    server.stands("orders", "off")
    server.refusal = BUSY
    watchdog.turn()
    assert (feed_of(store).status, feed_of(store).repairs) == ("off", 0)
    server.refusal = None
    clock.advance(5)
    watchdog.turn()
    assert (feed_of(store).status, feed_of(store).repairs) == ("requested", 1)


def test_one_that_cannot_be_made_does_not_keep_the_other_from_being_mended(
    watchdog: Watchdog, server: FakeSubscriptions, store: InMemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    mend = server.mend

    def only_studies(name: str) -> object:
        if name == "orders":
            raise Refused("fhir.rejected", "POST Subscription", "status 422 HAPI-0009")
        return mend(name)

    monkeypatch.setattr(server, "mend", only_studies)
    server.stands("orders", "off")
    server.stands("studies", "off")
    watchdog.turn()
    assert [feed_of(store, name).status for name in ("orders", "studies")] == ["off", "requested"]


def test_what_a_server_does_not_keep_is_written_once_and_not_each_time(
    watchdog: Watchdog, server: FakeSubscriptions, store: InMemoryStore, clock: FrozenClock
) -> None:
    server.keeps_headers = False
    server.stands("orders", differs=("channel.header",))
    for _ in range(3):
        watchdog.turn()
        clock.advance(WATCH)
    assert (server.mended, feed_of(store).repairs) == (["orders"], 1)
    server.stands("orders", differs=("channel.endpoint", "channel.header"))
    watchdog.turn()
    assert server.mended == ["orders", "orders"]


def test_what_a_server_shows_to_who_writes_only_is_written_once_and_said_once(
    watchdog: Watchdog,
    server: FakeSubscriptions,
    store: InMemoryStore,
    clock: FrozenClock,
    logged: list[tuple[str, object]],
) -> None:
    """Its answer to the PUT says all that was written; who reads gets no header with a token in it."""
    server.hides_headers = True
    keep(store, "studies", wanted=False)
    for _ in range(5):
        watchdog.turn()
        clock.advance(WATCH)
    assert (server.mended, feed_of(store).repairs) == (["orders"], 1)
    assert [line for line in logged if line[0] == "subscription.not-kept"] == [
        ("subscription.not-kept", "channel.header")
    ]


def test_what_is_changed_by_hand_is_set_right_each_time(
    watchdog: Watchdog, server: FakeSubscriptions, clock: FrozenClock
) -> None:
    for _ in range(2):
        server.stands("orders", differs=("channel.endpoint",))
        for _ in range(2):  # the second look finds it well
            watchdog.turn()
            clock.advance(WATCH)
    assert server.mended == ["orders", "orders"]


@pytest.mark.parametrize("is_told", [False, True], ids=["found by looking", "told by a notification"])
def test_one_that_fails_each_time_it_is_activated_is_written_once_a_turn_and_seen_as_stopped(
    watchdog: Watchdog, server: FakeSubscriptions, store: InMemoryStore, clock: FrozenClock, is_told: bool
) -> None:
    """A server that cannot reach our hook: it tries, and gives up."""
    statuses = []
    for _ in range(int(3 * WATCH)):
        server.stands("orders", "error")
        if is_told:
            keep(store, "orders", looked=None)
        watchdog.turn()
        clock.advance(1)
        statuses.append(feed_of(store).status)
    assert server.mended == ["orders"] * 3
    assert statuses.count("error") > 2 * WATCH


def test_a_clock_that_is_put_back_makes_no_subscription_wait_for_the_hours_to_come_again(
    watchdog: Watchdog, server: FakeSubscriptions, clock: FrozenClock
) -> None:
    watchdog.turn()
    clock.advance(-7200)
    server.stands("orders", "off")
    assert (watchdog.turn(), server.mended) == (1, ["orders"])


def test_what_is_left_over_is_removed(watchdog: Watchdog, server: FakeSubscriptions, store: InMemoryStore) -> None:
    server.leftovers = ["Subscription/former"]
    watchdog.turn()
    assert (server.leftovers, feed_of(store).repairs) == ([], 0)


def test_one_that_is_subscribed_to_while_we_look_is_not_left_over(
    watchdog: Watchdog, server: FakeSubscriptions, store: InMemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`subscribe` wants a feed, then makes its Subscription: the look sees the second and not the first."""
    keep(store, "studies", wanted=False)
    server.leftovers = ["Subscription/studies"]
    look = server.look

    def looked(names: Collection[str]) -> Survey:
        keep(store, "studies", wanted=True)
        return look(names)

    monkeypatch.setattr(server, "look", looked)
    watchdog.turn()
    assert server.leftovers == ["Subscription/studies"]


def test_what_hooks_wrote_meanwhile_stays(watchdog: Watchdog, store: InMemoryStore, clock: FrozenClock) -> None:
    keep(store, "orders", heard=clock.now(), event_number=7, gaps=2)
    watchdog.turn()
    feed = feed_of(store)
    assert (feed.heard, feed.event_number, feed.gaps) == (clock.now(), 7, 2)


def test_what_nobody_subscribed_to_is_not_looked_at(
    store: InMemoryStore, server: FakeSubscriptions, watchdog: Watchdog
) -> None:
    for name in ("orders", "studies"):
        keep(store, name, wanted=False)
    assert (watchdog.turn(), server.looks) == (0, 0)


def test_a_feed_that_the_configuration_does_without_now_is_no_longer_wanted(
    watchdog: Watchdog, store: InMemoryStore
) -> None:
    keep(store, "tasks", wanted=True, status="active", reference="Subscription/tasks")
    watchdog.turn()
    tasks = feed_of(store, "tasks")
    assert (tasks.wanted, tasks.status, tasks.reference) == (False, "", "")


def test_without_a_server_it_rests(store: InMemoryStore, clock: FrozenClock) -> None:
    assert Watchdog(store, None, clock, WATCH).turn() == 0
