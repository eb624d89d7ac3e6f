"""A million streams against the framing and the answers: whole messages among anything, and streams damaged at random.

    python benchmarks/fuzz_framing.py [--inputs 1000000] [--seed 20261125] [--first 0]

Each input is a stream built from the messages below, cut into reads at random. Of a built stream it is known by construction which
messages must come out. A damaged one (bytes flipped, lost, doubled, inserted) must give the same events however it is cut, and the
whole message behind it must come out all the same. Either way every message that comes out gets one answer, unless it is an answer
itself, and no byte of the stream disappears uncounted. Nothing may raise, nothing may take long.

Prints one JSON object; ends with 1 and the number of the input where something failed: `--first NUMBER --inputs 1` repeats it.
"""

import argparse
import json
import random
import signal
import time
from collections import Counter
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from hl7_listener.acknowledgement import Outcome
from hl7_listener.answering import Answering
from hl7_listener.conversation import Conversation, Received, Shared
from hl7_listener.framing import Decoder, Discarded, Frame, FramingEvent, Oversize
from hl7_listener.memory import Memory
from hl7_listener.policy import ListenerPolicy
from hl7_listener.traffic import PeerTraffic

SEEDS = (
    b"MSH|^~\\&|RIS|HOSP|AI|X|20260302093000||ORM^O01^ORM_O01|M1|P|2.3.1\rPID|1||CANARY-1^^^HOSP^MR||CANARY^ZEBRA\r"
    b"ORC|NW|P1^RIS|F1^RIS||SC\rOBR|1|P1^RIS|F1^RIS|XCH2^Chest, 2 views^LOCAL|S|||||||||||||A1\rZDS|1.2.3^^Application^DICOM\r",
    b"MSH|^~\\&#|RIS|HOSP|||20260302||OMG^O19^OMG_O19|M2|P^T|2.7|||AL|NE||UNICODE UTF-8\r\nPID|||2^^^H||J\xc3\x84NE^CANARY\r\n"
    b"ORC|XO|P2\r\nOBR|1|P2||X^Y&Z^L\r\n",
    b"MSH$%~\\&$RIS$$$$$$ORM$M3$$2.1\rPID$1$$CANARY-3\rORC$CA$P3\r",
    b"\xef\xbb\xbfMSH|^~\\&|A|B|C|D|2026||ADT^A08|M4|D|2.5||||||8859/1\nEVN||2026\nPID|1||CANARY-4||M\xdcLLER\n",
    b"MSH|^~\\&|LAB||||2026||ORU^R01|M5|P|2.5.1\rOBX|1|ED|PDF||^application^pdf^Base64^JVBERi0xLjQK" + b"QUJD" * 150,
    b"MSH|^~\\&|X||||||ACK|M6|P|2.5\rMSA|AA|77\r",
    b"FHS|^~\\&|RIS\rBHS|^~\\&|RIS\rMSH|^~\\&|RIS||||||ORM^O01|M7|P|2.4\rORC|NW|P7\rBTS|1\rFTS|1\r",
    b"Hello, is this the fax?",
    b"",
)
PROBE = b"MSH|^~\\&|PROBE||||2026||ORM^O01|PROBE|P|2.5\rORC|NW|1\r"
ENDS = (b"\x1c\r",) * 6 + (b"\x1c\n", b"\x1c")
JUNK = (b"", b"", b"\r\n", b"\0\0", b" ", b"\x1c\r", b"GET / HTTP/1.1\r\n\r\n", b"MS", b"\xff\xfe", b"QUIT\n")
BARE_BEHIND = (b"", b"\r\n", b"\0\0", b"\x1c\r")  # a message without VT may begin behind these
MARKS = (b"\x0b", b"\x1c", b"\x1c\r", b"\r", b"\n", b"\0", b"MSH|", b"\x06")
LIMITS = (200, 1500, 10_000_000)
HANG_SECONDS = 30
WATCHED = 1000  # inputs in which so many seconds may pass


@dataclass(slots=True)
class Found:
    """What the inputs held, all in all."""

    counts: Counter[str] = field(default_factory=Counter)
    tolerances: Counter[str] = field(default_factory=Counter)
    discarded: Counter[str] = field(default_factory=Counter)
    slowest_ms: float = 0


def built(chance: random.Random, bare: bool) -> tuple[bytes, list[bytes]]:
    """A stream, and the messages that must come out of it."""
    stream, expected = [], []
    for _ in range(chance.randint(1, 3)):
        junk = chance.choice(JUNK)
        stream.append(junk)
        if bare and junk in BARE_BEHIND and chance.random() < 0.5:
            stream += [SEEDS[0], b"\x1c\r"]
            expected.append(SEEDS[0])
            continue
        if chance.random() < 0.2:  # a sender that breaks off and begins again
            stream.append(b"\x0b" + chance.choice(SEEDS)[: chance.randint(0, 300)])
        message = chance.choice(SEEDS)
        if chance.random() < 0.2:  # an FS that ends nothing
            at = chance.randint(0, len(message))
            message = message[:at] + b"\x1c" + b"x" + message[at:]
        end = chance.choice(ENDS)
        if end == b"\x1c":
            stream += [b"\x0b", message, end, b"\x0b", PROBE, b"\x1c\r"]
            expected += [message, PROBE]
        else:
            stream += [b"\x0b" * chance.choice((1, 1, 1, 2)), message, end]
            expected.append(message)
    return b"".join([*stream, chance.choice(JUNK)]), expected


