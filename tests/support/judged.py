"""The door of one site on the journal's twin: what a message is answered, and what is kept of it."""

from fhir_bridge.adapters.in_memory.journal import InMemoryJournal
from fhir_bridge.journal import MessageState, StoredMessage
from fhir_bridge.judgement import Taken, take
from fhir_bridge.senders import SenderRules, Senders
from hl7_listener.connection import Received
from hl7_listener.header import read_header
from hl7_listener.refusal import MessageRefused
from tests.support.frozen_clock import FrozenClock

DEFAULT = SenderRules()
ENHANCED = SenderRules("RIS", application="RIS", answer="enhanced", reply_to="RIS")


def received(text: str | bytes, *, oversize: bool = False) -> Received:
    payload = text if isinstance(text, bytes) else text.encode()
    try:
        return Received("mllp", "192.0.2.1:5000", payload, read_header(payload), None, (), oversize)
    except MessageRefused as refusal:
        return Received("mllp", "192.0.2.1:5000", payload, None, refusal, (), oversize)


class JudgedDoor:
    """The journal of one site behind the rules of the moment."""

    def __init__(self, clock: FrozenClock) -> None:
        self.journal = InMemoryJournal(clock)
        self.rules = DEFAULT

    def take(self, text: str | bytes, *, oversize: bool = False) -> Taken:
        with self.journal.transaction() as page:
            return take(received(text, oversize=oversize), page, Senders(self.rules))

    def code(self, text: str | bytes) -> str:
        return self.take(text).outcome.code

    def kept(self) -> list[StoredMessage]:
        """Oldest first."""
        return list(reversed(self.journal.messages()))

    def states(self) -> list[MessageState]:
        return [message.entry.state for message in self.kept()]
