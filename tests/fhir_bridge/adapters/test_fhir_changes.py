"""Asking a FHIR server what changed: what is asked, what of the answer is used, what is an error. And a whole walk over its faults."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fhir_bridge.adapters.fhir_changes import FhirChanges
from fhir_bridge.adapters.fhir_client import FhirClient
from fhir_bridge.adapters.fhir_transport import Limits
from fhir_bridge.adapters.in_memory.store import InMemoryStore
from fhir_bridge.catch_up import RESTARTS, CatchUp, Pace
from fhir_bridge.changes import Change, ChangePage
from fhir_bridge.errors import Unavailable
from fhir_bridge.feed import Feed
from fhir_bridge.server_traits import ServerTraits
from tests.support.changes_contract import service_request
from tests.support.frozen_clock import FrozenClock
from tests.support.scripted_http import Scripted, ScriptedServer, fhir

KIND = "ServiceRequest"
SINCE = datetime(2026, 3, 2, 9, 30, 0, 7_500, UTC)  # 7.5 ms
DATE = "Mon, 02 Mar 2026 09:40:00 GMT"
AT = datetime(2026, 3, 2, 9, 40, tzinfo=UTC)
Serve = Callable[..., FhirClient]
Entry = dict[str, Any]


def entry(identity: str, time: str = "2026-03-02T09:31:00.123+00:00", version: str = "1") -> Entry:
    resource = service_request(identity, meta={"versionId": version, "lastUpdated": time})
    return {"fullUrl": f"http://x/fhir/{KIND}/{identity}", "resource": resource, "search": {"mode": "match"}}


def deletion(identity: str, **elements: Any) -> Entry:
    request = {"method": "DELETE", "url": f"{KIND}/{identity}/_history/2"}
    return {"fullUrl": f"http://x/fhir/{KIND}/{identity}", "request": request, **elements}


def bundle(*entries: Any, next_url: str = "", date: str = DATE, **elements: Any) -> Scripted:
    links = [{"relation": "next", "url": next_url}] if next_url else []
    content = {"resourceType": "Bundle", "type": "searchset", "link": links, "entry": list(entries), **elements}
    return fhir(content, **({"Date": date} if date else {}))


def changed(client: FhirClient, **traits: Any) -> list[ChangePage]:
    return list(FhirChanges(client, ServerTraits(**traits)).changed_since(KIND, SINCE))


def deleted(client: FhirClient, **traits: Any) -> list[Change]:
    pages = FhirChanges(client, ServerTraits(**traits)).deleted_since(KIND, SINCE)
    return [change for page in pages for change in page.changes]


def asked(servers: Sequence[ScriptedServer]) -> list[str]:
    return [request.path for request in servers[0].asked]


def test_it_asks_by_last_updated_with_milliseconds_sorted_and_past_the_cache(
    serve: Serve, servers: list[ScriptedServer]
) -> None:
    changed(serve(bundle()))
    assert asked(servers) == [
        "/fhir/ServiceRequest?_lastUpdated=ge2026-03-02T09%3A30%3A00.007Z&_sort=_lastUpdated&_count=50"
    ]
    assert servers[0].asked[0].headers["cache-control"] == "no-cache"


def test_a_server_that_cannot_sort_is_not_asked_to(serve: Serve, servers: list[ScriptedServer]) -> None:
    changed(serve(bundle()), sorts_by_change=False, page_size=100)
    assert asked(servers) == ["/fhir/ServiceRequest?_lastUpdated=ge2026-03-02T09%3A30%3A00.007Z&_count=100"]


def test_deletions_are_asked_of_the_history_of_the_type(serve: Serve, servers: list[ScriptedServer]) -> None:
    deleted(serve(bundle()))
    assert asked(servers) == ["/fhir/ServiceRequest/_history?_since=2026-03-02T09%3A30%3A00.007Z&_count=50"]


def test_a_server_without_history_is_not_asked_for_deletions(serve: Serve, servers: list[ScriptedServer]) -> None:
    assert deleted(serve(bundle(deletion("1"))), history=False) == []
    assert asked(servers) == []


def test_next_links_are_followed_to_the_end(serve: Serve, servers: list[ScriptedServer]) -> None:
    pages = changed(serve(bundle(entry("1"), next_url="?page=2"), bundle(entry("2"), next_url="?page=3"), bundle()))
    assert [[change.resource_id for change in page.changes] for page in pages] == [["1"], ["2"], []]
    assert asked(servers)[1:] == ["/fhir?page=2", "/fhir?page=3"]


def test_the_servers_time_is_that_of_its_date(serve: Serve) -> None:
    assert [page.server_time for page in changed(serve(bundle()))] == [AT]


def test_of_a_proxys_date_and_the_servers_own_time_the_earlier_counts(serve: Serve) -> None:
    own = bundle(meta={"lastUpdated": "2026-03-02T09:39:59.5Z"})
    proxy_behind = bundle(meta={"lastUpdated": "2026-03-02T09:55:00.000Z"})
    pages = [page for client in (serve(own), serve(proxy_behind)) for page in changed(client)]
    assert [page.server_time for page in pages] == [AT - timedelta(seconds=0.5), AT]
    assert [page.latest_time for page in pages] == [AT, AT + timedelta(minutes=15)]


def test_an_answer_without_a_date_has_no_time(serve: Serve) -> None:
    assert changed(serve(bundle(date="")))[0].server_time is None


@pytest.mark.parametrize(
    ("resource", "change"),
    [
        ({"id": "1"}, Change(KIND, "1")),
        ({"id": "1", "meta": {}}, Change(KIND, "1")),
        ({"id": "1", "meta": {"versionId": "3"}}, Change(KIND, "1", "3")),
        ({"id": "1", "meta": {"versionId": "3", "lastUpdated": "yesterday"}}, Change(KIND, "1", "3")),
        ({"id": "1", "meta": {"versionId": "3", "lastUpdated": "2026-03-02"}}, Change(KIND, "1", "3")),
        ({"id": "1", "meta": {"versionId": "3", "lastUpdated": "0001-01-01T00:00:00+14:00"}}, Change(KIND, "1", "3")),
        ({"id": "1", "meta": {"lastUpdated": "2026-03-02T10:40:00+01:00"}}, Change(KIND, "1", "2026-03-02T10:40:00+01:00", AT)),
    ],
)  # fmt: skip
def test_an_entry_without_version_or_time_is_used_as_far_as_it_goes(
    serve: Serve, resource: Entry, change: Change
) -> None:
    pages = changed(serve(bundle({"resource": {"resourceType": KIND, **resource}})))
    assert (pages[0].changes, pages[0].unusable) == ((change,), 0)


@pytest.mark.parametrize(
    "odd",
    [
        {},
        None,
        "x",
        {"resource": None},
        {"resource": {"resourceType": KIND}},
        {"resource": {"resourceType": KIND, "id": "a b"}},
        {"resource": {"resourceType": KIND, "id": "x" * 65}},
        {"resource": {"resourceType": KIND, "id": "1", "meta": []}},
        {"resource": {"resourceType": KIND, "id": "1", "meta": {"tag": ["x"]}}},
        {"resource": {"resourceType": KIND, "id": "1", "meta": {"versionId": "v" * 65}}},
        {"resource": {"id": "1"}},
        {"resource": service_request("1"), "search": "match"},
    ],
)
def test_a_malformed_entry_is_counted_and_costs_the_others_nothing(serve: Serve, odd: Any) -> None:
    pages = changed(serve(bundle(entry("1"), odd, entry("2"))))
    assert ([change.resource_id for change in pages[0].changes], pages[0].unusable) == (["1", "2"], 1)


def test_what_was_not_searched_for_is_no_change(serve: Serve) -> None:
    patient = {"resource": {"resourceType": "Patient", "id": "1"}, "search": {"mode": "include"}}
    hint = {"severity": "warning", "code": "processing"}
    outcome = {"resource": {"resourceType": "OperationOutcome", "issue": [hint]}, "search": {"mode": "outcome"}}
    other = {"resource": {"resourceType": "Patient", "id": "2"}}
    pages = changed(serve(bundle(patient, outcome, other, entry("1"))))
    assert ([change.resource_id for change in pages[0].changes], pages[0].unusable) == (["1"], 0)


def test_a_search_that_says_inside_that_it_failed_is_an_error(serve: Serve) -> None:
    issue = {"severity": "error", "code": "timeout"}
    outcome = {"resource": {"resourceType": "OperationOutcome", "issue": [issue]}, "search": {"mode": "outcome"}}
    with pytest.raises(Unavailable) as caught:
        changed(serve(bundle(entry("1"), outcome)))
    assert caught.value.code == "fhir.error-inside"


@pytest.mark.parametrize(
    ("told", "version"),
    [
        (deletion("9"), "2"),  # HAPI
        (deletion("9", request={"method": "DELETE", "url": f"{KIND}/9"}, response={"etag": 'W/"4"'}), "4"),  # sekmet
        (deletion("9", request={"method": "DELETE", "url": f"{KIND}/9"}, response={"etag": "4"}), "4"),
        (deletion("9", request={"method": "DELETE", "url": "http://x/fhir/ServiceRequest/9/_history/5"}), "5"),
        (deletion("9", request={"method": "DELETE", "url": ""}, response={"etag": 'W/"4"'}), "4"),
        (
            deletion("9", request={"method": "DELETE", "url": f"{KIND}/9"}, response={"lastModified": "2026-03-02T09:40:00Z"}),
            "2026-03-02T09:40:00Z",
        ),
        (deletion("9", request={"method": "DELETE", "url": f"{KIND}/9"}), ""),
    ],
)  # fmt: skip
def test_the_version_of_a_deletion_is_where_servers_put_it(serve: Serve, told: Entry, version: str) -> None:
    found = deleted(serve(bundle(told)))
    assert [(change.resource_id, change.version_id, change.is_deleted) for change in found] == [("9", version, True)]


def test_created_and_changed_versions_of_a_history_are_no_deletions(serve: Serve) -> None:
    version = entry("1") | {"request": {"method": "PUT", "url": f"{KIND}/1/_history/1"}}
    assert deleted(serve(bundle(version))) == []


def test_a_history_that_goes_on_before_the_time_asked_for_is_left_there(
    serve: Serve, servers: list[ScriptedServer]
) -> None:
    """sekmet's next link forgets `_since`."""
    put = {"request": {"method": "PUT", "url": f"{KIND}/1/_history/1"}}
    old = {"response": {"lastModified": "2026-03-01T00:00:00Z"}}
    client = serve(
        bundle(deletion("1"), next_url="?_offset=1"),
        bundle(entry("2", "2026-03-02T09:31:00Z") | put, deletion("3", **old), next_url="?_offset=2"),
        bundle(entry("4", "2026-03-01T00:00:00Z") | put, deletion("5", **old), next_url="?_offset=3"),
        bundle(deletion("6")),
    )
    assert [change.resource_id for change in deleted(client)] == ["1"]
    assert len(asked(servers)) == 3


