"""What our Subscriptions do on a real FHIR server. Subclasses give a `client`; the names of the tests are the contract."""

import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from queue import Empty
from typing import Any, TypeVar

import pytest

from fhir_bridge.adapters.fhir_client import FhirClient
from fhir_bridge.adapters.fhir_subscription import FhirSubscriptions, Hooks, wanted_subscriptions
from fhir_bridge.adapters.fhir_transport import Conflict
from fhir_bridge.adapters.in_memory.store import InMemoryStore
from fhir_bridge.feed import Feed
from fhir_bridge.hook_token import token_for
from fhir_bridge.server_traits import ServerTraits
from fhir_bridge.watchdog import SubscriptionState, Watchdog, noted
from tests.support.frozen_clock import FrozenClock
from tests.support.hospitals import Resources, ServerHospital
from tests.support.scripted_http import Asked, Scripted, ScriptedServer, scripted_server

PATIENCE_SECONDS = 60
OURS = {"tag": [{"system": "urn:fhir-bridge:tag", "code": "ai-result"}]}
T = TypeVar("T")


def eventually(look: Callable[[], T], good: Callable[[T], bool]) -> T:
    """What `look` sees once it is good; the server works in its own time."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not good(seen := look()):
        assert time.monotonic() < deadline, f"still {seen} after {PATIENCE_SECONDS} s"
        time.sleep(0.05)
    return seen


def notified(endpoint: ScriptedServer, name: str) -> Asked:
    """The hook call that tells of this resource."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            asked = endpoint.arrivals.get(timeout=max(0.0, deadline - time.monotonic()))
        except Empty:
            pytest.fail(f"no notification of {name} within {PATIENCE_SECONDS} s")
        if asked.path.endswith(name):
            return asked


def subscriptions_of(client: FhirClient, hooks: Hooks, *, tasks: bool = False) -> FhirSubscriptions:
    return FhirSubscriptions(client, hooks, wanted_subscriptions(ServerTraits(), tasks=tasks))


def mended(subscriptions: FhirSubscriptions) -> tuple[SubscriptionState, ...]:
    """As the watchdog does it."""
    states = tuple(subscriptions.mend(name) for name in subscriptions.names)
    for reference in subscriptions.look(subscriptions.names).leftovers:
        subscriptions.remove(reference)
    return states


