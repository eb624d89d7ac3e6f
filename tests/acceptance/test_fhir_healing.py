"""Events that are lost for sure, on a real HAPI: what the notifications did not tell is found by asking, and the end is the same."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from fhir_bridge.practice.story import Story
from tests.support.fhir_burst import Burst, BurstEnd
from tests.support.fhir_hospital import RealHospital
from tests.support.fhir_site import Site, running_site
from tests.support.processes import until

pytestmark = [pytest.mark.real_parts, pytest.mark.tensorflow]

ORDERS = 20
SETTINGS = {"fhir.profile": "hapi", "fhir.catch_up_seconds": "3", "fhir.watch_seconds": "15"}
CHANGED = {"code": {"coding": [{"system": "urn:oid:2.16.840.1.113883.19.8", "code": "XRCHEST2", "display": "Two"}]}}


@pytest.fixture(scope="module")
def site(lasting_hapi: RealHospital, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A bridge that HAPI notifies. The tests kill both."""
    with running_site(lasting_hapi, tmp_path_factory.mktemp("healing") / "site", SETTINGS) as site:
        site.process.subscribe()
        yield site
        site.process.stop()  # its watchdog would make them again
        site.unsubscribe()


def served(orders: int, called_off: int = 0, never_told: int = 0) -> BurstEnd:
    """The end that there must be: for each order one job, for each that stands one report. `never_told`: called off unheard, no job."""
    return BurstEnd(orders, called_off, jobs=orders - never_told, reports=orders - called_off)


def test_orders_placed_changed_revoked_and_deleted_while_our_subscriptions_are_gone(site: Site) -> None:
    burst = Burst(site, "unheard", ORDERS)
    new, changed, revoked, deleted = (burst.stories[start::4] for start in range(4))
    burst.admit(films=False)
    known = [*changed, *revoked, *deleted]
    burst.place(known)
    burst.await_jobs(len(known))
    site.await_look()
    gone = site.unsubscribe()
    burst.place(new)
    burst.place(changed, **CHANGED)
    burst.revoke(revoked)
    burst.delete(deleted)
    until(lambda: all(_is_changed(site, story) for story in changed), "the changes are found")  # before a result is out
    burst.film(burst.stories)
    end = burst.await_end()
    assert end == served(ORDERS, called_off=len(revoked) + len(deleted))
    assert site.found_by_asking(new) >= 1  # HAPI may take half a second to see that the Subscriptions are gone
    until(lambda: set(site.subscriptions().values()) == {"active"}, "our Subscriptions again")
    assert not gone & site.subscriptions().keys()
    reports = [report for story in changed for report in site.reports_of(story)]
    assert [{c["code"] for c in report.resource["code"]["coding"]} >= {"XRCHEST2"} for report in reports] == [True] * 5


def _is_changed(site: Site, story: Story) -> bool:
    return all(job.order.procedure and job.order.procedure.code == "XRCHEST2" for job in site.jobs_of(story))


def test_our_process_killed_amid_the_notifications_of_a_burst(site: Site) -> None:
    burst = Burst(site, "killed", ORDERS)
    burst.admit()
    burst.place(burst.stories)
    burst.await_jobs(3)
    site.kill()
    burst.revoke(burst.stories[-3:])
    site.start()
    end = burst.await_end()
    assert replace(end, jobs=0) == replace(served(ORDERS, called_off=3), jobs=0)
    assert end.jobs in range(ORDERS - 3, ORDERS + 1)  # of a revoked order that was never heard of there is none


def test_the_fhir_server_killed_amid_a_burst(site: Site) -> None:
    burst = Burst(site, "server-killed", ORDERS)
    burst.admit()
    first, second = burst.stories[: ORDERS // 2], burst.stories[ORDERS // 2 :]
    burst.place(first)
    burst.await_reports(2)
    site.hospital.stop()
    site.hospital.start()
    burst.place(second)
    assert burst.await_end() == served(ORDERS)
