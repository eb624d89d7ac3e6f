"""Answers of a FHIR server that cannot be what was asked: each has its code, and nothing of it is used."""

import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest

from fhir_bridge import log
from fhir_bridge.adapters import fhir_client
from fhir_bridge.adapters.fhir_answer import MAX_DEPTH
from fhir_bridge.adapters.fhir_client import FhirClient
from fhir_bridge.adapters.fhir_transport import Limits
from fhir_bridge.errors import BridgeError, Refused, Unavailable, Uncertain
from tests.support.scripted_http import Asked, Scripted, ScriptedServer, fhir

Serve = Callable[..., FhirClient]
PATIENT = {"resourceType": "Patient", "id": "1"}
TRANSACTION = {"resourceType": "Bundle", "type": "transaction", "entry": []}
DONE = {"resourceType": "Bundle", "type": "transaction-response"}
FAILED = {
    "resourceType": "OperationOutcome",
    "issue": [{"severity": "error", "code": "processing", "diagnostics": "HAPI-0389: CANARY^ZEBRA"}],
}
JSON = {"Content-Type": "application/fhir+json"}


def patient_with(text: str) -> Scripted:
    return Scripted(200, b'{"resourceType": "Patient", "id": "1", "x": ' + text.encode() + b"}", JSON)


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


@pytest.mark.parametrize(
    "answer",
    [
        patient_with("1" * 5_000),  # Python refuses to make an int of so many digits
        patient_with("1e999"),
        patient_with("-Infinity"),
        patient_with(r'"\ud800"'),  # half a character, which no file can hold
        patient_with(nested(MAX_DEPTH)),
        patient_with(nested(100_000)),
        Scripted(200, json.dumps(PATIENT).encode() + b" {}", JSON),
        Scripted(200, json.dumps(PATIENT).encode() + b"<!-- proxy -->", JSON),
        Scripted(200, json.dumps(PATIENT).encode(), {"Content-Type": "text/html"}),
        Scripted(200, b"", JSON),
        Scripted(204),
        Scripted(200, b"null", JSON),
    ],
)
def test_a_read_answered_with_what_no_resource_is(serve: Serve, answer: Scripted) -> None:
    with pytest.raises(Unavailable) as caught:
        serve(answer).read("Patient/1")
    assert caught.value.code == "fhir.not-fhir"


def test_a_resource_may_be_as_deep_as_any_resource_is(serve: Serve) -> None:
    assert serve(patient_with(nested(MAX_DEPTH - 1))).read("Patient/1")["id"] == "1"


@pytest.mark.parametrize("severity", ["error", "fatal"])
def test_a_200_with_an_error_inside_is_an_error(serve: Serve, severity: str) -> None:
    outcome = {**FAILED, "issue": [{**FAILED["issue"][0], "severity": severity}]}  # type: ignore[dict-item]
    with pytest.raises(Unavailable) as caught:
        serve(fhir(outcome)).read("Patient/1")
    assert (caught.value.code, caught.value.explanation) == ("fhir.error-inside", "status 200 HAPI-0389")


@pytest.mark.parametrize(
    "entry",
    [
        {"resource": FAILED, "search": {"mode": "outcome"}},
        {"resource": FAILED},
    ],
)
def test_a_search_with_an_error_inside_found_nothing(serve: Serve, entry: dict[str, Any]) -> None:
    found = {"resource": PATIENT, "search": {"mode": "match"}}
    with pytest.raises(Unavailable) as caught:
        serve(fhir({"resourceType": "Bundle", "type": "searchset", "entry": [found, entry]})).search(
            "Patient", (), limit=9
        )
    assert caught.value.code == "fhir.error-inside"


def test_a_search_with_a_warning_inside_found_what_it_found(serve: Serve) -> None:
    warning = {"resourceType": "OperationOutcome", "issue": [{"severity": "warning", "code": "informational"}]}
    entries = [{"resource": PATIENT}, {"resource": warning, "search": {"mode": "outcome"}}]
    bundle = fhir({"resourceType": "Bundle", "type": "searchset", "entry": entries})
    assert serve(bundle).search("Patient", (), limit=9) == (PATIENT,)


def test_a_match_of_another_type_is_not_believed(serve: Serve) -> None:
    entry = {"resource": {"resourceType": "Observation", "id": "1"}, "search": {"mode": "match"}}
    with pytest.raises(Unavailable) as caught:
        serve(fhir({"resourceType": "Bundle", "type": "searchset", "entry": [entry]})).search("Patient", (), limit=9)
    assert caught.value.code == "fhir.not-fhir"


HTML = Scripted(200, b"<html>sign in</html>", {"Content-Type": "text/html"})


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (HTML, "fhir.not-fhir"),
        (Scripted(200), "fhir.not-fhir"),
        (fhir(FAILED), "fhir.error-inside"),
        (fhir(PATIENT), "fhir.not-fhir"),
        (fhir({"resourceType": "Bundle", "type": "searchset"}), "fhir.not-fhir"),
        (fhir({**DONE, "x": "0" * 2_000}), "fhir.too-large"),
    ],
)
def test_a_write_that_was_answered_otherwise_may_have_been_done(serve: Serve, answer: Scripted, code: str) -> None:
    with pytest.raises(Uncertain) as caught:
        serve(answer, limits=Limits(max_body_bytes=1_000)).transaction(TRANSACTION)
    assert caught.value.code == code


@pytest.mark.parametrize("status", [400, 404, 422])
def test_a_write_that_a_proxy_refused_was_not_done(serve: Serve, status: int) -> None:
    with pytest.raises(Unavailable) as caught:
        serve(Scripted(status, b"<html></html>", {"Content-Type": "text/html"})).transaction(TRANSACTION)
    assert caught.value.code == "fhir.not-fhir"


