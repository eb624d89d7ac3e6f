"""SMART Backend Services against a scripted token endpoint (SMART App Launch 2.2; RFC 6749, RFC 7523)."""

import email.utils
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import jwt
import pytest

from fhir_bridge.adapters.fhir_client import FhirClient
from fhir_bridge.adapters.fhir_credentials import Credentials
from fhir_bridge.adapters.fhir_session import Tls
from fhir_bridge.adapters.smart_backend import Registration, SmartBackend
from fhir_bridge.adapters.smart_keys import SmartKeys
from fhir_bridge.errors import BridgeError, Unavailable
from hl7_listener.tls import server_context
from tests.support.certificates import Authority
from tests.support.frozen_clock import START
from tests.support.scripted_http import Scripted, fhir, in_turn, scripted_server
from tests.support.sign_in import DISCOVERY_PATH, PATIENT, TOKEN_PATH, SignIn, as_json, sign_in
from tests.support.waiting_time import WALL, WaitingTime

ASKED = Registration("fhir-bridge", "system/Patient.rs")


@pytest.fixture
def keys(tmp_path: Path) -> SmartKeys:
    keys = SmartKeys(tmp_path / "smart")
    keys.make("ES384", START)
    return keys


@pytest.fixture
def server() -> Iterator[SignIn]:
    with sign_in() as running:
        yield running


@pytest.fixture
def smart(server: SignIn, keys: SmartKeys, waiting: WaitingTime) -> Iterator[SmartBackend]:
    credentials = SmartBackend(server.base_url, ASKED, keys, timing=waiting.timing())
    yield credentials
    credentials.close()


@pytest.fixture
def client(server: SignIn, smart: Credentials, waiting: WaitingTime) -> Iterator[FhirClient]:
    with FhirClient(server.base_url, smart, timing=waiting.timing()) as running:
        yield running


def code_of(smart: SmartBackend) -> tuple[str, str]:
    with pytest.raises(BridgeError) as caught:
        smart.header()
    return caught.value.code, caught.value.explanation


def test_a_token_is_asked_for_as_the_standard_says(server: SignIn, smart: SmartBackend) -> None:
    assert smart.header() == "Bearer token-1"
    (asked,), (form,) = server.asked(TOKEN_PATH), server.forms
    assert asked.headers["content-type"] == "application/x-www-form-urlencoded"
    assert "authorization" not in asked.headers
    assert {name: value for name, value in form.items() if name != "client_assertion"} == {
        "grant_type": "client_credentials",
        "scope": "system/Patient.rs",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
    }


@pytest.mark.parametrize("algorithm", ["RS384", "ES384"])
def test_the_assertion_verifies_with_our_published_keys(
    server: SignIn, tmp_path: Path, waiting: WaitingTime, algorithm: str
) -> None:
    keys = SmartKeys(tmp_path / "own")
    keys.make(algorithm, START)
    SmartBackend(server.base_url, ASKED, keys, timing=waiting.timing()).header()
    assertion, published = server.forms[0]["client_assertion"], jwt.PyJWKSet.from_dict(keys.public())
    header = jwt.get_unverified_header(assertion)
    assert header == {"alg": algorithm, "typ": "JWT", "kid": published.keys[0].key_id}
    options = {"verify_exp": False}  # by the wall clock of the test, which stands at another time
    claims = jwt.decode(
        assertion, published[header["kid"]].key, algorithms=[algorithm], audience=server.token_url, options=options
    )
    assert (claims["iss"], claims["sub"], claims["aud"]) == ("fhir-bridge", "fhir-bridge", server.token_url)
    assert 0 < claims["exp"] - WALL <= 300


def test_no_two_assertions_have_one_jti(server: SignIn, smart: SmartBackend) -> None:
    for _ in range(3):
        assert smart.renewed(smart.header())
    smart.header()
    assert len({claims["jti"] for claims in server.claims}) == 4


def test_the_address_of_our_keys_is_sent_where_it_is_set(server: SignIn, keys: SmartKeys) -> None:
    registration = Registration("fhir-bridge", "s", jwks_url="https://bridge.example/.well-known/jwks.json")
    SmartBackend(server.base_url, registration, keys).header()
    header = jwt.get_unverified_header(server.forms[0]["client_assertion"])
    assert header["jku"] == "https://bridge.example/.well-known/jwks.json"


