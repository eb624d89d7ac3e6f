"""What a server says of itself, for how long that is believed, what is presumed of one that says nothing, and where it contradicts us."""

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from fhir_bridge.adapters.fhir_capability import PRESUMED, capabilities_of, disagreements
from fhir_bridge.adapters.fhir_client import FhirClient
from fhir_bridge.adapters.fhir_transport import Limits
from fhir_bridge.errors import Unavailable
from fhir_bridge.server_traits import PROFILES, traits_of
from tests.support.scripted_http import Asked, Scripted, ScriptedServer, fhir
from tests.support.waiting_time import WaitingTime

Serve = Callable[..., FhirClient]
WRITTEN = ("DiagnosticReport", "Observation", "ImagingStudy", "Device", "Provenance")
HTML = {"Content-Type": "text/html"}


def statement(*parameters: str, **rest: Any) -> dict[str, Any]:
    resource = {"type": "Patient", "searchParam": [{"name": name, "type": "token"} for name in parameters]}
    return {"resourceType": "CapabilityStatement", "rest": [{"mode": "server", "resource": [resource], **rest}]}


def patient_parameters(client: FhirClient) -> set[str]:
    return set(client.search_parameters()["Patient"])


def test_it_is_asked_again_after_an_hour(serve: Serve, servers: list[ScriptedServer], waiting: WaitingTime) -> None:
    client = serve(fhir(statement("identifier")), fhir(statement("identifier", "link")))
    found = []
    for now in (0, 3599, 3600):
        waiting.now = now
        found.append(patient_parameters(client))
    assert found == [{"identifier"}, {"identifier"}, {"identifier", "link"}]


def test_what_was_read_stays_in_force_while_it_cannot_be_read_again(
    serve: Serve, servers: list[ScriptedServer], waiting: WaitingTime
) -> None:
    client = serve(fhir(statement("identifier")), Scripted(500, b"", HTML))
    patient_parameters(client)
    waiting.now = 3600
    assert patient_parameters(client) == {"identifier"}
    waiting.now += 59
    asked = len(servers[0].asked)
    assert patient_parameters(client) == {"identifier"}
    assert len(servers[0].asked) == asked  # it is not asked again with every call


@pytest.mark.parametrize(
    "answer",
    [
        Scripted(500, b"", HTML),
        Scripted(200, b"<html></html>", HTML),
        fhir({"resourceType": "OperationOutcome"}, 403),
        fhir({"resourceType": "OperationOutcome"}, 404),
        fhir({"resourceType": "Patient"}),
        fhir({"resourceType": "CapabilityStatement", "rest": [{"resource": [{}]}]}),
        fhir({"resourceType": "CapabilityStatement", "x": "0" * 10_000}),
    ],
    ids=["500", "html", "403", "404", "other type", "malformed", "too large"],
)
def test_a_server_that_does_not_say_is_presumed_to_know_r4(
    serve: Serve, servers: list[ScriptedServer], answer: Scripted
) -> None:
    client = serve(answer, limits=Limits(max_body_bytes=5_000))
    assert client.capabilities() == PRESUMED
    assert "identifier" in client.search_parameters()["Patient"]


@pytest.mark.parametrize("said", [{"instantiates": ["urn:guide"]}, {"rest": [{"interaction": [{"code": "batch"}]}]}])
def test_a_server_that_names_no_type_is_asked_as_if_it_had_all(serve: Serve, said: dict[str, Any]) -> None:
    client = serve(fhir({"resourceType": "CapabilityStatement", **said}))
    assert client.search_parameters() == PRESUMED.search_parameters
    assert client.capabilities().system == frozenset({"batch"} if "rest" in said else ())


def test_a_server_that_did_not_say_is_asked_again_a_minute_later(serve: Serve, waiting: WaitingTime) -> None:
    client = serve(Scripted(500, b"", HTML), fhir(statement("identifier")))
    assert not client.capabilities().declared
    waiting.now = 60
    assert client.capabilities().declared


def test_a_server_that_is_away_is_not_presumed_to_know_anything(serve: Serve) -> None:
    with pytest.raises(Unavailable) as caught:
        serve(Scripted(503, b"", HTML)).search_parameters()
    assert caught.value.code == "fhir.unavailable"


