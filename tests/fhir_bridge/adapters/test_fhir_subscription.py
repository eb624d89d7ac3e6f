"""Our Subscriptions on sekmet-fhir. (On HAPI in tests/acceptance.)"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fhir.resources.R4B.subscription import Subscription

from fhir_bridge.adapters.fhir_client import FhirClient
from fhir_bridge.adapters.fhir_subscription import FhirSubscriptions, Hooks, WantedSubscription, wanted_subscriptions
from fhir_bridge.errors import Unavailable
from fhir_bridge.hook_token import token_for
from fhir_bridge.practice.fhir_peer import FhirPeer
from fhir_bridge.server_traits import ServerTraits
from tests.support.scripted_fhir import Traits, scripted_fhir
from tests.support.scripted_http import Scripted, ScriptedServer, fhir
from tests.support.subscription_contract import DeletionsAreTold, SubscriptionContract, eventually


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


class TestScripted(SubscriptionContract, DeletionsAreTold):
    @pytest.fixture
    def client(self) -> Iterator[FhirClient]:
        with scripted_fhir(Traits()) as server, FhirClient(server.base_url) as client:
            yield client


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


HOOKS = Hooks("http://bridge.example", "secret", "b1")
ORDERS = wanted_subscriptions(ServerTraits(), tasks=False)[:1]


def on_server(**elements: Any) -> dict[str, Any]:
    """Ours, as it should be, but for these elements."""
    resource = FhirSubscriptions(None, HOOKS, ORDERS).resources()[0]  # type: ignore[arg-type]
    return {"id": "1", **resource, "status": "active", **elements}


def page_of(*resources: dict[str, Any]) -> Scripted:
    return fhir({"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": one} for one in resources]})


def conflict() -> Scripted:
    return fhir({"resourceType": "OperationOutcome", "issue": []}, 409)


def test_one_that_the_server_writes_at_this_moment_is_written_again(serve: Callable[..., FhirClient]) -> None:
    stopped, pauses = page_of(on_server(status="off")), list[float]()
    client = serve(stopped, stopped, conflict(), stopped, stopped, fhir(on_server(status="requested")))
    state = FhirSubscriptions(client, HOOKS, ORDERS, pauses.append).mend("orders")
    assert (state.status, state.action, len(pauses)) == ("requested", "changed", 1)


def test_one_that_is_always_in_conflict_is_given_up_for_now(serve: Callable[..., FhirClient]) -> None:
    client = serve(*[page_of(on_server(status="off")), page_of(), conflict()] * 9)
    with pytest.raises(Unavailable) as caught:
        FhirSubscriptions(client, HOOKS, ORDERS, lambda _: None).mend("orders")
    assert caught.value.code == "fhir.conflict"


def test_a_server_that_ignores_what_is_searched_does_not_mislead(serve: Callable[..., FhirClient]) -> None:
    theirs = on_server(id="2", meta={}, channel={"type": "rest-hook", "endpoint": "http://another.example/orders"})
    survey = FhirSubscriptions(serve(page_of(theirs, on_server())), HOOKS, ORDERS).look(["orders"])
    assert (survey.states[0].reference, survey.states[0].is_good, survey.leftovers) == ("Subscription/1", True, ())


def test_a_server_that_cannot_search_by_tag_is_searched_by_address(serve: Callable[..., FhirClient]) -> None:
    refused = fhir({"resourceType": "OperationOutcome", "issue": []}, 400)
    survey = FhirSubscriptions(serve(refused, page_of(on_server())), HOOKS, ORDERS).look(["orders"])
    assert survey.states[0].is_good


def test_what_the_server_does_not_keep_is_seen_in_the_state(serve: Callable[..., FhirClient]) -> None:
    hidden = on_server(channel={k: v for k, v in on_server()["channel"].items() if k != "header"})
    state = FhirSubscriptions(serve(page_of(hidden), page_of(hidden), fhir(hidden)), HOOKS, ORDERS).mend("orders")
    assert (state.action, state.differs) == ("changed", ("channel.header",))


def test_only_the_version_that_was_seen_is_written_over(
    serve: Callable[..., FhirClient], servers: list[ScriptedServer]
) -> None:
    seen = page_of(on_server(status="off", meta={**on_server()["meta"], "versionId": "7"}))
    FhirSubscriptions(serve(seen, seen, fhir(on_server())), HOOKS, ORDERS).mend("orders")
    assert servers[-1].asked[-1].headers["if-match"] == 'W/"7"'


def test_what_somebody_set_by_hand_stays(serve: Callable[..., FhirClient], servers: list[ScriptedServer]) -> None:
    another = {"url": "http://hapifhir.io/fhir/StructureDefinition/subscription-resthook-deliver-latest-version"}
    channel = {**on_server()["channel"], "extension": [another], "payload": "application/json"}
    kept = on_server(channel=channel, contact=[{"system": "phone"}], error="once")
    FhirSubscriptions(serve(page_of(kept), page_of(), fhir(on_server())), HOOKS, ORDERS).mend("orders")
    written = servers[-1].asked[-1].json
    assert another in written["channel"]["extension"]
    assert written["contact"] == [{"system": "phone"}]
    assert "error" not in written


def test_one_that_is_gone_already_is_removed(serve: Callable[..., FhirClient]) -> None:
    gone = fhir({"resourceType": "OperationOutcome", "issue": []}, 410)
    FhirSubscriptions(serve(gone), HOOKS, ORDERS).remove("Subscription/1")


def test_what_is_printed_is_what_is_wanted() -> None:
    (resource,) = FhirSubscriptions(None, HOOKS, ORDERS).resources()  # type: ignore[arg-type]
    assert resource["channel"]["header"] == [f"Authorization: Bearer {token_for('secret', 'orders')}"]
    assert resource["meta"]["tag"] == [{"system": "urn:fhir-bridge:bridge", "code": "b1"}]
    assert Subscription.model_validate(resource).status == "requested"
