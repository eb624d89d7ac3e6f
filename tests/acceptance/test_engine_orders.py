"""Apache Camel, as the hospital's integration engine, routes orders to us: what it takes our answers for, and what it does next.

`8a` names a row of what was measured of Camel: it judges by MSA-1 alone, takes the next bytes on the socket for the next answer, and
sends the same bytes again on a new socket where a connection ends without one.
"""

import os
import re
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.hl7_engine import Event, running_engine
from tests.support.mllp_peer import msa
from tests.support.neighbour_orders import NeighbourOrder
from tests.support.neighbours import Neighbours

CORPUS = Path(__file__).parents[2].parent / "shared" / "corpus" / "hl7v2"
pytestmark = [pytest.mark.real_parts, pytest.mark.tensorflow]

REFUSED = {
    "AE": "MllpApplicationErrorAcknowledgementException",
    "AR": "MllpApplicationRejectAcknowledgementException",
    "CE": "MllpCommitErrorAcknowledgementException",
    "CR": "MllpCommitRejectAcknowledgementException",
}
CONVERSATION = {
    "01-taken": NeighbourOrder(),
    "02-content-wrong": NeighbourOrder(orc="ORC|CA"),
    "03-not-for-production": NeighbourOrder(processing_id="D"),
    "04-content-wrong-before-2.5": NeighbourOrder("2.3.1", orc="ORC|CA"),
    "05-accept-acknowledgement-asked-for": NeighbourOrder(accept="AL|AL"),
    "06-application-acknowledgement-alone": NeighbourOrder(accept="NE|AL"),
    "07-line-feeds": NeighbourOrder(),
    "08-line-feeds-content-wrong": NeighbourOrder(orc="ORC|CA"),
    "09-control-id-with-delimiters": NeighbourOrder(control_id="A&B^C\\T\\~D"),
    "10-long-control-id": NeighbourOrder(control_id="X" * 199),
    "11-short-answer": NeighbourOrder(application="SHORT"),
    "12-committed": NeighbourOrder(application="ENHANCED", accept="AL|NE"),
    "13-commit-error-content-wrong": NeighbourOrder(application="ENHANCED", accept="AL|NE", orc="ORC|CA"),
    "14-commit-rejected": NeighbourOrder(application="ENHANCED", accept="AL|NE", processing_id="D"),
    "15-taken": NeighbourOrder(),
}
ANSWERS = {"02": "AE", "03": "AR", "04": "AE", "08": "AE", "12": "CA", "13": "CE", "14": "CR"}
VERSIONS = (
    "2.1",
    "2.2",
    "2.3",
    "2.3.1",
    "2.4",
    "2.5",
    "2.5.1",
    "2.6",
    "2.7",
    "2.7.1",
    "2.8",
    "2.8.1",
    "2.8.2",
    "2.9",
    "2.9.1",
)


def message(name: str, order: NeighbourOrder) -> bytes:
    content = order.bytes(end="\n" if "line-feeds" in name else "\r")
    return content.replace(b"CANARY-NP%d^CPOE" % order.number, b"") if "content-wrong" in name else content


def corpus_orders() -> list[bytes]:
    """ORM, OMG and OMI of the corpus, each once, CR after each segment, with a usable header."""
    found = set()
    for path in sorted(
        path for path in CORPUS.rglob("*") if path.suffix in (".hl7", ".HL7", ".txt") and path.is_file()
    ):
        for part in re.split(rb"(?:(?<=[\r\n])|^)(?=MSH\|)", path.read_bytes()):
            content = re.sub(rb"[\r\n]+", b"\r", part).strip(b"\r\x1c") + b"\r"
            if re.match(rb"MSH\|(?:[^|]*\|){7}O(?:RM|MG|MI)\b", content):
                found.add(content)
    return sorted(found)


@dataclass(frozen=True)
class Conversation:
    """One message after the other: what Camel made of each answer, and the bytes of its connections."""

    events: dict[str, Event]
    connections: int
    sent: bytes
    answered: bytes


@pytest.fixture(scope="module")
def conversation(neighbours: Neighbours) -> Conversation:
    neighbours.engine.send("00-first", NeighbourOrder().bytes())
    before, used = len(neighbours.relay.connections), neighbours.relay.connections[-1]
    sent, answered = len(used.sent), len(used.answered)
    for name, order in CONVERSATION.items():
        neighbours.engine.put(name, message(name, order))
    events = {name: neighbours.engine.sent(name) for name in CONVERSATION}
    connections = len(neighbours.relay.connections) - before
    return Conversation(events, connections, bytes(used.sent[sent:]), bytes(used.answered[answered:]))