def test_a_deletion_of_the_very_millisecond_asked_for_is_told(serve: Serve) -> None:
    same = {"response": {"lastModified": "2026-03-02T09:30:00.007Z"}}
    assert [change.resource_id for change in deleted(serve(bundle(deletion("1", **same))))] == ["1"]


def test_the_servers_time_is_asked_of_a_count(serve: Serve, servers: list[ScriptedServer]) -> None:
    assert FhirChanges(serve(bundle()), ServerTraits()).server_time() == AT
    assert asked(servers) == ["/fhir/ServiceRequest?_summary=count"]


def walked(client: FhirClient, clock: FrozenClock) -> tuple[Feed, list[str]]:
    """Of a feed that stood at SINCE: how it stands after a walk, and what was found."""
    store = InMemoryStore(clock)
    with store.transaction() as ledger:
        ledger.keep_feed(Feed("orders", watermark=SINCE + timedelta(seconds=60)))
    pace = Pace(300, 60, feeds=("orders",))
    CatchUp(store, FhirChanges(client, ServerTraits(history=False)), clock, pace).turn()
    return store.feeds()[0], [n.resource_id for n in reversed(store.notifications())]


def gone() -> Scripted:
    return fhir({"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "processing"}]}, 410)


def test_a_page_that_expired_is_asked_anew_from_the_watermark(
    serve: Serve, servers: list[ScriptedServer], clock: FrozenClock
) -> None:
    first, second = entry("1", "2026-03-02T09:32:00Z"), entry("2", "2026-03-02T09:34:00Z")
    third = entry("3", "2026-03-02T09:36:00Z")
    client = serve(
        bundle(first, next_url="?page=2"), bundle(second, next_url="?page=3"), gone(), bundle(first, second, third)
    )
    feed, found = walked(client, clock)
    assert (feed.trouble, feed.watermark, found) == ("", AT, ["1", "2", "3"])
    assert "_lastUpdated=ge2026-03-02T09%3A31%3A00.000Z" in asked(servers)[3]  # the first page's end, less the overlap


def test_pages_that_expire_again_and_again_are_trouble(
    serve: Serve, servers: list[ScriptedServer], clock: FrozenClock
) -> None:
    client = serve(*[bundle(entry("1"), next_url="?page=2"), gone()] * (RESTARTS + 1))
    feed, found = walked(client, clock)
    assert (feed.trouble, found, len(asked(servers))) == ("fhir.page-expired", ["1"], 2 * (RESTARTS + 1))


def test_a_page_that_is_too_large_is_asked_again_without_the_content(
    serve: Serve, servers: list[ScriptedServer], clock: FrozenClock
) -> None:
    large = entry("2")
    large["resource"]["note"] = [{"text": "x" * 20_000}]
    client = serve(
        bundle(entry("1"), next_url="?page=2"), bundle(large), bundle(entry("1"), entry("2")),
        limits=Limits(max_body_bytes=10_000),
    )  # fmt: skip
    feed, found = walked(client, clock)
    assert (feed.trouble, found) == ("", ["1", "2"])
    assert [path.partition("&_count=50")[2] for path in asked(servers)] == ["", "", "&_elements=id%2Cmeta"]


def test_a_page_that_is_too_large_even_without_content_is_trouble(serve: Serve, clock: FrozenClock) -> None:
    large = entry("2")
    large["resource"]["meta"]["source"] = "x" * 20_000
    feed, found = walked(serve(bundle(large), limits=Limits(max_body_bytes=10_000)), clock)
    assert (feed.trouble, found) == ("fhir.too-large", [])


@pytest.mark.parametrize(
    ("link", "code"),
    [("http://elsewhere.example/fhir?page=2", "fhir.foreign-page"), ("?page=1", "fhir.not-fhir")],
    ids=["another server", "in a circle"],
)
def test_pages_that_lead_astray_are_trouble_and_lose_nothing(
    serve: Serve, clock: FrozenClock, link: str, code: str
) -> None:
    client = serve(bundle(entry("1"), next_url="?page=1"), bundle(entry("2"), next_url=link))
    feed, found = walked(client, clock)
    assert (feed.trouble, found) == (code, ["1", "2"])
    assert feed.watermark is not None
    assert feed.watermark < AT


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Scripted(200, b"<html>CANARY</html>", {"Content-Type": "text/html"}), "fhir.not-fhir"),
        (fhir({"resourceType": "Patient", "id": "1"}), "fhir.not-fhir"),
        (Scripted(401, b""), "fhir.unauthorized"),
        (Scripted(500, b""), "fhir.unavailable"),
    ],
)
def test_an_answer_that_is_none_moves_nothing(serve: Serve, clock: FrozenClock, answer: Scripted, code: str) -> None:
    feed, found = walked(serve(answer), clock)
    assert (feed.trouble, feed.watermark, found) == (code, SINCE + timedelta(seconds=60), [])
