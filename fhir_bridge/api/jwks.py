"""Our public keys, for the FHIR servers that sign us in (SMART App Launch 2.2, client-confidential-asymmetric; RFC 7517 §5)."""

from collections.abc import Callable, Mapping
from typing import Any

from flask import Blueprint, Response, jsonify


def jwks(public: Callable[[], Mapping[str, Any]]) -> Blueprint:
    """`/.well-known/jwks.json`, for anyone: the JWK Set that `public` gives, public halves only."""
    blueprint = Blueprint("jwks", __name__)

    @blueprint.get("/.well-known/jwks.json")
    def key_set() -> Response:
        return jsonify(public())

    return blueprint
