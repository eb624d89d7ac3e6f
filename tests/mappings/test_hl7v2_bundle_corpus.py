"""Orders and ADT that nobody here wrote, where the public corpus is: each is a valid Bundle, or is refused with its place."""

from collections import Counter
from pathlib import Path

import pytest

from hl7_listener.batch import is_batch, read_batch
from hl7_listener.message import Message
from hl7_listener.refusal import MessageRefused
from mappings.fhir_validation import validate
from mappings.hl7v2_bundle import bundle_from
from mappings.hl7v2_order_keys import SenderPolicy
from mappings.refusal import MappingRefused

pytestmark = pytest.mark.shared

CONVERTED = ("ORM", "OMG", "OMI", "ADT")
REFUSALS = {
    "bundle.type-unsupported",  # A09, A15-A17, A20, A21, A43, A54, A60, A61
    "bundle.visit-missing",
    "order.control-missing",
    "order.group-missing",
    "order.key-missing",
    "order.patient-identifier-missing",
    "patient.identifier-missing",
}


@pytest.fixture(scope="module")
def outcomes() -> Counter[str]:
    """`valid`, or the code of the refusal, for each order and ADT message of the corpus; a batch counts message by message."""
    corpus = Path(__file__).resolve().parents[3] / "shared" / "corpus" / "hl7v2"
    if not corpus.is_dir():
        pytest.skip("the corpus is not here")
    found: Counter[str] = Counter()
    for file in sorted(
        path for path in corpus.rglob("*") if path.is_file() and path.suffix not in (".json", ".md", ".tsv")
    ):
        for raw in messages_in(file.read_bytes()):
            if (outcome := converted(raw)) is not None:
                found[outcome] += 1
    return found


def messages_in(content: bytes) -> list[bytes]:
    try:
        return [message.payload for message in read_batch(content).messages()] if is_batch(content) else [content]
    except MessageRefused:
        return []  # a template, say, that is no message


def converted(raw: bytes) -> str | None:
    try:
        message = Message(raw)
        if message.header.message_code not in CONVERTED:
            return None
        bundle = bundle_from(message, SenderPolicy())
    except MessageRefused:
        return None
    except MappingRefused as refusal:
        return refusal.code if refusal.where else "without a place"
    validate(bundle)  # raises where it is not valid
    return "valid"


def test_every_message_is_a_valid_bundle_or_is_refused_for_a_known_reason(outcomes: Counter[str]) -> None:
    assert outcomes.keys() - {"valid"} <= REFUSALS


def test_most_messages_convert(outcomes: Counter[str]) -> None:
    assert outcomes["valid"] >= 390
