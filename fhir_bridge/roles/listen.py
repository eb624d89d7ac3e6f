"""The role `listen`: the door of HL7 v2, and the one writer behind both doors."""

from collections.abc import Callable
from concurrent.futures import Future

from fhir_bridge.adapters.group_commit import GroupCommit
from fhir_bridge.compose import Parts
from fhir_bridge.intake import receive
from hl7_listener.acknowledgement import Outcome
from hl7_listener.connection import Received
from hl7_listener.policy import ListenerPolicy
from hl7_listener.server import MllpServer


class Listen:
    """`on_commit` is called after each commit: there may be work."""

    def __init__(self, parts: Parts, on_commit: Callable[[], None]) -> None:
        self._policy = parts.policy
        self.writer = GroupCommit(parts.store, on_commit)
        self._server = MllpServer(_listener_policy(parts), self._accept)

    def start(self) -> tuple[str, int]:
        """Host and port. Raises OSError where the port is taken."""
        address = self._server.start()
        self.writer.start()
        return address

    def drain(self, seconds: float) -> None:
        """No new connections; what was read is answered."""
        self._server.drain(seconds)
        self._server.stop()

    def _accept(self, received: Received) -> "Future[Outcome]":
        return self.writer.submit(lambda ledger: receive(ledger, received, self._policy))


def _listener_policy(parts: Parts) -> ListenerPolicy:
    mllp = parts.settings.mllp
    return ListenerPolicy(
        name="mllp",
        host=mllp.host,
        port=mllp.port,
        application=mllp.application,
        facility=mllp.facility,
        max_message_mebibytes=mllp.max_message_mebibytes,
        idle_timeout_seconds=mllp.idle_timeout_seconds or None,
    )
