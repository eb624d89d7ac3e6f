"""SMART Backend Services (SMART App Launch 2.2): an access token for a signed statement of who we are (RFC 7523, RFC 6749 §4.4)."""

import json
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode, urlsplit

import jwt

from fhir_bridge import log
from fhir_bridge.adapters.fhir_answer import http_date, retry_after
from fhir_bridge.adapters.fhir_deadline import TooSlow
from fhir_bridge.adapters.fhir_session import NETWORK_ERRORS, Reply, Request, Session, Tls, TooLarge
from fhir_bridge.adapters.fhir_transport import Timing
from fhir_bridge.adapters.smart_keys import SmartKey, SmartKeys
from fhir_bridge.errors import Refused, Unavailable

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ASSERTION_SECONDS = 150  # at most 300 are allowed; half of that bears clocks that differ by 150 s either way
_SKEW_SECONDS = 60  # clocks that differ by more may be why we were refused
_MAX_BODY_BYTES = 256 * 1024
_MAX_TOKEN_CHARACTERS = 16 * 1024  # it goes into a header
_SHORT_SECONDS = 300.0  # of a token that does not say how long it lasts: what SMART recommends
_LONGEST_SECONDS = 86_400.0
_RENEWED_AT = 0.8  # of its lifetime
_PAUSE_SECONDS = 15.0  # after a renewal that failed
_LONGEST_REQUEST_SECONDS = 15.0  # a call may need four of them, and its job waits
_OAUTH_ERRORS = frozenset(  # RFC 6749 §5.2
    {
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
    }
)
_WHERE = "token endpoint"
_DISCOVERY = "GET smart-configuration"
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Registration:
    """As the server knows us. Without `token_url` it is discovered; without `key_id` the oldest key signs; `jwks_url` is sent as `jku`."""

    client_id: str
    scopes: str
    token_url: str = ""
    key_id: str = ""
    jwks_url: str = ""


@dataclass(frozen=True, slots=True)
class _Token:
    header: str = field(repr=False)
    renew_at: float
    ends_at: float


