"""What our Subscriptions do on a real FHIR server. Subclasses give a `client`; the names of the tests are the contract."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from queue import Empty
from typing import Any, TypeVar

import pytest

from fhir_bridge.adapters.fhir_client import FhirClient
from fhir_bridge.adapters.fhir_subscription import (
    Hooks,
    SubscriptionState,
    check_subscriptions,
    ensure_subscriptions,
)
from fhir_bridge.adapters.fhir_transport import Conflict
from tests.support.hospitals import Resources, ServerHospital
from tests.support.record_contract import OURS
from tests.support.scripted_http import Asked, Scripted, ScriptedServer, scripted_server

PATIENCE_SECONDS = 60
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


def _delete(client: FhirClient, reference: str) -> None:
    """HAPI may be writing the status of the Subscription at this moment."""

    def deleted() -> bool:
        try:
            client.delete(reference)
        except Conflict:
            return False
        return True

    eventually(deleted, bool)


class SubscriptionContract:
    @pytest.fixture
    def endpoint(self) -> Iterator[ScriptedServer]:
        with scripted_server(lambda _: Scripted(204)) as server:
            yield server

    @pytest.fixture
    def hooks(self, client: FhirClient, endpoint: ScriptedServer) -> Iterator[Hooks]:
        hooks = Hooks(endpoint.url, "a-long-random-word")
        yield hooks
        for state in check_subscriptions(client, hooks):  # one without an endpoint would keep the server busy
            if state.reference:
                _delete(client, state.reference)

    def activated(self, client: FhirClient, hooks: Hooks) -> tuple[SubscriptionState, ...]:
        ensure_subscriptions(client, hooks)
        return eventually(
            lambda: check_subscriptions(client, hooks), lambda states: all(state.good for state in states)
        )

    def version(self, client: FhirClient, state: SubscriptionState) -> str:
        return str(client.read(state.reference)["meta"]["versionId"])

    def order(self, client: FhirClient, **elements: Any) -> str:
        """An order arrives on the server; its reference."""
        make = Resources()
        patient = make.patient()
        ServerHospital(client).store(patient, make.of(patient, "ServiceRequest", "r", **elements))
        return f"ServiceRequest/{make.mark}-r"

    def test_they_are_made_once_and_left_alone_while_they_are_good(self, client: FhirClient, hooks: Hooks) -> None:
        assert [state.status for state in check_subscriptions(client, hooks)] == ["missing", "missing"]
        made = ensure_subscriptions(client, hooks)
        assert [(state.name, state.action) for state in made] == [("orders", "created"), ("studies", "created")]
        active = self.activated(client, hooks)
        versions = [self.version(client, state) for state in active]
        assert ensure_subscriptions(client, hooks) == active
        assert [state.reference for state in active] == [state.reference for state in made]
        assert [self.version(client, state) for state in active] == versions

    def test_an_order_is_told_to_our_endpoint_with_our_token(
        self, client: FhirClient, hooks: Hooks, endpoint: ScriptedServer
    ) -> None:
        self.activated(client, hooks)
        order = self.order(client)
        asked = notified(endpoint, order)
        assert (asked.method, asked.path) == ("PUT", f"/hooks/fhir/orders/{order}")
        assert asked.headers["authorization"] == "Bearer a-long-random-word"
        assert asked.headers["content-type"].startswith("application/fhir+json")
        assert asked.json["id"] == order.partition("/")[2]

    def test_a_revoked_order_is_told_too(self, client: FhirClient, hooks: Hooks, endpoint: ScriptedServer) -> None:
        self.activated(client, hooks)
        order = self.order(client, status="revoked")
        assert notified(endpoint, order).json["status"] == "revoked"

    def test_our_own_results_are_not_told(self, client: FhirClient, hooks: Hooks, endpoint: ScriptedServer) -> None:
        self.activated(client, hooks)
        make = Resources()
        patient = make.patient()
        ours = make.of(patient, "ImagingStudy", "ours", meta=OURS)
        ServerHospital(client).store(patient, ours, make.of(patient, "ImagingStudy", "theirs"))
        notified(endpoint, f"ImagingStudy/{make.mark}-theirs")
        assert not [asked for asked in endpoint.asked if asked.path.endswith("-ours")]

    def test_one_that_was_deleted_is_made_again(
        self, client: FhirClient, hooks: Hooks, endpoint: ScriptedServer
    ) -> None:
        orders, _ = self.activated(client, hooks)
        client.delete(orders.reference)
        assert check_subscriptions(client, hooks)[0].status == "missing"
        again, studies = ensure_subscriptions(client, hooks)
        assert (again.action, studies.action) == ("created", "none")
        self.activated(client, hooks)
        notified(endpoint, self.order(client))

    @pytest.mark.parametrize("status", ["off", "error"])
    def test_one_that_stopped_is_requested_anew(
        self, client: FhirClient, hooks: Hooks, endpoint: ScriptedServer, status: str
    ) -> None:
        orders, _ = self.activated(client, hooks)
        client.update(orders.reference, {**client.read(orders.reference), "status": status})
        assert check_subscriptions(client, hooks)[0].status == status
        changed = ensure_subscriptions(client, hooks)[0]
        assert (changed.reference, changed.action) == (orders.reference, "changed")
        self.activated(client, hooks)
        notified(endpoint, self.order(client))

    def test_a_new_token_is_set_without_a_gap(self, client: FhirClient, hooks: Hooks, endpoint: ScriptedServer) -> None:
        orders, _ = self.activated(client, hooks)
        rotated = replace(hooks, token="another-long-random-word")
        assert check_subscriptions(client, rotated)[0].differs == ("channel.header",)
        changed = ensure_subscriptions(client, rotated)[0]
        assert (changed.reference, changed.status, changed.differs) == (orders.reference, "active", ())
        with_new_token = lambda: notified(endpoint, self.order(client)).headers["authorization"]  # noqa: E731
        eventually(with_new_token, lambda header: header == "Bearer another-long-random-word")

    def test_changed_criteria_are_set_right(self, client: FhirClient, hooks: Hooks) -> None:
        orders, _ = self.activated(client, hooks)
        client.update(orders.reference, {**client.read(orders.reference), "criteria": "ServiceRequest?status=active"})
        assert check_subscriptions(client, hooks)[0].differs == ("criteria",)
        assert ensure_subscriptions(client, hooks)[0].differs == ()

    def test_doubles_are_removed(self, client: FhirClient, hooks: Hooks) -> None:
        orders, _ = self.activated(client, hooks)
        double = Resources().mark
        client.update(f"Subscription/{double}", {**client.read(orders.reference), "id": double})
        assert check_subscriptions(client, hooks)[0].doubled == 1
        ensure_subscriptions(client, hooks)
        assert check_subscriptions(client, hooks)[0] == orders
