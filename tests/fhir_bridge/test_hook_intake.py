"""What a call of a hook does to the store: notifications, and what is known of the feed."""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fhir_bridge.adapters.in_memory.store import InMemoryStore
from fhir_bridge.adapters.sql_database import SqlDatabase
from fhir_bridge.adapters.sql_store import SqlStore
from fhir_bridge.feed import KINDS, Feed
from fhir_bridge.hook_intake import HookCall, call_of, take
from fhir_bridge.ports import CATCH_UP, JobStore, Notification
from tests.support.frozen_clock import START, FrozenClock

JSON = "application/fhir+json"
ORDER = {"resourceType": "ServiceRequest", "id": "9", "meta": {"versionId": "2"}}


class Desk:
    """A store, and the calls that reach it."""

    def __init__(self, store: JobStore, clock: FrozenClock) -> None:
        self.store = store
        self.clock = clock

    def call(
        self, body: Any = b"", name: str = "orders", method: str = "POST", path: str = "", if_match: str = ""
    ) -> HookCall:
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        call = call_of(name, method, path, (JSON, if_match), text)
        with self.store.transaction() as ledger:
            take(ledger, call, self.clock.now())
        return call

    def feed(self, name: str = "orders") -> Feed:
        with self.store.transaction() as ledger:
            return ledger.feed(name)

    def keep(self, feed: Feed) -> None:
        with self.store.transaction() as ledger:
            ledger.keep_feed(feed)

    def kept(self) -> list[tuple[str, str, str, str, str]]:
        """Oldest first: resource, version, method, status, reason."""
        return [
            (f"{n.resource_type}/{n.resource_id}", n.version_id, n.method, n.status, n.reason)
            for n in reversed(self.store.notifications())
        ]

    def asked(self) -> set[str]:
        return {name for name in KINDS if self.feed(name).asked_for is not None}


@pytest.fixture(params=["memory", "sqlite"])
def desk(request: pytest.FixtureRequest, clock: FrozenClock, tmp_path: Path) -> Iterator[Desk]:
    if request.param == "memory":
        yield Desk(InMemoryStore(clock), clock)
        return
    database = SqlDatabase.in_folder(tmp_path)
    database.migrate()
    yield Desk(SqlStore(database, clock), clock)
    database.close()


def a_notification(
    *focuses: str, number: int = 1, kind: str = "event-notification", status: str = "active"
) -> dict[str, Any]:
    events = [
        {"eventNumber": str(number + place)} | ({"focus": {"reference": focus}} if focus else {})
        for place, focus in enumerate(focuses)
    ]
    resource = {
        "resourceType": "SubscriptionStatus",
        "type": kind,
        "status": status,
        "eventsSinceSubscriptionStart": str(number + max(len(events) - 1, 0)),
        "notificationEvent": events,
    }
    return {"resourceType": "Bundle", "type": "history", "entry": [{"resource": resource}]}


def test_a_resource_is_kept_to_be_read_again(desk: Desk) -> None:
    assert desk.call(ORDER, method="PUT", path="ServiceRequest/9", if_match='W/"2"').outcome == "received"
    assert desk.kept() == [("ServiceRequest/9", "2", "PUT", "ready", "")]
    assert (desk.feed().heard, desk.asked()) == (START, set())


def test_the_same_version_by_another_subscription_and_another_form_is_one(desk: Desk) -> None:
    desk.call(ORDER, method="PUT", path="ServiceRequest/9")
    desk.call(ORDER, name="emr")
    desk.call(a_notification("ServiceRequest/9/_history/2"))
    assert len(desk.kept()) == 1


def test_several_resources_of_one_bundle_are_kept_each_and_the_body_once(desk: Desk) -> None:
    body = a_notification("ServiceRequest/1/_history/1", "ServiceRequest/2/_history/1")
    desk.call(body)
    assert [row[0] for row in desk.kept()] == ["ServiceRequest/1", "ServiceRequest/2"]
    bodies = [desk.store.notification_body(n.id) for n in reversed(desk.store.notifications())]
    assert bodies == [json.dumps(body).encode(), b""]


def test_the_body_goes_to_the_first_that_is_new(desk: Desk) -> None:
    desk.call(a_notification("ServiceRequest/1/_history/1"))
    body = a_notification("ServiceRequest/1/_history/1", "ServiceRequest/2/_history/1")
    desk.call(body)
    assert desk.store.notification_body(desk.store.notifications()[0].id) == json.dumps(body).encode()


