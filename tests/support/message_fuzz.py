"""Mutated messages, and what must hold of every one of them: MessageRefused or an answer, never anything else."""

import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from hl7_listener.acknowledgement import OrderAnswer, Outcome, acknowledge, outcome_of
from hl7_listener.batch import is_batch, read_batch
from hl7_listener.header import Header, content_hash, is_fragment, read_header, sequence_number
from hl7_listener.message import Message
from hl7_listener.modes import accept_level, application_acknowledgement, wants_application_answer
from hl7_listener.refusal import MessageRefused

AT = datetime(2026, 3, 2, tzinfo=UTC)
_OURS = {"application": "FHIR-BRIDGE", "facility": "AI", "control_id": "A1", "at": AT}
_OUTCOMES = (
    Outcome("AA"),
    Outcome("AE", 101, "PID-3.1", "patient identifier missing", "order.patient-missing"),
    Outcome("AR", 207, "", "try again", expected_sequence=7, short_type=True),
    Outcome("AA", orders=(OrderAnswer("OK", b"P1", b"F1"), OrderAnswer("UA"))),
)
_SNIPPETS = (
    *(
        b"|",
        b"^",
        b"~",
        b"\\",
        b"&",
        b"#",
        b"\r",
        b"\n",
        b"\r\n",
        b"\0",
        b"\x0b",
        b"\x1c",
        b"\x1b",
        b"\xff",
        b'""',
        b" ",
    ),
    *(
        b"\x1b$B",
        b"\x1b(B",
        b"\\M2442\\",
        b"\\C2842\\",
        b"\\X4\\",
        b"\\XFF\\",
        b"\\.sp99\\",
        b"\xc3\xa4",
        b"\xc3",
        b"\x81\x5c",
    ),
    *(
        b"\rADD|",
        b"\rADD",
        b"\rDSC|1",
        b"\rMSH|",
        b"MSH",
        b"\rORC|NW|P1|F1",
        b"\rBTS|",
        b"\rEVN|A40",
        b"||||||",
        b"-1",
        b"2.9",
    ),
    *(
        b"8859/1",
        b"UNICODE UTF-8",
        b"ISO IR87",
        b"BIG-5",
        b"GB 18030-2000",
        b"KS X 1001",
        b"AL",
        b"NE",
        b"ER",
        b"ACK",
        b"OMI^O23",
    ),
)


@dataclass(slots=True)
class FuzzCount:
    """What became of the messages, by kind."""

    outcomes: Counter[str] = field(default_factory=Counter)

    def take(self, payload: bytes) -> None:
        """Raises AssertionError where something must not be, or whatever the listener should not have raised."""
        assert len(content_hash(payload)) == 64
        self._batch(payload)
        try:
            header = read_header(payload)
        except MessageRefused as refused:
            self.outcomes[refused.code] += 1
            check_answer(None, outcome_of(refused), payload)
            return
        for outcome in _OUTCOMES:
            check_answer(header, outcome, payload)
            check_answer(header, accept_level(outcome, header), payload)
        _ = is_fragment(header, payload), sequence_number(header), wants_application_answer(header, _OUTCOMES[0])
        self.outcomes["answer" if header.is_answer else "answered"] += 1
        try:
            check_reading(Message(payload, charset_default="8859/1"))
        except MessageRefused as refused:
            self.outcomes[refused.code] += 1

    def _batch(self, payload: bytes) -> None:
        if not is_batch(payload):
            return
        try:
            batch = read_batch(payload)
        except MessageRefused:
            self.outcomes["batch refused"] += 1
            return
        for message in batch.messages():
            assert message.payload.startswith(b"MSH")
            assert message.payload in payload
        self.outcomes["batch"] += 1


def check_answer(header: Header | None, outcome: Outcome, payload: bytes) -> None:
    """One well-formed answer with the message's own MSH-10 in MSA-2, or none where none is due."""
    answer = acknowledge(header, outcome, message=payload, **_OURS)
    if not outcome.code or (header is not None and header.is_answer):
        assert answer == b""
        return
    _check_segments(answer, header, outcome)
    if header is not None and outcome.code.startswith("A"):
        _check_segments(application_acknowledgement(header, outcome, message=payload, **_OURS), header, outcome)


