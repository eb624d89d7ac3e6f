"""What holds for every answer: the name it was asked by, its headers, and that no exception text gets out."""

import json

import pytest
from flask import Blueprint, Flask
from flask.testing import FlaskClient

from fhir_bridge import log
from fhir_bridge.web.app import host_of, make_app


@pytest.fixture
def app() -> Flask:
    blueprint = Blueprint("trouble", __name__)

    @blueprint.get("/fine")
    def fine() -> str:
        return "fine"

    @blueprint.get("/bug")
    def bug() -> str:
        raise KeyError("CANARY^ZEBRA")

    return make_app([blueprint])


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.mark.parametrize("host", ["localhost", "localhost:8765", "127.0.0.1:8765", "[::1]:8765", "LocalHost:1"])
def test_it_answers_to_the_names_of_this_machine(client: FlaskClient, host: str) -> None:
    assert client.get("/fine", headers={"Host": host}).data == b"fine"


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:8765", "[::2]", "::1"]
)
def test_it_answers_to_no_other_name(client: FlaskClient, host: str) -> None:
    answer = client.get("/fine", headers={"Host": host})
    assert (answer.status_code, b"fine" in answer.data) == (421, False)


def test_a_configured_name_is_answered_too() -> None:
    client = make_app([], hosts=("bridge.hospital.example",)).test_client()
    answer = client.get("/static/console.css", headers={"Host": "Bridge.Hospital.example"}, buffered=True)
    assert answer.status_code == 200


URLS = {
    "http://bridge:8765": "bridge",
    "https://Bridge.hospital.example/fhir-bridge": "bridge.hospital.example",
    "http://[2001:db8::7]:8765/": "[2001:db8::7]",
    "http://[::1]": "[::1]",
    "": "",
}


@pytest.mark.parametrize(("url", "host"), URLS.items())
def test_the_host_of_a_public_address_is_found(url: str, host: str) -> None:
    assert host_of(url) == host


@pytest.mark.parametrize("path", ["/fine", "/bug", "/nowhere", "/static/console.css"])
def test_every_answer_has_the_strict_headers(client: FlaskClient, path: str) -> None:
    headers = client.get(path, buffered=True).headers
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'self'; img-src 'self'")
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert (headers["X-Content-Type-Options"], headers["Referrer-Policy"]) == ("nosniff", "no-referrer")


def test_pages_are_never_kept_by_a_browser(client: FlaskClient) -> None:
    assert client.get("/fine").headers["Cache-Control"] == "no-store"


def test_a_bug_is_shown_and_logged_by_its_id_without_its_text(
    client: FlaskClient, capsys: pytest.CaptureFixture[str]
) -> None:
    log.configure(strict=True)
    answer = client.get("/bug")
    line = json.loads(capsys.readouterr().err)
    assert (answer.status_code, line["event"], line["error_type"]) == (500, "http.bug", "KeyError")
    assert line["error_id"] in answer.get_data(as_text=True)
    assert line["frames"][-1].startswith("test_web_app.py:")