def test_a_delete_is_another_thing_than_the_version_before(desk: Desk) -> None:
    desk.call(ORDER, method="PUT", path="ServiceRequest/9")
    desk.call(method="DELETE", path="ServiceRequest/9")
    assert desk.kept()[1] == ("ServiceRequest/9", "", "DELETE", "ready", "")


def test_of_a_transaction_only_what_we_read_is_kept(desk: Desk) -> None:
    entries = [{"resource": ORDER}, {"resource": {"resourceType": "Patient", "id": "7"}}]
    desk.call({"resourceType": "Bundle", "type": "transaction", "entry": entries})
    assert desk.kept() == [("ServiceRequest/9", "2", "PUT", "ready", "")]


ASKS = {
    "an empty POST": (b"", "hook.empty"),
    "an event that names nothing": (a_notification(""), "hook.empty"),
    "an event about something that is no resource": (a_notification("urn:uuid:1"), "hook.empty"),
    "a bundle without a status": ({"resourceType": "Bundle", "type": "history", "entry": []}, "hook.empty"),
    "a handshake": (a_notification(kind="handshake", status="requested", number=0), "hook.handshake"),
}


@pytest.mark.parametrize(("body", "reason"), ASKS.values(), ids=ASKS.keys())
def test_what_names_nothing_is_asked_for(desk: Desk, body: Any, reason: str) -> None:
    assert desk.call(body).outcome == "received"
    assert desk.kept() == [("/", "", "POST", "done", reason)]
    assert desk.asked() == {"orders"}


def test_an_empty_call_by_a_name_that_is_none_of_ours_asks_for_all(desk: Desk) -> None:
    assert desk.call(name="emr").outcome == "quarantined"
    assert (desk.kept(), desk.asked()) == ([("/", "", "POST", "quarantined", "hook.name-unknown")], set(KINDS))


def test_another_name_is_taken_by_the_type_that_is_told(desk: Desk) -> None:
    desk.call({"resourceType": "ImagingStudy", "id": "5"}, name="emr")
    assert (desk.kept()[0][3], desk.feed("studies").heard, desk.feed("orders").heard) == ("ready", START, None)


def test_events_are_counted_by_feed(desk: Desk) -> None:
    desk.call(a_notification("ServiceRequest/1/_history/1", number=4))
    desk.call(a_notification("ImagingStudy/1/_history/1", number=8), name="studies")
    assert (desk.feed("orders").event_number, desk.feed("studies").event_number) == (4, 8)


def test_a_gap_is_counted_and_asked_for(desk: Desk) -> None:
    desk.keep(Feed("orders", heard=START, event_number=4))
    desk.call(a_notification("ServiceRequest/1/_history/1", number=7))
    assert (desk.feed().event_number, desk.feed().gaps, desk.asked()) == (7, 2, {"orders"})


def test_a_heartbeat_that_knows_more_events_than_we_is_a_gap(desk: Desk) -> None:
    desk.keep(Feed("orders", heard=START, event_number=4))
    desk.call(a_notification(kind="heartbeat", number=6))
    assert (desk.kept()[0][3:], desk.feed().gaps, desk.asked()) == (("done", "hook.status-only"), 2, {"orders"})


def test_a_heartbeat_that_knows_no_more_asks_for_nothing(desk: Desk) -> None:
    desk.keep(Feed("orders", heard=START, event_number=4))
    desk.call(a_notification(kind="heartbeat", number=4))
    assert (desk.feed().gaps, desk.asked()) == (0, set())


def test_a_server_that_counts_anew_is_asked(desk: Desk) -> None:
    desk.keep(Feed("orders", heard=START, event_number=4))
    desk.call(a_notification("ServiceRequest/1/_history/1", number=1))
    assert (desk.feed().event_number, desk.feed().resets, desk.asked()) == (1, 1, {"orders"})


def test_a_repetition_counts_nothing(desk: Desk) -> None:
    first = a_notification("ServiceRequest/1/_history/1", number=1)
    desk.call(first)
    desk.call(a_notification("ServiceRequest/2/_history/1", number=2))
    desk.call(first)
    assert (desk.feed().event_number, desk.feed().resets, len(desk.kept())) == (2, 0, 2)


@pytest.mark.parametrize("status", ["error", "off"])
def test_a_subscription_that_stands_still_is_looked_at_at_once(desk: Desk, status: str) -> None:
    desk.keep(Feed("orders", heard=START, looked=START))
    desk.call(a_notification(kind="query-status", status=status, number=3))
    assert desk.feed().looked is None