def test_after_the_old_key_is_retired_the_new_one_signs(
    server: SignIn, smart: SmartBackend, keys: SmartKeys, tmp_path: Path
) -> None:
    old, new = smart_kid(server, smart), SmartKeys(tmp_path / "smart").make("ES384", START.replace(year=2027)).kid
    SmartKeys(tmp_path / "smart").retire(old)
    assert smart_kid(server, smart) == new


def smart_kid(server: SignIn, smart: SmartBackend) -> str:
    smart.renewed(smart.header())
    smart.header()
    kid: str = jwt.get_unverified_header(server.forms[-1]["client_assertion"])["kid"]
    return kid


def test_a_token_is_kept_until_four_fifths_of_its_time(
    server: SignIn, smart: SmartBackend, waiting: WaitingTime
) -> None:
    headers = []
    for now in (0, 239, 240):  # of 300 s
        waiting.now = now
        headers.append(smart.header())
    assert headers == ["Bearer token-1", "Bearer token-1", "Bearer token-2"]


def test_a_token_that_cannot_be_renewed_is_used_to_its_end(
    server: SignIn, smart: SmartBackend, waiting: WaitingTime
) -> None:
    smart.header()
    server.token_answers = [Scripted(503)] * 9
    waiting.now = 241
    assert [smart.header(), smart.header()] == ["Bearer token-1"] * 2
    assert len(server.forms) == 2  # the second call did not wait for another failure
    waiting.now = 300
    assert code_of(smart) == ("fhir.token-unavailable", "status 503")


@pytest.mark.parametrize(("content", "code"), [(b"", "fhir.key-missing"), (b"CANARY", "fhir.key-unusable")])
def test_a_key_that_cannot_be_read_now_holds_no_job_and_costs_no_token(
    server: SignIn, smart: SmartBackend, keys: SmartKeys, waiting: WaitingTime, content: bytes, code: str
) -> None:
    (key,) = keys.all()
    smart.header()
    key.file.write_bytes(content) if content else key.file.unlink()
    waiting.now = 241
    assert smart.header() == "Bearer token-1"
    waiting.now = 300
    with pytest.raises(Unavailable) as caught:
        smart.header()
    assert caught.value.code == code


def test_one_thread_asks_while_the_others_wait(server: SignIn, smart: SmartBackend) -> None:
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(smart.header())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (found, len(server.forms)) == (["Bearer token-1"] * 8, 1)


def test_after_a_401_one_new_token_is_tried(server: SignIn, client: FhirClient, smart: SmartBackend) -> None:
    smart.header()
    server.given += 1  # the server forgot the first one
    assert client.read("Patient/1") == PATIENT
    assert len(server.forms) == 2


def test_a_second_401_is_the_answer(server: SignIn, client: FhirClient) -> None:
    server.valid = False
    with pytest.raises(Unavailable) as caught:
        client.read("Patient/1")
    assert (caught.value.code, len(server.forms)) == ("fhir.unauthorized", 2)
    assert len(server.asked("/fhir/Patient/1")) == 2


@pytest.mark.parametrize(
    "word", ["invalid_request", "invalid_client", "unauthorized_client", "unsupported_grant_type", "invalid_scope"]
)
@pytest.mark.parametrize("status", [400, 401])
def test_a_refusal_keeps_the_word_of_the_standard(server: SignIn, smart: SmartBackend, word: str, status: int) -> None:
    server.token_answers = [as_json({"error": word, "error_description": "CANARY^ZEBRA"}, status)] * 2
    assert code_of(smart) == ("fhir.token-refused", word)


@pytest.mark.parametrize("status", [429, 503])
def test_a_token_endpoint_says_when_to_come_again(server: SignIn, smart: SmartBackend, status: int) -> None:
    server.token_answers = [Scripted(status, headers={"Retry-After": "120"})]
    with pytest.raises(Unavailable) as caught:
        smart.header()
    assert (caught.value.code, caught.value.retry_after) == ("fhir.token-unavailable", 120)