@pytest.mark.parametrize("name", CONVERSATION)
def test_camel_understands_every_answer_and_finds_its_own_control_id(
    neighbours: Neighbours, conversation: Conversation, name: str
) -> None:
    """8a: AA or CA / AE, AR, CE, CR; MSA-2; LF or CRLF segments (our answer has CR all the same, or Camel took an AE for AA)."""
    expected = ANSWERS.get(name[:2], "AA")
    event = conversation.events[name]
    assert (event["msa1"], event["accepted"], event["msa2_match"]) == (expected, expected in ("AA", "CA"), True)
    assert event.get("error") == REFUSED.get(expected)
    assert msa(neighbours.engine.answer_to(name)) == (expected, CONVERSATION[name].id)


def test_all_of_it_goes_over_one_connection(conversation: Conversation) -> None:
    """8a: AE, AR: the socket stays open."""
    assert (conversation.connections, conversation.sent.count(b"\x0b")) == (0, len(CONVERSATION))


def test_every_message_has_one_answer_and_nothing_stands_outside_the_blocks(conversation: Conversation) -> None:
    """8a: a second answer later on the socket; junk before VT; FS LF, FS alone. One block each, whatever MSH-15 and MSH-16 ask for."""
    assert re.fullmatch(rb"(?:\x0bMSH[^\x0b\x1c\n]*\r\x1c\r){%d}" % len(CONVERSATION), conversation.answered)


def test_camel_takes_our_answer_to_every_version(neighbours: Neighbours) -> None:
    """8a: an ACK that both take: MSH-12 2.1 to 2.8.1; no MSA-3 with 2.7 or later."""
    orders = {f"version-{version}": NeighbourOrder(version, processing_id="D") for version in VERSIONS}
    for name, order in orders.items():
        neighbours.engine.put(name, order.bytes())
    events = {name: neighbours.engine.sent(name) for name in orders}
    answers = {version: neighbours.engine.answer_to(f"version-{version}") for version in VERSIONS}
    assert {(event["msa1"], event["msa2_match"]) for event in events.values()} == {("AR", True)}
    assert {version: field(answers[version], "MSH", 12) for version in VERSIONS} == {
        version: version if version <= "2.8.1" else "2.8.1" for version in VERSIONS
    }
    assert {version for version in VERSIONS if field(answers[version], "MSA", 3)} == {
        "2.1",
        "2.2",
        "2.3",
        "2.3.1",
        "2.4",
    }
    assert all(field(answer, "ERR", 3 if version >= "2.5" else 1) for version, answer in answers.items())


def test_a_connection_that_ends_without_an_answer_makes_one_job(neighbours: Neighbours) -> None:
    """8a: FIN, RST or half an ACK: the same bytes again within 1 ms on a new socket."""
    order = NeighbourOrder()
    before = len(neighbours.relay.connections)
    neighbours.relay.lose_next_answer()
    event = neighbours.engine.send("answer-lost", order.bytes())
    assert (event["accepted"], event["msa1"], event["msa2_match"], event["redeliveries"]) == (True, "AA", True, 0)
    assert sum(bytes(relayed.sent).count(order.id.encode()) for relayed in neighbours.relay.connections[-2:]) == 2
    assert len(neighbours.relay.connections) == before + 1
    assert neighbours.jobs_of(order) == 1


def test_order_level_answers_are_taken(neighbours: Neighbours) -> None:
    """8a: an ACK that both take: ORR, ORG, ORI."""
    kinds = {"ORM^O01": "ORR", "OMG^O19^OMG_O19": "ORG", "OMI^O23^OMI_O23": "ORI"}
    orders = {code: NeighbourOrder(kind=kind, application="RESPONSES") for kind, code in kinds.items()}
    events = {code: neighbours.engine.send(f"response-{code}", order.bytes()) for code, order in orders.items()}
    answers = {code: neighbours.engine.answer_to(f"response-{code}") for code in orders}
    assert {(event["accepted"], event["msa2_match"]) for event in events.values()} == {(True, True)}
    assert {code: field(answer, "MSH", 9).split("^")[0] for code, answer in answers.items()} == {c: c for c in orders}
    assert {field(answer, "ORC", 1) for answer in answers.values()} == {"OK"}