def _check_segments(answer: bytes, header: Header | None, outcome: Outcome) -> None:
    separator = header.raw(1) if header else b"|"
    assert answer.endswith(b"\r")
    assert not set(answer) & set(b"\x0b\x1c\n")
    segments = [line.split(separator) for line in answer[:-1].split(b"\r")]
    assert [fields[0] for fields in segments[:2]] == [b"MSH", b"MSA"]
    assert {fields[0][:3] for fields in segments[2:]} <= {b"ERR", b"ORC", b"OBR", b"IPC", b"PID"}
    msh, msa = segments[0], segments[1]
    assert re.fullmatch(rb"\d{14}\+0000", msh[6])
    assert re.fullmatch(rb"2\.\d(\.\d)?", msh[11])
    assert msa[1] == outcome.code.encode()
    control_id = header.raw(10).translate(None, b"\x0b\x1c\r\n") if header else b""
    assert (msa[2] if len(msa) > 2 else b"") == control_id


def check_reading(message: Message) -> None:
    """Every field can be read in every way; together they are the bytes that came. Raises MessageRefused `hl7v2.charset`."""
    separator = message.delimiters.field.encode()
    position = 0
    for segment in message.segments:
        assert not message.raw[position : segment.start].removeprefix(b"\xef\xbb\xbf").strip(b"\r\n\0 \t")
        position = segment.continuations[-1][1] if segment.continuations else segment.end
        assert segment.content[:3].decode("latin-1") == segment.name
        fields = [segment.raw(number) for number in range(1, segment.field_count + 1)]
        if segment.name in ("MSH", "FHS", "BHS") and fields[:1] == [separator]:
            assert segment.content == segment.name.encode() + separator + separator.join(fields[1:])
        else:
            assert b"".join(fields).replace(separator, b"") in segment.content.replace(separator, b"")
            if message.charset in ("utf-8", "iso8859-1") and b"M24" not in segment.content:
                assert segment.content.split(separator)[1:] == fields
        for number, whole in enumerate(fields[:40], 1):
            if not whole:
                assert (segment.value(number), segment.text(number), segment.repetitions(number)) == ("", "", 0)
                continue
            for repetition in (1, segment.repetitions(number), segment.repetitions(number) + 1):
                segment.text(number, repetition)
                for component, subcomponent in ((1, 1), (2, 1), (1, 2), (9, 9)):
                    segment.value(number, component, subcomponent, repetition)
        assert segment.value(segment.field_count + 1) == ""
    assert not message.raw[position:].removeprefix(b"\xef\xbb\xbf").strip(b"\r\n\0 \t")


def seeds_in(*folders: Path) -> list[bytes]:
    """The messages that are mutated: whole files, however many messages they hold, up to 2 kB."""
    suffixes = {".hl7", ".txt", ".HL7"}
    files = [
        path for folder in folders if folder.is_dir() for path in sorted(folder.rglob("*")) if path.suffix in suffixes
    ]
    return [payload for path in files if path.is_file() and (payload := path.read_bytes()[:2048]).strip()]


def mutants(seeds: Sequence[bytes], choose: random.Random) -> Iterator[bytes]:
    """Without end: a seed with one to six changes, half of them in its header."""
    while True:
        text = bytearray(choose.choice(seeds))
        for _ in range(choose.randint(1, 6)):
            _mutate(text, seeds, choose)
        yield bytes(text[:16384])


def _mutate(text: bytearray, seeds: Sequence[bytes], choose: random.Random) -> None:
    end = len(text) if choose.random() < 0.5 else min(len(text), 120)
    start = choose.randint(0, end)
    stop = min(len(text), start + choose.choice((0, 1, 1, 3, 20)))
    kind = choose.randrange(7)
    if kind == 0:
        text[start:stop] = b""
    elif kind == 1:
        text[start:stop] = choose.choice(_SNIPPETS)
    elif kind == 2:
        text[start:start] = choose.choice(_SNIPPETS) * choose.choice((1, 1, 2, 30))
    elif kind == 3:
        text[start:stop] = bytes(choose.randrange(256) for _ in range(stop - start))
    elif kind == 4:
        other = choose.choice(seeds)
        begin = choose.randint(0, len(other))
        text[start:start] = other[begin : begin + choose.choice((5, 50, 500))]
    elif kind == 5:
        del text[choose.randint(0, len(text)) :]
    else:
        text[start:start] = text[start : start + choose.choice((10, 100))]
