"""Our Subscriptions on sekmet-fhir. (On HAPI in tests/acceptance.)"""

from collections.abc import Iterator

import pytest

from fhir_bridge.adapters.fhir_client import FhirClient
from fhir_bridge.adapters.fhir_subscription import FhirSubscriptions, Hooks, WantedSubscription, wanted_subscriptions
from fhir_bridge.practice.fhir_peer import FhirPeer
from fhir_bridge.server_traits import ServerTraits
from tests.support.subscription_contract import SubscriptionContract, eventually


@pytest.mark.real_parts
class TestSekmet(SubscriptionContract):
    @pytest.fixture
    def client(self, sekmet: FhirPeer) -> Iterator[FhirClient]:
        with FhirClient(sekmet.base_url) as client:
            yield client

    def test_criteria_that_the_server_cannot_take_are_seen_in_the_state(self, client: FhirClient, hooks: Hooks) -> None:
        bad = FhirSubscriptions(client, hooks, [WantedSubscription("orders", "ServiceRequest?nosuch=1")])
        bad.mend("orders")
        eventually(lambda: bad.look(["orders"]).states[0].status, lambda status: status == "error")


@pytest.mark.parametrize("public_url", ["http://bridge.example:8765", "http://bridge.example:8765/"])
def test_the_endpoint_stands_under_our_public_url(public_url: str) -> None:
    assert Hooks(public_url, "s", "b").endpoint("orders") == "http://bridge.example:8765/hooks/fhir/orders"


def test_the_secret_is_not_shown() -> None:
    assert "secret" not in repr(Hooks("http://bridge.example", "secret", "b"))


def test_each_subscription_has_a_token_of_its_own() -> None:
    hooks = Hooks("http://bridge.example", "secret", "b")
    assert len({hooks.header(name) for name in ("orders", "studies", "tasks")}) == 3


CRITERIA = {
    "no status, and not our own": (
        ServerTraits(),
        False,
        [
            "ServiceRequest?_tag:not=urn:fhir-bridge:tag|ai-result",
            "ImagingStudy?_tag:not=urn:fhir-bridge:tag|ai-result",
        ],
    ),
    "a server without that filter": (
        ServerTraits(tag_filter=False),
        True,
        ["ServiceRequest?", "ImagingStudy?", "Task?"],
    ),
    "a server without Subscriptions": (ServerTraits(hooks=False), True, []),
}


@pytest.mark.parametrize(("traits", "tasks", "criteria"), CRITERIA.values(), ids=CRITERIA.keys())
def test_the_criteria_are_those_that_the_server_knows(traits: ServerTraits, tasks: bool, criteria: list[str]) -> None:
    assert [wanted.criteria for wanted in wanted_subscriptions(traits, tasks=tasks)] == criteria