def damaged(chance: random.Random, stream: bytes) -> bytes:
    """The stream with some of its bytes flipped, lost, doubled or pushed apart."""
    data = bytearray(stream)
    for _ in range(chance.randint(1, 8)):
        at = chance.randrange(len(data) + 1)
        what = chance.randrange(4)
        if what == 0 and at < len(data):
            data[at] = chance.randrange(256)
        elif what == 1:
            del data[at : at + chance.choice((1, 1, 2, 50))]
        elif what == 2:
            data[at:at] = data[at : at + chance.choice((1, 2, 30))]
        else:
            data[at:at] = chance.choice(MARKS)
    return bytes(data)


def decoded(stream: bytes, cuts: list[int], limit: int, bare: bool) -> list[FramingEvent]:
    """The events of a stream that comes in these reads."""
    decoder = Decoder(limit, bare_messages=bare)
    events = []
    for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        events += decoder.feed(stream[start:stop])
    return events + decoder.end()


class Peer:
    """A connection without its socket: events in, answers out."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        policy = ListenerPolicy("fuzz", max_in_flight=1_000_000)
        shared = Shared(policy, self._accept, Answering(policy), Memory(10**9), lambda _: None, memoryview(b""))  # type: ignore[arg-type]
        self._messages = Conversation(shared, PeerTraffic(), "peer", lambda: None)

    def answers(self, events: list[FramingEvent]) -> int:
        """How many answers these events get."""
        self._messages.add(events)
        self._messages.give_on()
        data = self._messages.answers()
        assert self._messages.is_over
        blocks = data.split(b"\x1c\r")
        assert blocks.pop() == b"", "a block without its end"
        assert all(block.startswith(b"\x0bMSH") for block in blocks), "bytes outside a block"
        return len(blocks)

    def _accept(self, received: Received) -> "Future[Outcome]":
        self.received.append(received)
        future: Future[Outcome] = Future()
        future.set_result(Outcome("AA") if received.header else Outcome("AR", 100))
        return future


def check(seed: int, number: int, found: Found) -> None:
    """One input. Raises AssertionError where something is not as it must be."""
    chance = random.Random(f"{seed}-{number}")
    limit, bare = chance.choice(LIMITS), chance.random() < 0.3
    stream, expected = built(chance, bare)
    is_damaged = chance.random() < 0.5
    if is_damaged:
        stream = damaged(chance, stream) + b"\x0b" + PROBE + b"\x1c\r"
    cuts = sorted(chance.randrange(len(stream) + 1) for _ in range(chance.choice((0, 1, 3, 20))))
    begun = time.perf_counter()
    events = decoded(stream, cuts, limit, bare)
    peer = Peer()
    answers = peer.answers(events)
    found.slowest_ms = max(found.slowest_ms, 1000 * (time.perf_counter() - begun))

    whole = [event for event in events if not isinstance(event, Discarded)]
    asking = [one for one in peer.received if one.header is None or not one.header.is_answer]
    assert len(peer.received) == len(whole), "a message that the acceptor was not given"
    assert answers == len(asking), "a message without its answer"
    assert events == decoded(stream, [], limit, bare), "the events depend on the cuts"
    seen = sum(map(size, events))
    framing = sum(stream.count(mark) for mark in (b"\x0b", b"\x1c", b"\r", b"\n"))
    assert len(stream) - framing <= seen <= len(stream), "bytes that nobody counted"
    if is_damaged:
        assert head(whole[-1]) == PROBE, "the message behind the damage is lost"
    else:
        assert [head(event) for event in whole] == [one[:8192] if len(one) > limit else one for one in expected]
    note(found, stream, events, answers)


def size(event: FramingEvent) -> int:
    """The bytes of the stream that an event stands for, less those of the framing."""
    if isinstance(event, Frame):
        return len(event.payload)
    return event.size if isinstance(event, Oversize) else event.count


def head(event: FramingEvent) -> bytes:
    """What is kept of a message."""
    assert not isinstance(event, Discarded)
    return event.payload if isinstance(event, Frame) else event.head


def note(found: Found, stream: bytes, events: list[FramingEvent], answers: int) -> None:
    """Add one input to the sums."""
    found.counts.update(inputs=1, bytes=len(stream), answers=answers)
    for event in events:
        if isinstance(event, Discarded):
            found.discarded[event.reason] += event.count
        else:
            found.counts["messages" if isinstance(event, Frame) else "oversize"] += 1
            found.tolerances.update(event.tolerances)


def main() -> None:
    """Read the arguments, run the inputs, print the sums."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=20261125)
    parser.add_argument(
        "--first", type=int, default=0, help="the number of the first input: to share the work among processes"
    )
    arguments = parser.parse_args()
    found = Found()
    begun = time.perf_counter()
    for number in range(arguments.first, arguments.first + arguments.inputs):
        if number % WATCHED == 0:
            signal.alarm(HANG_SECONDS)  # its default is to end the process
        try:
            check(arguments.seed, number, found)
        except BaseException:
            print(json.dumps({"failed": True, "seed": arguments.seed, "input": number}), flush=True)
            raise
    signal.alarm(0)
    result: dict[str, Any] = {"seed": arguments.seed, **found.counts}
    result |= {
        "tolerances": dict(found.tolerances.most_common()),
        "discarded_bytes": dict(found.discarded.most_common()),
    }
    result |= {"seconds": round(time.perf_counter() - begun, 1), "slowest_ms": round(found.slowest_ms, 2)}
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
