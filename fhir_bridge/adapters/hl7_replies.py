"""Application acknowledgements on their way back to the senders of messages (enhanced mode, HL7 v2.5.1 §2.9.3.2).

Each is a message of its own, to a destination of its own, in the order in which the messages had their effect. Whatever its receiver
answers settles it: an acknowledgement of an acknowledgement has none.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from fhir_bridge import log
from fhir_bridge.adapters.mllp_destination import MllpDestination
from fhir_bridge.errors import Classified, Disposition, attempt
from fhir_bridge.journal import Reply
from fhir_bridge.ports import Clock, JobStore
from hl7_listener.acknowledgement import Acknowledgement

RETRY_SECONDS = (2, 5, 10, 30, 60, 300)
MAX_ATTEMPTS = 300  # with the last of these pauses, about a day
SILENT_ATTEMPTS = 2  # many systems never answer an acknowledgement: what was sent so often without an answer is there


@dataclass(frozen=True, slots=True)
class Replies:
    """Sends what is due, by destination name. A reply that cannot be sent waits, and all later ones to its destination behind it."""

    store: JobStore
    destinations: Mapping[str, MllpDestination]
    clock: Clock

    def send_due(self) -> int:
        """How many replies were sent, put off or given up."""
        due = self.store.due_replies()
        for reply in due:
            self._send(reply)
        return len(due)

    def _send(self, reply: Reply) -> None:
        destination = self.destinations.get(reply.destination)
        if destination is None:
            self._give_up(reply, "reply.destination-unknown")
            return
        tried = attempt(lambda: destination.send(reply.payload))
        if tried.error is not None:
            self._put_off_or_give_up(reply, tried.error)
        elif tried.value is not None:
            self._settle(reply, tried.value)

    def _settle(self, reply: Reply, answer: Acknowledgement) -> None:
        reason = "" if answer.is_positive else "reply.refused"
        if reason:
            log.event("reply.answered-in-the-negative", message=reply.message, destination=reply.destination)
        self.store.settle_reply(reply.id, "delivered", reason)

    def _put_off_or_give_up(self, reply: Reply, error: Classified) -> None:
        log.event("reply.not-sent", message=reply.message, destination=reply.destination, code=error.code,
                  attempts=reply.attempts + 1, error_id=error.error_id, frames=error.frames)  # fmt: skip
        if error.code == "mllp.timeout" and reply.attempts + 1 >= SILENT_ATTEMPTS:
            self.store.settle_reply(reply.id, "delivered", "reply.unanswered")
            return
        can_succeed = error.disposition in (Disposition.UNAVAILABLE, Disposition.UNCERTAIN)
        if not can_succeed or reply.attempts + 1 >= MAX_ATTEMPTS:
            self._give_up(reply, f"{error.code} {error.error_id}".strip())
            return
        wait = max(RETRY_SECONDS[min(reply.attempts, len(RETRY_SECONDS) - 1)], error.retry_after or 0)
        self.store.settle_reply(reply.id, "ready", error.code, self.clock.now() + timedelta(seconds=wait))

    def _give_up(self, reply: Reply, reason: str) -> None:
        log.event("reply.given-up", message=reply.message, destination=reply.destination, reason=reason)
        self.store.settle_reply(reply.id, "failed", reason)
