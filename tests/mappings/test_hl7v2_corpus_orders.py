"""Orders that nobody here wrote: the public corpus beside the project, where it is there."""

import csv
from collections import Counter
from pathlib import Path

import pytest

from hl7_listener.message import Message
from hl7_listener.refusal import MessageRefused
from mappings.hl7v2_order import ORDER_EVENTS, SenderPolicy, orders_from
from mappings.refusal import MappingRefused


@pytest.fixture
def corpus(repository: Path) -> Path:
    folder = repository.parent / "shared" / "corpus" / "hl7v2"
    if not folder.is_dir():
        pytest.skip("no ../shared/corpus beside the repository")
    return folder


def effects(files: list[Path]) -> Counter[str]:
    """How often which effect, or refusal, over all order messages of these files."""
    seen: Counter[str] = Counter()
    for file in files:
        try:
            message = Message(file.read_bytes())
        except MessageRefused:
            continue  # a template, say, that is no message
        header = message.segments[0]
        if (header.value(9, 1), header.value(9, 2)) not in ORDER_EVENTS:
            continue
        try:
            seen.update(order.control.value for order in orders_from(message, SenderPolicy()))
        except MappingRefused as refusal:
            seen[refusal.code] += 1
    return seen


def test_the_order_files_map(corpus: Path) -> None:
    with (corpus / "manifest.tsv").open(encoding="utf-8") as lines:
        files = [corpus / row["file"] for row in csv.DictReader(lines, delimiter="\t")]

    assert effects(files) == {"new": 17, "none": 5, "order.key-missing": 1}


def test_the_embedded_orders_map(corpus: Path) -> None:
    files = [path for path in (corpus / "embedded").rglob("*") if path.is_file()]

    seen = effects(files)
    assert (seen["cancel"], seen["change"]) == (3, 1)  # CA CA DC, XO: counted with grep
    assert seen.keys() <= {
        *("new", "change", "cancel", "completed", "progress", "none", "order.group-missing", "order.key-missing"),
        *("order.patient-identifier-missing", "order.control-missing"),
    }
