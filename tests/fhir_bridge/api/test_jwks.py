"""Our public keys over HTTP."""

from datetime import timedelta
from pathlib import Path

import jwt
import pytest
from flask.testing import FlaskClient

from fhir_bridge.adapters.smart_keys import SmartKeys
from fhir_bridge.api.jwks import jwks
from fhir_bridge.web.app import make_app
from tests.support.frozen_clock import START

PATH = "/.well-known/jwks.json"


@pytest.fixture
def keys(tmp_path: Path) -> SmartKeys:
    return SmartKeys(tmp_path / "smart")


@pytest.fixture
def browser(keys: SmartKeys) -> FlaskClient:
    return make_app([jwks(keys.public)], {"localhost", "bridge.example"}).test_client()


def test_anyone_may_have_them_and_keep_them_for_a_while(browser: FlaskClient, keys: SmartKeys) -> None:
    made = [keys.make("ES384", START + timedelta(days=day)).kid for day in (0, 1)]
    answer = browser.get(PATH, base_url="http://bridge.example", environ_base={"REMOTE_ADDR": "192.0.2.7"})
    assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "max-age=300")
    assert answer.mimetype == "application/json"
    assert [key.key_id for key in jwt.PyJWKSet.from_json(answer.text).keys] == made


def test_there_is_nothing_secret_in_them(browser: FlaskClient, keys: SmartKeys) -> None:
    for algorithm in ("RS384", "ES384"):
        keys.make(algorithm, START)
    private_members = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}  # RFC 7518 §6
    assert [private_members & set(key) for key in browser.get(PATH).json["keys"]] == [set(), set()]


def test_without_keys_the_set_is_empty(browser: FlaskClient) -> None:
    assert browser.get(PATH).json == {"keys": []}
