"""Application acknowledgements on their way back to the senders of messages (facts §4 items 13 and 17)."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import pytest

from fhir_bridge.adapters.hl7_replies import MAX_ATTEMPTS, SILENT_ATTEMPTS, Replies
from fhir_bridge.adapters.in_memory.store import InMemoryStore
from fhir_bridge.adapters.mllp_destination import MllpDestination
from fhir_bridge.journal import Reply
from hl7_listener.client import MllpClient
from hl7_listener.header import read_header
from hl7_listener.modes import application_acknowledgement
from hl7_listener.outcome import Outcome
from tests.support.frozen_clock import FrozenClock
from tests.support.mllp_peer import TIMEOUT_SECONDS
from tests.support.mllp_receiver import MllpReceiver, acknowledgement, control_id

ORDER = b"MSH|^~\\&|RIS|HOSP|FHIR-BRIDGE||20260302||ORM^O01|CANARY-M1|P|2.5|||AL|AL\r"
AT = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


def an_answer(number: int) -> bytes:
    return application_acknowledgement(
        read_header(ORDER), Outcome("AA"), application="FHIR-BRIDGE", facility="", control_id=f"REPLY{number}", at=AT
    )


class Site:
    """A store with replies, and the destinations that they go to."""

    def __init__(self, clock: FrozenClock) -> None:
        self.clock = clock
        self.store = InMemoryStore(clock)
        self.destinations: dict[str, MllpDestination] = {}
        self.replies = Replies(self.store, self.destinations, clock)
        self._hour = 0

    def knows(self, name: str, address: tuple[str, int], timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self.destinations[name] = MllpDestination(name, MllpClient(*address, timeout_seconds), self._an_hour_later)

    def owes(self, *numbers: int, to: str = "ris") -> None:
        with self.store.transaction() as ledger:
            for number in numbers:
                ledger.add_reply(Reply(0, number, to, an_answer(number)))

    def send_all(self) -> None:
        while self.replies.send_due():
            pass

    def states(self) -> Sequence[tuple[str, str]]:
        return [(reply.status, reply.reason) for reply in self.store.state.replies.values()]

    def _an_hour_later(self) -> float:
        self._hour += 1
        return 3600.0 * self._hour


@pytest.fixture
def site(clock: FrozenClock) -> Iterator[Site]:
    site = Site(clock)
    yield site
    for destination in site.destinations.values():
        destination.close()


def test_replies_go_out_in_their_order_over_one_connection(site: Site) -> None:
    """item 13: a new message with its own MSH-10, on a connection of its own."""
    with MllpReceiver(lambda message: acknowledgement(message, "CA")) as ris:
        site.knows("ris", ris.address)
        site.owes(1, 2, 3)
        site.send_all()
    assert (ris.received, ris.connections) == ([an_answer(1), an_answer(2), an_answer(3)], 1)
    assert site.states() == [("delivered", "")] * 3


@pytest.mark.parametrize(("code", "reason"), [("CA", ""), ("AA", ""), ("CE", "reply.refused"), ("AR", "reply.refused")])
def test_whatever_its_receiver_answers_a_reply_is_settled(site: Site, code: str, reason: str) -> None:
    """item 17: never an acknowledgement to an acknowledgement; so nothing can follow, and the next one goes out."""
    with MllpReceiver(lambda message: acknowledgement(message, code)) as ris:
        site.knows("ris", ris.address)
        site.owes(1, 2)
        site.send_all()
    assert (len(ris.received), site.states()) == (2, [("delivered", reason)] * 2)


def test_a_reply_that_found_nobody_waits_and_the_later_ones_behind_it(site: Site) -> None:
    with MllpReceiver(lambda message: acknowledgement(message, of=b"nobody")) as ris:
        site.knows("ris", ris.address, 0.3)
        site.owes(1, 2)
        site.send_all()
        before = site.states()
        ris.answer = acknowledgement
        site.clock.advance(2)
        site.send_all()
    assert before == [("ready", "mllp.timeout"), ("ready", "")]
    assert [control_id(message) for message in ris.received] == [b"REPLY1", b"REPLY1", b"REPLY2"]
    assert ris.received[0] == ris.received[1]


def test_a_receiver_that_never_answers_an_acknowledgement_holds_up_nothing(site: Site) -> None:
    with MllpReceiver(lambda message: acknowledgement(message, of=b"nobody")) as ris:
        site.knows("ris", ris.address, 0.3)
        site.owes(1)
        for _ in range(SILENT_ATTEMPTS):
            site.send_all()
            site.clock.advance(2)
    assert site.states() == [("delivered", "reply.unanswered")]


def test_one_destination_does_not_hold_up_another(site: Site) -> None:
    with MllpReceiver() as gone:
        site.knows("gone", gone.address)
    with MllpReceiver() as ris:
        site.knows("ris", ris.address)
        site.owes(1, to="gone")
        site.owes(2, 3)
        site.send_all()
    assert site.states() == [("ready", "mllp.unreachable"), ("delivered", ""), ("delivered", "")]


def test_a_reply_is_given_up_in_the_end_and_is_seen_to_be(site: Site) -> None:
    with MllpReceiver() as gone:
        site.knows("ris", gone.address)
    site.owes(1)
    for _ in range(MAX_ATTEMPTS):
        site.send_all()
        site.clock.advance(300)
    assert site.states() == [("failed", "mllp.unreachable")]


def test_a_reply_to_a_destination_that_was_taken_away_is_given_up(site: Site) -> None:
    site.owes(1, to="nobody")
    site.send_all()
    assert site.states() == [("failed", "reply.destination-unknown")]


def test_with_nothing_due_nothing_is_sent(site: Site) -> None:
    assert site.replies.send_due() == 0