def test_threads_ask_once(serve: Serve, servers: list[ScriptedServer]) -> None:
    client, found = serve(fhir(statement("identifier"))), []
    threads = [threading.Thread(target=lambda: found.append(patient_parameters(client))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (found, len(servers[0].asked)) == ([{"identifier"}] * 8, 1)


def test_who_knows_the_older_statement_does_not_wait_for_the_newer(
    serve: Serve, servers: list[ScriptedServer], waiting: WaitingTime
) -> None:
    client = serve(fhir(statement("identifier")))
    patient_parameters(client)
    waiting.now, hold = 3600, threading.Event()
    newer = statement("identifier", "link")

    def slow(asked: Asked) -> Scripted:
        return Scripted(200, fhir(newer).body, fhir(newer).headers, hold=hold)

    servers[0].answer = slow
    asking = threading.Thread(target=client.capabilities)
    servers[0].arrivals.get(timeout=10)  # the first one
    asking.start()
    servers[0].arrivals.get(timeout=10)
    assert patient_parameters(client) == {"identifier"}
    hold.set()
    asking.join()
    assert patient_parameters(client) == {"identifier", "link"}


# --- where it contradicts the profile


def full(**changes: Any) -> dict[str, Any]:
    """A server that says that it does all that we use."""
    interactions = [{"code": code} for code in ("read", "create", "update", "history-type", "search-type")]
    types = ("ServiceRequest", "Subscription", *WRITTEN)
    resources = [
        {
            "type": kind,
            "interaction": interactions,
            "conditionalCreate": True,
            "searchParam": [{"name": "_lastUpdated"}],
        }
        for kind in types
    ]
    rest = {"mode": "server", "interaction": [{"code": "transaction"}], "resource": resources, **changes}
    return {"resourceType": "CapabilityStatement", "fhirVersion": "4.0.1", "rest": [rest]}


def without(*names: str) -> dict[str, Any]:
    """The full one, with one thing of each resource left out or changed."""
    changed = full()
    for resource in changed["rest"][0]["resource"]:
        if "history" in names:
            resource["interaction"] = [{"code": "read"}]
        if "conditional_create" in names:
            resource["conditionalCreate"] = False
        if "sorts_by_change" in names:
            resource["searchParam"] = [{"name": "identifier"}]
    return changed


@pytest.mark.parametrize("profile", ["generic", "hapi"])
def test_a_server_that_says_it_does_everything_contradicts_nothing(profile: str) -> None:
    assert disagreements(PROFILES[profile], capabilities_of(full())) == ()


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (full(interaction=[{"code": "batch"}]), "fhir.server.transactions is true, the server says false"),
        (without("history"), "fhir.server.history is true, the server says false"),
        (without("conditional_create"), "fhir.server.conditional_create is true, the server says false"),
        (without("sorts_by_change"), "fhir.server.sorts_by_change is true, the server says false"),
        (full() | {"fhirVersion": "5.0.0"}, "it speaks another version of FHIR than R4"),
    ],
)
def test_what_the_server_says_otherwise_is_named(said: dict[str, Any], words: str) -> None:
    assert disagreements(PROFILES["generic"], capabilities_of(said)) == (words,)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("Subscription", "fhir.server.hooks is true, the server says false"),
        ("Provenance", "it has no Provenance, see fhir.server.not_written"),
    ],
)
def test_a_type_that_the_server_lacks_is_named(kind: str, words: str) -> None:
    said = full()
    said["rest"][0]["resource"] = [one for one in said["rest"][0]["resource"] if one["type"] != kind]
    assert disagreements(PROFILES["generic"], capabilities_of(said)) == (words,)


def test_what_the_server_leaves_unsaid_contradicts_nothing() -> None:
    silent = {"resourceType": "CapabilityStatement", "rest": [{"mode": "server"}]}
    assert disagreements(PROFILES["generic"], capabilities_of(silent)) == ()
    assert disagreements(PROFILES["generic"], PRESUMED) == ()


def test_a_profile_is_overridden_trait_by_trait() -> None:
    assert traits_of("epic", {"history": True, "page_size": 7}) == replace(PROFILES["epic"], history=True, page_size=7)
