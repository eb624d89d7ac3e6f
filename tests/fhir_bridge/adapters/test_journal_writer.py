import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from fhir_bridge.adapters.in_memory.journal import InMemoryJournal, InMemoryPage
from fhir_bridge.adapters.journal_writer import JournalWriter
from fhir_bridge.adapters.waiting_answers import WaitingAnswers
from fhir_bridge.errors import Unavailable
from fhir_bridge.journal import JournalEntry
from fhir_bridge.senders import SenderRules, Senders
from hl7_listener.connection import Received
from hl7_listener.header import read_header
from hl7_listener.outcome import OrderAnswer, Outcome
from tests.support.frozen_clock import FrozenClock
from tests.support.journal_entries import a_received


class WatchedPage(InMemoryPage):
    """Stumbles over one message."""

    poison = ""

    def add(self, entry: JournalEntry) -> int:
        if self.poison and entry.key.control_id == self.poison:
            raise ZeroDivisionError
        return super().add(entry)


class WatchedJournal(InMemoryJournal):
    """Counts commits; can be held before a commit, and can fail it."""

    def __init__(self, clock: FrozenClock) -> None:
        super().__init__(clock)
        self.commits = 0
        self.may_commit = threading.Event()
        self.may_commit.set()
        self.is_full = False
        self.poison = ""

    @contextmanager
    def transaction(self) -> Iterator[InMemoryPage]:
        with super().transaction() as page:
            watched = WatchedPage(page.kept, page.at, page.fresh)
            watched.poison = self.poison
            yield watched
            assert self.may_commit.wait(10)
            if self.is_full:
                raise Unavailable("store.unavailable", "journal", "OperationalError")
            self.commits += 1


@pytest.fixture
def journal(clock: FrozenClock) -> WatchedJournal:
    return WatchedJournal(clock)


@pytest.fixture
def waiting() -> WaitingAnswers:
    return WaitingAnswers()


@pytest.fixture
def commits() -> list[list[int]]:
    """The messages that wait, for each commit."""
    return []


@pytest.fixture
def writer(journal: WatchedJournal, waiting: WaitingAnswers, commits: list[list[int]]) -> Iterator[JournalWriter]:
    senders = Senders(SenderRules(), [SenderRules("RIS", facility="WAITS", wait_for_intake=True)])
    writer = JournalWriter(journal, senders, {}, waiting=waiting, on_commit=lambda waits: commits.append(list(waits)))
    writer.start()
    yield writer
    journal.may_commit.set()
    writer.stop()


def test_no_answer_is_given_before_its_commit(journal: WatchedJournal, writer: JournalWriter) -> None:
    # item 8
    journal.may_commit.clear()
    answer = writer.submit(a_received(1))
    assert not answer.done()
    journal.may_commit.set()
    assert answer.result(10) == Outcome("AA")
    assert len(journal.messages()) == 1


def test_what_comes_during_a_commit_shares_the_next_one(journal: WatchedJournal, writer: JournalWriter) -> None:
    journal.may_commit.clear()
    answers = [writer.submit(a_received(number)) for number in range(20)]
    journal.may_commit.set()
    assert [answer.result(10) for answer in answers] == [Outcome("AA")] * 20
    assert journal.commits <= 2


def test_a_commit_that_fails_is_our_trouble_to_all_of_it(journal: WatchedJournal, writer: JournalWriter) -> None:
    journal.is_full = True
    outcome = writer.submit(a_received(1)).result(10)
    assert isinstance(outcome, Outcome)
    assert (outcome.code, outcome.error_code, writer.can_write) == ("AR", 207, False)
    assert journal.messages() == ()


def test_the_next_commit_may_go_well_again(journal: WatchedJournal, writer: JournalWriter) -> None:
    journal.is_full = True
    writer.submit(a_received(1)).result(10)
    journal.is_full = False
    assert writer.submit(a_received(1)).result(10) == Outcome("AA")
    assert writer.can_write


def test_a_bug_in_one_message_fails_that_one_alone(journal: WatchedJournal, writer: JournalWriter) -> None:
    header = a_received(2).header
    assert header is not None
    journal.poison = header.control_id
    journal.may_commit.clear()
    answers = [writer.submit(a_received(number)) for number in (1, 2, 3)]
    journal.may_commit.set()
    codes = [answer.result(10).code for answer in answers]  # type: ignore[union-attr]
    assert codes == ["AA", "AR", "AA"]


def test_intake_is_told_of_each_commit(writer: JournalWriter, commits: list[list[int]]) -> None:
    writer.submit(a_received(1)).result(10)
    writer.stop()
    assert commits == [[]]


def test_stopping_commits_what_was_submitted(journal: WatchedJournal) -> None:
    writer = JournalWriter(journal, Senders(SenderRules()), {})
    answers = [writer.submit(a_received(number)) for number in range(5)]
    writer.start()
    writer.stop()
    assert all(answer.done() for answer in answers)


def waiting_message(number: int) -> Received:
    received = a_received(number)
    payload = received.payload.replace(b"|RIS|HOSP|", b"|RIS|WAITS|")
    return replace(received, payload=payload, header=read_header(payload))


def test_a_sender_that_wants_to_know_is_answered_after_the_effect(
    writer: JournalWriter, waiting: WaitingAnswers, commits: list[list[int]]
) -> None:
    answer = writer.submit(waiting_message(1))
    writer.submit(a_received(2)).result(10)
    assert not answer.done()
    effect = Outcome("AA", orders=(OrderAnswer("OK", b"CANARY-TP1^CPOE"),))
    (message,) = [number for waits in commits for number in waits]
    waiting.settle(message, effect)
    assert answer.result(0) == effect


def test_a_repeat_waits_for_the_effect_of_the_first(
    writer: JournalWriter, waiting: WaitingAnswers, commits: list[list[int]]
) -> None:
    answers = [writer.submit(waiting_message(1)) for _ in range(2)]
    writer.submit(a_received(2)).result(10)
    (message,) = {number for waits in commits for number in waits}
    waiting.settle(message, Outcome("AE", 204))
    assert [answer.result(0) for answer in answers] == [Outcome("AE", 204)] * 2
