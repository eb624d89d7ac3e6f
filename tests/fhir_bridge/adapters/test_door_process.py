"""The parent's end of the door, with a scripted child in its place."""

import json
import queue
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from fhir_bridge.adapters.door_lines import outcome_as_json, outcome_from_json
from fhir_bridge.adapters.door_process import DoorProcess
from fhir_bridge.errors import Refused, Unavailable
from fhir_bridge.journal import Effect
from hl7_listener.outcome import OrderAnswer, Outcome
from tests.support.processes import until

CHILD = """
import json, sys
heard = open({heard!r}, "a")
def say(**line):
    print(json.dumps(line), flush=True)
def hear():
    text = sys.stdin.readline()
    heard.write(text)
    heard.flush()
    return json.loads(text) if text else None
settings = hear()["settings"]
port = settings["mllp"]["port"] or 4711
{script}
"""
READY = 'say(ready={"mllp": ["127.0.0.1", port]})\n'
UNTIL_DRAINED = "while (line := hear()) and 'drain' not in line: pass\n"


class Doors:
    """Starts doors and ends them after the test."""

    def __init__(self, folder: Path) -> None:
        self.heard = folder / "heard"
        self.heard.touch()
        self.commits: queue.SimpleQueue[None] = queue.SimpleQueue()
        self.effects: dict[int, Effect] = {}
        self._doors: list[DoorProcess] = []

    def open(self, script: str) -> DoorProcess:
        command = [sys.executable, "-c", CHILD.format(heard=str(self.heard), script=script)]
        door = DoorProcess({"mllp": {"port": 0}}, lambda: self.commits.put(None), self._effects_of, command)
        self._doors.append(door)
        door.start()
        return door

    def lines(self, key: str) -> list[dict[str, Any]]:
        """What the children were told under this key."""
        return [line for text in self.heard.read_text().splitlines() if key in (line := json.loads(text))]

    def close(self) -> None:
        for door in self._doors:
            door.drain(10)

    def _effects_of(self, messages: Sequence[int]) -> dict[int, Effect]:
        return {number: self.effects[number] for number in messages if number in self.effects}


@pytest.fixture
def doors(tmp_path: Path) -> Iterator[Doors]:
    doors = Doors(tmp_path)
    yield doors
    doors.close()


def test_a_door_is_told_its_settings_and_says_where_it_listens(doors: Doors) -> None:
    door = doors.open(READY + UNTIL_DRAINED)
    assert door.wait_until_ready() == {"mllp": ("127.0.0.1", 4711)}
    assert door.is_up


def test_a_commit_wakes_intake(doors: Doors) -> None:
    doors.open(READY + "say(committed=True, waits=[])\n" + UNTIL_DRAINED).wait_until_ready()
    doors.commits.get(timeout=10)


@pytest.mark.parametrize("known", [True, False], ids=["before it is asked for", "after it is asked for"])
def test_the_effect_of_a_message_is_told_to_who_waits(doors: Doors, known: bool) -> None:
    effect = Effect(7, Outcome("AE", 204, "ORC^1^2"))
    if known:
        doors.effects[7] = effect
    door = doors.open(READY + "say(committed=True, waits=[7])\n" + UNTIL_DRAINED)
    doors.commits.get(timeout=10)
    door.tell((Effect(6, Outcome("AA")), effect))
    until(lambda: doors.lines("effect"), "the effect is told")
    door.drain(10)
    assert doors.lines("effect") == [{"effect": 7, "outcome": outcome_as_json(effect.outcome)}]


def test_an_effect_that_nobody_waits_for_is_not_told(doors: Doors) -> None:
    door = doors.open(READY + UNTIL_DRAINED)
    door.wait_until_ready()
    door.tell((Effect(7, Outcome("AA")),))
    door.drain(10)
    assert doors.lines("effect") == []


def test_a_door_that_ends_is_started_again_where_it_was(doors: Doors) -> None:
    door = doors.open(READY)
    door.wait_until_ready()
    until(lambda: len(doors.lines("settings")) >= 2, "it is started again")
    assert doors.lines("settings")[1] == {"settings": {"mllp": {"port": 4711}}}


def test_a_door_that_talks_nonsense_is_started_again(doors: Doors) -> None:
    door = doors.open(READY + "print('nonsense', flush=True)\n" + UNTIL_DRAINED)
    door.wait_until_ready()
    until(lambda: len(doors.lines("settings")) >= 2, "it is started again")


def test_a_door_that_cannot_open_is_not_started_again(doors: Doors) -> None:
    door = doors.open("say(failed=['mllp.cannot-listen', 'mllp.port', 'EADDRINUSE'])\n")
    with pytest.raises(Refused) as caught:
        door.wait_until_ready()
    assert caught.value.code == "mllp.cannot-listen"
    assert len(doors.lines("settings")) == 1


def test_a_door_that_ends_before_it_opens_is_not_ready(doors: Doors) -> None:
    with pytest.raises(Unavailable) as caught:
        doors.open("").wait_until_ready()
    assert caught.value.code == "mllp.door-not-ready"


def test_what_passed_through_is_known(doors: Doors) -> None:
    door = doors.open(READY + "say(traffic={'mllp': {'messages': 3}}, journal=False)\n" + UNTIL_DRAINED)
    until(lambda: door.traffic or None, "it reports")
    assert door.traffic["mllp"]["messages"] == 3
    assert not door.can_write


def test_a_door_that_does_not_read_stops_nobody(doors: Doors) -> None:
    numbers = list(range(10_000))
    door = doors.open(READY + f"say(committed=True, waits={numbers})\n" + "import time\ntime.sleep(600)\n")
    doors.commits.get(timeout=10)
    telling = threading.Thread(target=door.tell, args=([Effect(n, Outcome("AA", text="x" * 100)) for n in numbers],))
    telling.start()
    telling.join(30)
    assert not telling.is_alive()
    door.drain(0.1)
    assert door.pid is None


def test_an_outcome_survives_the_way_byte_for_byte() -> None:
    orders = (OrderAnswer("OK", bytes(range(32, 256)), b""), OrderAnswer("UA"))
    outcome = Outcome("AE", 204, "ORC^1^2", "unknown", "order.unknown", 5, orders, short_type=True)
    assert outcome_from_json(json.loads(json.dumps(outcome_as_json(outcome)))) == outcome
