"""One association of ours with the archive: how it is asked for, what ends it, and why (PS3.7, PS3.8)."""

import logging
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pynetdicom import _config
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.events import EVT_C_STORE, Event
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import T_CONNECT, AssociationSocket

from fhir_bridge.errors import Refused, Unavailable

# pynetdicom writes AE titles, UIDs and the text of broken values into its log, and whole identifiers too
_config.LOG_HANDLER_LEVEL = "none"
_config.LOG_REQUEST_IDENTIFIERS = _config.LOG_RESPONSE_IDENTIFIERS = False
logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)

PEER = "DIMSE archive"
_MAX_PDU_BYTES = 1 << 17  # what we ask for
_MAX_PDU_TAKEN = 1 << 20  # an A-ASSOCIATE-AC may be longer than what we asked for; 4 GiB, which PS3.8 allows, may not
_REJECTIONS = {  # PS3.8 table 9-21: (source, reason)
    (1, 2): "it does not know the DICOM application context",
    (3, 1): "it is congested",
    (3, 2): "its limit of associations is reached",
}
_CALLING, _CALLED = (1, 3), (1, 7)


@dataclass(frozen=True, slots=True)
class ArchiveTls:
    """Files of TLS, PEM. Read anew for each association, so that renewed ones count without a restart."""

    ca_file: Path | None = None  # None: the system's
    client_certificate: Path | None = None
    client_key: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Raises Refused `archive.certificate-unusable`."""
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
            if self.client_certificate:
                context.load_cert_chain(self.client_certificate, self.client_key, password=_no_passphrase)
        except (OSError, ValueError):
            where = "archive.ca_file, archive.client_certificate, archive.client_key"
            raise Refused("archive.certificate-unusable", where, "a file is missing, or not in PEM") from None
        return context


def _no_passphrase() -> str:
    """Instead of asking at a terminal."""
    raise ValueError


@dataclass(frozen=True, slots=True)
class Peer:
    """Who the archive is, who we are to it, and how long we wait."""

    host: str
    port: int
    called_ae_title: str
    ae_title: str
    timeout_seconds: float = 60  # without a byte
    deadline_seconds: float = 3600  # for one association
    tls: ArchiveTls | None = None


class GuardedSocket(AssociationSocket):
    """pynetdicom's socket with limits of time and of memory. `reason` says which of them ended the connection; empty: none did.

    `unread`: bytes that came in and were not used yet; who uses a message takes its size off.
    """

    def __init__(self, association: Association, address: Any, peer: Peer, max_bytes: int) -> None:
        super().__init__(association, address=address)
        self.reason = ""
        self.was_open = False
        self.unread = 0
        self._raw = self.socket
        self._peer, self._max_bytes = peer, max_bytes
        self._heard = time.monotonic()
        self._end = self._heard + peer.deadline_seconds

    def connect(self, primitive: T_CONNECT) -> None:
        super().connect(primitive)
        self.was_open = self.socket is not None
        self._heard = time.monotonic()
        self._raw = self.socket
        if self.socket is not None:
            self.socket.settimeout(self._peer.timeout_seconds)

    @property
    def ready(self) -> bool:
        """Whether there is something to read. Asked all the time, so that silence is noticed here."""
        if self.was_open and (late := self._late()):
            self.give_up(late)
            return False
        return super().ready

    def recv(self, nr_bytes: int) -> bytearray:
        """Exactly so many bytes, fewer at the end of the connection. OSError ends the association (pynetdicom's Evt17)."""
        self.unread += nr_bytes
        if nr_bytes > _MAX_PDU_TAKEN:
            raise self._error("a PDU longer than we agreed to")
        if self.unread > self._max_bytes:
            raise self._error(f"more than {self._max_bytes} bytes at once")
        data, size = bytearray(nr_bytes), 0
        with memoryview(data) as view:
            while size < nr_bytes:
                if late := self._late():
                    raise self._error(late)
                count = self._read(view[size:])
                if not count:
                    break
                size += count
        self._heard = time.monotonic()
        del data[size:]
        return data

    def send(self, bytestream: bytes) -> None:
        super().send(bytestream)
        self._heard = time.monotonic()

    def _shutdown_socket(self) -> None:
        """pynetdicom leaves a socket open that was never connected."""
        ended = self.socket
        super()._shutdown_socket()
        if ended is not None:
            ended.close()

    def give_up(self, reason: str) -> None:
        """Ends the connection."""
        self.reason = self.reason or reason
        self.close()

    def hang_up(self) -> None:
        """Closes what pynetdicom left open, as it does in several of its states."""
        if self._raw is not None:
            self._raw.close()

    def _read(self, into: memoryview) -> int:
        if self.socket is None:
            return 0
        try:
            count = self.socket.recv_into(into)
        except TimeoutError:
            raise self._error(self._silent()) from None
        self._heard = time.monotonic()
        return count

    def _late(self) -> str:
        now = time.monotonic()
        if now > self._end:
            return f"slower than {self._peer.deadline_seconds:g} s"
        return self._silent() if now - self._heard > self._peer.timeout_seconds else ""

    def _silent(self) -> str:
        return f"silent for {self._peer.timeout_seconds:g} s"

    def _error(self, reason: str) -> OSError:
        self.reason = self.reason or reason
        return OSError(reason)


class _Entity(ApplicationEntity):
    """Our application entity, for one association."""

    guard: GuardedSocket

    def __init__(self, peer: Peer, max_bytes: int) -> None:
        super().__init__(peer.ae_title)
        self._peer, self._max_bytes = peer, max_bytes
        self.connection_timeout = peer.timeout_seconds
        # the socket keeps these times, and keeps them better: a long message is no silence
        self.acse_timeout = peer.timeout_seconds + 1
        self.network_timeout = None
        self.dimse_timeout = peer.deadline_seconds + 1

    def _create_socket(self, assoc: Association, address: Any, tls_args: Any) -> AssociationSocket:
        self.guard = GuardedSocket(assoc, address, self._peer, self._max_bytes)
        self.guard.tls_args = tls_args
        return self.guard


@dataclass(frozen=True, slots=True)
class Conversation:
    """An open association."""

    association: Association = field(repr=False)
    guard: GuardedSocket = field(repr=False)

    def broken(self, code: str = "archive.unavailable") -> Unavailable:
        """Why there is no answer: a limit of ours, else the archive's own doing, which is `code`."""
        if self.guard.reason:
            return unavailable(self.guard.reason)
        return Unavailable(code, PEER, "it broke the association off")

    def offers(self, sop_class: str) -> bool:
        return any(context.abstract_syntax == sop_class for context in self.association.accepted_contexts)


def unavailable(explanation: str) -> Unavailable:
    """The archive cannot now, and why, in our words."""
    return Unavailable("archive.unavailable", PEER, explanation)


@contextmanager
def conversation(
    peer: Peer,
    contexts: Sequence[PresentationContext],
    *,
    max_bytes: int,
    roles: Sequence[SCP_SCU_RoleSelectionNegotiation] = (),
    on_store: Callable[[Event], int] | None = None,
) -> Iterator[Conversation]:
    """An association until the end; then released, or aborted after an error.

    Raises Unavailable `archive.unavailable`, `archive.unauthorized`; Refused `archive.certificate-unusable`.
    """
    entity = _Entity(peer, max_bytes)
    association = _associate(entity, peer, contexts, roles, on_store)
    try:
        if not association.is_established:
            raise _not_established(association, entity.guard, has_tls=peer.tls is not None)
        yield Conversation(association, entity.guard)
        association.release()
    except BaseException:
        association.abort()
        raise
    finally:
        entity.guard.hang_up()


def _associate(
    entity: _Entity,
    peer: Peer,
    contexts: Sequence[PresentationContext],
    roles: Sequence[SCP_SCU_RoleSelectionNegotiation],
    on_store: Callable[[Event], int] | None,
) -> Association:
    tls_args = (peer.tls.context(), peer.host) if peer.tls else None
    try:
        return entity.associate(
            peer.host,
            peer.port,
            contexts=list(contexts),
            ae_title=peer.called_ae_title,
            max_pdu=_MAX_PDU_BYTES,
            ext_neg=list(roles),
            tls_args=tls_args,
            evt_handlers=[(EVT_C_STORE, on_store)] if on_store else [],
        )
    except socket.gaierror:
        raise unavailable("archive.host: no such host") from None


def _not_established(association: Association, guard: GuardedSocket, *, has_tls: bool) -> Unavailable:
    if association.is_rejected:
        return _rejected(association.acceptor.primitive)
    if guard.reason:
        return unavailable(guard.reason)
    if not guard.was_open:
        what = "no connection, or none by TLS that both sides trust" if has_tls else "no connection"
        return unavailable(what)
    if association.rejected_contexts:
        return unavailable("it offers nothing of what we ask for")
    return unavailable("it broke the request for an association off")


def _rejected(answer: Any) -> Unavailable:
    """From an A-ASSOCIATE-RJ (PS3.8 §9.3.4)."""
    found = (answer.result_source, answer.diagnostic)
    if found == _CALLING:
        text = "it does not know our AE title: register dicom.ae_title there"
        return Unavailable("archive.unauthorized", PEER, text)
    if found == _CALLED:
        return Unavailable("archive.unauthorized", PEER, "its AE title is not archive.called_ae_title")
    reason = _REJECTIONS.get(found, f"source {found[0]}, reason {found[1]}")
    return unavailable(f"it rejected the association: {reason}")