def test_a_word_that_is_not_of_the_standard_is_not_kept(server: SignIn, smart: SmartBackend) -> None:
    server.token_answers = [as_json({"error": "CANARY^ZEBRA"}, 400)] * 2
    assert code_of(smart) == ("fhir.token-refused", "status 400")


GOOD = {"access_token": "t", "token_type": "Bearer", "expires_in": 60}


@pytest.mark.parametrize(
    "answer",
    [
        Scripted(200, b"<html>CANARY</html>", {"Content-Type": "text/html"}),
        Scripted(200),
        Scripted(302, b"", {"Location": "http://127.0.0.1:1/"}),
        Scripted(500),
        as_json([]),
        as_json({name: value for name, value in GOOD.items() if name != "access_token"}),
        as_json({name: value for name, value in GOOD.items() if name != "token_type"}),
        as_json({**GOOD, "token_type": "mac"}),
        as_json({**GOOD, "access_token": ""}),
        as_json({**GOOD, "access_token": 1}),
        as_json({**GOOD, "access_token": "a\r\nX-Injected: 1"}),
        as_json({**GOOD, "access_token": "t" * 20_000}),
        as_json({**GOOD, "padding": "x" * 300_000}),
        as_json({**GOOD, "expires_in": 0}),
        as_json({**GOOD, "expires_in": -1}),
        as_json({**GOOD, "expires_in": True}),
        as_json({**GOOD, "expires_in": "soon"}),
        Scripted(200, json.dumps(GOOD).replace("60", "NaN").encode(), {"Content-Type": "application/json"}),
    ],
)
def test_what_is_no_token_is_not_used(server: SignIn, smart: SmartBackend, answer: Scripted) -> None:
    server.token_answers = [answer] * 2
    assert code_of(smart)[0] == "fhir.token-unavailable"


@pytest.mark.parametrize(("expires_in", "renewed_at"), [("100", 80), (10**400, 69_120), (None, None)])
def test_a_lifetime_may_be_a_string_and_is_at_most_a_day(
    server: SignIn, smart: SmartBackend, waiting: WaitingTime, expires_in: object, renewed_at: float | None
) -> None:
    server.expires_in = expires_in
    if renewed_at is None:
        assert code_of(smart)[0] == "fhir.token-unavailable"
        return
    smart.header()
    waiting.now = renewed_at
    assert smart.header() == "Bearer token-2"


def test_a_token_endpoint_with_another_clock_is_asked_again_by_its_own(server: SignIn, smart: SmartBackend) -> None:
    date = email.utils.formatdate(WALL - 900, usegmt=True)
    server.token_answers = [as_json({"error": "invalid_client"}, 401, Date=date)]
    assert smart.header() == "Bearer token-1"
    assert [round(claims["exp"] - WALL) for claims in server.claims] == [150, 150 - 900]


def test_a_refusal_by_a_clock_like_ours_is_final(server: SignIn, smart: SmartBackend) -> None:
    date = email.utils.formatdate(WALL - 50, usegmt=True)
    server.token_answers = [as_json({"error": "invalid_client"}, 401, Date=date)]
    assert code_of(smart) == ("fhir.token-refused", "invalid_client")
    assert len(server.forms) == 1


def test_the_clock_is_looked_at_once(server: SignIn, smart: SmartBackend) -> None:
    date = email.utils.formatdate(WALL - 900, usegmt=True)
    server.token_answers = [as_json({"error": "invalid_client"}, 401, Date=date)] * 5
    assert code_of(smart) == ("fhir.token-refused", "invalid_client")
    assert len(server.forms) == 2


def test_discovery_is_asked_once_and_without_credentials(
    server: SignIn, client: FhirClient, smart: SmartBackend
) -> None:
    for _ in range(3):
        smart.renewed(smart.header())
        client.read("Patient/1")
    (asked,) = server.asked(DISCOVERY_PATH)
    assert "authorization" not in asked.headers


def test_a_token_endpoint_that_moved_is_found_again(server: SignIn, smart: SmartBackend) -> None:
    smart.renewed(smart.header())
    server.token_path = "/auth/moved"
    assert smart.header() == "Bearer token-2"
    assert [server.claims[-1]["aud"], len(server.asked(DISCOVERY_PATH))] == [server.token_url, 2]


