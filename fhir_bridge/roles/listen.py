"""The role `listen`: the door of HL7 v2. Every message is in the journal before its answer leaves."""

import errno
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import cast

from fhir_bridge import log
from fhir_bridge.adapters.door_lines import Address
from fhir_bridge.adapters.journal_writer import JournalWriter
from fhir_bridge.adapters.waiting_answers import WaitingAnswers
from fhir_bridge.compose import Parts
from fhir_bridge.drop_folder import DropFolder
from fhir_bridge.errors import Refused, attempt
from fhir_bridge.sections import Listener, Mllp
from fhir_bridge.settings import listeners_of
from hl7_listener.connection import Received
from hl7_listener.outcome import Outcome
from hl7_listener.policy import ListenerPolicy
from hl7_listener.server import MllpServer
from hl7_listener.tls import CertificateRefused, RenewedContext, server_context
from hl7_listener.traffic import Statistics

_PORT_SECONDS = 5.0  # a predecessor that is being killed may hold the port so long
_AGAIN_SECONDS = 0.05
_TICK_SECONDS = 0.5


class Listen:
    """All MLLP ports of the configuration. Raises Refused `mllp.certificate-unusable`, `mllp.drop-folder-unusable`.

    `waiting` keeps the answers of senders that wait for intake: None where nobody tells this process of effects. `on_commit` is
    called after each commit, with the messages whose senders wait: there may be something for intake.
    """

    def __init__(
        self,
        parts: Parts,
        waiting: WaitingAnswers | None = None,
        on_commit: Callable[[Sequence[int]], None] = lambda _: None,
    ) -> None:
        self._journal = parts.journal
        self._waiting = waiting
        policy = parts.policy
        self._writer = JournalWriter(
            parts.journal,
            policy.senders,
            policy.names,
            waiting=waiting,
            on_commit=on_commit,
            together=lambda: self._together(),
        )
        self._names = tuple(listeners_of(parts.settings))
        policies = [_policy_of(name, listener) for name, listener in listeners_of(parts.settings).items()]
        self._folder = _drop_folder(parts.settings.mllp, self._writer)
        self._server = MllpServer(policies, self._writer.submit)
        self._stopping = threading.Event()
        self._housekeeper = threading.Thread(target=self._keep_house, name="door-housekeeping")

    @property
    def can_write(self) -> bool:
        """Whether the journal took the last messages."""
        return self._writer.can_write

    def start(self) -> dict[str, Address]:
        """The addresses of the listeners by their names. Raises Refused `mllp.cannot-listen`; then none of them listens."""
        self._journal.prepare()
        _start(self._server)
        self._writer.start()
        self._housekeeper.start()
        if self._folder is not None:
            self._folder.start()
        return self._server.addresses

    def drain(self, seconds: float) -> None:
        """No new connections and files; what was read is answered."""
        if self._folder is not None:
            self._folder.stop()
        self._server.drain(seconds)
        self._server.stop()
        self._writer.stop()
        self._stopping.set()
        self._housekeeper.join()

    def traffic(self) -> dict[str, Statistics]:
        """What passed through each listener."""
        return {name: self._server.statistics(name) for name in self._names}

    def _together(self) -> AbstractContextManager[None]:
        return self._server.together()

    def _keep_house(self) -> None:
        while not self._stopping.wait(_TICK_SECONDS):
            if self._waiting is not None:
                self._waiting.expire()
            tried = attempt(self._journal.checkpoint)
            if tried.error is not None:
                log.event("mllp.checkpoint-failed", code=tried.error.code, error_id=tried.error.error_id)


def _start(server: MllpServer) -> None:
    """A port that is taken may be that of a process that is just ending."""
    deadline = time.monotonic() + _PORT_SECONDS
    while True:
        try:
            server.start()
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                why = errno.errorcode.get(error.errno or 0, "the address is not this machine's")
                raise Refused("mllp.cannot-listen", "mllp.host, mllp.port", why) from None
            time.sleep(_AGAIN_SECONDS)
        else:
            return


def _drop_folder(mllp: Mllp, writer: JournalWriter) -> DropFolder | None:
    """Its batches are taken apart before they get here: each message has an outcome, and none waits for intake."""
    if mllp.drop_folder is None:
        return None

    def accept(received: Received) -> "Future[Outcome]":
        return cast("Future[Outcome]", writer.submit(received))

    folder = DropFolder(mllp.drop_folder, accept, application=mllp.application, facility=mllp.facility)
    try:
        folder.prepare()
    except OSError as error:
        why = errno.errorcode.get(error.errno or 0, "it cannot be made")
        raise Refused("mllp.drop-folder-unusable", "mllp.drop_folder", why) from None
    return folder


def _policy_of(name: str, listener: Listener) -> ListenerPolicy:
    return ListenerPolicy(
        name=name,
        host=listener.host,
        port=listener.port,
        application=listener.application,
        facility=listener.facility,
        allowed_peers=listener.allowed_peers,
        max_message_mebibytes=listener.max_message_mebibytes,
        max_buffered_mebibytes=listener.max_buffered_mebibytes,
        max_connections=listener.max_connections,
        max_connections_per_peer=listener.max_connections_per_peer,
        max_partial_age_seconds=listener.max_partial_age_seconds,
        idle_timeout_seconds=listener.idle_timeout_seconds,
        write_timeout_seconds=listener.write_timeout_seconds,
        replace_on_reconnect=listener.replace_on_reconnect,
        bare_messages=listener.bare_messages,
        mllp_release=listener.mllp_release,
        close_after_oversize=listener.close_after_oversize,
        tls=_tls_of(listener),
    )


def _tls_of(listener: Listener) -> RenewedContext | None:
    tls = listener.tls
    if tls.certificate is None:
        return None
    try:
        return RenewedContext(server_context, tls.certificate, tls.key, tls.client_ca)
    except CertificateRefused as refused:
        raise Refused(refused.code, refused.where, refused.explanation) from None