def test_an_update_of_a_server_that_sends_nothing_back_is_read(serve: Serve, servers: list[ScriptedServer]) -> None:
    assert serve(Scripted(200), fhir(PATIENT)).update("Patient/1", PATIENT) == PATIENT
    assert [asked.method for asked in servers[0].asked] == ["PUT", "GET"]


def test_a_creation_of_a_server_that_sends_nothing_back_is_read_where_it_says(
    serve: Serve, servers: list[ScriptedServer]
) -> None:
    created = Scripted(201, b"", {"Location": "http://fhir.example/r4/Patient/1/_history/1"})
    assert serve(created, fhir(PATIENT)).create_unless({"resourceType": "Patient"}, "identifier=a") == PATIENT
    assert servers[0].asked[1].path == "/fhir/Patient/1"


def test_a_creation_that_is_nowhere_to_be_found_may_have_been_done(serve: Serve) -> None:
    with pytest.raises(Uncertain):
        serve(Scripted(201)).create_unless({"resourceType": "Patient"}, "identifier=a")


@pytest.mark.parametrize("status", [404, 410])
def test_a_creation_that_cannot_be_read_yet_may_have_been_done(serve: Serve, status: int) -> None:
    """A server that answers reads from a copy of its data may not have it there yet."""
    created = Scripted(201, b"", {"Location": "Patient/1/_history/1"})
    with pytest.raises(Uncertain) as caught:
        serve(created, fhir(FAILED, status)).create_unless({"resourceType": "Patient"}, "identifier=a")
    assert caught.value.code == "fhir.not-found"


@pytest.mark.parametrize("kept", [{"id": "2"}, {}])
def test_an_update_that_was_answered_with_another_resource_may_have_been_done(
    serve: Serve, kept: dict[str, Any]
) -> None:
    with pytest.raises(Uncertain) as caught:
        serve(fhir({"resourceType": "Patient", **kept})).update("Patient/1", PATIENT)
    assert caught.value.code == "fhir.not-fhir"


def test_50_mebibytes_are_not_read(serve: Serve) -> None:
    bomb = gzip.compress(b'{"resourceType": "Patient", "x": "' + b"0" * (50 * 2**20) + b'"}')
    with pytest.raises(Refused) as caught:
        serve(Scripted(200, bomb, {**JSON, "Content-Encoding": "gzip"})).read("Patient/1")
    assert caught.value.code == "fhir.too-large"


def test_a_search_without_an_end_is_left(
    serve: Serve, servers: list[ScriptedServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fhir_client, "MAX_PAGES", 5)

    def another(asked: Asked) -> Scripted:
        link = {"relation": "next", "url": f"?page={len(servers[0].asked)}"}
        return fhir({"resourceType": "Bundle", "type": "searchset", "link": [link]})

    client = serve(fhir(PATIENT))
    servers[0].answer = another
    with pytest.raises(BridgeError) as caught:
        client.search("Patient", (), limit=100)
    assert (caught.value.code, len(servers[0].asked)) == ("fhir.pages-endless", 5)


def test_the_pages_are_asked_for_in_the_size_that_the_server_takes(serve: Serve, servers: list[ScriptedServer]) -> None:
    serve(fhir({"resourceType": "Bundle", "type": "searchset"}), page_size=20).search("Patient", (), limit=100)
    assert servers[0].asked[0].path == "/fhir/Patient?_count=20"


def test_every_page_is_asked_for_past_the_cache(serve: Serve, servers: list[ScriptedServer]) -> None:
    first = fhir({"resourceType": "Bundle", "type": "searchset", "link": [{"relation": "next", "url": "?page=2"}]})
    serve(first, fhir({"resourceType": "Bundle", "type": "searchset"})).search("Patient", (), limit=100)
    assert [asked.headers.get("cache-control") for asked in servers[0].asked] == ["no-cache", "no-cache"]


def test_a_write_has_a_number_that_stays_when_it_is_tried_again(serve: Serve, servers: list[ScriptedServer]) -> None:
    client = serve(Scripted(503), fhir(DONE), fhir(DONE))
    client.transaction(TRANSACTION)
    client.transaction(TRANSACTION)
    numbers = [asked.headers["x-request-id"] for asked in servers[0].asked]
    assert numbers[0] == numbers[1] != numbers[2]


def test_the_log_names_a_write_that_failed_by_its_number(
    serve: Serve, servers: list[ScriptedServer], capsys: pytest.CaptureFixture[str]
) -> None:
    log.configure(strict=True)
    with pytest.raises(Refused):
        serve(fhir(FAILED, 422)).transaction(TRANSACTION)
    (line,) = [json.loads(line) for line in capsys.readouterr().err.splitlines() if "fhir.write-failed" in line]
    assert (line["code"], line["where"]) == ("fhir.rejected", "POST Bundle")
    assert line["request"] == servers[0].asked[0].headers["x-request-id"]


def test_a_read_has_no_number(serve: Serve, servers: list[ScriptedServer]) -> None:
    serve(fhir(PATIENT)).read("Patient/1")
    assert "x-request-id" not in servers[0].asked[0].headers


@pytest.mark.parametrize("other", [{"resourceType": "Patient", "id": "2"}, {"resourceType": "Patient"}])
def test_another_resource_than_the_one_asked_for_is_not_believed(serve: Serve, other: dict[str, str]) -> None:
    """Of a proxy that mixes up its answers, the next patient's."""
    with pytest.raises(Unavailable) as caught:
        serve(fhir(other)).read("Patient/1")
    assert caught.value.code == "fhir.not-fhir"