def test_a_token_endpoint_that_is_set_is_not_discovered(server: SignIn, keys: SmartKeys) -> None:
    registration = Registration("fhir-bridge", "s", token_url=server.token_url)
    SmartBackend(server.base_url, registration, keys).header()
    assert server.asked(DISCOVERY_PATH) == []


@pytest.mark.parametrize(
    "discovery",
    [
        as_json({}, 404),
        as_json({}),
        as_json({"token_endpoint": 1}),
        as_json({"token_endpoint": "http://login.example/token"}),
        as_json({"token_endpoint": "https://user@login.example/token"}),
        as_json({"token_endpoint": "https://[bad/token"}),
        as_json({"token_endpoint": "/auth/token"}),
        Scripted(200, b"<html>CANARY</html>", {"Content-Type": "text/html"}),
    ],
)
def test_an_endpoint_that_is_not_named_or_not_safe_gets_nothing(
    server: SignIn, smart: SmartBackend, discovery: Scripted
) -> None:
    server.discoveries = [discovery]
    assert code_of(smart)[0] == "fhir.token-endpoint-unusable"
    assert server.forms == []


def test_a_sign_in_service_elsewhere_gets_no_credentials_but_the_assertion(
    server: SignIn, smart: SmartBackend, client: FhirClient
) -> None:
    token = as_json({"access_token": "token-0", "token_type": "bearer", "expires_in": 300})
    with scripted_server(in_turn(token)) as elsewhere:
        server.discoveries = [as_json({"token_endpoint": f"{elsewhere.url}/token"})]
        assert client.read("Patient/1") == PATIENT
        assert ["authorization" in asked.headers for asked in elsewhere.asked] == [False]


@pytest.mark.parametrize("asks_for_ours", [False, True])
def test_a_sign_in_service_elsewhere_may_be_signed_by_the_systems_authorities_and_is_not_shown_our_certificate(
    server: SignIn, keys: SmartKeys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asks_for_ours: bool
) -> None:
    public, own = Authority(tmp_path / "public"), Authority(tmp_path / "own")
    monkeypatch.setenv("SSL_CERT_FILE", str(public.ca_file))  # where OpenSSL looks for the system's
    context = server_context(*public.sign("localhost"), own.ca_file if asks_for_ours else None)
    token = as_json({"access_token": "token-0", "token_type": "bearer", "expires_in": 300})
    with scripted_server(in_turn(token), context) as elsewhere:
        registration = replace(ASKED, token_url=f"{elsewhere.url}/token")
        smart = SmartBackend(server.base_url, registration, keys, tls=Tls(own.ca_file, *own.sign("bridge")))
        if asks_for_ours:
            assert code_of(smart)[0] == "fhir.token-unavailable"
        else:
            assert smart.header() == "Bearer token-0"
        smart.close()


def test_a_token_endpoint_that_is_away_does_not_open_the_servers_circuit(server: SignIn, client: FhirClient) -> None:
    server.token_answers = [Scripted(503)] * 12
    for _ in range(6):
        with pytest.raises(Unavailable) as caught:
            client.read("Patient/1")
        assert caught.value.code == "fhir.token-unavailable"
    server.token_answers = []
    assert client.read("Patient/1") == PATIENT


def test_a_redirect_of_the_fhir_server_does_not_take_the_token_elsewhere(keys: SmartKeys) -> None:
    with scripted_server(in_turn(fhir(PATIENT))) as elsewhere, sign_in() as server:
        smart = SmartBackend(server.base_url, ASKED, keys)
        real = server.server.answer
        server.server.answer = lambda asked: (
            Scripted(307, b"", {"Location": f"{elsewhere.url}/fhir/Patient/1"})
            if asked.path == "/fhir/Patient/1"
            else real(asked)
        )
        with FhirClient(server.base_url, smart) as client, pytest.raises(Unavailable) as caught:
            client.read("Patient/1")
        assert (caught.value.code, elsewhere.asked) == ("fhir.redirect", [])
