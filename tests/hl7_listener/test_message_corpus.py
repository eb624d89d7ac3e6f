"""Messages nobody here wrote (../shared/corpus/hl7v2, where present): nothing is lost, and hl7apy reads the same fields."""

import contextlib
import functools
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hl7_listener.acknowledgement import Outcome, acknowledge
from hl7_listener.message import Message
from hl7_listener.refusal import MessageRefused
from tests.support.er7 import rebuilt
from tests.support.frozen_clock import START

REPOSITORY = Path(__file__).parents[2]
CORPUS = REPOSITORY.parent / "shared" / "corpus" / "hl7v2"
DATA = REPOSITORY / "tests" / "data" / "hl7v2"
needs_corpus = pytest.mark.skipif(not CORPUS.is_dir(), reason="no ../shared/corpus beside the repository")
SUFFIXES = {".hl7", ".txt", ".HL7", ".ndhl7", ".asc"}
COMPARED = ("MSH", "PID", "ORC", "OBR")


def messages_in(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every stretch that begins with MSH at the start of a line."""
    for path in sorted(p for p in folder.rglob("*") if p.suffix in SUFFIXES and p.is_file()):
        parts = re.split(rb"(?:(?<=[\r\n])|^)(?=MSH[|^&$])", path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
        for number, part in enumerate(part for part in parts if part.startswith(b"MSH")):
            yield f"{path.relative_to(folder)}#{number}", part


@functools.cache
def corpus() -> dict[str, Message]:
    """Every message of the corpus whose MSH-1 and MSH-2 are usable."""
    found = {}
    for name, raw in messages_in(CORPUS):
        with contextlib.suppress(MessageRefused):
            found[name] = Message(raw, charset_default="8859/1")
    return found


@needs_corpus
def test_only_unusable_delimiters_are_refused() -> None:
    refused = [raw for name, raw in messages_in(CORPUS) if name not in corpus()]

    encoding_characters = [raw[4:].split(raw[3:4], 1)[0] for raw in refused]
    assert all(len(set(marks)) < len(marks) or not 2 <= len(marks) <= 5 for marks in encoding_characters)
    assert len(corpus()) > 1500 > 100 * len(refused)


@needs_corpus
def test_nothing_of_any_message_of_the_corpus_is_lost() -> None:
    assert [name for name, message in corpus().items() if rebuilt(message) != message.raw] == []


@needs_corpus
def test_every_message_of_the_corpus_gets_an_answer_with_its_control_id() -> None:
    outcome = Outcome("AE", 101, "PID-3", "no")
    wrong = []
    for name, message in corpus().items():
        answer = acknowledge(message.header, outcome, application="US", facility="", control_id="1", at=START)
        if message.header.is_answer:
            assert answer == b""
            continue
        msa = Message(answer, "8859/1").segments[1]
        if (msa.value(1), msa.raw(2)) != ("AE", message.header.raw(10)):
            wrong.append(name)

    assert wrong == []


def by_number(segment: Any) -> dict[int, list[Any]]:
    """hl7apy's fields but MSH-1 and MSH-2; repetitions are children of the same name, unknown fields have none."""
    fields: dict[int, list[Any]] = {}
    for child in segment.children:
        number = int(child.name.rsplit("_", 1)[1]) if child.name else 0
        if number > 2 or (number and segment.name != "MSH"):
            fields.setdefault(number, []).append(child)
    return fields


def differences_to_hl7apy(raw: bytes) -> tuple[int, list[str]]:
    """How many fields were compared, and which differ. Segments that hl7apy itself does not write back unchanged are left out."""
    parser = pytest.importorskip("hl7apy.parser")
    message = Message(raw, charset_default="8859/1")
    lines = [raw[segment.start : segment.end].decode(message.charset) for segment in message.segments]
    text = "\r".join(lines).replace("^~\\&#|", "^~\\&|", 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parsed = parser.parse_message(text, find_groups=False, force_validation=False)
        theirs = list(parsed.children)
        written = [segment.to_er7() for segment in theirs]
    compared, different = 0, []
    for ours, line, segment, back in zip(message.segments, text.split("\r"), theirs, written, strict=True):
        if ours.name not in COMPARED or line.rstrip("|") != back.rstrip("|"):
            continue
        for number, theirs_of_field in by_number(segment).items():
            compared += 1
            if ours.raw(number).decode(message.charset) != "~".join(child.to_er7() for child in theirs_of_field):
                different.append(f"{ours.name}-{number}")
    return compared, different


@pytest.mark.parametrize("name", ["orm_o01_zds", "omi_o23_ipc"])
def test_hl7apy_finds_the_same_fields_in_our_examples(name: str) -> None:
    compared, different = differences_to_hl7apy((DATA / f"{name}.hl7").read_bytes())

    assert different == []
    assert compared >= 20


@needs_corpus
def test_hl7apy_finds_the_same_fields_in_the_orders_of_the_corpus() -> None:
    exceptions = pytest.importorskip("hl7apy.exceptions")
    compared, different, taken = 0, [], 0
    for name, message in corpus().items():
        if message.header.message_code not in ("ORM", "OMG", "OMI"):
            continue
        try:
            count, differing = differences_to_hl7apy(message.raw)
        except (exceptions.HL7apyException, ValueError):
            continue  # hl7apy does not take it
        taken += 1
        compared += count
        different += [f"{name} {where}" for where in differing]

    assert different == []
    assert taken > 50
    assert compared > 1000