class SubscriptionContract:
    @pytest.fixture
    def endpoint(self) -> Iterator[ScriptedServer]:
        with scripted_server(lambda _: Scripted(204)) as server:
            yield server

    @pytest.fixture
    def hooks(self, client: FhirClient, endpoint: ScriptedServer) -> Iterator[Hooks]:
        hooks = Hooks(endpoint.url, "a-long-random-word", uuid.uuid4().hex)
        yield hooks
        ours = subscriptions_of(client, hooks, tasks=True)
        for reference in ours.ours():  # one without an endpoint would keep the server busy
            ours.remove(reference)

    @pytest.fixture
    def ours(self, client: FhirClient, hooks: Hooks) -> FhirSubscriptions:
        return subscriptions_of(client, hooks)

    def look(self, subscriptions: FhirSubscriptions) -> tuple[SubscriptionState, ...]:
        return subscriptions.look(subscriptions.names).states

    def activated(self, subscriptions: FhirSubscriptions) -> tuple[SubscriptionState, ...]:
        mended(subscriptions)
        return eventually(lambda: self.look(subscriptions), lambda states: all(state.is_good for state in states))

    def change(self, client: FhirClient, reference: str, **elements: Any) -> None:
        """Somebody else writes it."""

        def written() -> bool:
            try:
                client.update(reference, {**client.read(reference), **elements})
            except Conflict:  # HAPI may be writing its status at this moment
                return False
            return True

        eventually(written, bool)

    def version(self, client: FhirClient, state: SubscriptionState) -> str:
        return str(client.read(state.reference)["meta"]["versionId"])

    def order(self, client: FhirClient, **elements: Any) -> str:
        """An order arrives on the server; its reference."""
        make = Resources()
        patient = make.patient()
        ServerHospital(client).store(patient, make.of(patient, "ServiceRequest", "r", **elements))
        return f"ServiceRequest/{make.mark}-r"

    def test_they_are_made_once_and_left_alone_while_they_are_good(
        self, client: FhirClient, ours: FhirSubscriptions
    ) -> None:
        assert [state.status for state in self.look(ours)] == ["missing", "missing"]
        made = mended(ours)
        assert [(state.name, state.action) for state in made] == [("orders", "created"), ("studies", "created")]
        active = self.activated(ours)
        versions = [self.version(client, state) for state in active]
        assert mended(ours) == active
        assert [state.reference for state in active] == [state.reference for state in made]
        assert [self.version(client, state) for state in active] == versions

    def test_an_order_is_told_to_our_endpoint_with_its_own_token(
        self, client: FhirClient, ours: FhirSubscriptions, endpoint: ScriptedServer
    ) -> None:
        self.activated(ours)
        order = self.order(client)
        asked = notified(endpoint, order)
        assert (asked.method, asked.path) == ("PUT", f"/hooks/fhir/orders/{order}")
        assert asked.headers["authorization"] == f"Bearer {token_for('a-long-random-word', 'orders')}"
        assert asked.headers["content-type"].startswith("application/fhir+json")
        assert asked.json["id"] == order.partition("/")[2]

    def test_a_revoked_order_is_told_too(
        self, client: FhirClient, ours: FhirSubscriptions, endpoint: ScriptedServer
    ) -> None:
        self.activated(ours)
        order = self.order(client, status="revoked")
        assert notified(endpoint, order).json["status"] == "revoked"

    def test_our_own_results_are_not_told(
        self, client: FhirClient, ours: FhirSubscriptions, endpoint: ScriptedServer
    ) -> None:
        self.activated(ours)
        make = Resources()
        patient = make.patient()
        result = make.of(patient, "ImagingStudy", "ours", meta=OURS)
        ServerHospital(client).store(patient, result, make.of(patient, "ImagingStudy", "theirs"))
        notified(endpoint, f"ImagingStudy/{make.mark}-theirs")
        assert not [asked for asked in endpoint.asked if asked.path.endswith("-ours")]

    def test_tasks_are_told_where_orders_are_placed_by_them(
        self, client: FhirClient, hooks: Hooks, endpoint: ScriptedServer
    ) -> None:
        self.activated(subscriptions_of(client, hooks, tasks=True))
        task = f"Task/{Resources().mark}"
        client.update(task, {"resourceType": "Task", "id": task[5:], "status": "requested", "intent": "order"})
        assert notified(endpoint, task).path == f"/hooks/fhir/tasks/{task}"

    def test_one_that_was_deleted_is_made_again(
        self, client: FhirClient, ours: FhirSubscriptions, endpoint: ScriptedServer
    ) -> None:
        orders, _ = self.activated(ours)
        ours.remove(orders.reference)
        assert self.look(ours)[0].status == "missing"
        again, studies = mended(ours)
        assert (again.action, studies.action) == ("created", "none")
        self.activated(ours)
        notified(endpoint, self.order(client))

    @pytest.mark.parametrize("status", ["off", "error"])
    def test_one_that_stopped_is_requested_anew(
        self, client: FhirClient, ours: FhirSubscriptions, endpoint: ScriptedServer, status: str
    ) -> None:
        orders, _ = self.activated(ours)
        self.change(client, orders.reference, status=status)
        assert self.look(ours)[0].status == status
        changed = mended(ours)[0]
        assert (changed.reference, changed.action) == (orders.reference, "changed")
        self.activated(ours)
        notified(endpoint, self.order(client))

    def test_a_new_token_is_set_without_a_gap(
        self, client: FhirClient, hooks: Hooks, ours: FhirSubscriptions, endpoint: ScriptedServer
    ) -> None:
        orders, _ = self.activated(ours)
        rotated = subscriptions_of(client, replace(hooks, secret="another-long-random-word"))
        assert self.look(rotated)[0].differs == ("channel.header",)
        changed = mended(rotated)[0]
        assert (changed.reference, changed.status, changed.differs) == (orders.reference, "active", ())
        with_new_token = lambda: notified(endpoint, self.order(client)).headers["authorization"]  # noqa: E731
        expected = f"Bearer {token_for('another-long-random-word', 'orders')}"
        eventually(with_new_token, lambda header: header == expected)

    def test_changed_criteria_are_set_right(self, client: FhirClient, ours: FhirSubscriptions) -> None:
        orders, _ = self.activated(ours)
        self.change(client, orders.reference, criteria="ServiceRequest?status=active")
        assert self.look(ours)[0].differs == ("criteria",)
        assert mended(ours)[0].differs == ()

    def test_one_whose_payload_was_taken_away_gets_it_back(self, client: FhirClient, ours: FhirSubscriptions) -> None:
        orders, _ = self.activated(ours)
        channel = client.read(orders.reference)["channel"]
        self.change(client, orders.reference, channel={key: channel[key] for key in channel if key != "payload"})
        assert self.look(ours)[0].differs == ("channel.payload",)
        assert mended(ours)[0].differs == ()

    @pytest.mark.parametrize("former", ["http://127.0.0.1:9", "http://127.0.0.1:9/somewhere"])
    def test_one_at_a_former_address_is_moved_while_it_stays_active(
        self, client: FhirClient, hooks: Hooks, ours: FhirSubscriptions, endpoint: ScriptedServer, former: str
    ) -> None:
        before = self.activated(subscriptions_of(client, replace(hooks, public_url=former)))
        assert [state.differs for state in self.look(ours)] == [("channel.endpoint",)] * 2
        after = mended(ours)
        assert [(state.reference, state.status) for state in after] == [(one.reference, "active") for one in before]
        order = self.order(client)
        eventually(lambda: notified(endpoint, order), bool)
        assert ours.look(ours.names).leftovers == ()

    def test_what_is_left_over_is_found_and_removed(self, client: FhirClient, ours: FhirSubscriptions) -> None:
        active = self.activated(ours)
        orders = client.read(active[0].reference)
        mark = Resources().mark
        client.update(
            f"Subscription/{mark}",
            {
                **orders,
                "id": mark,
                "channel": {**orders["channel"], "endpoint": "http://127.0.0.1:9/hooks/fhir/orders"},
            },
        )
        assert ours.look(ours.names).leftovers == (f"Subscription/{mark}",)
        mended(ours)
        assert set(ours.ours()) == {state.reference for state in active}
        assert self.look(ours) == active

    def test_one_of_a_feed_that_we_do_without_now_is_left_over(
        self, client: FhirClient, hooks: Hooks, ours: FhirSubscriptions
    ) -> None:
        with_tasks = self.activated(subscriptions_of(client, hooks, tasks=True))
        assert ours.look(ours.names).leftovers == (with_tasks[2].reference,)

    def test_those_of_another_bridge_are_left_alone(
        self, client: FhirClient, hooks: Hooks, ours: FhirSubscriptions
    ) -> None:
        others = [
            subscriptions_of(client, Hooks("http://127.0.0.1:9", "another-word", uuid.uuid4().hex)),
            subscriptions_of(client, replace(hooks, bridge=uuid.uuid4().hex)),  # the very same address
        ]
        theirs = [self.activated(other) for other in others]
        versions = [self.version(client, state) for states in theirs for state in states]
        active = self.activated(ours)
        assert {state.reference for state in active}.isdisjoint({s.reference for states in theirs for s in states})
        assert [state.foreign for state in active] == [(state.reference,) for state in theirs[1]]
        mended(ours)
        assert [self.version(client, state) for states in theirs for state in states] == versions
        for reference in [reference for other in others for reference in other.ours()]:
            ours.remove(reference)

    def test_one_made_by_hand_with_our_endpoint_becomes_ours(self, client: FhirClient, ours: FhirSubscriptions) -> None:
        resource = {key: value for key, value in ours.resources()[0].items() if key != "meta"}
        by_hand = f"Subscription/{Resources().mark}"
        client.update(by_hand, {**resource, "id": by_hand.partition("/")[2]})
        assert self.look(ours)[0].differs == ("meta.tag",)
        mended(ours)
        assert (self.look(ours)[0].reference, self.look(ours)[0].differs) == (by_hand, ())

    def test_doubles_are_removed(self, client: FhirClient, ours: FhirSubscriptions) -> None:
        orders, _ = self.activated(ours)
        double = f"double-{Resources().mark}"  # HAPI takes no id of digits alone
        client.update(f"Subscription/{double}", {**client.read(orders.reference), "id": double})
        assert self.look(ours)[0].doubled == 1
        assert mended(ours)[0].action == "undoubled"
        assert self.look(ours)[0] == orders

    def test_the_watchdog_makes_one_again_and_has_the_server_asked(
        self, client: FhirClient, ours: FhirSubscriptions, clock: FrozenClock
    ) -> None:
        active = self.activated(ours)
        store = InMemoryStore(clock)
        for state in active:
            with store.transaction() as ledger:
                ledger.keep_feed(replace(noted(Feed(state.name), state, clock.now()), wanted=True, asked_for=None))
        ours.remove(active[0].reference)
        later = clock.advance(300)
        assert Watchdog(store, ours, clock, 300).turn() == 1
        orders, studies = store.feeds()
        assert (orders.repairs, orders.asked_for, orders.looked) == (1, later, later)
        assert (studies.repairs, studies.asked_for, studies.looked) == (0, None, later)
        assert self.look(ours)[0].reference == orders.reference != active[0].reference


class DeletionsAreTold:
    """For servers that know HAPI's extension for it."""

    def test_a_deleted_order_is_told(
        self: Any, client: FhirClient, ours: FhirSubscriptions, endpoint: ScriptedServer
    ) -> None:
        self.activated(ours)
        order = self.order(client)
        notified(endpoint, order)
        client.delete(order)
        eventually(lambda: notified(endpoint, order).method, lambda method: method == "DELETE")
