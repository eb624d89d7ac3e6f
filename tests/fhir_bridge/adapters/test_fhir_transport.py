"""One exchange with a FHIR server, against a scripted peer: what is repeated, what each failure is called, what is never said."""

import email.utils
import gzip
import json
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from fhir_bridge.adapters.fhir_client import FhirClient
from fhir_bridge.adapters.fhir_credentials import NOBODY, Credentials, basic, bearer
from fhir_bridge.adapters.fhir_transport import Conflict, Limits
from fhir_bridge.errors import BridgeError, Refused, Unavailable, Uncertain
from tests.support.scripted_http import Scripted, ScriptedServer, fhir
from tests.support.waiting_time import WALL, WaitingTime

PATIENT = {"resourceType": "Patient", "id": "1"}
TRANSACTION = {"resourceType": "Bundle", "type": "transaction", "entry": []}
HTML = Scripted(200, b"<html>sign in</html>", {"Content-Type": "text/html"})


Serve = Callable[..., FhirClient]


def page_of_html(status: int, **headers: str) -> Scripted:
    return Scripted(status, b"<html>CANARY</html>", {"Content-Type": "text/html", **headers})


def test_a_read_asks_for_fhir_json_past_the_cache(serve: Serve, servers: list[ScriptedServer]) -> None:
    serve(fhir(PATIENT)).read("Patient/1")
    (asked,) = servers[0].asked
    assert (asked.method, asked.path) == ("GET", "/fhir/Patient/1")
    assert asked.headers["accept"] == "application/fhir+json"
    assert asked.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    ("credentials", "header"),
    [
        (NOBODY, None),
        (bearer("secret"), "Bearer secret"),
        (basic("Aladdin", "open sesame"), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),  # RFC 7617 §2
        (basic("test", "123\u00a3"), "Basic dGVzdDoxMjPCow=="),  # RFC 7617 §2.1
    ],
)
def test_credentials_go_out_as_configured(
    serve: Serve, servers: list[ScriptedServer], credentials: Credentials, header: str | None
) -> None:
    serve(fhir(PATIENT), credentials=credentials).read("Patient/1")
    assert servers[0].asked[0].headers.get("authorization") == header


def test_neither_proxies_nor_netrc_of_the_environment_are_used(
    serve: Serve, servers: list[ScriptedServer], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login other password other\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    serve(fhir(PATIENT)).read("Patient/1")
    assert "authorization" not in servers[0].asked[0].headers


@pytest.mark.parametrize("status", [408, 429, 502, 503, 504])
def test_a_passing_failure_is_tried_again(serve: Serve, waiting: WaitingTime, status: int) -> None:
    assert serve(page_of_html(status), page_of_html(status), fhir(PATIENT)).read("Patient/1") == PATIENT
    assert waiting.slept == [0.25, 0.5]  # half of 0.5 s, then of 1 s


@pytest.mark.parametrize("status", [408, 429, 502, 503, 504])
def test_a_failure_that_does_not_pass_is_unavailable_after_five_attempts(
    serve: Serve, servers: list[ScriptedServer], status: int
) -> None:
    with pytest.raises(Unavailable) as caught:
        serve(page_of_html(status)).read("Patient/1")
    assert caught.value.code == "fhir.unavailable"
    assert len(servers[0].asked) == 5


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (400, Refused, "fhir.rejected"),
        (401, Unavailable, "fhir.unauthorized"),
        (403, Unavailable, "fhir.unauthorized"),
        (404, Refused, "fhir.not-found"),
        (405, Refused, "fhir.rejected"),
        (409, Conflict, "fhir.conflict"),
        (410, Refused, "fhir.not-found"),
        (412, Conflict, "fhir.conflict"),
        (422, Refused, "fhir.rejected"),
        (500, Unavailable, "fhir.unavailable"),
        (501, Unavailable, "fhir.unavailable"),
        (307, Unavailable, "fhir.redirect"),
    ],
)
def test_every_other_status_is_final_and_quotes_only_the_hapi_number(
    serve: Serve, servers: list[ScriptedServer], status: int, kind: type[BridgeError], code: str
) -> None:
    outcome = {"resourceType": "OperationOutcome", "issue": [{"diagnostics": "HAPI-0524: CANARY^ZEBRA is unknown"}]}
    with pytest.raises(kind) as caught:
        serve(fhir(outcome, status, Location="http://127.0.0.1:1/")).read("Patient/1")
    assert caught.value.code == code
    assert caught.value.where == "GET Patient"
    assert "CANARY" not in str(caught.value)
    assert ("HAPI-0524" in caught.value.explanation) == (code in ("fhir.rejected", "fhir.not-found", "fhir.conflict"))
    assert len(servers[0].asked) == 1


@pytest.mark.parametrize(
    "answer",
    [
        HTML,
        page_of_html(404),  # a wrong base URL must not look like a patient who is not there
        page_of_html(400),
        Scripted(200, b"{", {"Content-Type": "application/fhir+json"}),
        Scripted(200, b"[" * 100_000, {"Content-Type": "application/fhir+json"}),
        Scripted(200, b'{"resourceType": 1}', {"Content-Type": "application/json"}),
        Scripted(200, b"[]", {"Content-Type": "application/json"}),
        Scripted(200, b'{"resourceType": "Patient", "x": NaN}', {"Content-Type": "application/json"}),
        Scripted(200, b'{"resourceType": "Patient", "x": "\xff"}', {"Content-Type": "application/json"}),
        Scripted(200, b"", {"Content-Type": "application/json"}),
        fhir({"resourceType": "Observation", "id": "1"}),
    ],
)
def test_what_is_not_the_fhir_asked_for_is_not_believed(serve: Serve, answer: Scripted) -> None:
    with pytest.raises(Unavailable) as caught:
        serve(answer).read("Patient/1")
    assert caught.value.code == "fhir.not-fhir"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.25),
        ({"Retry-After": email.utils.formatdate(WALL + 9, usegmt=True)}, 9.25),
        ({"Retry-After": "soon"}, 0.25),
        ({"Retry-After": "-3"}, 0.25),
    ],
)
def test_retry_after_is_honoured_in_both_forms(
    serve: Serve, waiting: WaitingTime, headers: dict[str, str], seconds: float
) -> None:
    serve(page_of_html(429, **headers), fhir(PATIENT)).read("Patient/1")
    assert waiting.slept == [seconds]