def test_the_application_acknowledgement_of_enhanced_mode_comes_by_its_own_way(neighbours: Neighbours) -> None:
    """8a: a second answer later on the socket is taken for the answer to the next message: so it goes to `reply_to`."""
    order = NeighbourOrder(application="ENHANCED", accept="AL|AL")
    event = neighbours.engine.send("enhanced", order.bytes())
    arrived = neighbours.engine.wait_for(
        lambda e: e["event"] == "received" and order.id.encode() in neighbours.engine.content(e)
    )
    following = neighbours.engine.send("after-enhanced", NeighbourOrder().bytes())
    assert (event["msa1"], event["msa2_match"]) == ("CA", True)
    assert msa(neighbours.engine.content(arrived)) == ("AA", order.id)
    assert (following["msa1"], following["msa2_match"]) == ("AA", True)


def test_a_batch_in_one_block_has_one_answer(neighbours: Neighbours) -> None:
    """8a: a second answer is taken for the answer to the next message: so a batch is answered by one batch."""
    orders = [NeighbourOrder(), NeighbourOrder()]
    content = b"".join((b"BHS|^~\\&|RIS|HOSP\r", *(order.bytes() for order in orders), b"BTS|2\r"))
    event = neighbours.engine.send("batch", content)
    answer = neighbours.engine.answer_to("batch")
    following = neighbours.engine.send("after-batch", NeighbourOrder().bytes())
    assert (event["accepted"], following["msa1"], following["msa2_match"]) == (True, "AA", True)
    assert [segment[:3] for segment in answer.split(b"\r")[:-1]] == [b"BHS", b"MSH", b"MSA", b"MSH", b"MSA", b"BTS"]
    assert [neighbours.jobs_of(order) for order in orders] == [1, 1]


def test_a_large_order_is_answered_in_time_and_kept_as_it_came(neighbours: Neighbours) -> None:
    """8a: no answer in time: Camel waits 15 s for the first byte; senders frame in one write, up to 20 MB were tried."""
    order = NeighbourOrder(extra=("NTE|1||" + "x" * 8_000_000,))
    event = neighbours.engine.send("large", order.bytes())
    assert (event["msa1"], event["accepted"], event["msa2_match"]) == ("AA", True, True)
    assert neighbours.kept(order.id) == order.bytes()


@pytest.mark.shared
@pytest.mark.skipif(not CORPUS.is_dir(), reason="the shared corpus is not at hand")
def test_orders_that_nobody_here_wrote_are_answered_and_kept_as_camel_sent_them(neighbours: Neighbours) -> None:
    """8a: corpus: Camel sends all orders byte for byte."""
    orders = {f"corpus-{number:03d}": content for number, content in enumerate(corpus_orders())}
    for name, content in orders.items():
        neighbours.engine.put(name, content)
    events = {name: neighbours.engine.sent(name) for name in orders}
    assert len(orders) > 60
    assert {event["msa2_match"] for event in events.values()} == {True}
    assert set(orders.values()) - neighbours.everything_kept() == set()


def test_camel_sends_by_tls(neighbours: Neighbours, tmp_path: Path) -> None:
    folder = tmp_path / "engine"
    with running_engine(folder, neighbours.secure, "--tls", java_options=neighbours.tls.java_options) as engine:
        events = [engine.send(name, NeighbourOrder().bytes()) for name in ("first", "second")]
    assert [(e["msa1"], e["accepted"], e["msa2_match"]) for e in events] == [("AA", True, True)] * 2


def test_a_door_that_is_killed_loses_and_doubles_nothing(neighbours: Neighbours, tmp_path: Path) -> None:
    """8a: no answer in time, a refused connection: a redelivery is the same bytes on a new socket."""
    orders = {f"{number:03d}": NeighbourOrder() for number in range(60)}
    options = ("--retries", "50", "--retry-delay", "200")
    with running_engine(tmp_path / "engine", neighbours.bridge.process.mllp, *options) as engine:
        for name, order in orders.items():
            engine.put(name, order.bytes())
        engine.sent("010")
        os.kill(neighbours.bridge.door_process(), signal.SIGKILL)
        events = [engine.sent(name) for name in orders]
    assert [(e["msa1"], e["accepted"], e["msa2_match"]) for e in events] == [("AA", True, True)] * len(orders)
    assert {neighbours.jobs_of(order) for order in orders.values()} == {1}


def field(answer: bytes, segment: str, number: int) -> str:
    """By splitting alone; empty where it is not there."""
    for line in answer.decode("ascii").split("\r"):
        if line.startswith(segment):
            fields = line.split("|")
            position = number - 1 if segment == "MSH" else number
            return fields[position] if position < len(fields) else ""
    return ""
