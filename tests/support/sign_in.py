"""A FHIR server with a token endpoint on loopback: discovery, tokens, and a Patient for whoever brings the newest one."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs

import jwt

from tests.support.scripted_http import Asked, Scripted, ScriptedServer, fhir

TOKEN_PATH, DISCOVERY_PATH = "/auth/token", "/fhir/.well-known/smart-configuration"
PATIENT = {"resourceType": "Patient", "id": "1"}


def as_json(value: object, status: int = 200, **headers: str) -> Scripted:
    return Scripted(status, json.dumps(value).encode(), {"Content-Type": "application/json", **headers})


class SignIn:
    """`token_answers` and `discoveries` are given first, then what is right."""

    def __init__(self) -> None:
        self.token_answers: list[Scripted] = []
        self.discoveries: list[Scripted] = []
        self.expires_in: object = 300
        self.given = 0
        self.valid = True
        self.token_path = TOKEN_PATH
        self.server = ScriptedServer(self._answer)

    @property
    def base_url(self) -> str:
        return f"{self.server.url}/fhir"

    @property
    def token_url(self) -> str:
        return f"{self.server.url}{self.token_path}"

    def asked(self, path: str) -> list[Asked]:
        return [asked for asked in self.server.asked if asked.path == path]

    @property
    def forms(self) -> list[Mapping[str, str]]:
        """What came to the token endpoint."""
        return [
            {name: values[0] for name, values in parse_qs(asked.body.decode()).items()}
            for asked in self.server.asked
            if asked.method == "POST"
        ]

    @property
    def claims(self) -> list[dict[str, Any]]:
        """Of the assertions that came, unverified."""
        return [jwt.decode(form["client_assertion"], options={"verify_signature": False}) for form in self.forms]

    def _answer(self, asked: Asked) -> Scripted:
        if asked.path == DISCOVERY_PATH:
            return self.discoveries.pop(0) if self.discoveries else as_json({"token_endpoint": self.token_url})
        if asked.method == "POST":
            return self._token(asked)
        known = self.valid and asked.headers.get("authorization") == f"Bearer token-{self.given}"
        return fhir(PATIENT) if known else fhir({"resourceType": "OperationOutcome"}, 401)

    def _token(self, asked: Asked) -> Scripted:
        if self.token_answers:
            return self.token_answers.pop(0)
        if asked.path != self.token_path:
            return as_json({}, 404)
        self.given += 1
        return as_json({"access_token": f"token-{self.given}", "token_type": "bearer", "expires_in": self.expires_in})


@contextmanager
def sign_in() -> Iterator[SignIn]:
    server = SignIn()
    try:
        yield server
    finally:
        server.server.close()
