"""One exchange with a FHIR server: what is tried again, for how long, how much is read, and what each failure means (R4 §3.1.0)."""

import json
import random
import secrets
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import NoReturn

import requests
import urllib3

from fhir_bridge import log
from fhir_bridge.adapters.circuit import Circuit, Passage
from fhir_bridge.adapters.fhir_answer import explained, has_errors, http_date, resource_in, retry_after
from fhir_bridge.adapters.fhir_credentials import Credentials
from fhir_bridge.adapters.fhir_deadline import TooSlow
from fhir_bridge.adapters.fhir_session import NETWORK_ERRORS, Reply, Request, Session, TooLarge
from fhir_bridge.errors import BridgeError, Refused, Unavailable, Uncertain
from fhir_bridge.study import Resource

FHIR_JSON = "application/fhir+json"
MAX_ATTEMPTS = 5
LONGEST_WAIT_SECONDS = 30.0  # a longer Retry-After is for the job's own schedule, not for a worker to sit out
_FIRST_WAIT_SECONDS = 0.5
_PASSING_STATUSES = frozenset({408, 429, 502, 503, 504})
_NO_ANSWER_STATUSES = frozenset({502, 503, 504})  # of a gateway, or of a server that is not up
_PERHAPS_DONE_STATUSES = frozenset({408, 502, 504})  # a gateway gave up; the server behind it may not have


class Conflict(Unavailable):
    """409 or 412: someone wrote at the same time, or a condition matches several. The caller looks again and decides."""


class ServerFailed(Unavailable):
    """500, 501 and their like: the server is there and failed at this very thing."""


class _Passing(Exception):
    """May pass within this call; `error` is what it becomes when it does not."""

    def __init__(self, error: BridgeError, retry_after: float | None = None) -> None:
        super().__init__(error.code)
        self.error = error
        self.retry_after = retry_after


class _Denied(Exception):
    """401: once more, with newer credentials, where there are some."""

    def __init__(self, error: BridgeError) -> None:
        super().__init__(error.code)
        self.error = error


@dataclass(frozen=True, slots=True)
class Limits:
    """`timeout_seconds` bounds each silence of the server, `deadline_seconds` the whole exchange with its repetitions.

    After `circuit_failures` exchanges in a row without an answer the server is left alone for `circuit_seconds`.
    """

    timeout_seconds: float = 30.0
    deadline_seconds: float = 60.0
    max_body_bytes: int = 32 * 1024 * 1024
    circuit_failures: int = 5
    circuit_seconds: float = 30.0


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
    past_circuit: bool = False  # asked however the server was before, and not counted

    @property
    def writes(self) -> bool:
        return self.method != "GET"


@dataclass(frozen=True, slots=True)
class Answer:
    """A 2xx answer; `resource` is None where the body is empty, `location` empty and `date` (the server's clock) None where not said."""

    status: int
    resource: Resource | None = field(repr=False)
    location: str = field(default="", repr=False)
    date: datetime | None = None


