"""Files of HL7 v2 messages and batches put into a folder are taken in like what comes by MLLP.

    NAME.hl7              put here under another name, then renamed: what is not called *.hl7 is left alone
    taken/NAME.hl7        every message was taken
    refused/NAME.hl7      at least one was not, or the file cannot be read
    incomplete/NAME.hl7   its end is missing (no FTS or BTS): what was there was taken, but somebody should look
    */NAME.ack            the answers, one after the other

A file stays where it is until each of its messages is in the journal; after a crash it is read again, and what is known is not
taken twice.
"""

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from fhir_bridge import log
from fhir_bridge.errors import Classified, attempt
from fhir_bridge.judgement import NOT_KEPT
from hl7_listener.acknowledgement import acknowledge
from hl7_listener.batch import BatchFile, read_batch
from hl7_listener.connection import Received
from hl7_listener.header import read_header
from hl7_listener.outcome import POSITIVE, Outcome
from hl7_listener.refusal import MessageRefused

LISTENER = "folder"  # the listener's name in the journal, and in `senders.NAME.listener`
POLL_SECONDS = 1.0
AT_ONCE = 256  # messages of a file that wait for the journal
LARGEST_BYTES = 512 * 2**20  # of a file: it is read whole, by the process that answers all senders
_HEAD_BYTES = 8192

Accept = Callable[[Received], "Future[Outcome]"]


@dataclass(frozen=True, slots=True)
class _Answered:
    received: Received
    outcome: Outcome


class DropFolder:
    """Watches one folder in a thread of its own. `accept` as in `hl7_listener.listener`, without batches."""

    def __init__(self, folder: Path, accept: Accept, *, application: str = "", facility: str = "") -> None:
        self._folder = folder
        self._accept = accept
        self._application, self._facility = application, facility
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="drop-folder")

    def prepare(self) -> None:
        """Make the folders. Raises OSError where they cannot be used."""
        for name in ("", "taken", "refused", "incomplete"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """What was asked is answered first; a long file is left, and read again at the next start."""
        self._stopping.set()
        self._thread.join()

    def take_all(self) -> int:
        """Every file that is there, by name; how many were put away. One that cannot be read holds up no other."""
        files = sorted(file for file in self._folder.glob("*.hl7") if file.is_file())
        return sum(self._try(file) for file in files if not self._stopping.is_set())

    def _try(self, file: Path) -> bool:
        tried = attempt(lambda: self._take(file))
        _log_trouble(tried.error)
        return bool(tried.value)

    def _watch(self) -> None:
        while True:
            _log_trouble(attempt(self.take_all).error)
            if self._stopping.wait(POLL_SECONDS):
                return

    def _take(self, file: Path) -> bool:
        if file.stat().st_size > LARGEST_BYTES:
            with file.open("rb") as opened:
                head = opened.read(_HEAD_BYTES)
            return self._put_away(file, "refused", self._ask([Received(LISTENER, LISTENER, head, None, oversize=True)]))
        content = file.read_bytes()
        try:
            batch = read_batch(content)
        except MessageRefused as refused:
            return self._put_away(file, "refused", self._ask([Received(LISTENER, LISTENER, content, None, refused)]))
        answered = self._messages(batch)
        if answered is None:
            return False
        if any(each.outcome.application_code == NOT_KEPT for each in answered):
            log.event("folder.put-off", count=len(answered))
            return False
        refused_any = any(each.outcome.code not in POSITIVE | {""} for each in answered)
        whole = "taken" if batch.is_whole else "incomplete"
        return self._put_away(file, "refused" if refused_any else whole, answered)

    def _messages(self, batch: BatchFile) -> list[_Answered] | None:
        """None where it was told to stop before the end."""
        tolerances = tuple(warning.code for warning in batch.warnings)
        answered: list[_Answered] = []
        some: list[Received] = []
        for message in batch.messages():
            header, refusal = None, None
            try:
                header = read_header(message.payload)
            except MessageRefused as error:
                refusal = error
            some.append(Received(LISTENER, LISTENER, message.payload, header, refusal, tolerances, batch=message.place))
            if len(some) == AT_ONCE:
                answered += self._ask(some)
                some = []
                if self._stopping.is_set():
                    return None
        return answered + self._ask(some)

    def _ask(self, messages: Sequence[Received]) -> list[_Answered]:
        futures = [self._accept(received) for received in messages]
        return [_Answered(received, future.result()) for received, future in zip(messages, futures, strict=True)]

    def _put_away(self, file: Path, where: str, answered: Sequence[_Answered]) -> bool:
        """The answers first, so that whoever waits for the file to move finds them. A name used before gets a number."""
        folder, name = self._folder / where, file.stem
        number = 1
        while (folder / f"{name}.hl7").exists():
            number += 1
            name = f"{file.stem}-{number}"
        answers = b"".join(self._answer(each) for each in answered)
        (folder / f"{name}.ack").write_bytes(answers)
        file.rename(folder / f"{name}.hl7")
        log.event("folder.taken", count=len(answered), status=where)
        return True

    def _answer(self, answered: _Answered) -> bytes:
        return acknowledge(
            answered.received.header,
            answered.outcome,
            application=self._application,
            facility=self._facility,
            control_id=os.urandom(10).hex(),
            at=datetime.now(UTC),
            message=answered.received.payload,
        )


def _log_trouble(error: Classified | None) -> None:
    if error is not None:
        log.event("folder.trouble", code=error.code, where=error.where, frames=error.frames)
