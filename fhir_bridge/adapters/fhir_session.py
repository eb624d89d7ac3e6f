"""One HTTP request over kept connections: TLS with our authorities and our certificate, a bounded body in bounded time.

No redirects, no cookies, and nothing from the process's environment: no proxies, no netrc.
"""

import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter

from fhir_bridge.adapters.fhir_deadline import PlainPool, SecurePool, within
from fhir_bridge.errors import Refused
from hl7_listener.tls import CertificateRefused, RenewedContext, client_context

NETWORK_ERRORS = (requests.RequestException, urllib3.exceptions.HTTPError)
_CHUNK = 65536
_CONNECTIONS = 16  # kept; more are made where more threads ask at once


class TooLarge(Exception):
    """The body exceeds its limit; the rest of it was not read."""


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files: authorities of the server (none: the system's), and our certificate and key where the server asks for one (mTLS).

    `besides_system`: the system's authorities count, too.
    """

    ca_file: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    besides_system: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """`where` names it in errors (method and resource type: no id, no query)."""

    method: str
    url: str
    where: str
    params: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    body: bytes | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Reply:
    """Whatever came, with its whole body. Header names in any case."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


class Session:
    """Threads share it. Files of `tls` that change are read again: a renewed certificate needs no restart.

    Raises Refused `fhir.certificate-unusable`, naming the setting, where the files cannot be used to begin with.
    """

    def __init__(self, tls: Tls | None = None, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._current_context = _renewed(tls) if tls and tls != Tls() else _system_context
        self._monotonic = monotonic
        self._context = self._current_context()
        self._session = _session(self._context)

    def close(self) -> None:
        """Close the idle connections."""
        self._session.close()

    def send(self, request: Request, timeout: float, deadline: float, max_body_bytes: int) -> Reply:
        """`timeout` bounds each silence, `deadline` (monotonic) the whole. Raises NETWORK_ERRORS, TooLarge, TooSlow."""
        with (
            within(lambda: deadline - self._monotonic()),
            self._current().request(
                request.method,
                request.url,
                params=request.params or None,
                data=request.body,
                headers=dict(request.headers),
                timeout=timeout,
                allow_redirects=False,
                stream=True,
            ) as response,
        ):
            body = _read(response, max_body_bytes)
        return Reply(response.status_code, response.headers, body)

    def _current(self) -> requests.Session:
        context = self._current_context()
        if (
            context is not self._context
        ):  # new files; whoever is in the middle of a request ends it on the old connection
            self._context, self._session = context, _session(context)
        return self._session


def _read(response: requests.Response, max_body_bytes: int) -> bytes:
    """Decoded piece by piece, so that a small body that unpacks to a large one is left in time."""
    body = bytearray()
    while chunk := response.raw.read1(_CHUNK, decode_content=True):
        body += chunk
        if len(body) > max_body_bytes:
            raise TooLarge
    return bytes(body)


class _Pool(HTTPAdapter):
    """Connections with our TLS context, and no other authorities than its own."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__(pool_connections=2, pool_maxsize=_CONNECTIONS)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, ssl_context=self._context)
        self.poolmanager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """The context does: requests would add the authorities of certifi to it."""


@cache
def _system_context() -> ssl.SSLContext:
    """Made once: it takes 70 ms."""
    return client_context()


def _with_system(ca_file: Path | None, certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    context = client_context(None, certificate, key)
    if ca_file is not None:
        context.load_verify_locations(ca_file)
    return context


def _renewed(tls: Tls) -> Callable[[], ssl.SSLContext]:
    try:
        make = _with_system if tls.besides_system else client_context
        return RenewedContext(make, tls.ca_file, tls.certificate, tls.key).current
    except CertificateRefused:
        raise _unusable(tls) from None


def _session(context: ssl.SSLContext) -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.mount("http://", _Pool(context))
    session.mount("https://", _Pool(context))
    return session


def _unusable(tls: Tls) -> Refused:
    """Which of the files it is."""
    for setting, file in (
        ("fhir.ca_file", tls.ca_file),
        ("fhir.client_certificate", tls.certificate),
        ("fhir.client_key", tls.key),
    ):
        if file is None:
            continue
        try:
            file.read_bytes()
        except OSError as error:
            return Refused("fhir.certificate-unusable", setting, f"the file cannot be read: {type(error).__name__}")
    try:
        client_context(tls.ca_file)
    except OSError:
        return Refused("fhir.certificate-unusable", "fhir.ca_file", "the file holds no certificates")
    setting = "fhir.client_key" if tls.key else "fhir.client_certificate"
    return Refused("fhir.certificate-unusable", setting, "certificate and key are no PEM, encrypted, or no pair")
