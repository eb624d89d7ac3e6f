"""Our Subscriptions on sekmet-fhir. (On HAPI in tests/acceptance.)"""

from collections.abc import Iterator

import pytest

from fhir_bridge.adapters.fhir_client import FhirClient
from fhir_bridge.adapters.fhir_subscription import Hooks, WantedSubscription, check_subscriptions, ensure_subscriptions
from fhir_bridge.practice.fhir_peer import FhirPeer
from tests.support.subscription_contract import SubscriptionContract


@pytest.mark.real_parts
class TestSekmet(SubscriptionContract):
    @pytest.fixture
    def client(self, sekmet: FhirPeer) -> Iterator[FhirClient]:
        with FhirClient(sekmet.base_url) as client:
            yield client

    def test_criteria_that_the_server_cannot_take_are_seen_in_the_state(self, client: FhirClient, hooks: Hooks) -> None:
        bad = [WantedSubscription("orders", "ServiceRequest?nosuch=1")]
        ensure_subscriptions(client, hooks, bad)
        assert check_subscriptions(client, hooks, bad)[0].status == "error"


@pytest.mark.parametrize("public_url", ["http://bridge.example:8765", "http://bridge.example:8765/"])
def test_the_endpoint_stands_under_our_public_url(public_url: str) -> None:
    assert Hooks(public_url, "t").endpoint("orders") == "http://bridge.example:8765/hooks/fhir/orders"


def test_the_token_is_not_shown() -> None:
    assert "secret" not in repr(Hooks("http://bridge.example", "secret"))
