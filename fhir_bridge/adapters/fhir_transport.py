"""One HTTP exchange with a FHIR server: what is tried again, for how long, how much is read, and what each failure means (R4 §3.1.0)."""

import email.utils
import json
import random
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.cookiejar import DefaultCookiePolicy
from typing import NoReturn

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase, HTTPBasicAuth

from fhir_bridge.errors import BridgeError, Refused, Unavailable, Uncertain
from fhir_bridge.study import Resource

FHIR_JSON = "application/fhir+json"
MAX_ATTEMPTS = 5
LONGEST_WAIT_SECONDS = 30.0  # a longer Retry-After is for the job's own schedule, not for a worker to sit out
LONGEST_RETRY_AFTER_SECONDS = 3600.0  # what a server may wish of the job's schedule
_FIRST_WAIT_SECONDS = 0.5
_CHUNK = 65536
_PASSING_STATUSES = frozenset({408, 429, 502, 503, 504})
_PERHAPS_DONE_STATUSES = frozenset({408, 502, 504})  # a gateway gave up; the server behind it may not have
_HAPI_NUMBER = re.compile(r"\bHAPI-\d{4}\b")


class Conflict(Unavailable):
    """409 or 412: someone wrote at the same time, or a condition matches several. The caller looks again and decides."""


class _Passing(Exception):
    """May pass within this call; `error` is what it becomes when it does not."""

    def __init__(self, error: BridgeError, retry_after: float | None = None) -> None:
        super().__init__(error.code)
        self.error = error
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Credentials:
    """HTTP Basic where a user name is given, else a bearer token where one is given, else nothing."""

    username: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Limits:
    """`timeout_seconds` bounds each silence of the server, `deadline_seconds` the whole exchange with its repetitions."""

    timeout_seconds: float = 30.0
    deadline_seconds: float = 60.0
    max_body_bytes: int = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Timing:
    """Monotonic seconds, a way to wait, a random number below 1, and the wall clock in seconds since 1970."""

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    random: Callable[[], float] = random.random
    wall: Callable[[], float] = time.time


@dataclass(frozen=True, slots=True)
class Call:
    """A request. `where` names it in errors (method and resource type: no id, no query)."""

    method: str
    url: str
    where: str
    params: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    body: Resource | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    max_attempts: int = MAX_ATTEMPTS

    @property
    def writes(self) -> bool:
        return self.method != "GET"


@dataclass(frozen=True, slots=True)
class Answer:
    """A 2xx answer; `resource` is None where the body is empty."""

    status: int
    resource: Resource | None = field(repr=False)
    date: float | None = None  # by the clock of the server, seconds since 1970: its Date header (RFC 9110 §6.6.1)


class _Bearer(AuthBase):
    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class Transport:
    """Shared by threads: one pool of connections, no cookies, no redirects, nothing taken from the process's environment.

    Raises Unavailable `fhir.unavailable`, `fhir.unauthorized`, `fhir.not-fhir`, `fhir.redirect`, `fhir.conflict`; Refused `fhir.not-found`,
    `fhir.rejected`, `fhir.too-large`; Uncertain `fhir.uncertain`.
    """

    def __init__(self, credentials: Credentials, verify: bool | str, limits: Limits, timing: Timing) -> None:
        self._limits = limits
        self._timing = timing
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.verify = verify
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        basic = credentials.username
        self._session.auth = (
            HTTPBasicAuth(basic.encode(), credentials.password.encode()) if basic else _Bearer(credentials.token)
        )
        pool = HTTPAdapter(pool_connections=2, pool_maxsize=8)
        self._session.mount("http://", pool)
        self._session.mount("https://", pool)

    def close(self) -> None:
        self._session.close()

    def exchange(self, call: Call) -> Answer:
        """The answer, after as many attempts as the rules and the deadline allow."""
        deadline = self._timing.monotonic() + self._limits.deadline_seconds
        attempt = 0
        while True:
            attempt += 1
            try:
                return self._attempt(call, deadline)
            except _Passing as failure:
                wait = self._wait_seconds(attempt, failure.retry_after)
                too_late = self._timing.monotonic() + wait >= deadline
                if attempt >= call.max_attempts or wait > LONGEST_WAIT_SECONDS or too_late:
                    raise failure.error from None
            self._timing.sleep(wait)

    def _wait_seconds(self, attempt: int, retry_after: float | None) -> float:
        """Exponential with full jitter; never earlier than the server asked for."""
        jitter = self._timing.random() * min(LONGEST_WAIT_SECONDS / 4, _FIRST_WAIT_SECONDS * 2.0 ** (attempt - 1))
        return jitter if retry_after is None else retry_after + jitter

    def _attempt(self, call: Call, deadline: float) -> Answer:
        timeout = max(0.1, min(self._limits.timeout_seconds, deadline - self._timing.monotonic()))
        headers = {"Accept": FHIR_JSON, **call.headers}
        if call.body is not None:
            headers["Content-Type"] = FHIR_JSON
        try:
            with self._session.request(
                call.method,
                call.url,
                params=call.params or None,
                data=None if call.body is None else json.dumps(call.body, allow_nan=False).encode(),
                headers=headers,
                timeout=timeout,
                allow_redirects=False,
                stream=True,
            ) as response:
                body = self._read(response, call, deadline)
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise _broken(call, error) from None
        return self._judge(call, response, body)

    def _read(self, response: requests.Response, call: Call, deadline: float) -> bytes:
        """The whole body, within its limit and in time however slowly it drips."""
        body = bytearray()
        while chunk := response.raw.read1(_CHUNK, decode_content=True):
            body += chunk
            if len(body) > self._limits.max_body_bytes:
                raise Refused("fhir.too-large", call.where, f"the answer exceeds {self._limits.max_body_bytes} bytes")
            if self._timing.monotonic() > deadline:
                raise _unfinished(call, "the answer took longer than the deadline")
        return bytes(body)

    def _judge(self, call: Call, response: requests.Response, body: bytes) -> Answer:
        status = response.status_code
        if 300 <= status < 400:
            raise Unavailable("fhir.redirect", call.where, f"status {status}: fhir.base_url is not where the server is")
        if status in (401, 403):
            raise Unavailable(
                "fhir.unauthorized", call.where, f"status {status}: the server does not take our credentials"
            )
        if status in _PASSING_STATUSES or status >= 500:
            self._raise_unavailable(call, response)
        if not body and status < 300:
            return Answer(status, None, _http_date(response.headers.get("Date", "")))
        resource = _parse(response, body)
        if resource is None:
            raise Unavailable(
                "fhir.not-fhir", call.where, f"status {status}: the answer is not FHIR JSON; is fhir.base_url right?"
            )
        if status >= 400:
            _raise_outcome(call, status, resource)
        return Answer(status, resource, _http_date(response.headers.get("Date", "")))

    def _raise_unavailable(self, call: Call, response: requests.Response) -> NoReturn:
        status = response.status_code
        retry_after = _retry_after(response.headers, self._timing.wall)
        if call.writes and status in _PERHAPS_DONE_STATUSES:
            error: BridgeError = Uncertain("fhir.uncertain", call.where, f"status {status}: it may have been done")
        else:
            error = Unavailable("fhir.unavailable", call.where, f"status {status}", retry_after)
        if status in _PASSING_STATUSES:
            raise _Passing(error, retry_after)
        raise error


