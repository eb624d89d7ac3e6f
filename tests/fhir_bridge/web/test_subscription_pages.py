"""The page of what the FHIR server tells us. The canary guard reads every answer here."""

from dataclasses import replace
from datetime import timedelta

import pytest
from flask.testing import FlaskClient

from fhir_bridge.adapters.in_memory.store import InMemoryStore
from fhir_bridge.feed import Feed
from fhir_bridge.ports import Notification
from fhir_bridge.watchdog import Patience, alarms
from fhir_bridge.web.app import make_app
from fhir_bridge.web.pages import only_this_machine, pages
from fhir_bridge.web.subscription_pages import ALARM_WORDS, shown, subscription_pages
from tests.support.frozen_clock import START, FrozenClock
from tests.support.shown_jobs import ShownJobs

PATIENCE = Patience(quiet=timedelta(hours=24), catch_up=timedelta(minutes=5), watch=timedelta(minutes=5))
ORDERS = Feed("orders", wanted=True, status="active", reference="Subscription/17", looked=START, caught_up=START)


@pytest.fixture
def store(clock: FrozenClock) -> InMemoryStore:
    return InMemoryStore(clock)


@pytest.fixture
def client(store: InMemoryStore, clock: FrozenClock) -> FlaskClient:
    def feeds() -> list[tuple[Feed, tuple[str, ...]]]:
        return [(feed, alarms(feed, clock.now(), PATIENCE)) for feed in store.feeds()]

    shown_jobs = ShownJobs()
    blueprints = (
        pages(shown_jobs, shown_jobs, clock, shown_jobs.job_counts),  # type: ignore[arg-type]
        subscription_pages(store, clock, feeds, only_this_machine),
    )
    return make_app(blueprints).test_client()


def keep(store: InMemoryStore, *feeds: Feed) -> None:
    with store.transaction() as ledger:
        for feed in feeds:
            ledger.keep_feed(feed)


def tell(store: InMemoryStore, **changes: object) -> None:
    told = Notification(0, "orders", "PUT", "ServiceRequest", "CANARY-1", "CANARY-2", "quarantined", reason="hook.x")
    with store.transaction() as ledger:
        ledger.add_notification(replace(told, **changes), b"CANARY^ZEBRA")  # type: ignore[arg-type]


def read(client: FlaskClient) -> str:
    answer = client.get("/subscriptions")
    assert answer.status_code == 200
    return answer.get_data(as_text=True)


def test_before_anything_is_known_it_says_what_to_do(client: FlaskClient) -> None:
    assert "fhir-bridge subscribe" in read(client)


def test_a_feed_is_shown_with_what_came_and_what_did_not(client: FlaskClient, store: InMemoryStore) -> None:
    keep(store, replace(ORDERS, heard=START - timedelta(minutes=3), missed=41, gaps=42, resets=43, repairs=44,
                        event_number=45))  # fmt: skip
    page = read(client)
    for words in ("The server tells us.", "3 min ago", "41", "42", "43", "44", "45", "Subscription/17",
                  "2026-03-02 09:27:00"):  # fmt: skip
        assert words in page


def test_an_alarm_is_said_in_words_and_with_its_code(client: FlaskClient, store: InMemoryStore) -> None:
    keep(store, replace(ORDERS, status="missing"))
    page = read(client)
    assert ALARM_WORDS["subscription.missing"] in page
    assert "subscription.missing" in page


def test_every_alarm_has_words() -> None:
    worst = replace(ORDERS, caught_up=START - timedelta(days=9), looked=START - timedelta(days=9), last_missed=START,
                    heard=START - timedelta(days=9))  # fmt: skip
    stages = [replace(worst, status=status, status_since=START - timedelta(days=9))
              for status in ("missing", "off", "requested")]  # fmt: skip
    found = {alarm for feed in stages for alarm in alarms(feed, START, PATIENCE)}
    assert found == set(ALARM_WORDS)


STATES = {
    "active": ({}, "active", "accepted"),
    "about to be": ({"status": "requested"}, "requested", "waiting"),
    "stopped": ({"status": "error"}, "error", "refused"),
    "in a word that nobody knows": ({"status": "CANARY"}, "another", "refused"),
    "never looked at": ({"status": ""}, "not seen", "waiting"),
    "not wanted": ({"wanted": False}, "", ""),
}


@pytest.mark.parametrize(("changes", "status", "tone"), STATES.values(), ids=STATES.keys())
def test_each_state_has_one_word(changes: dict[str, object], status: str, tone: str) -> None:
    feed = shown(replace(ORDERS, **changes), ())  # type: ignore[arg-type]
    assert (feed.status, feed.tone) == (status, tone)


def test_a_quarantined_notification_is_shown_without_what_it_is_of(client: FlaskClient, store: InMemoryStore) -> None:
    tell(store)
    page = read(client)
    for words in ("ServiceRequest", "hook.x", "fhir-bridge notifications replay", "1 are quarantined"):
        assert words in page


def test_words_of_a_caller_are_not_shown(client: FlaskClient, store: InMemoryStore) -> None:
    tell(store, subscription="CANARY", resource_type="Zebra")
    assert read(client).count("<td>another</td>") == 2


def test_one_that_was_used_is_only_counted(client: FlaskClient, store: InMemoryStore) -> None:
    tell(store, status="done")
    page = read(client)
    assert "1 are done" in page
    assert "hook.x" not in page


def test_the_page_is_for_this_machine(client: FlaskClient) -> None:
    assert client.get("/subscriptions", environ_base={"REMOTE_ADDR": "192.0.2.7"}).status_code == 403


def test_every_page_leads_to_it(client: FlaskClient) -> None:
    assert 'href="/subscriptions"' in client.get("/").get_data(as_text=True)