def test_an_active_one_is_left_to_its_turn(desk: Desk) -> None:
    desk.keep(Feed("orders", heard=START, looked=START))
    desk.call(a_notification("ServiceRequest/1"))
    assert desk.feed().looked == START


def test_when_we_last_heard_is_kept_by_the_second(desk: Desk) -> None:
    desk.call(ORDER)
    desk.clock.advance(0.5)
    desk.call(ORDER | {"id": "10"})
    soon = desk.feed().heard
    later = desk.clock.advance(0.5)
    desk.call(ORDER | {"id": "11"})
    assert (soon, desk.feed().heard) == (START, later)


def test_what_catch_up_and_watchdog_know_of_the_feed_stays(desk: Desk) -> None:
    known = Feed(
        "orders", wanted=True, watermark=START, reference="Subscription/1", missed=3, caught_up=START, status="active"
    )
    desk.keep(known)
    desk.call(ORDER)
    found = desk.feed()
    assert (found.wanted, found.watermark, found.reference, found.missed) == (True, START, "Subscription/1", 3)


UNUSED = {
    "a plain resource": {"resourceType": "Patient", "id": "7", "name": [{"family": "CANARY^ZEBRA"}]},
    "the focus of an event": a_notification("Encounter/7"),
}


@pytest.mark.parametrize("body", UNUSED.values(), ids=UNUSED.keys())
def test_a_type_that_we_have_no_use_for_is_done_and_its_body_not_kept(desk: Desk, body: dict[str, Any]) -> None:
    assert desk.call(body).outcome == "ignored"
    assert desk.kept() == [("/", "", "POST", "done", "hook.type-unused")]
    assert (desk.store.notification_body(desk.store.notifications()[0].id), desk.asked()) == (b"", set())


def test_an_unnamed_event_beside_one_that_we_have_no_use_for_is_asked_for(desk: Desk) -> None:
    desk.call(a_notification("Encounter/7", ""))
    assert (desk.kept()[0][3:], desk.asked()) == (("done", "hook.type-unused"), {"orders"})


def test_what_one_process_heard_within_the_second_is_not_looked_up(desk: Desk) -> None:
    heard = {"orders": START}
    call = call_of("orders", "PUT", "ServiceRequest/1", (JSON, 'W/"1"'), b"")
    with desk.store.transaction() as ledger:
        take(ledger, call, START, heard)
    assert (len(desk.kept()), desk.feed().heard) == (1, None)


def test_what_we_could_not_use_is_quarantined_and_asked_for(desk: Desk) -> None:
    desk.call(b"MSH|", method="POST")
    assert (desk.kept(), desk.asked()) == ([("/", "", "POST", "quarantined", "hook.unreadable")], {"orders"})


def test_the_number_of_an_event_counts_though_its_version_is_known(desk: Desk) -> None:
    """Asking found the version first."""
    desk.keep(Feed("orders", event_number=4))
    with desk.store.transaction() as ledger:
        ledger.add_changes([Notification(0, CATCH_UP, "PUT", "ServiceRequest", "9", "2", "ready")])
    desk.call(a_notification("ServiceRequest/9/_history/2", number=5))
    desk.call(a_notification("ServiceRequest/9/_history/3", number=6))
    assert (desk.feed().event_number, desk.feed().gaps, desk.asked()) == (6, 0, set())


def test_the_version_of_the_body_goes_before_the_header(desk: Desk) -> None:
    """`If-Match` of an update names the version before it (RFC 9110 13.1.1); HAPI alone sends the one after."""
    desk.call(ORDER, method="PUT", path="ServiceRequest/9", if_match='W/"1"')
    assert desk.kept() == [("ServiceRequest/9", "2", "PUT", "ready", "")]


def test_a_clock_that_was_put_back_is_no_second_in_which_a_feed_was_heard(desk: Desk) -> None:
    heard: dict[str, datetime] = {}
    for seconds in (0, -7200):
        at = desk.clock.advance(seconds)
        with desk.store.transaction() as ledger:
            take(ledger, call_of("orders", "PUT", "ServiceRequest/9", (JSON, ""), b""), at, heard)
    assert desk.feed().heard == START - timedelta(seconds=7200)


def test_a_path_names_its_resource_whatever_the_body_is(desk: Desk) -> None:
    desk.call(b"\x00", method="PUT", path="ServiceRequest/9", if_match='W/"3"')
    assert desk.kept() == [("ServiceRequest/9", "3", "PUT", "ready", "")]
