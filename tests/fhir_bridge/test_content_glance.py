"""A glance never takes a message that a full reading refuses."""

import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_bridge.content import EVENTS, Content, glance_at, read_content
from fhir_bridge.senders import SenderRules
from hl7_listener.header import read_header
from hl7_listener.refusal import MessageRefused
from mappings.hl7v2_order_keys import SenderPolicy
from mappings.refusal import MappingRefused

RULES = (
    SenderRules(),
    SenderRules(mapping=SenderPolicy(orders_without_orc="refuse", accession_sources=("OBR-20", "ZAC-2.1"))),
    SenderRules(mapping=SenderPolicy(study_uid_sources=("ZDS-1", "OBR-19"), patient_authority="HOSP")),
)
PLAIN = """\
MSH|^~\\&|RIS|HOSP|||20261102091500||ORM^O01|T1|P|2.3.1
PID|||CANARY-1^^^HOSP^MR||CANARY^ZEBRA||20230517|F
PV1||O|||||||||||||||||CANARY-V1
ORC|NW|CANARY-P1^CPOE|CANARY-F1^RIS||SC||^^^20261102100000^^S
OBR|1|CANARY-P1^CPOE|CANARY-F1^RIS|XRCHEST1|||||||||||||||CANARY-A1|RP1|SPS1||||DX
ZDS|1.2.3.4^^Application^DICOM
"""
PIECES = (
    '""', "", "|", "^", "~", "&", "\\", "\\X2222\\", "\\x22\\", " ", "ORC|NW|CANARY-P2\n", "OBR|2\n", "ORC||\n", "PID|||\n", "XX", "SC", "ZZ",
    "1.2.x", "IPC|A|B|no uid\n", "OBX|1|ST|110180||no uid\n", "2.3.1", "MSH|", "ORC|CA", "CH", "RO", "RP",
)  # fmt: skip


def reading(raw: bytes, rules: SenderRules) -> Content | str:
    """What a full reading says: the content, or the code of its refusal."""
    try:
        return read_content(raw, rules)
    except (MessageRefused, MappingRefused) as refused:
        return refused.code


def glance(raw: bytes, rules: SenderRules) -> Content | str:
    try:
        return glance_at(raw, rules)
    except (MessageRefused, MappingRefused) as refused:
        return refused.code


def agrees(raw: bytes, rules: SenderRules) -> bool:
    """The same refusal, or both take it and say the same of its character set."""
    seen, read = glance(raw, rules), reading(raw, rules)
    if isinstance(seen, str) or isinstance(read, str):
        return seen == read
    return (seen.charset_note, seen.contradicts_charset) == (read.charset_note, read.contradicts_charset)


def is_known_type(raw: bytes) -> bool:
    try:
        header = read_header(raw)
    except MessageRefused:
        return False
    return (header.message_code, header.trigger_event) in EVENTS


def test_a_plain_order_is_taken_without_reading_it() -> None:
    seen = glance_at(PLAIN.replace("\n", "\r").encode(), RULES[0])
    assert seen == Content()


@pytest.mark.parametrize("rules", RULES, ids=["default", "no order without ORC", "other sources"])
@given(
    changes=st.lists(
        st.tuples(st.integers(0, len(PLAIN)), st.integers(0, 12), st.sampled_from(PIECES)), min_size=0, max_size=4
    )
)
@settings(max_examples=400)
def test_a_glance_and_a_reading_agree_on_changed_orders(
    rules: SenderRules, changes: list[tuple[int, int, str]]
) -> None:
    text = PLAIN
    for start, length, piece in changes:
        text = text[:start] + piece + text[start + length :]
    raw = text.replace("\n", "\r").encode()
    if is_known_type(raw):
        assert agrees(raw, rules)


def test_a_glance_and_a_reading_agree_on_the_corpus(repository: Path) -> None:
    corpus = repository.parent / "shared" / "corpus" / "hl7v2"
    if not corpus.is_dir():
        pytest.skip("no ../shared/corpus beside the repository")
    chance, seen = random.Random(4), Counter[bool]()
    for path in sorted(corpus.rglob("*.hl7")):
        raw = path.read_bytes()
        for _ in range(3):
            if is_known_type(raw):
                seen[agrees(raw, chance.choice(RULES))] += 1
            start = chance.randrange(len(raw) + 1)
            raw = raw[:start] + chance.choice(PIECES).replace("\n", "\r").encode() + raw[start + chance.randrange(8) :]
    assert seen[True] > 100
    assert not seen[False]
