"""The bearer of each Subscription."""

import pytest

from fhir_bridge.hook_token import opens, token_for


def test_a_token_is_the_hmac_of_the_name() -> None:
    """printf 'hook orders' | openssl dgst -sha256 -hmac secret -binary | base64 | tr '+/' '-_' | tr -d ="""
    assert token_for("secret", "orders") == "ltGmk5nRXyhkYgpQETVp15Ycbfl5mqeUQwYhh1OGfzQ"


def test_a_token_has_256_bits() -> None:
    assert len(token_for("secret", "orders")) == 43


OPENS = {
    "its own token": (token_for("now", "orders"), True),
    "the token of another hook": (token_for("now", "studies"), False),
    "the secret itself": ("now", True),
    "a token of the secret before": (token_for("before", "orders"), True),
    "the secret before": ("before", True),
    "a token of no secret": (token_for("", "orders"), False),
    "nothing": ("", False),
    "not ASCII": ("\xe4", False),
}


@pytest.mark.parametrize(("given", "opened"), OPENS.values(), ids=OPENS.keys())
def test_what_opens_a_hook(given: str, opened: bool) -> None:
    assert opens(given, "orders", ("now", "before")) is opened


@pytest.mark.parametrize("given", ["", token_for("", "orders")])
def test_a_secret_that_is_not_set_opens_nothing(given: str) -> None:
    assert opens(given, "orders", ("now", "")) is False
