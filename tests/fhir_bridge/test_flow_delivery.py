"""The last step: every destination gets the result, whatever becomes of the others."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fhir_bridge.adapters.in_memory.delivery import InMemoryDelivery
from fhir_bridge.errors import Refused, Unavailable, Uncertain
from fhir_bridge.job import Event, Stage, Status
from fhir_bridge.ports import Receipt
from mappings.finding import Report
from tests.support.bridge_in_memory import BridgeInMemory
from tests.support.frozen_clock import FrozenClock

AWAY = Unavailable("test.unavailable", "peer", "away")


@pytest.fixture
def bridge(tmp_path: Path, clock: FrozenClock) -> Iterator[BridgeInMemory]:
    bridge = BridgeInMemory(tmp_path, clock)
    yield bridge
    bridge.vault.close()


def test_an_uncertain_delivery_is_tried_again_and_can_no_longer_be_cancelled(bridge: BridgeInMemory) -> None:
    bridge.film()
    bridge.destination.outage = Uncertain("test.uncertain", "peer", "timed out")
    job = bridge.order()
    bridge.run_until_quiet()
    cancelled = bridge.happen(job, Event.CANCEL)
    bridge.destination.outage = None
    bridge.clock.advance(60)
    bridge.run()
    assert (cancelled, bridge.job(job).status, len(bridge.destination.versions[job])) == (False, Status.DONE, 1)


def test_a_failing_destination_does_not_keep_the_result_from_the_others(bridge: BridgeInMemory) -> None:
    good, bad = InMemoryDelivery("good"), InMemoryDelivery("bad", outage=AWAY)
    bridge.with_deliveries(bad, good)
    bridge.film()
    job = bridge.order()
    bridge.run_until_quiet()
    states = {delivery.destination: delivery.status for delivery in bridge.store.deliveries(job)}
    assert (states, list(good.versions)) == ({"good": "delivered", "bad": "pending"}, [job])


def test_a_destination_that_has_the_result_is_not_sent_it_again(bridge: BridgeInMemory) -> None:
    good, bad = InMemoryDelivery("good"), InMemoryDelivery("bad", outage=AWAY)
    bridge.with_deliveries(bad, good)
    bridge.film()
    job = bridge.order()
    bridge.run_until_quiet()
    bad.outage, good.outage = None, Refused("test.twice", "good", "asked twice")
    bridge.clock.advance(60)
    bridge.run()
    assert bridge.job(job).status is Status.DONE


def test_a_destination_that_refused_is_left_alone_until_a_person_replays_the_job(bridge: BridgeInMemory) -> None:
    """facts §5: one bad destination must not block the others, nor be asked again and again."""
    away, bad = InMemoryDelivery("away", outage=AWAY), InMemoryDelivery("bad", outage=Refused("test.refused", "bad"))
    bridge.with_deliveries(bad, away)
    bridge.film()
    job = bridge.order()
    bridge.run_until_quiet()
    waiting = bridge.job(job)
    bad.outage, away.outage = None, None
    bridge.clock.advance(60)
    bridge.run()
    held = bridge.job(job)
    bridge.happen(job, Event.REPLAY, Stage.DELIVER)
    bridge.run()
    assert (waiting.status, waiting.reason) == (Status.WAITING, "test.unavailable")
    assert (held.status, held.reason, list(away.versions)) == (Status.HELD, "test.refused", [job])
    assert (bridge.job(job).status, list(bad.versions)) == (Status.DONE, [job])


class PassedOver:
    """A destination that refuses, where the site wants that noted and nothing more."""

    destination = "skipping"

    def __init__(self) -> None:
        self.asked = 0

    def deliver(self, report: Report) -> Receipt:
        self.asked += 1
        return Receipt("MSA|AE|1", "test.refused", is_accepted=False)


def test_a_refusal_that_the_site_passes_over_is_noted_and_asked_for_once(bridge: BridgeInMemory) -> None:
    skipping, away = PassedOver(), InMemoryDelivery("away", outage=AWAY)
    bridge.with_deliveries(skipping, away)
    bridge.film()
    job = bridge.order()
    bridge.run_until_quiet()
    away.outage = None
    bridge.clock.advance(60)
    bridge.run()
    noted = {d.destination: (d.status, d.reason, d.reference) for d in bridge.store.deliveries(job)}
    assert noted["skipping"] == ("skipped", "test.refused", "MSA|AE|1")
    assert (bridge.job(job).status, skipping.asked) == (Status.DONE, 1)


def test_what_may_be_there_stays_so_when_the_next_attempt_cannot_reach_it(bridge: BridgeInMemory) -> None:
    bridge.film()
    bridge.destination.outage = Uncertain("test.uncertain", "peer", "timed out")
    job = bridge.order()
    bridge.run_until_quiet()
    bridge.destination.outage = AWAY
    bridge.clock.advance(60)
    bridge.run()
    (delivery,) = bridge.store.deliveries(job)
    assert (delivery.status, bridge.happen(job, Event.CANCEL)) == ("sending", False)