class SmartBackend:
    """`fhir_credentials.Credentials`. One thread asks for a token; those that have one that still holds go on with it, the others wait.

    Raises Unavailable `fhir.token-refused` (with RFC 6749's word for it), `fhir.token-unavailable`, `fhir.token-endpoint-unusable`,
    `fhir.key-missing`, `fhir.key-unusable`: a key that is mended later is no reason to hold a job.
    """

    def __init__(
        self,
        base_url: str,
        registration: Registration,
        keys: SmartKeys,
        *,
        tls: Tls | None = None,
        timing: Timing | None = None,
        timeout_seconds: float = 15.0,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._registration = registration
        self._keys = keys
        self._tls = tls or Tls()
        self._timing = timing or Timing()
        self._timeout = min(timeout_seconds, _LONGEST_REQUEST_SECONDS)
        self._own = Session(self._tls, self._timing.monotonic)
        self._other: Session | None = None  # of a token endpoint elsewhere: it is not shown our certificate
        self._lock = threading.Lock()
        self._token: _Token | None = None
        self._failure: Unavailable | None = None
        self._tries = 0
        self._endpoint = ""
        self._ahead = 0.0  # seconds of the token endpoint's clock before ours, once that was why it refused us

    def close(self) -> None:
        """Close the idle connections."""
        self._own.close()
        if self._other is not None:
            self._other.close()

    def header(self) -> str:
        token, now = self._token, self._timing.monotonic()
        if token is not None and now < token.renew_at:
            return token.header
        tries = self._tries
        if token is None or now >= token.ends_at:
            self._lock.acquire()
        elif not self._lock.acquire(blocking=False):
            return token.header  # another thread is at it
        try:
            outcome = self._token or self._failure  # of another thread that asked while we waited: it is ours, too
            if self._tries == tries or outcome is None:
                self._renew()
            return self._outcome()
        finally:
            self._lock.release()

    def renewed(self, refused: str) -> bool:
        """Several threads may hear the same 401: the token is thrown away once."""
        with self._lock:
            if self._token is not None and self._token.header == refused:
                self._token = None
        return True

    def _outcome(self) -> str:
        if self._token is not None and self._timing.monotonic() < self._token.ends_at:
            return self._token.header
        raise self._failure or Unavailable("fhir.token-unavailable", _WHERE, "the token ended at once")

    def _renew(self) -> None:
        """A failure is raised only where the old token does not hold any more."""
        try:
            self._token, self._failure = self._asked(), None
        except Unavailable as failure:
            self._failure = failure
            if (token := self._token) is not None:  # it may hold still: not every call is to wait for another failure
                next_try = min(self._timing.monotonic() + _PAUSE_SECONDS, token.ends_at)
                self._token = replace(token, renew_at=next_try)
        finally:
            self._tries += 1

    def _asked(self) -> _Token:
        """A token endpoint that fails may have moved: what was discovered is read again, and a new address tried once."""
        before = self._endpoint
        endpoint = before or self._discovered()
        try:
            token = self._token_from(endpoint)
        except Unavailable:
            self._endpoint = ""
            if not before or self._registration.token_url or (endpoint := self._discovered()) == before:
                raise
            token = self._token_from(endpoint)
        self._endpoint = endpoint
        return token

    def _token_from(self, endpoint: str) -> _Token:
        reply = self._post(endpoint)
        date = http_date(reply.headers.get("Date", ""))
        ahead = 0.0 if date is None else date - self._timing.wall()
        if 400 <= reply.status < 500 and abs(ahead - self._ahead) > _SKEW_SECONDS:
            log.event("fhir.clock-differs", where=_WHERE, seconds=round(ahead))
            self._ahead = ahead
            reply = self._post(endpoint)
        if reply.status != 200:
            raise self._refusal(reply)
        return self._checked(reply)

    def _post(self, endpoint: str) -> Reply:
        form = {
            "grant_type": "client_credentials",
            "scope": self._registration.scopes,
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": self._assertion(endpoint),
        }
        headers = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}
        return self._send(Request("POST", endpoint, _WHERE, body=urlencode(form).encode(), headers=headers))

    def _assertion(self, endpoint: str) -> str:
        """No `iat` and no `nbf`, which need not be there and fail where the server's clock is behind ours."""
        registration, key = self._registration, self._key()
        claims = {
            "iss": registration.client_id,
            "sub": registration.client_id,
            "aud": endpoint,
            "exp": int(self._timing.wall() + self._ahead) + ASSERTION_SECONDS,
            "jti": str(uuid.uuid4()),
        }
        jku = {"jku": registration.jwks_url} if registration.jwks_url else {}
        return jwt.encode(claims, key.private, algorithm=key.algorithm, headers={"kid": key.kid, "typ": "JWT", **jku})

    def _refusal(self, reply: Reply) -> Unavailable:
        """Of what the endpoint says only a word of the standard is kept, and when to come again."""
        status, word = reply.status, (_object(reply) or {}).get("error")
        if status < 400 or status >= 500 or status in (404, 405, 408, 429):
            wish = retry_after(reply.headers, self._timing.wall)
            return Unavailable("fhir.token-unavailable", _WHERE, f"status {status}", wish)
        known = word if isinstance(word, str) and word in _OAUTH_ERRORS else f"status {status}"
        return Unavailable("fhir.token-refused", _WHERE, known)

    def _key(self) -> SmartKey:
        try:
            return self._keys.signing(self._registration.key_id)
        except Refused as refusal:
            raise Unavailable(refusal.code, refusal.where, refusal.explanation) from None

    def _discovered(self) -> str:
        """The token endpoint (SMART App Launch 2.2, conformance): as configured, or as the server publishes it, without our credentials."""
        if self._registration.token_url:
            return _usable(self._registration.token_url)
        url = f"{self._base_url}/.well-known/smart-configuration"
        reply = self._send(Request("GET", url, _DISCOVERY, headers={"Accept": "application/json"}))
        if reply.status >= 500:
            raise Unavailable("fhir.token-unavailable", _DISCOVERY, f"status {reply.status}")
        endpoint = (_object(reply) or {}).get("token_endpoint") if reply.status == 200 else None
        if not isinstance(endpoint, str):
            raise Unavailable(
                "fhir.token-endpoint-unusable",
                _DISCOVERY,
                f"status {reply.status}: it names none; set fhir.smart.token_url",
            )
        return _usable(endpoint)

    def _send(self, request: Request) -> Reply:
        deadline = self._timing.monotonic() + self._timeout
        try:
            return self._session_for(request.url).send(request, self._timeout, deadline, _MAX_BODY_BYTES)
        except (*NETWORK_ERRORS, TooLarge, TooSlow) as error:
            raise Unavailable("fhir.token-unavailable", request.where, type(error).__name__) from None

    def _session_for(self, url: str) -> Session:
        """Of the FHIR server's own origin, or of a sign-in service elsewhere: with the system's authorities besides ours."""
        if _origin(url) == _origin(self._base_url):
            return self._own
        if self._other is None:
            self._other = Session(Tls(self._tls.ca_file, besides_system=True), self._timing.monotonic)
        return self._other

    def _checked(self, reply: Reply) -> _Token:
        """RFC 6749 §5.1. Raises Unavailable `fhir.token-unavailable` for all that cannot be a token."""
        answer = _object(reply) or {}
        token, kind = answer.get("access_token"), answer.get("token_type")
        seconds = _lifetime(answer.get("expires_in", _SHORT_SECONDS))
        usable = isinstance(token, str) and 0 < len(token) <= _MAX_TOKEN_CHARACTERS and _is_visible(token)
        if not usable or not isinstance(kind, str) or kind.lower() != "bearer" or seconds is None:
            raise Unavailable("fhir.token-unavailable", _WHERE, "the answer is not a bearer token with its lifetime")
        now = self._timing.monotonic()
        return _Token(f"Bearer {token}", now + _RENEWED_AT * seconds, now + seconds)


def _usable(endpoint: str) -> str:
    """Raises Unavailable `fhir.token-endpoint-unusable`: what proves who we are goes over TLS, or does not leave this machine."""
    try:
        parts = urlsplit(endpoint)
        host, _ = parts.hostname, parts.port
    except ValueError:
        parts, host = urlsplit(""), None
    secure = parts.scheme == "https" or (parts.scheme == "http" and host in _LOOPBACK)
    if not host or not secure or parts.username or parts.fragment:
        raise Unavailable("fhir.token-endpoint-unusable", _WHERE, "it is not an https URL")
    return endpoint


def _object(reply: Reply) -> Mapping[str, Any] | None:
    try:
        parsed = json.loads(reply.body)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


def _lifetime(value: object) -> float | None:
    """Seconds; some servers send them as a string."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        return None
    return min(float(value) if value < _LONGEST_SECONDS else _LONGEST_SECONDS, _LONGEST_SECONDS)


def _is_visible(token: str) -> bool:
    return all("!" <= character <= "~" for character in token)


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
