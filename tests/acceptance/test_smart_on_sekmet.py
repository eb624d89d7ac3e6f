"""SMART Backend Services against a real token endpoint, sekmet-fhir's: it verifies our assertions with the keys that we publish."""

import socket
import time
from collections.abc import Iterator
from urllib.parse import parse_qs

import pytest
import requests

from fhir_bridge.adapters.fhir_client import FhirClient
from fhir_bridge.adapters.fhir_session import Request, Session
from fhir_bridge.adapters.fhir_transport import Timing
from fhir_bridge.adapters.smart_backend import Registration, SmartBackend
from fhir_bridge.adapters.smart_keys import SmartKeys
from fhir_bridge.errors import Unavailable
from tests.support.frozen_clock import START
from tests.support.smart_sekmet import CLIENT_ID, SCOPES, SmartSekmet, smart_sekmet

pytestmark = pytest.mark.real_parts

REGISTERED = Registration(CLIENT_ID, SCOPES)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module", params=["RS384", "ES384"])
def sekmet(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmartSekmet]:
    with smart_sekmet(tmp_path_factory.mktemp("sekmet"), free_port(), (request.param,)) as running:
        yield running


def code_of(smart: SmartBackend) -> tuple[str, str]:
    with pytest.raises(Unavailable) as caught:
        smart.header()
    return caught.value.code, caught.value.explanation


def test_we_are_signed_in_by_the_keys_that_we_publish(sekmet: SmartSekmet) -> None:
    smart = SmartBackend(sekmet.base_url, REGISTERED, sekmet.keys)
    with FhirClient(sekmet.base_url, smart) as client:
        kept = client.create_unless({"resourceType": "Patient", "active": True}, "identifier=urn:smart|CANARY-1")
        assert client.read(f"Patient/{kept['id']}")["active"] is True


def test_without_a_token_nothing_is_given(sekmet: SmartSekmet) -> None:
    with FhirClient(sekmet.base_url) as client, pytest.raises(Unavailable) as caught:
        client.read("Patient/1")
    assert caught.value.code == "fhir.unauthorized"


def test_what_the_scopes_do_not_cover_is_not_given(sekmet: SmartSekmet) -> None:
    smart = SmartBackend(sekmet.base_url, Registration(CLIENT_ID, "system/Patient.rs"), sekmet.keys)
    with FhirClient(sekmet.base_url, smart) as client, pytest.raises(Unavailable) as caught:
        client.search("Observation", (), limit=1)
    assert (caught.value.code, caught.value.explanation[:10]) == ("fhir.unauthorized", "status 403")


def test_a_scope_that_nobody_has_is_refused_by_its_word(sekmet: SmartSekmet) -> None:
    smart = SmartBackend(sekmet.base_url, Registration(CLIENT_ID, "system/Coverage.rs"), sekmet.keys)
    assert code_of(smart) == ("fhir.token-refused", "invalid_scope")


def test_a_key_that_is_not_registered_is_refused(sekmet: SmartSekmet, tmp_path_factory: pytest.TempPathFactory) -> None:
    stranger = SmartKeys(tmp_path_factory.mktemp("stranger"))
    stranger.make(sekmet.keys.signing().algorithm, START)
    assert code_of(SmartBackend(sekmet.base_url, REGISTERED, stranger)) == ("fhir.token-refused", "invalid_client")


def test_an_audience_that_is_not_the_endpoint_exactly_is_refused(sekmet: SmartSekmet) -> None:
    elsewhere = Registration(CLIENT_ID, SCOPES, token_url=sekmet.token_url.replace("127.0.0.1", "localhost"))
    assert code_of(SmartBackend(sekmet.base_url, elsewhere, sekmet.keys)) == ("fhir.token-refused", "invalid_client")


@pytest.mark.parametrize("ahead", [900, -900])
def test_a_clock_of_ours_that_is_wrong_by_a_quarter_of_an_hour_is_borne(sekmet: SmartSekmet, ahead: float) -> None:
    """More than 5 minutes ahead the server refuses `exp`, behind it is over."""
    wrong = Timing(wall=lambda: time.time() + ahead)
    assert SmartBackend(sekmet.base_url, REGISTERED, sekmet.keys, timing=wrong).header().startswith("Bearer ")


@pytest.mark.parametrize("ahead", [120, -120])
def test_a_clock_that_is_wrong_by_two_minutes_needs_no_second_try(
    sekmet: SmartSekmet, ahead: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = spied(monkeypatch)
    wrong = Timing(wall=lambda: time.time() + ahead)
    SmartBackend(sekmet.base_url, REGISTERED, sekmet.keys, timing=wrong).header()
    assert [request.method for request in sent] == ["GET", "POST"]


def test_an_assertion_is_taken_once_and_ours_are_never_the_same(
    sekmet: SmartSekmet, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = spied(monkeypatch)
    smart = SmartBackend(sekmet.base_url, REGISTERED, sekmet.keys)
    for _ in range(3):
        assert smart.renewed(smart.header())
    form = parse_qs((sent[-1].body or b"").decode())
    replayed = requests.post(sekmet.token_url, data={name: values[0] for name, values in form.items()}, timeout=10)
    assert (replayed.status_code, replayed.json()["error"]) == (401, "invalid_client")


def spied(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """The requests that go out from here on."""
    sent: list[Request] = []
    real = Session.send

    def send(session: Session, request: Request, *limits: float) -> object:
        sent.append(request)
        return real(session, request, *limits)  # type: ignore[arg-type]

    monkeypatch.setattr(Session, "send", send)
    return sent


def test_a_rotation_does_not_interrupt_us(tmp_path_factory: pytest.TempPathFactory) -> None:
    with smart_sekmet(tmp_path_factory.mktemp("rotation"), free_port(), ("RS384", "RS384")) as sekmet:
        smart = SmartBackend(sekmet.base_url, REGISTERED, sekmet.keys)
        old, new = (key.kid for key in sekmet.keys.all())
        assert smart.renewed(smart.header())
        sekmet.keys.retire(old)
        assert smart.header().startswith("Bearer ")
        assert sekmet.keys.signing().kid == new
