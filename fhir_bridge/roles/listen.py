"""The role `listen`: the door of HL7 v2. Every message is in the journal before its answer leaves."""

from collections.abc import Callable
from concurrent.futures import Future

from fhir_bridge.adapters.journal_writer import JournalWriter
from fhir_bridge.compose import Parts
from fhir_bridge.sections import Listener
from hl7_listener.acknowledgement import Outcome
from hl7_listener.connection import Received
from hl7_listener.policy import ListenerPolicy
from hl7_listener.server import MllpServer


class Listen:
    """`on_commit` is called after each commit: there may be something for intake."""

    def __init__(self, parts: Parts, on_commit: Callable[[], None]) -> None:
        self._writer = JournalWriter(parts.journal, parts.policy.senders, on_commit)
        self._server = MllpServer(_listener_policy("mllp", parts.settings.mllp), self._accept)

    def start(self) -> tuple[str, int]:
        """Host and port. Raises OSError where the port is taken."""
        address = self._server.start()
        self._writer.start()
        return address

    def drain(self, seconds: float) -> None:
        """No new connections; what was read is answered."""
        self._server.drain(seconds)
        self._server.stop()
        self._writer.stop()

    def _accept(self, received: Received) -> "Future[Outcome]":
        return self._writer.submit(received)


def _listener_policy(name: str, listener: Listener) -> ListenerPolicy:
    return ListenerPolicy(
        name=name,
        host=listener.host,
        port=listener.port,
        application=listener.application,
        facility=listener.facility,
        max_message_mebibytes=listener.max_message_mebibytes,
        idle_timeout_seconds=listener.idle_timeout_seconds or None,
    )
