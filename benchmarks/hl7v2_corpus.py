"""Sends every message of a corpus to a running bridge: is each answered, kept byte for byte, and why refused if it is?

    python benchmarks/hl7v2_corpus.py [FOLDER]

FOLDER holds files of messages, at any depth; default: the corpus beside the repository. One connection, original mode, segments
ended by CR. Behind each message goes a small order of our own whose answer marks the place: so an acknowledgement, which must not be
answered, is known to stay without an answer, and no time has to pass for it. The whole is done twice: with the default
`sender.processing_ids`, which refuse what a sender marks as training (T) or debugging (D), and with those accepted too.

The goal: every message is answered, acknowledgements never; each is read back from the journal as it was sent, unless it repeats one
that was accepted and only its MSH-7 is another; no unhandled error;
no order is refused for its version from 2.1 to 2.9, nor because it has no accession number, PV1, ORC-3 or assigning authority. Prints
one JSON object; exit code 1 where the goal is missed.
"""

import argparse
import json
import re
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fhir_bridge.adapters.sql_database import SqlDatabase
from fhir_bridge.adapters.sql_store import SqlStore
from fhir_bridge.adapters.sqlite_journal import SqliteJournal
from fhir_bridge.compose import SystemClock
from fhir_bridge.journal import MessageState, StoredMessage
from fhir_bridge.practice.bridge_process import BridgeProcess

DEFAULT = Path(__file__).resolve().parents[1].parent / "shared" / "corpus" / "hl7v2"
NO_MESSAGES = {".json", ".md", ".tsv"}
ORDERS = {"ORM", "OMG", "OMI"}
VERSIONS = {"2.1", "2.2", "2.3", "2.3.1", "2.4", "2.5", "2.5.1", "2.6", "2.7", "2.7.1", "2.8", "2.8.1", "2.8.2", "2.9"}
NEVER_A_REASON = re.compile(r"PV1|IPC|ORC(-|\^\d*\^)3\b|OBR(-|\^\d*\^)18\b|PID(-|\^\d*\^)3(\.|\^\d*\^)4")
POLICIES = {"default": ("P", ""), "training and debugging too": ("P", "", "T", "D")}
TIMEOUT_SECONDS = 30.0
INTAKE_SECONDS = 300.0


@dataclass(frozen=True)
class Sent:
    """A message, and the answers that came before the marker's."""

    payload: bytes
    answers: tuple[bytes, ...]

    @property
    def kind(self) -> str:
        """MSH-9.1."""
        return re.split(rb"[\W_]", field(self.payload, b"MSH", 9), maxsplit=1)[0].decode("ascii", "replace").upper()

    @property
    def is_answer(self) -> bool:
        """Whether it answers something itself: it has an MSA."""
        return re.search(rb"\rMSA", self.payload) is not None


def messages_in(folder: Path) -> Iterator[bytes]:
    """Every stretch that begins with MSH at the start of a line, once, with CR after each segment."""
    seen = set()
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix not in NO_MESSAGES):
        for part in re.split(rb"(?:(?<=[\r\n])|^)(?=MSH[|^&$])", path.read_bytes().removeprefix(b"\xef\xbb\xbf")):
            payload = re.sub(rb"[\r\n]+", b"\r", part).strip(b"\r\x00\x0b\x1c ") + b"\r"
            if payload.startswith(b"MSH") and payload not in seen:
                seen.add(payload)
                yield payload


def field(message: bytes, segment: bytes, number: int) -> bytes:
    """A field of the first segment of this name, by splitting alone."""
    for line in message.split(b"\r"):
        if line.startswith(segment):
            fields = line.split(line[3:4])
            position = number - (segment == b"MSH")
            return fields[position] if position < len(fields) else b""
    return b""


def marker(number: int) -> bytes:
    """An order whose answer shows that all answers before it have come."""
    segments = (
        f"MSH|^~\\&|MARKER|BENCH|||20260302093000+0000||ORM^O01|MARKER{number}|P|2.5.1",
        "PID|1||CANARY-M^^^HOSP^MR||CANARY^ZEBRA",
        "ORC|NW|CANARY-MARKER",
    )
    return "".join(f"{segment}\r" for segment in segments).encode()


def converse(address: tuple[str, int], messages: Sequence[bytes]) -> Iterator[Sent]:
    """One message after the other, each with its marker."""
    with socket.create_connection(address, TIMEOUT_SECONDS) as connection:
        buffer = b""
        for number, payload in enumerate(messages):
            mine = marker(number)
            connection.sendall(b"".join(b"\x0b" + each + b"\x1c\r" for each in (payload, mine)))
            answers: list[bytes] = []
            while not answers or field(answers[-1], b"MSA", 2) != b"MARKER%d" % number:
                while b"\x1c\r" not in buffer:
                    data = connection.recv(65536)
                    if not data:
                        raise SystemExit(f"the connection was closed at message {number}")
                    buffer += data
                block, _, buffer = buffer.partition(b"\x1c\r")
                answers.append(block.removeprefix(b"\x0b"))
            yield Sent(payload, tuple(answers[:-1]))


