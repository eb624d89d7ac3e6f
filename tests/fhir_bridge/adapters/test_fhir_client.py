"""The verbs: pages of a search, conditional create, references and tokens."""

import threading
from collections.abc import Callable

import pytest

from fhir_bridge.adapters.fhir_client import FhirClient, token
from fhir_bridge.adapters.fhir_server import FhirServerRecord
from fhir_bridge.errors import Refused, Unavailable
from mappings.fhir_elements import local_reference
from tests.support.scripted_http import Asked, Scripted, ScriptedServer, fhir, in_turn, scripted_server

PATIENT = {"resourceType": "Patient", "id": "1"}
Serve = Callable[..., FhirClient]


def page(*ids: str, next_url: str = "") -> Scripted:
    links = [{"relation": "next", "url": next_url}] if next_url else []
    entries = [{"resource": {"resourceType": "Patient", "id": one}, "search": {"mode": "match"}} for one in ids]
    return fhir({"resourceType": "Bundle", "type": "searchset", "link": links, "entry": entries})


def test_a_search_follows_its_pages_under_the_configured_base(serve: Serve, servers: list[ScriptedServer]) -> None:
    client = serve(page("1"))
    servers[0].answer = in_turn(
        page("1", "2", next_url="https://127.0.0.1:9/fhir?_getpages=a&_offset=2"),  # TLS ends at a proxy
        page("2", "3", next_url="?_getpages=a&_offset=4"),
        page("4"),
    )
    found = client.search("Patient", (("identifier", "a|b"),), limit=100)
    assert [patient["id"] for patient in found] == ["1", "2", "3", "4"]
    assert [asked.path for asked in servers[0].asked] == [
        "/fhir/Patient?identifier=a%7Cb&_count=50",
        "/fhir?_getpages=a&_offset=2",
        "/fhir?_getpages=a&_offset=4",
    ]


@pytest.mark.parametrize(
    "link",
    [
        "http://elsewhere.example/fhir?page=2",
        "//elsewhere.example/fhir",
        "/other?page=2",
        "../admin",
        "/fhir/%2e%2E/other?page=2",
        "/fhir/..%2Fother?page=2",
    ],
)
def test_a_next_page_elsewhere_is_not_fetched(serve: Serve, servers: list[ScriptedServer], link: str) -> None:
    with pytest.raises(Unavailable) as caught:
        serve(page("1", next_url=link)).search("Patient", (), limit=100)
    assert caught.value.code == "fhir.foreign-page"
    assert len(servers[0].asked) == 1


@pytest.mark.parametrize(
    "broken",
    [
        {"entry": ["x"]},
        {"entry": 3},
        {"entry": [{"resource": {"id": "1"}}]},
        {"entry": [{"resource": {"resourceType": "Patient"}}]},
        {"entry": [{"resource": {"resourceType": "Patient", "id": ["1"]}}]},
        {"link": [{"relation": "next"}]},
        {"link": [{"relation": "next", "url": "http://[bad/fhir"}]},
        {"resourceType": "Patient"},
    ],
)
def test_a_malformed_search_bundle_is_not_believed(serve: Serve, broken: dict[str, object]) -> None:
    with pytest.raises(Unavailable) as caught:
        serve(fhir({"resourceType": "Bundle", "type": "searchset", **broken})).search("Patient", (), limit=9)
    assert caught.value.code == "fhir.not-fhir"


def test_pages_in_a_circle_end(serve: Serve) -> None:
    with pytest.raises(Unavailable) as caught:
        serve(page("1", next_url="?page=2")).search("Patient", (), limit=100)
    assert caught.value.code == "fhir.not-fhir"


def test_a_page_that_the_server_forgot_may_be_had_later(serve: Serve) -> None:
    gone = fhir({"resourceType": "OperationOutcome"}, 410)
    with pytest.raises(Unavailable) as caught:
        serve(page("1", next_url="?page=2"), gone).search("Patient", (), limit=100)
    assert caught.value.code == "fhir.page-expired"


def test_a_search_stops_at_its_limit(serve: Serve, servers: list[ScriptedServer]) -> None:
    found = serve(page("1", "2", "3", next_url="?page=2")).search("Patient", (), limit=2)
    assert [patient["id"] for patient in found] == ["1", "2"]
    assert len(servers[0].asked) == 1


