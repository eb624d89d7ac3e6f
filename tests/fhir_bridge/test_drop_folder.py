"""Files put into a folder, with a journal's twin behind it."""

import threading
from concurrent.futures import Future
from pathlib import Path

import pytest

from fhir_bridge.adapters.in_memory.journal import InMemoryJournal
from fhir_bridge.drop_folder import AT_ONCE, LARGEST_BYTES, DropFolder
from fhir_bridge.judgement import NOT_KEPT, take
from fhir_bridge.senders import SenderRules, Senders
from hl7_listener.connection import Received
from hl7_listener.outcome import Outcome
from tests.support.er7_orders import a_batch, an_order
from tests.support.frozen_clock import FrozenClock
from tests.support.processes import until


class Door:
    """Judges at once, like the journal's writer; `trouble` while the journal cannot."""

    def __init__(self, clock: FrozenClock) -> None:
        self.journal = InMemoryJournal(clock)
        self.trouble = False

    def accept(self, received: Received) -> "Future[Outcome]":
        future: Future[Outcome] = Future()
        with self.journal.transaction() as page:
            outcome = (
                Outcome("AR", 207, application_code=NOT_KEPT)
                if self.trouble
                else take(received, page, Senders(SenderRules())).outcome
            )
        future.set_result(outcome)
        return future


@pytest.fixture
def door(clock: FrozenClock) -> Door:
    return Door(clock)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("taken", "refused", "incomplete"):
        (tmp_path / name).mkdir()
    return tmp_path


def drop(folder: Path, name: str, content: str) -> None:
    (folder / name).write_bytes(content.encode())


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_file_that_was_taken_lies_beside_its_answer(door: Door, folder: Path) -> None:
    drop(folder, "a.hl7", an_order("M1"))
    DropFolder(folder, door.accept).take_all()
    assert files(folder) == ["taken/a.ack", "taken/a.hl7"]
    assert b"MSA|AA|M1" in (folder / "taken" / "a.ack").read_bytes()


# item 24: batches as files


def test_each_message_of_a_batch_file_is_kept_and_answered_on_its_own(door: Door, folder: Path) -> None:
    drop(folder, "b.hl7", a_batch(an_order("M1"), an_order("", control="XO")))
    DropFolder(folder, door.accept).take_all()
    assert [message.entry.key.control_id for message in door.journal.messages()] == ["B7#2", "M1"]
    assert (folder / "taken" / "b.ack").read_bytes().count(b"\rMSA|AA") == 2


def test_one_refused_message_puts_the_file_with_the_refused(door: Door, folder: Path) -> None:
    drop(folder, "b.hl7", a_batch(an_order("M1"), an_order("M2", control="QQ")))
    DropFolder(folder, door.accept).take_all()
    assert files(folder) == ["refused/b.ack", "refused/b.hl7"]


def test_a_file_whose_end_is_missing_is_taken_and_put_aside(door: Door, folder: Path) -> None:
    drop(folder, "b.hl7", a_batch(an_order("M1")).removesuffix("FTS|1\r"))
    DropFolder(folder, door.accept).take_all()
    assert (files(folder), len(door.journal.messages())) == (["incomplete/b.ack", "incomplete/b.hl7"], 1)


def test_a_file_that_is_no_hl7_is_refused_and_kept(door: Door, folder: Path) -> None:
    drop(folder, "c.hl7", "CANARY")
    DropFolder(folder, door.accept).take_all()
    assert (files(folder), [m.entry.state for m in door.journal.messages()]) == (
        ["refused/c.ack", "refused/c.hl7"],
        ["refused"],
    )


def test_a_file_stays_while_the_journal_cannot(door: Door, folder: Path) -> None:
    drop(folder, "a.hl7", an_order())
    door.trouble = True
    DropFolder(folder, door.accept).take_all()
    waiting = files(folder)
    door.trouble = False
    DropFolder(folder, door.accept).take_all()
    assert (waiting, files(folder)) == (["a.hl7"], ["taken/a.ack", "taken/a.hl7"])


def test_a_file_read_again_after_a_crash_is_taken_once(door: Door, folder: Path) -> None:
    for _ in range(2):
        drop(folder, "a.hl7", an_order())
        DropFolder(folder, door.accept).take_all()
    assert (len(door.journal.messages()), files(folder)) == (
        1,
        ["taken/a-2.ack", "taken/a-2.hl7", "taken/a.ack", "taken/a.hl7"],
    )


def test_a_file_under_another_name_is_left_alone(door: Door, folder: Path) -> None:
    drop(folder, "a.hl7.part", an_order())
    DropFolder(folder, door.accept).take_all()
    assert (files(folder), door.journal.messages()) == (["a.hl7.part"], ())


def test_a_message_that_nobody_can_decode_does_not_come_round_for_ever(door: Door, folder: Path) -> None:
    (folder / "a.hl7").write_bytes(an_order().replace("^ZEBRA", "^Z\xc9BRA").encode("latin-1"))
    DropFolder(folder, door.accept).take_all()
    assert files(folder) == ["refused/a.ack", "refused/a.hl7"]


def test_a_file_that_cannot_be_read_holds_up_no_other(door: Door, folder: Path) -> None:
    (folder / "a.hl7").symlink_to(folder / "away.hl7")
    (folder / "b.hl7").symlink_to("/proc/self/mem")  # a file by its kind, and an error to read
    drop(folder, "c.hl7", an_order("M1"))
    assert DropFolder(folder, door.accept).take_all() == 1
    assert (folder / "taken" / "c.hl7").exists()


def test_a_file_beyond_all_measure_is_refused_unread(door: Door, folder: Path) -> None:
    with (folder / "a.hl7").open("wb") as file:
        file.truncate(LARGEST_BYTES + 1)  # a hole: it takes no room on the disk
    DropFolder(folder, door.accept).take_all()
    assert (folder / "refused" / "a.hl7").exists()
    assert door.journal.messages()[0].entry.outcome.application_code == "message.too-large"


def test_a_long_file_does_not_hold_up_the_end(door: Door, folder: Path) -> None:
    drop(folder, "a.hl7", "".join(["MSH|^~\\&|RIS\r"] * (AT_ONCE + 1)))

    def accept(received: Received) -> "Future[Outcome]":
        if not stopper.is_alive():
            stopper.start()
            stopper.join(0.2)  # it has said so by then, and waits
        return door.accept(received)

    watched = DropFolder(folder, accept)
    stopper = threading.Thread(target=watched.stop)
    watched.start()
    until(lambda: stopper.ident is not None, "the word to stop")
    stopper.join(10)
    assert (len(door.journal.messages(AT_ONCE * 2)), files(folder)) == (AT_ONCE, ["a.hl7"])
