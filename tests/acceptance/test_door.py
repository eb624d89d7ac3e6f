"""The door as a process: alone, under a parent that freezes or dies, killed itself. Neither jobs nor models run here."""

import json
import os
import queue
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from fhir_bridge.adapters.door_process import DoorProcess
from fhir_bridge.adapters.sqlite_journal import SqliteJournal
from fhir_bridge.compose import SystemClock
from fhir_bridge.journal import Effect
from hl7_listener.client import MllpClient, NoAcknowledgement
from hl7_listener.outcome import Outcome
from tests.support.door_kills import DoorKills
from tests.support.processes import child_of, until
from tests.support.serve_process import unlistened_port
from tests.support.tiny_orders import control_id, send

pytestmark = pytest.mark.real_parts

Address = tuple[str, int]


def kept(data: Path) -> list[str]:
    journal = SqliteJournal(data / "phi" / "journal.db", SystemClock())
    try:
        return sorted(message.entry.key.control_id for message in journal.messages(10**6))
    finally:
        journal.close()


class Listening:
    """`fhir-bridge listen` alone."""

    def __init__(self, data: Path, *settings: str) -> None:
        options = [word for setting in ("mllp.port=0", *settings) for word in ("--set", setting)]
        command = [sys.executable, "-m", "fhir_bridge", "listen", "--data-dir", str(data), *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def addresses(self) -> dict[str, Address]:
        """By the ready line."""
        assert self.process.stdout is not None
        watchdog = threading.Timer(60, self.process.kill)
        watchdog.start()
        ready, *named = self.process.stdout.readline().split()
        watchdog.cancel()
        assert ready == "ready"
        found = (word.partition("=") for word in named)
        return {name: (host, int(port)) for name, _, place in found for host, _, port in [place.rpartition(":")]}

    def end(self) -> tuple[int, str]:
        """Its exit code and what it logged."""
        assert self.process.stdout is not None
        self.process.terminate()
        _, errors = self.process.communicate(timeout=60)
        return self.process.returncode, errors


@pytest.fixture
def doors(tmp_path: Path) -> Iterator[list[Listening]]:
    """Those that a test opened."""
    opened: list[Listening] = []
    yield opened
    for door in opened:
        if door.process.poll() is None:
            door.process.kill()
        door.process.communicate()


def test_a_door_alone_keeps_and_answers(tmp_path: Path, doors: list[Listening]) -> None:
    doors.append(door := Listening(tmp_path / "data", "listeners.ct.port=0"))
    addresses = door.addresses()
    assert list(addresses) == ["mllp", "listeners.ct"]
    for number, address in enumerate(addresses.values()):
        with MllpClient(*address, 30) as client:
            assert send(client, number).code == "AA"
    assert door.end()[0] == 0
    assert kept(tmp_path / "data") == [control_id(0), control_id(1)]


def test_a_door_alone_tells_who_waits_for_intake_that_the_message_is_kept(
    tmp_path: Path, doors: list[Listening]
) -> None:
    doors.append(door := Listening(tmp_path / "data", "sender.wait_for_intake=true"))
    with MllpClient(*door.addresses()["mllp"], 10) as client:
        assert send(client, 1).code == "AA"


def test_two_doors_on_one_data_folder_are_one_too_many(tmp_path: Path, doors: list[Listening]) -> None:
    doors += [first := Listening(tmp_path / "data"), second := Listening(tmp_path / "data")]
    ended = until(lambda: [door for door in doors if door.process.poll() is not None], "one of them ends")
    code, errors = ended[0].end()
    assert code == 2
    assert "server.already-running" in errors
    assert (first if ended[0] is second else second).process.poll() is None


def test_a_port_that_stays_taken_is_said(tmp_path: Path, doors: list[Listening]) -> None:
    doors.append(first := Listening(tmp_path / "one"))
    _, port = first.addresses()["mllp"]
    doors.append(second := Listening(tmp_path / "two", f"mllp.port={port}"))
    second.process.wait(60)
    assert "mllp.cannot-listen" in second.end()[1]


class Supervised:
    """A real door under a parent that is this test; intake is what the test says."""

    def __init__(self, data: Path, sender: dict[str, object]) -> None:
        self.commits: queue.SimpleQueue[None] = queue.SimpleQueue()
        self.effects: dict[int, Effect] = {}
        settings = {"data_dir": str(data), "mllp": {"port": 0}, "sender": sender}
        self.door = DoorProcess(settings, lambda: self.commits.put(None), self._effects_of)
        self.door.start()
        self.address = self.door.wait_until_ready()["mllp"]

    def _effects_of(self, messages: Sequence[int]) -> dict[int, Effect]:
        return {number: self.effects[number] for number in messages if number in self.effects}


@pytest.fixture
def supervised(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Supervised]:
    supervised = Supervised(tmp_path / "data", getattr(request, "param", {}))
    yield supervised
    supervised.door.drain(20)


@pytest.mark.parametrize("supervised", [{"wait_for_intake": True}], indirect=True)
def test_who_waits_for_intake_hears_what_became_of_the_message(supervised: Supervised) -> None:
    effect = Effect(1, Outcome("AE", 204, "ORC^1^2", "unknown", "order.unknown"))
    supervised.effects[1] = effect
    with MllpClient(*supervised.address, 30) as client:
        answers = [send(client, 1) for _ in range(2)]
    assert [(answer.code, answer.error_code) for answer in answers] == [("AE", "204")] * 2


def test_a_killed_door_is_opened_again_at_the_same_address(supervised: Supervised, tmp_path: Path) -> None:
    with MllpClient(*supervised.address, 30) as client:
        assert send(client, 1).code == "AA"
    assert supervised.door.pid is not None
    os.kill(supervised.door.pid, signal.SIGKILL)

    def again() -> str | None:
        try:
            with MllpClient(*supervised.address, 30) as client:
                return send(client, 2).code
        except NoAcknowledgement:
            return None

    assert until(again, "it answers again") == "AA"
    assert kept(tmp_path / "data") == [control_id(1), control_id(2)]


PARENT = """
import sys, time
from fhir_bridge import log
from fhir_bridge.adapters.door_process import DoorProcess
log.configure()
settings = {{"data_dir": {data!r}, "mllp": {{"port": {port}}}}}
door = DoorProcess(settings, lambda: None, lambda _: {{}})
door.start()
print(*door.wait_until_ready()["mllp"], flush=True)
time.sleep(600)
"""


class Parent:
    """A process that has a door."""

    def __init__(self, data: Path, port: int) -> None:
        program = PARENT.format(data=str(data), port=port)
        self.process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        host, found = self.process.stdout.readline().split()
        self.address = (host, int(found))
        self.door = until(lambda: child_of(self.process.pid, "--supervised"), "its door")

    def kill(self) -> None:
        assert self.process.stdout is not None
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture
def parents() -> Iterator[list[Parent]]:
    """Those that a test started."""
    started: list[Parent] = []
    yield started
    for parent in started:
        parent.process.send_signal(signal.SIGCONT)
        parent.kill()


def test_a_door_dies_with_its_parent_and_the_next_one_takes_its_port(tmp_path: Path, parents: list[Parent]) -> None:
    port = unlistened_port()
    parents.append(first := Parent(tmp_path / "data", port))
    with MllpClient(*first.address, 30) as client:
        assert send(client, 1).code == "AA"
        first.kill()
        parents.append(second := Parent(tmp_path / "data", port))
    until(lambda: not Path(f"/proc/{first.door}").exists(), "the first door is gone")
    with MllpClient(*second.address, 30) as client:
        assert send(client, 1).code == "AA"
    assert kept(tmp_path / "data") == [control_id(1)]


def test_a_frozen_parent_holds_up_no_sender(tmp_path: Path, parents: list[Parent]) -> None:
    parents.append(parent := Parent(tmp_path / "data", 0))
    parent.process.send_signal(signal.SIGSTOP)
    with MllpClient(*parent.address, 30) as client:
        assert {send(client, number).code for number in range(200)} == {"AA"}


def test_kills_of_the_door_lose_nothing_and_keep_nothing_twice(tmp_path: Path, notes: list[str]) -> None:
    # item 9
    figures = DoorKills(tmp_path, kills=8, seed=random.SystemRandom().randrange(10**6)).run()
    notes.append(f"kills of the door: {figures}")
    assert figures["kept"], figures


def test_a_door_that_nobody_hears_ends(tmp_path: Path) -> None:
    """Its parent is there, but has closed the other end: no thread of the door may keep it."""
    command = [sys.executable, "-m", "fhir_bridge", "listen", "--supervised"]
    reading, writing = os.pipe()
    os.close(reading)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=writing, stderr=subprocess.PIPE) as door:
        os.close(writing)
        assert door.stdin is not None
        line = {"settings": {"data_dir": str(tmp_path), "mllp": {"port": 0}}}
        door.stdin.write(json.dumps(line).encode() + b"\n")
        door.stdin.flush()
        try:
            assert door.wait(30) == 1
        finally:
            door.kill()