def run(folder: Path, messages: Sequence[bytes], processing_ids: Sequence[str]) -> dict[str, Any]:
    """A bridge with an empty store takes them all; what became of them."""
    settings = {"mllp.port": "0", "http.port": "0"}
    file = folder / "bridge" / "fhir-bridge.toml"
    file.parent.mkdir(parents=True)
    file.write_text(f"[sender]\nprocessing_ids = {json.dumps(list(processing_ids))}\n")
    with BridgeProcess(folder / "bridge", settings) as process:
        process.wait_until_ready()
        sent = tuple(converse(process.mllp, messages))
        phi = folder / "bridge" / "phi"
        journal, database = SqliteJournal(phi / "journal.db", SystemClock()), SqlDatabase.in_folder(phi)
        try:
            stored = {each.entry.raw: each for each in read_back(journal)}
            await_intake(SqlStore(database, SystemClock()), stored.values())
        finally:
            journal.close()
            database.close()
    return judge(sent, stored, process.log.read_text())


def await_intake(store: SqlStore, stored: Iterable[StoredMessage]) -> None:
    """Until what was accepted had its effect: an error there is one as well."""
    last = max(each.id for each in stored if each.entry.state is MessageState.ACCEPTED)
    deadline = time.monotonic() + INTAKE_SECONDS
    while store.intake_position() < last:
        if time.monotonic() > deadline:
            raise SystemExit("intake did not come to an end")
        time.sleep(0.1)


def read_back(journal: SqliteJournal) -> Iterator[StoredMessage]:
    """Every message of the journal with its bytes."""
    newest = journal.messages(1)
    for number in range(1, newest[0].id + 1 if newest else 1):
        found = journal.message(number)
        if found is not None:
            yield found


def judge(sent: Sequence[Sent], stored: Mapping[bytes, StoredMessage], log: str) -> dict[str, Any]:
    """The figures of one run."""
    to_answer = [each for each in sent if not each.is_answer]
    outcomes = Counter(outcome(each, stored.get(each.payload)) for each in sent)
    accepted = {without_time(raw) for raw, each in stored.items() if not refusal(each)}
    repeats = {each for each in sent if each.payload not in stored and without_time(each.payload) in accepted}
    refused = [each for each in to_answer if each.kind in ORDERS and refusal(stored.get(each.payload))]
    return {
        "messages": len(sent),
        "acknowledgements": len(sent) - len(to_answer),
        "unanswered": sum(not each.answers for each in to_answer),
        "answered acknowledgements": sum(bool(each.answers) for each in sent if each.is_answer),
        "answered more than once or with another control ID": sum(
            not fits(each, refusal(stored.get(each.payload))) for each in to_answer if each.answers
        ),
        "repeats, but for MSH-7": sum(each in repeats for each in sent),
        "not read back as sent": sum(each.payload not in stored and each not in repeats for each in sent),
        "unhandled errors": len(re.findall(r'"error_id": "[^"]', log)),
        "orders refused for what they may lack": sum(
            not may_be_refused(each, stored[each.payload]) for each in refused if each.payload in stored
        ),
        "outcomes": [
            {"type": kind, "answer": answer, "reason": reason, "messages": count}
            for (kind, answer, reason), count in sorted(outcomes.items())
        ],
    }


def without_time(payload: bytes) -> bytes:
    """The message without MSH-7, which resenders stamp anew."""
    fields = payload.split(payload[3:4], 8)
    return payload[3:4].join(fields[:6] + fields[7:])


def fits(sent: Sent, reason: str) -> bool:
    """One answer, for this very message; where its delimiters cannot be used, MSH-10 cannot be found and MSA-2 is empty."""
    expected = b"" if reason == "hl7v2.delimiters" else field(sent.payload, b"MSH", 10)
    return len(sent.answers) == 1 and field(sent.answers[0], b"MSA", 2) == expected


def outcome(sent: Sent, stored: StoredMessage | None) -> tuple[str, str, str]:
    """Type, MSA-1, reason."""
    kind = sent.kind if sent.kind in {*ORDERS, "ADT", "ORU"} else "answers" if sent.is_answer else "other"
    answer = field(sent.answers[0], b"MSA", 1).decode("ascii", "replace") if sent.answers else "none"
    return kind, answer, refusal(stored)


def refusal(stored: StoredMessage | None) -> str:
    """Our code of the reason; empty where it was taken."""
    return stored.entry.outcome.application_code if stored else ""


def may_be_refused(sent: Sent, stored: StoredMessage) -> bool:
    """False where the reason is one that real orders give us all the time."""
    version = field(sent.payload, b"MSH", 12).split(b"^")[0].strip().decode("ascii", "replace")
    if refusal(stored) == "message.version-unsupported":
        return version not in VERSIONS
    return not NEVER_A_REASON.match(stored.entry.outcome.location)


def kept(figures: Mapping[str, Any]) -> bool:
    """Whether the goal is reached."""
    counts = ("messages", "acknowledgements", "repeats, but for MSH-7", "outcomes")
    return not any(count for name, count in figures.items() if name not in counts)


def main() -> int:
    """Both runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path, nargs="?", default=DEFAULT)
    corpus = parser.parse_args().corpus
    if not corpus.is_dir():
        print("no corpus here: give its folder", file=sys.stderr)
        return 0
    messages = tuple(messages_in(corpus))
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="corpus-") as temporary:
        for number, (name, processing_ids) in enumerate(POLICIES.items()):
            begin = time.monotonic()
            figures[name] = run(Path(temporary, str(number)), messages, processing_ids)
            figures[name]["kept"] = kept(figures[name])
            figures[name]["seconds"] = round(time.monotonic() - begin, 1)
    print(json.dumps(figures, indent=1))
    return 0 if all(each["kept"] for each in figures.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
