"""The scripted FHIR server plays its traits, and does what R4 says where none is set: the suite that judges us stands on it."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import requests

from tests.support.scripted_fhir import AZURE_LIKE, EPIC_LIKE, GOOGLE_LIKE, ScriptedFhir, Traits, scripted_fhir
from tests.support.scripted_http import Scripted, scripted_server

PATIENT = {"resourceType": "Patient", "id": "p1", "identifier": [{"system": "urn:s", "value": "CANARY-1"}]}


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[ScriptedFhir]:
    with scripted_fhir(getattr(request, "param", Traits())) as server:
        yield server


def call(server: ScriptedFhir, method: str, path: str, body: Any = None, **headers: str) -> requests.Response:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    if server.traits.token:
        given["Authorization"] = f"Bearer {server.traits.token}"
    return requests.request(method, f"{server.base_url}/{path}".rstrip("/"), json=body, headers=given, timeout=10)


def an_observation(number: int, **elements: Any) -> dict[str, Any]:
    identifier = [{"system": "urn:o", "value": str(number)}]
    return {"resourceType": "Observation", "identifier": identifier, "status": "final", **elements}


def found(answer: requests.Response) -> list[str]:
    return [entry["resource"]["id"] for entry in answer.json().get("entry", ())]


def test_a_resource_is_found_by_system_and_value_and_by_value_alone(server: ScriptedFhir) -> None:
    server.put(PATIENT)
    queries = ("urn:s|CANARY-1", "CANARY-1", "urn:s|canary-1", "urn:other|CANARY-1")
    assert [found(call(server, "GET", f"Patient?identifier={query}")) for query in queries] == [["p1"], ["p1"], [], []]


def test_what_changed_is_told_oldest_first_with_the_boundary_included(server: ScriptedFhir) -> None:
    for name in ("a", "b", "c"):
        server.put({**PATIENT, "id": name})
    second = server.read("Patient/b")["meta"]["lastUpdated"]
    answer = call(server, "GET", f"Patient?_lastUpdated=ge{second}&_sort=_lastUpdated")
    assert found(answer) == ["b", "c"]
    assert "Date" in answer.headers


def test_a_conditional_create_makes_one_and_several_are_refused(server: ScriptedFhir) -> None:
    condition = "identifier=urn:o|1"
    statuses = [
        call(server, "POST", "Observation", an_observation(1), If_None_Exist=condition).status_code for _ in (1, 2)
    ]
    server.put({**an_observation(1), "id": "double"})
    third = call(server, "POST", "Observation", an_observation(1), If_None_Exist=condition)
    assert (statuses, third.status_code) == ([201, 200], 412)


def test_a_stale_version_is_refused(server: ScriptedFhir) -> None:
    server.put(PATIENT)
    server.put(PATIENT)
    answers = [call(server, "PUT", "Patient/p1", PATIENT, If_Match=f'W/"{version}"').status_code for version in (1, 2)]
    assert answers == [412, 200]


def test_a_transaction_links_its_entries_and_keeps_nothing_when_one_fails(server: ScriptedFhir) -> None:
    first = {
        "fullUrl": "urn:uuid:1",
        "resource": an_observation(1),
        "request": {"method": "POST", "url": "Observation"},
    }
    report = {"resourceType": "DiagnosticReport", "result": [{"reference": "urn:uuid:1"}]}
    second = {"resource": report, "request": {"method": "POST", "url": "DiagnosticReport"}}
    stale = {"resource": PATIENT, "request": {"method": "PUT", "url": "Patient/p1", "ifMatch": 'W/"9"'}}
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [first, second, stale]}
    refused = call(server, "POST", "", bundle)
    kept_then = server.all_of("Observation")
    done = call(server, "POST", "", {**bundle, "entry": [first, second]})
    (observation,), (made,) = server.all_of("Observation"), server.all_of("DiagnosticReport")
    assert (refused.status_code, kept_then, done.status_code) == (412, [], 200)
    assert made["result"] == [{"reference": f"Observation/{observation['id']}"}]


def test_a_deleted_resource_is_gone_and_its_history_tells_so(server: ScriptedFhir) -> None:
    server.put(PATIENT)
    server.delete("Patient/p1")
    history = call(server, "GET", "Patient/_history").json()["entry"]
    assert call(server, "GET", "Patient/p1").status_code == 410
    assert [entry["request"]["method"] for entry in history] == ["DELETE", "POST"]


def test_a_write_whose_answer_is_lost_was_done(server: ScriptedFhir) -> None:
    server.lost_answers = 1
    with pytest.raises(requests.ConnectionError):
        call(server, "POST", "Observation", an_observation(1))
    assert len(server.all_of("Observation")) == 1
    assert call(server, "POST", "Observation", an_observation(2)).status_code == 201


@pytest.mark.parametrize("server", [Traits(largest_page=2, next_parameter="ct")], indirect=True)
def test_pages_are_no_larger_than_the_server_likes_and_lead_on(server: ScriptedFhir) -> None:
    for number in range(5):
        server.put({**PATIENT, "id": f"p{number}"})
    page, seen = call(server, "GET", "Patient?_count=50").json(), []
    while True:
        seen += [entry["resource"]["id"] for entry in page["entry"]]
        link = next((one["url"] for one in page["link"] if one["relation"] == "next"), "")
        if not link:
            break
        assert "ct=" in link
        page = requests.get(link, timeout=10).json()
    assert seen == ["p0", "p1", "p2", "p3", "p4"]


@pytest.mark.parametrize("server", [replace(AZURE_LIKE, throttled_every=2)], indirect=True)
def test_azure_throttles_with_both_headers(server: ScriptedFhir) -> None:
    answers = [call(server, "GET", "metadata") for _ in (1, 2, 3)]
    assert [answer.status_code for answer in answers] == [200, 429, 200]
    assert answers[1].headers["x-ms-retry-after-ms"] == "300"
    assert answers[1].headers["Retry-After"] == "1"


@pytest.mark.parametrize("server", [replace(EPIC_LIKE, throttled_every=0)], indirect=True)
def test_epic_takes_two_types_one_by_one_and_answers_without_a_body(server: ScriptedFhir) -> None:
    whole = an_observation(1, encounter={"reference": "Encounter/e"}, effectiveDateTime="2026-11-02")
    made = call(server, "POST", "Observation", whole, Prefer="return=representation")
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": []}
    refused = [
        call(server, "POST", "Observation", an_observation(2)),
        call(server, "POST", "Device", {"resourceType": "Device"}),
        call(server, "PUT", "Observation/mine", {**whole, "id": "mine"}),
        call(server, "POST", "", bundle),
        call(server, "POST", "Subscription", {"resourceType": "Subscription"}),
        call(server, "GET", "ServiceRequest/_history"),
    ]
    assert (made.status_code, made.content, "Location" in made.headers) == (201, b"", True)
    assert [answer.status_code for answer in refused] == [422, 405, 405, 405, 404, 404]


@pytest.mark.parametrize("server", [EPIC_LIKE, AZURE_LIKE, GOOGLE_LIKE], indirect=True)
def test_without_its_token_nothing_is_told(server: ScriptedFhir) -> None:
    assert requests.get(f"{server.base_url}/metadata", timeout=10).status_code == 401


@pytest.mark.parametrize(
    ("notices", "method", "path"),
    [("resource", "PUT", "/orders/Patient/p1"), ("id-only", "POST", "/orders"), ("empty", "POST", "/orders")],
)
def test_a_matching_change_is_told(notices: str, method: str, path: str) -> None:
    with scripted_server(lambda asked: Scripted(204)) as hook, scripted_fhir(Traits(notices=notices)) as server:
        channel = {"type": "rest-hook", "endpoint": f"{hook.url}/orders", "header": ["Authorization: Bearer t"]}
        call(
            server, "POST", "Subscription",
            {"resourceType": "Subscription", "status": "requested", "criteria": "Patient?", "channel": channel},
        )  # fmt: skip
        handshake = None if notices == "resource" else hook.arrivals.get(timeout=10)
        server.put({"resourceType": "Observation", "id": "other"}, PATIENT)
        told = hook.arrivals.get(timeout=10)
        assert (told.method, told.path, told.headers["authorization"]) == (method, path, "Bearer t")
        if handshake is not None:
            kinds = [
                bundle["entry"][0]["resource"]["parameter"][2]["valueCode"] for bundle in (handshake.json, told.json)
            ]
            assert kinds == ["handshake", "event-notification"]
            assert (b"Patient/p1" in told.body) is (notices == "id-only")