def _broken(call: Call, error: Exception) -> Exception:
    """What a broken connection means. Only one that was never made leaves no doubt about a write."""
    kind = type(error).__name__
    if isinstance(error, requests.exceptions.SSLError):
        return Unavailable(
            "fhir.unavailable", call.where, "the server's certificate was not accepted; see fhir.ca_file"
        )
    reason = getattr(error.args[0], "reason", None) if error.args else None
    if isinstance(error, requests.ConnectTimeout) or isinstance(reason, urllib3.exceptions.NewConnectionError):
        return _Passing(Unavailable("fhir.unavailable", call.where, "no connection"))
    if call.writes:
        return _unfinished(call, kind)
    timed_out = isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError)
    unavailable = Unavailable("fhir.unavailable", call.where, kind)
    return unavailable if timed_out else _Passing(unavailable)


def _unfinished(call: Call, explanation: str) -> BridgeError:
    if call.writes:
        return Uncertain("fhir.uncertain", call.where, f"{explanation}: it may have been done")
    return Unavailable("fhir.unavailable", call.where, explanation)


def _raise_outcome(call: Call, status: int, outcome: Resource) -> NoReturn:
    """Diagnostics quote the patient's values: of them only HAPI's own error number is kept."""
    numbers = _HAPI_NUMBER.findall(json.dumps(outcome.get("issue", "")))
    explanation = " ".join([f"status {status}", *dict.fromkeys(numbers)])
    if status in (404, 410):
        raise Refused("fhir.not-found", call.where, explanation)
    if status in (409, 412):
        raise Conflict("fhir.conflict", call.where, explanation)
    raise Refused("fhir.rejected", call.where, explanation)


def _parse(response: requests.Response, body: bytes) -> Resource | None:
    """A FHIR resource, or None for anything else that calls itself an answer (a proxy's page, say)."""
    if "json" not in response.headers.get("Content-Type", "").lower():
        return None
    try:
        parsed = json.loads(body, parse_constant=_no_such_number)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) and isinstance(parsed.get("resourceType"), str) else None


def _no_such_number(name: str) -> NoReturn:
    raise ValueError(name)


def _retry_after(headers: Mapping[str, str], wall: Callable[[], float]) -> float | None:
    """RFC 9110 §10.2.3: seconds, or an HTTP date, which is measured by the server's own clock."""
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return min(float(value), LONGEST_RETRY_AFTER_SECONDS)
    wanted = _http_date(value)
    if wanted is None:
        return None
    now = _http_date(headers.get("Date", ""))
    return min(max(0.0, wanted - (wall() if now is None else now)), LONGEST_RETRY_AFTER_SECONDS)


def _http_date(value: str) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(value).timestamp()
    except ValueError:
        return None