def test_a_date_in_retry_after_is_measured_by_the_servers_own_clock(serve: Serve, waiting: WaitingTime) -> None:
    of_another_age = {
        name: email.utils.formatdate(at, usegmt=True) for name, at in (("Date", 10_000), ("Retry-After", 10_004))
    }
    serve(page_of_html(503, **of_another_age), fhir(PATIENT)).read("Patient/1")
    assert waiting.slept == [4.25]


@pytest.mark.parametrize(
    ("wish", "seconds"),
    [
        ("600", 600),
        ("9" * 400, 3600),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 3600),
        ("Fri, 31 Dec 99999 23:59:59 GMT", None),
    ],
)
def test_a_long_retry_after_is_left_to_the_schedule_of_the_job(
    serve: Serve, waiting: WaitingTime, wish: str, seconds: float | None
) -> None:
    limits = Limits(deadline_seconds=0.2)  # too short to wait for anything else either
    with pytest.raises(Unavailable) as caught:
        serve(page_of_html(503, **{"Retry-After": wish}), limits=limits).read("Patient/1")
    assert caught.value.retry_after == seconds
    assert waiting.slept == []


def test_the_deadline_ends_the_attempts(serve: Serve, servers: list[ScriptedServer], waiting: WaitingTime) -> None:
    with pytest.raises(Unavailable):
        serve(page_of_html(503, **{"Retry-After": "20"}), limits=Limits(deadline_seconds=45)).read("Patient/1")
    assert len(servers[0].asked) == 3
    assert waiting.now < 45


def test_nobody_there_is_unavailable_after_some_attempts(waiting: WaitingTime) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    client = FhirClient(f"http://127.0.0.1:{port}/fhir", timing=waiting.timing())
    with pytest.raises(Unavailable) as caught:
        client.transaction(TRANSACTION)
    assert caught.value.code == "fhir.unavailable"  # not uncertain: the connection was never made
    assert len(waiting.slept) == 4


def test_a_truncated_answer_is_fetched_again(serve: Serve) -> None:
    whole = fhir(PATIENT)
    truncated = Scripted(200, whole.body[:10], whole.headers, length=len(whole.body))
    assert serve(truncated, whole).read("Patient/1") == PATIENT


def test_a_truncated_answer_to_a_write_is_uncertain(serve: Serve, servers: list[ScriptedServer]) -> None:
    truncated = Scripted(200, b"{", {"Content-Type": "application/fhir+json"}, length=100)
    with pytest.raises(Uncertain) as caught:
        serve(truncated).transaction(TRANSACTION)
    assert caught.value.code == "fhir.uncertain"
    assert len(servers[0].asked) == 1


@pytest.mark.parametrize("writes", [True, False])
def test_a_server_that_stalls_is_given_up_and_a_write_is_uncertain(serve: Serve, writes: bool) -> None:
    released = threading.Event()
    stalling = Scripted(200, b'{"resourceType": "Patient"}', {"Content-Type": "application/json"}, hold=released)
    client = serve(stalling, limits=Limits(timeout_seconds=0.2))
    with pytest.raises(Uncertain if writes else Unavailable):
        client.transaction(TRANSACTION) if writes else client.read("Patient/1")
    released.set()


@pytest.mark.parametrize(
    ("status", "kind"), [(503, Unavailable), (429, Unavailable), (502, Uncertain), (504, Uncertain)]
)
def test_a_gateway_that_gives_up_on_a_write_leaves_doubt(serve: Serve, status: int, kind: type[BridgeError]) -> None:
    with pytest.raises(kind):
        serve(page_of_html(status)).transaction(TRANSACTION)


def test_an_answer_beyond_the_limit_is_not_read_to_its_end(serve: Serve) -> None:
    bomb = gzip.compress(json.dumps({"resourceType": "Patient", "x": "0" * 5_000_000}).encode())
    answer = Scripted(200, bomb, {"Content-Type": "application/json", "Content-Encoding": "gzip"})
    with pytest.raises(Refused) as caught:
        serve(answer, limits=Limits(max_body_bytes=1_000_000)).read("Patient/1")
    assert caught.value.code == "fhir.too-large"


def test_cookies_are_not_kept(serve: Serve, servers: list[ScriptedServer]) -> None:
    client = serve(fhir(PATIENT, 200, **{"Set-Cookie": "session=1; Path=/"}))
    client.read("Patient/1")
    client.read("Patient/1")
    assert "cookie" not in servers[0].asked[1].headers


ODD_DATES = ["99999999999999999999 Jan 2026 00:00:00 GMT", "1 Jan 2026 00:00:00 +99999999999999", "soon", "\u00b2"]


@pytest.mark.parametrize("date", ODD_DATES)
def test_a_date_that_is_none_spoils_no_answer(serve: Serve, date: str) -> None:
    busy = fhir({"resourceType": "OperationOutcome"}, 503, Date=date, **{"Retry-After": date})
    assert serve(busy, fhir(PATIENT, Date=date)).read("Patient/1") == PATIENT
