"""One order by way of the hospital's engine and back: Camel sends it, the job runs, Camel and HAPI get the result with the order's numbers.

Camel's first answer to the result is for another message: the result goes there again, and to nobody else.
"""

import time
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from fhir_bridge.practice.ris import order_message
from fhir_bridge.practice.story import Story
from tests.support.bridge import a_story
from tests.support.film_bytes import film_of
from tests.support.hl7_engine import Event
from tests.support.neighbours import Neighbours

pytestmark = [pytest.mark.real_parts, pytest.mark.tensorflow]

IDENTIFIERS = ["PID-3", "ORC-2", "ORC-3", "OBR-2", "OBR-3", "OBR-18"]


@dataclass(frozen=True)
class Played:
    """The story, how the engine took our answer to its order, and what the neighbours got of it."""

    story: Story
    order: bytes
    sent: Event
    results: tuple[bytes, ...]
    checked: tuple[Event, ...]
    status: str


@pytest.fixture(scope="module")
def played(neighbours: Neighbours) -> Played:
    story = a_story("engine")
    neighbours.bridge.admit(story)
    (neighbours.pacs / "film.dcm").write_bytes(film_of(story))
    neighbours.engine.answer_with("wrong-id", "AA")
    before, checked = len(neighbours.engine.received()), len(neighbours.receiver.received())
    order = order_message(story, "NW", f"STORY{time.time_ns()}", datetime.now(UTC))
    sent = neighbours.engine.send("story", order)
    job = neighbours.bridge.await_status(story, "done", "held", "failed")
    results = neighbours.engine.received()[before:]
    return Played(
        story, order, sent, tuple(map(neighbours.engine.content, results)), tuple(neighbours.receiver.received()[checked:]), job.status,
    )  # fmt: skip


def field(message: bytes, place: str) -> str:
    """`OBR-18` of the first such segment, by splitting alone."""
    segment, _, number = place.partition("-")
    line = next(line for line in message.decode().split("\r") if line.startswith(segment))
    return [*line.split("|"), *[""] * 50][int(number)]


def test_the_engine_knows_its_order_accepted_and_the_job_is_done(played: Played) -> None:
    assert (played.sent["accepted"], played.sent["msa2_match"], played.status) == (True, True, "done")


def test_the_result_bears_the_numbers_of_the_order(played: Played) -> None:
    """Item 34: OBR-2, OBR-3, OBR-18 echoed; OBR-25 P, for nobody has signed it."""
    result = played.results[0]
    assert {place: field(result, place) for place in IDENTIFIERS} == {
        place: field(played.order, place) for place in IDENTIFIERS
    }
    assert (field(result, "MSH-8"), field(result, "OBR-25")) == ("ORU^R01^ORU_R01", "P")
    assert f"|{played.story.study_instance_uid}" in result.decode()


def test_an_answer_to_another_message_is_no_receipt_and_the_same_result_comes_again(played: Played) -> None:
    """Item 34; 8a: MSA-2 wrong."""
    assert len(played.results) == 2
    assert played.results[0] == played.results[1]


def test_who_took_it_gets_it_once_and_finds_nothing_wrong(played: Played) -> None:
    assert [(event["event"], event["problems"]) for event in played.checked] == [("received", [])]