class Transport:
    """Shared by threads.

    Raises Unavailable `fhir.unavailable`, `fhir.circuit-open`, `fhir.unauthorized`, `fhir.not-fhir`, `fhir.error-inside`,
    `fhir.redirect`, `fhir.conflict`, and what the credentials raise; Refused `fhir.not-found`, `fhir.rejected`, `fhir.too-large`;
    Uncertain `fhir.uncertain`, and instead of `fhir.not-fhir`, `fhir.error-inside` and `fhir.too-large` where a write was answered so.
    """

    def __init__(self, session: Session, credentials: Credentials, limits: Limits, timing: Timing) -> None:
        self._session = session
        self._credentials = credentials
        self._limits = limits
        self._timing = timing
        self._circuit = Circuit(limits.circuit_failures, limits.circuit_seconds, timing.monotonic)

    def close(self) -> None:
        self._session.close()
        self._credentials.close()

    def exchange(self, call: Call) -> Answer:
        """The answer, after as many attempts as the rules and the deadline allow."""
        request = self._request(call)
        if call.past_circuit:
            return self._repeated(call, request, Passage())
        with self._circuit.call(call.where) as passage:
            try:
                return self._repeated(call, request, passage)
            except BridgeError as error:
                if call.writes:  # HAPI keeps the number in meta.source: what became of it can be found there
                    number = request.headers["X-Request-ID"]
                    log.event("fhir.write-failed", code=error.code, where=call.where, request=number)
                raise

    def _request(self, call: Call) -> Request:
        headers = {"Accept": FHIR_JSON, **call.headers}
        body = None
        if call.body is not None:
            headers["Content-Type"] = FHIR_JSON
            body = json.dumps(call.body, allow_nan=False).encode()
        if call.writes:
            headers["X-Request-ID"] = secrets.token_hex(8)  # HAPI cuts longer ones off at 16 characters
        return Request(call.method, call.url, call.where, call.params, body, headers)

    def _repeated(self, call: Call, request: Request, passage: Passage) -> Answer:
        credentials = self._credentials.header()  # before the deadline is set: to ask for them has limits of its own
        deadline = self._timing.monotonic() + self._limits.deadline_seconds
        max_attempts = 1 if passage.tries else call.max_attempts
        attempt, renewed = 1, False
        while True:
            try:
                return self._attempt(call, _with(request, credentials), deadline, passage)
            except _Denied as denied:
                if renewed or not self._credentials.renewed(credentials):
                    raise denied.error from None
                renewed, credentials = True, self._credentials.header()
                continue
            except _Passing as failure:
                wait = self._wait_seconds(attempt, failure.retry_after)
                too_late = self._timing.monotonic() + wait >= deadline
                if attempt >= max_attempts or wait > LONGEST_WAIT_SECONDS or too_late:
                    raise failure.error from None
            self._timing.sleep(wait)
            attempt, credentials = attempt + 1, self._credentials.header()

    def _wait_seconds(self, attempt: int, retry_after: float | None) -> float:
        """Exponential with full jitter; never earlier than the server asked for."""
        jitter = self._timing.random() * min(LONGEST_WAIT_SECONDS / 4, _FIRST_WAIT_SECONDS * 2.0 ** (attempt - 1))
        return jitter if retry_after is None else retry_after + jitter

    def _attempt(self, call: Call, request: Request, deadline: float, passage: Passage) -> Answer:
        timeout = max(0.1, min(self._limits.timeout_seconds, deadline - self._timing.monotonic()))
        passage.heard = False
        try:
            reply = self._session.send(request, timeout, deadline, self._limits.max_body_bytes)
        except NETWORK_ERRORS as error:
            raise _broken(call, error) from None
        except TooSlow:
            raise _unfinished(call, "the answer took longer than the deadline") from None
        except TooLarge:
            passage.heard = True
            words = f"the answer exceeds {self._limits.max_body_bytes} bytes"
            kind = Uncertain if call.writes else Refused
            raise kind("fhir.too-large", call.where, words) from None
        passage.heard = reply.status not in _NO_ANSWER_STATUSES
        return self._judge(call, reply)

    def _judge(self, call: Call, reply: Reply) -> Answer:
        status = reply.status
        if 300 <= status < 400:
            raise Unavailable("fhir.redirect", call.where, f"status {status}: fhir.base_url is not where the server is")
        if status in (401, 403):
            words = f"status {status}: the server does not take our credentials"
            error = Unavailable("fhir.unauthorized", call.where, words)
            raise _Denied(error) if status == 401 else error
        if status in _PASSING_STATUSES or status >= 500:
            self._raise_unavailable(call, reply)
        resource = resource_in(reply) if reply.body else None
        if resource is None and (reply.body or status >= 400):
            words = f"status {status}: the answer is not FHIR JSON; is fhir.base_url right?"
            raise _misunderstood(call, status, "fhir.not-fhir", words)
        if resource is not None and status >= 400:
            _raise_outcome(call, status, resource)
        if resource is not None and has_errors(resource):
            raise _misunderstood(call, status, "fhir.error-inside", explained(status, resource))
        date = http_date(reply.headers.get("Date", ""))
        when = None if date is None else datetime.fromtimestamp(date, UTC)
        return Answer(status, resource, reply.headers.get("Location", ""), when)

    def _raise_unavailable(self, call: Call, reply: Reply) -> NoReturn:
        status = reply.status
        wish = retry_after(reply.headers, self._timing.wall)
        if call.writes and status in _PERHAPS_DONE_STATUSES:
            error: BridgeError = Uncertain("fhir.uncertain", call.where, f"status {status}: it may have been done")
        else:
            kind = Unavailable if status in _PASSING_STATUSES else ServerFailed
            error = kind("fhir.unavailable", call.where, f"status {status}", wish)
        if status in _PASSING_STATUSES:
            raise _Passing(error, wish)
        raise error


def _with(request: Request, credentials: str) -> Request:
    return replace(request, headers={**request.headers, "Authorization": credentials}) if credentials else request


def _broken(call: Call, error: Exception) -> Exception:
    """What a broken connection means. Only one that was never made leaves no doubt about a write."""
    kind = type(error).__name__
    reason = getattr(error.args[0], "reason", None) if error.args else None
    if isinstance(error, requests.exceptions.SSLError):
        words = "no TLS with the server: see fhir.ca_file, fhir.client_certificate"
        if call.writes and not _is_unknown_peer(reason):  # TLS may also break once the request is out
            return Uncertain("fhir.uncertain", call.where, f"{words}: it may have been done")
        return Unavailable("fhir.unavailable", call.where, words)
    if isinstance(error, requests.ConnectTimeout) or isinstance(reason, urllib3.exceptions.NewConnectionError):
        return _Passing(Unavailable("fhir.unavailable", call.where, "no connection"))
    if call.writes:
        return _unfinished(call, kind)
    timed_out = isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError)
    unavailable = Unavailable("fhir.unavailable", call.where, kind)
    return unavailable if timed_out else _Passing(unavailable)


def _is_unknown_peer(reason: object) -> bool:
    """Whether TLS failed before anything was sent, since the server's certificate is not one that we take."""
    return isinstance(reason, urllib3.exceptions.SSLError) and isinstance(reason.args[0], ssl.SSLCertVerificationError)


def _unfinished(call: Call, explanation: str) -> BridgeError:
    if call.writes:
        return Uncertain("fhir.uncertain", call.where, f"{explanation}: it may have been done")
    return Unavailable("fhir.unavailable", call.where, explanation)


def _misunderstood(call: Call, status: int, code: str, explanation: str) -> BridgeError:
    """A write that was accepted with words that we do not understand may have been done."""
    return (Uncertain if call.writes and status < 300 else Unavailable)(code, call.where, explanation)


def _raise_outcome(call: Call, status: int, outcome: Resource) -> NoReturn:
    explanation = explained(status, outcome)
    if status in (404, 410):
        raise Refused("fhir.not-found", call.where, explanation)
    if status in (409, 412):
        raise Conflict("fhir.conflict", call.where, explanation)
    raise Refused("fhir.rejected", call.where, explanation)
