"""What every `ChangeFeed` keeps to. A site is a FHIR server as a test changes it: the twin, or a real one."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import uuid4

import requests

from fhir_bridge.adapters.fhir_changes import FhirChanges
from fhir_bridge.adapters.fhir_client import FhirClient
from fhir_bridge.adapters.in_memory.changes import InMemoryChanges
from fhir_bridge.adapters.in_memory.record import InMemoryRecord
from fhir_bridge.changes import Change, ChangeFeed
from fhir_bridge.server_traits import ServerTraits
from mappings.fhir_observations import own_meta
from tests.support.frozen_clock import FrozenClock

FHIR = "application/fhir+json"


def service_request(identity: str, **elements: Any) -> dict[str, Any]:
    known = {"resourceType": "ServiceRequest", "id": identity, "status": "active", "intent": "order"}
    return {**known, "subject": {"display": "CANARY^ZEBRA"}, **elements}


class Site(Protocol):
    changes: ChangeFeed

    def put(self, resource: dict[str, Any]) -> datetime:
        """When it changed, by the server's clock."""

    def delete(self, reference: str) -> None: ...


@dataclass
class TwinSite:
    clock: FrozenClock
    page_size: int = 50

    def __post_init__(self) -> None:
        self.changes = InMemoryChanges(InMemoryRecord(), self.clock, self.page_size)

    def put(self, resource: dict[str, Any]) -> datetime:
        self.clock.advance(0.01)
        return datetime.fromisoformat(self.changes.store(resource)["meta"]["lastUpdated"])

    def delete(self, reference: str) -> None:
        self.clock.advance(0.01)
        self.changes.remove(reference)


class ServerSite:
    def __init__(self, client: FhirClient, traits: ServerTraits) -> None:
        self.changes = FhirChanges(client, traits)
        self._base = client.base_url
        self._client = client

    def put(self, resource: dict[str, Any]) -> datetime:
        url = f"{self._base}/{resource['resourceType']}/{resource['id']}"
        answer = requests.put(url, json=resource, headers={"Content-Type": FHIR, "Accept": FHIR}, timeout=60)
        answer.raise_for_status()
        return datetime.fromisoformat(answer.json()["meta"]["lastUpdated"])

    def delete(self, reference: str) -> None:
        for _ in range(5):  # HAPI says 409 while it still works on the resource
            answer = requests.delete(f"{self._base}/{reference}", headers={"Accept": FHIR}, timeout=60)
            if answer.status_code != 409:
                break
        answer.raise_for_status()


class ChangesContract:
    """Subclasses give the fixture `site`. Ids are of the test alone; times are the server's."""

    @staticmethod
    def _name() -> str:
        return f"c-{uuid4().hex[:12]}"

    @staticmethod
    def _found(pages: Any, name: str) -> list[Change]:
        return [change for page in pages for change in page.changes if change.resource_id.startswith(name)]

    def test_what_is_created_and_updated_is_told_in_its_current_version(self, site: Site) -> None:
        name = self._name()
        since = site.put(service_request(f"{name}-a"))
        last = site.put(service_request(f"{name}-a", status="on-hold"))
        found = self._found(site.changes.changed_since("ServiceRequest", since), name)
        assert found == [Change("ServiceRequest", f"{name}-a", "2", last)]

    def test_a_change_at_the_very_time_that_is_asked_for_is_told(self, site: Site) -> None:
        name = self._name()
        at = site.put(service_request(name))
        told = self._found(site.changes.changed_since("ServiceRequest", at), name)
        later = self._found(site.changes.changed_since("ServiceRequest", at + timedelta(milliseconds=1)), name)
        assert ([change.changed for change in told], later) == ([at], [])

    def test_changes_of_another_type_are_not_told(self, site: Site) -> None:
        name = self._name()
        since = site.put(service_request(name))
        site.put({"resourceType": "Patient", "id": name})
        pages = list(site.changes.changed_since("ServiceRequest", since))
        assert {change.resource_type for page in pages for change in page.changes} == {"ServiceRequest"}

    def test_what_we_wrote_ourselves_is_told_as_ours(self, site: Site) -> None:
        name = self._name()
        since = site.put(service_request(name, meta=own_meta()))
        assert [c.is_ours for c in self._found(site.changes.changed_since("ServiceRequest", since), name)] == [True]

    def test_a_deletion_is_told_with_its_version_and_no_longer_as_a_change(self, site: Site) -> None:
        name = self._name()
        since = site.put(service_request(name))
        site.delete(f"ServiceRequest/{name}")
        gone = self._found(site.changes.deleted_since("ServiceRequest", since), name)
        still = self._found(site.changes.changed_since("ServiceRequest", since), name)
        assert ([(c.resource_id, c.version_id, c.is_deleted) for c in gone], still) == ([(name, "2", True)], [])

    def test_one_that_is_there_again_is_told_as_changed_and_as_deleted(self, site: Site) -> None:
        name = self._name()
        since = site.put(service_request(name))
        site.delete(f"ServiceRequest/{name}")
        again = site.put(service_request(name))
        gone = self._found(site.changes.deleted_since("ServiceRequest", since), name)
        there = self._found(site.changes.changed_since("ServiceRequest", since), name)
        assert ([c.version_id for c in gone], there) == (["2"], [Change("ServiceRequest", name, "3", again)])

    def test_what_was_deleted_before_is_not_told(self, site: Site) -> None:
        name = self._name()
        site.put(service_request(f"{name}-a"))
        site.delete(f"ServiceRequest/{name}-a")
        since = site.put(service_request(f"{name}-b"))
        assert self._found(site.changes.deleted_since("ServiceRequest", since), name) == []

    def test_pages_come_oldest_first_and_to_the_end(self, site: Site) -> None:
        name = self._name()
        times = [site.put(service_request(f"{name}-{n}")) for n in range(7)]
        pages = list(site.changes.changed_since("ServiceRequest", times[0]))
        found = [change.changed for change in self._found(pages, name)]
        assert len(pages) > 1
        assert found == times

    def test_deletions_come_over_all_pages_too(self, site: Site) -> None:
        name = self._name()
        since, *_ = [site.put(service_request(f"{name}-{n}")) for n in range(7)]
        for n in range(7):
            site.delete(f"ServiceRequest/{name}-{n}")
        found = self._found(site.changes.deleted_since("ServiceRequest", since), name)
        assert sorted(change.resource_id for change in found) == [f"{name}-{n}" for n in range(7)]

    def test_each_page_and_the_server_say_what_time_it_is_there(self, site: Site) -> None:
        at = site.put(service_request(self._name()))
        page = next(iter(site.changes.changed_since("ServiceRequest", at)))
        times = [page.server_time, site.changes.server_time()]
        assert all(time is not None and abs(time - at) < timedelta(seconds=60) for time in times)
