"""The same tests for the journal on SQLite and for its twin."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fhir_bridge.adapters.in_memory.journal import InMemoryJournal
from fhir_bridge.adapters.sqlite_journal import SqliteJournal
from fhir_bridge.journal import JournalEntry, MessageJournal, MessageState
from hl7_listener.outcome import Outcome
from tests.support.frozen_clock import START, FrozenClock
from tests.support.journal_entries import a_key, an_entry

REFUSED = {"state": MessageState.REFUSED, "outcome": Outcome("AE", 101, "PID^1^3", "missing", "order.key-missing")}


@pytest.fixture(params=["sqlite", "twin"])
def journal(request: pytest.FixtureRequest, tmp_path: Path, clock: FrozenClock) -> Iterator[MessageJournal]:
    if request.param == "twin":
        yield InMemoryJournal(clock)
        return
    journal = SqliteJournal(tmp_path / "journal.db", clock)
    yield journal
    journal.close()


Add = Callable[..., list[int]]


@pytest.fixture
def add(journal: MessageJournal) -> Add:
    def add(*entries: JournalEntry) -> list[int]:
        with journal.transaction() as page:
            return [page.add(entry) for entry in entries]

    return add


def test_a_message_is_read_back_as_it_was_written(journal: MessageJournal, add: Add) -> None:
    entry = an_entry(
        raw=b"MSH|^~\\&|\xe4\x00\r",
        outcome=Outcome("AE", 102, "PID^1^7", "not a date", "order.x-malformed"),
        state=MessageState.REFUSED,
        sender="WESTERN",
        tolerances=("line-feed", "bom"),
        trace=(("placer", "ORC^1^2"), ("accession", "OBR^1^18: longer than 16 characters")),
        batch="B7#3",
        sequence_number=4,
        replay_of=0,
    )
    (number,) = add(entry)
    stored = journal.message(number)
    assert stored is not None
    assert (stored.entry, stored.received) == (entry, START)


def test_an_unknown_id_has_no_message(journal: MessageJournal) -> None:
    assert journal.message(7) is None


def test_ids_grow_in_the_order_of_the_commits(add: Add) -> None:
    first, second, third = [*add(an_entry(1), an_entry(2)), *add(an_entry(3))]
    assert first < second < third


def test_nothing_of_a_transaction_that_fails_is_kept(journal: MessageJournal) -> None:
    with pytest.raises(ZeroDivisionError), journal.transaction() as page:
        page.add(an_entry(1))
        raise ZeroDivisionError
    assert journal.messages() == ()


# item 9: a repeat is known by listener, MSH-3, MSH-4, MSH-10 and the hash of the message without MSH-7


def test_a_positive_answer_is_found_by_its_key(journal: MessageJournal, add: Add) -> None:
    (number,) = add(an_entry(1))
    with journal.transaction() as page:
        found = page.find(a_key(1))
    assert found is not None
    assert (found.id, found.entry.outcome.code, found.entry.raw) == (number, "AA", b"")


@pytest.mark.parametrize("part", ["listener", "sending_application", "sending_facility", "control_id", "content_hash"])
def test_each_part_of_the_key_tells_messages_apart(journal: MessageJournal, add: Add, part: str) -> None:
    add(an_entry(1))
    with journal.transaction() as page:
        assert page.find(a_key(1, **{part: "OTHER"})) is None


def test_a_refusal_is_not_remembered_as_the_answer(journal: MessageJournal, add: Add) -> None:
    add(an_entry(1, **REFUSED))
    with journal.transaction() as page:
        assert page.find(a_key(1)) is None


def test_a_refusal_is_found_by_its_key_and_code(journal: MessageJournal, add: Add) -> None:
    _, number = add(an_entry(1), an_entry(1, **REFUSED))
    with journal.transaction() as page:
        found = [page.find_refusal(a_key(1), code) for code in ("order.key-missing", "order.other")]
        assert (found, page.find_refusal(a_key(2), "order.key-missing")) == ([number, None], None)


def test_a_message_added_in_this_transaction_is_known_in_it(journal: MessageJournal) -> None:
    with journal.transaction() as page:
        page.add(an_entry(1))
        assert page.find(a_key(1)) is not None


def test_other_content_in_this_transaction_is_a_counter_that_began_again(journal: MessageJournal) -> None:
    with journal.transaction() as page:
        page.add(an_entry(1))
        assert (page.is_restarted(a_key(1)), page.is_restarted(a_key(1, content_hash="OTHER"))) == (False, True)


@pytest.mark.parametrize(
    ("changes", "restarted"), [({}, False), ({"content_hash": "OTHER"}, True), ({"listener": "ct"}, False)]
)
def test_a_control_id_with_other_content_is_a_counter_that_began_again(
    journal: MessageJournal, add: Add, changes: dict[str, str], restarted: bool
) -> None:
    add(an_entry(1))
    with journal.transaction() as page:
        assert page.is_restarted(a_key(1, **changes)) is restarted


def test_the_last_sequence_number_is_that_of_the_senders_last_message_that_has_one(
    journal: MessageJournal, add: Add
) -> None:
    # item 10
    add(
        an_entry(1, sequence_number=4),
        an_entry(2, **REFUSED),
        an_entry(3, sequence_number=7, key=a_key(3, sending_facility="OTHER")),
        an_entry(4, sequence_number=5, state=MessageState.NO_EFFECT),
        an_entry(5),
    )
    with journal.transaction() as page:
        assert page.last_sequence_number(a_key(6)) == 5
        page.add(an_entry(6, sequence_number=6))
        assert page.last_sequence_number(a_key(7)) == 6
        assert page.last_sequence_number(a_key(7, sending_application="NOBODY")) is None


def test_intake_gets_what_was_accepted_in_order_and_whole(journal: MessageJournal, add: Add) -> None:
    numbers = add(
        an_entry(1), an_entry(2, **REFUSED), an_entry(3, state=MessageState.NO_EFFECT), an_entry(4), an_entry(5)
    )
    found = journal.after(numbers[0], limit=1)
    assert [(message.id, message.entry) for message in found] == [(numbers[3], an_entry(4))]


def test_the_backlog_is_what_was_accepted_later(journal: MessageJournal, add: Add) -> None:
    numbers = add(an_entry(1), an_entry(2, **REFUSED), an_entry(3), an_entry(4))
    assert journal.backlog(numbers[0]) == 2


def test_messages_are_listed_newest_first_without_their_content(journal: MessageJournal, add: Add) -> None:
    numbers = add(an_entry(1), an_entry(2), an_entry(3))
    listed = journal.messages(2)
    assert [(message.id, message.entry.raw) for message in listed] == [(numbers[2], b""), (numbers[1], b"")]
    assert [message.id for message in journal.messages(before=numbers[1])] == [numbers[0]]


def test_messages_are_listed_and_counted_by_state(journal: MessageJournal, add: Add) -> None:
    numbers = add(an_entry(1), an_entry(2, **REFUSED), an_entry(3))
    assert [message.id for message in journal.messages(state=MessageState.REFUSED)] == [numbers[1]]
    assert journal.counts() == {MessageState.ACCEPTED: 2, MessageState.REFUSED: 1}