def test_entries_that_are_no_matches_are_left_out(serve: Serve) -> None:
    entries = [
        {"resource": {"resourceType": "Patient", "id": "1"}},
        {"resource": {"resourceType": "Patient", "id": "2"}, "search": {"mode": "include"}},
        {"resource": {"resourceType": "OperationOutcome"}, "search": {"mode": "outcome"}},
        {"search": {"mode": "match"}},
    ]
    bundle = fhir({"resourceType": "Bundle", "type": "searchset", "entry": entries})
    assert [patient["id"] for patient in serve(bundle).search("Patient", (), limit=9)] == ["1"]


def test_the_capability_statement_is_asked_once(serve: Serve, servers: list[ScriptedServer]) -> None:
    resource = {"type": "Patient", "searchParam": [{"name": "identifier", "type": "token"}]}
    statement = {"resourceType": "CapabilityStatement", "rest": [{"mode": "server", "resource": [resource]}]}
    client = serve(fhir(statement))
    assert client.search_parameters() == client.search_parameters() == {"Patient": frozenset({"identifier"})}
    assert [asked.path for asked in servers[0].asked] == ["/fhir/metadata"]


def test_a_conditional_create_sends_its_condition(serve: Serve, servers: list[ScriptedServer]) -> None:
    serve(fhir(PATIENT, 201)).create_unless({"resourceType": "Patient"}, "identifier=a|b")
    (asked,) = servers[0].asked
    assert (asked.method, asked.path, asked.headers["if-none-exist"]) == ("POST", "/fhir/Patient", "identifier=a|b")


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("Patient/1", "Patient/1"),
        ("Patient/1/_history/3", "Patient/1"),
        ("http://fhir.example/r4/Patient/a-b.c", "Patient/a-b.c"),
        ("urn:uuid:05efabf0-4be2-4561-91ce-51548425acb9", ""),
        ("#contained", ""),
        ("Patient?identifier=a|b", ""),
        ("Patient/../metadata", ""),
        ("Patient/1/../2", ""),
        ("Patient/1?_format=xml", ""),
        ("", ""),
    ],
)
def test_only_a_literal_reference_names_a_resource(reference: str, expected: str) -> None:
    assert local_reference(reference) == expected


OF_OURS = ["Patient/1", "Patient/1/_history/2", "https://127.0.0.1:9/fhir/Patient/1", "#contained", "urn:uuid:1"]
OF_OTHERS = ["http://elsewhere.example/fhir/Patient/1", "http://127.0.0.1/other/Patient/1", "http://[bad/Patient/1"]


@pytest.mark.parametrize(
    ("reference", "ours"), [*((one, True) for one in OF_OURS), *((one, False) for one in OF_OTHERS)]
)
def test_a_patient_of_another_server_is_not_ours_of_the_same_id(serve: Serve, reference: str, ours: bool) -> None:
    request = {"resourceType": "ServiceRequest", "id": "1", "subject": {"reference": reference}}
    record = FhirServerRecord(serve(fhir(request)))
    if ours:
        assert record.read("ServiceRequest/1") == request
        return
    with pytest.raises(Refused) as caught:
        record.read("ServiceRequest/1")
    assert (caught.value.code, caught.value.where) == ("patient.mismatch", "ServiceRequest.subject")


@pytest.mark.parametrize(
    ("value", "system", "expected"),
    [("1", "", "1"), ("1", "urn:oid:1.2", "urn:oid:1.2|1"), ("a|b,c$d\\e", "", r"a\|b\,c\$d\\e")],  # R4 §3.1.1.4.1
)
def test_a_token_escapes_what_fhir_separates_by(value: str, system: str, expected: str) -> None:
    assert token(value, system) == expected


@pytest.mark.parametrize(
    "url",
    [
        "",
        "fhir",
        "ftp://h/fhir",
        "http://user:pw@h/fhir",
        "http://:pw@h/fhir",
        "http://h:x/fhir",
        "http://h/fhir?x=1",
        "http:///fhir",
    ],
)
def test_a_base_url_that_cannot_be_one_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="base URL"):
        FhirClient(url)


def test_threads_share_a_client() -> None:
    def answer(asked: Asked) -> Scripted:
        return fhir({"resourceType": "Patient", "id": asked.path.rpartition("/")[2]})

    with scripted_server(answer) as server, FhirClient(f"{server.url}/fhir") as client:
        results: list[bool] = []

        def read(number: int) -> None:
            results.append(all(client.read(f"Patient/{number}")["id"] == str(number) for _ in range(20)))

        threads = [threading.Thread(target=read, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == [True] * 8
