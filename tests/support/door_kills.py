"""Kills the door alone, again and again, under a stream of orders, and judges its journal. For `benchmarks/kill_door.py` and its test."""

import itertools
import os
import random
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fhir_bridge.adapters.sqlite_journal import SqliteJournal
from fhir_bridge.compose import SystemClock
from hl7_listener.client import MllpClient, NoAcknowledgement
from hl7_listener.outcome import POSITIVE
from tests.support.serve_process import unlistened_port
from tests.support.tiny_orders import control_id, tiny_order

_ANSWER_SECONDS = 10.0
_AGAIN_SECONDS = 0.05
_GIVE_UP_SECONDS = 120.0


@dataclass
class DoorKills:
    """One run in an empty `folder`: `fhir-bridge listen` is killed by SIGKILL while it starts or while it takes orders."""

    folder: Path
    kills: int
    seed: int
    senders: int = 4
    tell: Callable[[str], None] = print
    acknowledged: list[str] = field(
        default_factory=list, repr=False
    )  # MSH-10 of what had its AA; a repeat counts again
    unanswered: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    to_first_answer: list[float] = field(default_factory=list, repr=False)

    def run(self) -> dict[str, Any]:
        """The figures. `kept` is the verdict."""
        self.tell(f"seed {self.seed}")
        self._address = ("127.0.0.1", unlistened_port())
        self._numbers, self._stopping, self._lock = itertools.count(), threading.Event(), threading.Lock()
        self._answered_at: list[tuple[float, float]] = []
        started, load = time.monotonic(), os.getloadavg()[0]
        threads = [
            threading.Thread(target=self._send, args=(random.Random(f"{self.seed}/{n}"),)) for n in range(self.senders)
        ]
        for thread in threads:
            thread.start()
        try:
            self._kill_and_kill_again()
            with self._door():
                self._stopping.set()
                for thread in threads:
                    thread.join()
        finally:
            self._stopping.set()
        return self._figures() | {
            "seconds": round(time.monotonic() - started),
            "load_average": [round(load, 1), round(os.getloadavg()[0], 1)],
        }

    def _kill_and_kill_again(self) -> None:
        chance = random.Random(self.seed)
        for number in range(1, self.kills + 1):
            begun = time.monotonic()
            with self._door() as door:
                if chance.random() < 0.15:
                    time.sleep(chance.uniform(0.01, 1))  # while it starts
                else:
                    self._await_answer(begun, door)
                    time.sleep(chance.uniform(0, 0.3))
            with self._lock:
                firsts = [at for connected, at in self._answered_at if connected > begun]
                self._answered_at.clear()
            self.to_first_answer += [min(firsts) - begun] if firsts else []
            if number % 50 == 0:
                self.tell(f"{number} kills: {len(set(self.acknowledged))} orders acknowledged")

    def _await_answer(self, begun: float, door: "subprocess.Popen[bytes]") -> None:
        while door.poll() is None and time.monotonic() < begun + _GIVE_UP_SECONDS:
            with self._lock:
                if any(connected > begun for connected, _ in self._answered_at):
                    return
            time.sleep(_AGAIN_SECONDS)
        raise AssertionError(f"the door never answered; see {self.folder / 'door.log'}")

    def _door(self) -> "_Door":
        host, port = self._address
        settings = ("--set", f"mllp.host={host}", "--set", f"mllp.port={port}")
        return _Door(self.folder, settings)

    def _send(self, chance: random.Random) -> None:
        """One order after the other, each the same bytes until it has its AA; now and then one that has it already."""
        had: list[int] = []
        client, connected = self._connect()
        deadline = time.monotonic() + _GIVE_UP_SECONDS
        number = next(self._numbers)
        while not self._stopping.is_set() or (had and had[-1] != number and time.monotonic() < deadline):
            try:
                code = client.send(tiny_order(number)).code
            except NoAcknowledgement:
                with self._lock:
                    self.unanswered += 1
                client.close()
                time.sleep(_AGAIN_SECONDS)
                client, connected = self._connect()
                continue
            with self._lock:
                if code == "AA":
                    self.acknowledged.append(control_id(number))
                    self._answered_at.append((connected, time.monotonic()))
                else:
                    self.refused[code] += 1
            if code == "AA":
                had.append(number)
                deadline = time.monotonic() + _GIVE_UP_SECONDS
                if self._stopping.is_set():
                    break
                number = chance.choice(had) if chance.random() < 0.1 else next(self._numbers)
        client.close()

    def _connect(self) -> tuple[MllpClient, float]:
        return MllpClient(*self._address, _ANSWER_SECONDS), time.monotonic()

    def _figures(self) -> dict[str, Any]:
        journal = SqliteJournal(self.folder / "data" / "phi" / "journal.db", SystemClock())
        try:
            kept = Counter(m.entry.key.control_id for m in journal.messages(10**7) if m.entry.outcome.code in POSITIVE)
        finally:
            journal.close()
        acknowledged, firsts = set(self.acknowledged), self.to_first_answer
        lost = sorted(acknowledged - kept.keys())
        doubled = sorted(name for name, count in kept.items() if count > 1)
        return {
            "kept": not (lost or doubled or self.refused),
            "seed": self.seed,
            "kills": self.kills,
            "orders_acknowledged": len(acknowledged),
            "answers": len(self.acknowledged),
            "attempts_without_answer": self.unanswered,
            "other_answers": dict(self.refused),
            "lost": lost,
            "doubled": doubled,
            "seconds_to_first_answer": {
                "restarts": len(firsts),
                "median": round(statistics.median(firsts), 2) if firsts else None,
                "p99": round(sorted(firsts)[int(0.99 * len(firsts))], 2) if firsts else None,
                "max": round(max(firsts), 2) if firsts else None,
            },
            "cores": os.cpu_count(),
        }


class _Door:
    """`fhir-bridge listen`, killed at the end."""

    def __init__(self, folder: Path, settings: tuple[str, ...]) -> None:
        command = [sys.executable, "-m", "fhir_bridge", "listen", "--data-dir", str(folder / "data"), *settings]
        with (folder / "door.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log)

    def __enter__(self) -> "subprocess.Popen[bytes]":
        return self._process

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
