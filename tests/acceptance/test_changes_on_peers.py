"""Asking real FHIR servers what changed. HAPI and sekmet page in different ways; the end is the same."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import requests

from fhir_bridge.adapters.fhir_changes import FhirChanges
from fhir_bridge.adapters.fhir_client import FhirClient
from fhir_bridge.adapters.fhir_transport import Limits
from fhir_bridge.adapters.in_memory.store import InMemoryStore
from fhir_bridge.catch_up import CatchUp, Pace
from fhir_bridge.changes import ChangePage
from fhir_bridge.errors import Unavailable
from fhir_bridge.practice.fhir_peer import FhirPeer
from fhir_bridge.server_traits import PROFILES, ServerTraits
from tests.support.changes_contract import FHIR, ChangesContract, ServerSite, service_request
from tests.support.frozen_clock import FrozenClock
from tests.support.hapi import running_peer
from tests.support.scripted_http import Scripted, fhir, in_turn, scripted_server

pytestmark = pytest.mark.real_parts

KIND = "ServiceRequest"
OLD = timedelta(days=2)  # our clock stands still in March; theirs does not


@pytest.fixture(scope="module")
def sekmet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FhirPeer]:
    yield from running_peer("sekmet", tmp_path_factory.mktemp("sekmet"))


@pytest.fixture
def hapi_client(hapi: FhirPeer) -> Iterator[FhirClient]:
    with FhirClient(hapi.base_url) as client:
        yield client


@pytest.fixture(params=["hapi", "sekmet"])
def peer(request: pytest.FixtureRequest) -> Iterator[tuple[FhirClient, ServerTraits]]:
    server: FhirPeer = request.getfixturevalue(request.param)
    with FhirClient(server.base_url) as client:
        yield client, PROFILES[request.param]


class TestHapi(ChangesContract):
    @pytest.fixture
    def site(self, hapi_client: FhirClient) -> ServerSite:
        return ServerSite(hapi_client, ServerTraits(page_size=3))


class Walker:
    """A bridge that asks for orders only, and what it found under one name."""

    def __init__(self, client: FhirClient, traits: ServerTraits) -> None:
        self.name = f"w-{uuid4().hex[:10]}"
        self.site = ServerSite(client, traits)
        self.store = InMemoryStore(FrozenClock())
        self.pages: list[ChangePage] = []

    def walk(self) -> None:
        """As after a restart."""
        pace = Pace(overlap_seconds=60, feeds=("orders",))
        assert CatchUp(self.store, self.site.changes, FrozenClock(), pace).turn() == 1

    def put(self, number: int, **elements: Any) -> datetime:
        return self.site.put(service_request(f"{self.name}-{number}", **elements))

    def delete(self, number: int) -> None:
        self.site.delete(f"{KIND}/{self.name}-{number}")

    def found(self) -> list[tuple[str, str, str]]:
        ours = (n for n in self.store.notifications(limit=10_000) if n.resource_id.startswith(self.name))
        return sorted((n.resource_id.rpartition("-")[2].zfill(3), n.version_id, n.method) for n in ours)


@pytest.fixture
def walker(peer: tuple[FhirClient, ServerTraits]) -> Walker:
    walker = Walker(*peer)
    walker.walk()  # the very first: from now on
    return walker


def test_what_is_created_updated_deleted_and_back_again_is_found_once(walker: Walker) -> None:
    for number in range(4):
        walker.put(number)
    walker.put(1, status="on-hold")
    walker.delete(2)
    walker.delete(3)
    walker.put(3)
    walker.walk()
    walker.walk()
    assert walker.found() == [
        ("000", "1", "PUT"),
        ("001", "2", "PUT"),
        ("002", "2", "DELETE"),
        ("003", "2", "DELETE"),
        ("003", "3", "PUT"),
    ]


def test_a_hundred_and_twenty_changes_are_found_over_three_pages(walker: Walker) -> None:
    first = walker.put(0)
    for number in range(1, 120):
        walker.put(number)
    pages = list(walker.site.changes.changed_since(KIND, first))
    walker.walk()
    assert [len(page.changes) for page in pages] == [50, 50, 20]
    assert walker.found() == [(f"{number:03}", "1", "PUT") for number in range(120)]


def test_the_watermark_is_the_servers_time_and_not_ours(walker: Walker) -> None:
    last = walker.put(0)
    walker.walk()
    watermark = walker.store.feeds()[0].watermark
    assert watermark is not None
    assert abs(watermark - last) < timedelta(seconds=120)
    assert watermark - walker.store.feeds()[0].caught_up > OLD  # type: ignore[operator]


def test_what_hapi_changes_between_two_pages_keeps_its_place(hapi_client: FhirClient) -> None:
    walker = Walker(hapi_client, ServerTraits(page_size=2))
    first = walker.put(0)
    for number in range(1, 6):
        walker.put(number)
    pages = walker.site.changes.changed_since(KIND, first)
    found = [change.resource_id for change in next(pages).changes]
    changed = walker.put(3, status="on-hold")
    walker.delete(4)
    rest = list(pages)
    found += [change.resource_id for page in rest for change in page.changes]
    assert found == [f"{walker.name}-{number}" for number in (0, 1, 2, 3, 5)]
    assert rest[0].changes[1].changed == changed


def test_changes_whose_page_is_too_large_are_found_without_their_content(
    peer: tuple[FhirClient, ServerTraits],
) -> None:
    with FhirClient(peer[0].base_url, limits=Limits(max_body_bytes=30_000)) as client:
        walker = Walker(client, ServerTraits(history=False))
        walker.walk()
        walker.put(0, note=[{"text": "x" * 40_000}])
        walker.put(1)
        walker.walk()
    assert walker.found() == [("000", "1", "PUT"), ("001", "1", "PUT")]


BUSY: dict[str, Callable[[], object]] = {}


class Busy(FhirChanges):
    """What stands in BUSY happens once, after the page on which that resource is."""

    def changed_since(self, kind: str, since: datetime) -> Iterator[ChangePage]:
        for page in FhirChanges.changed_since(self, kind, since):
            yield page
            for change in page.changes:
                BUSY.pop(change.resource_id, lambda: None)()


def test_what_moves_up_past_us_on_a_server_with_offsets_is_found(sekmet: FhirPeer) -> None:
    with FhirClient(sekmet.base_url) as client:
        walker = Walker(client, ServerTraits(page_size=2))
        walker.walk()
        for number in range(6):
            walker.put(number)
        BUSY[f"{walker.name}-0"] = lambda: walker.put(0, status="on-hold")
        walker.site.changes = Busy(client, ServerTraits(page_size=2))
        walker.walk()
    found = [(number, version) for number, version, _ in walker.found()]
    assert found == [("000", "1"), ("000", "2"), *((f"{number:03}", "1") for number in range(1, 6))]


def test_hapis_answer_for_a_page_that_it_forgot_is_an_expired_search(hapi: FhirPeer) -> None:
    forgotten = requests.get(
        hapi.base_url,
        params={"_getpages": str(uuid4()), "_getpagesoffset": "50", "_count": "50", "_bundletype": "searchset"},
        headers={"Accept": FHIR},
        timeout=60,
    )
    link = {"relation": "next", "url": "?_getpages=x"}
    answers = in_turn(
        fhir({"resourceType": "Bundle", "type": "searchset", "link": [link]}),
        Scripted(forgotten.status_code, forgotten.content, {"Content-Type": forgotten.headers["Content-Type"]}),
    )
    with (
        scripted_server(answers) as server,
        FhirClient(f"{server.url}/fhir") as client,
        pytest.raises(Unavailable) as caught,
    ):
        list(FhirChanges(client, ServerTraits()).changed_since(KIND, datetime.now(UTC)))
    assert (forgotten.status_code, caught.value.code) == (410, "fhir.page-expired")
