"""TLS for both ends, from PEM files that are read again when they change: a renewed certificate needs no restart."""

import logging
import ssl
from collections.abc import Callable
from pathlib import Path

_logger = logging.getLogger(__name__)


class CertificateRefused(ValueError):
    """A certificate, key or authority that cannot be used. `code` is `mllp.certificate-unusable`, `where` the files' names."""

    def __init__(self, where: str, explanation: str) -> None:
        super().__init__(f"mllp.certificate-unusable at {where}: {explanation}")
        self.code = "mllp.certificate-unusable"
        self.where = where
        self.explanation = explanation


def server_context(certificate: Path, key: Path | None = None, client_ca: Path | None = None) -> ssl.SSLContext:
    """A listener's TLS, 1.2 or later. With `client_ca`, peers must show a certificate that it signs (mTLS).

    Raises OSError or ssl.SSLError.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load(context, certificate, key)
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(client_ca)
    return context


def client_context(
    ca_file: Path | None = None, certificate: Path | None = None, key: Path | None = None
) -> ssl.SSLContext:
    """A sender's TLS, 1.2 or later: the peer's certificate and name are checked, by `ca_file` or else the system's authorities.

    `certificate` is ours, for a peer that asks for one. Raises OSError or ssl.SSLError.
    """
    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if certificate is not None:
        _load(context, certificate, key)
    return context


class RenewedContext:
    """The context that `make` builds from these files, built anew once they have changed.

    Files that cannot be used leave the last good context in force; `failures` counts them, `renewals` the good ones. Raises
    CertificateRefused where there is no good context to begin with.
    """

    def __init__(self, make: Callable[..., ssl.SSLContext], *files: Path | None) -> None:
        self._make = make
        self._files = files
        self._seen = self._state()
        self._where = ", ".join(str(path) for path in files if path is not None)
        try:
            self._context = make(*files)
        except OSError as error:
            raise CertificateRefused(self._where, type(error).__name__) from None
        self.renewals = 0
        self.failures = 0

    def current(self) -> ssl.SSLContext:
        """The context for a new connection."""
        state = self._state()
        if state != self._seen:
            self._seen = state  # files that are wrong are tried again when they have changed again
            self._renew()
        return self._context

    def _renew(self) -> None:
        try:
            self._context = self._make(*self._files)
        except OSError as error:
            self.failures += 1
            _logger.error("%s cannot be used, the last good ones stay: %s", self._where, type(error).__name__)
        else:
            self.renewals += 1

    def _state(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(_state_of(path) for path in self._files)


def _load(context: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    context.load_cert_chain(certificate, key, password="")  # an encrypted key is an error, not a prompt on the terminal


def _state_of(path: Path | None) -> tuple[int, int, int] | None:
    """What changes when a file is written or replaced."""
    try:
        found = path.stat() if path is not None else None
    except OSError:
        return None
    return (found.st_ino, found.st_size, found.st_mtime_ns) if found else None
