"""Durable acknowledgements a second, against the disk's own limit and against the same server with storage off.

    python benchmarks/mllp_acknowledgements.py [--subject storage-off --subject serve] [--seconds 3] [--rounds 3]

Subjects: `storage-off` is our listener with an acceptor that says AA and keeps nothing; `serve` the product, whose jobs are worked on
meanwhile; `listen` its door alone; `hl7apy` and `hl7` other servers, which keep nothing either (benchmarks/mllp_peers.py; `hl7` is
installed into .work/ for it).

A closed loop: each connection sends one order, waits for AA with its own control ID, sends the next. In every round the floor (one
fdatasync after each kilobyte appended, on the disk of the data folder) is measured beside the subjects, because disks change their
mind from one minute to the next: compare ratios, not rates. Prints one JSON object.

The goal, per round: the smaller of k times the floor (k = 0.5, 6, 15 at 1, 16, 64 connections) and half of storage off; and the
slowest hundredth of the answers within 5 x (fdatasync p99 + 2 ms).
"""

import argparse
import contextlib
import json
import os
import re
import selectors
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import venv
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hl7_listener.acknowledgement import Outcome
from hl7_listener.framing import frame
from hl7_listener.server import ListenerPolicy, MllpServer, Received

ROOT = Path(__file__).resolve().parent.parent
PEERS = Path(__file__).with_name("mllp_peers.py")
FLOOR_FACTORS = {1: 0.5, 16: 6.0, 64: 15.0}
ORDER_BYTES = 1024
FLOOR_SECONDS = 2.0
START_SECONDS = 60.0
STOP_SECONDS = 20.0

Address = tuple[str, int]
Subject = Callable[[Path], AbstractContextManager[Address]]


def storage_off(data: Path) -> AbstractContextManager[Address]:
    """Our server with an acceptor that says AA and keeps nothing."""
    return server_process([sys.executable, __file__, "--accept-all"], data)


def serve(data: Path) -> AbstractContextManager[Address]:
    """The product as it is run."""
    executable = Path(sys.executable).with_name("fhir-bridge")
    settings = ["--set", "mllp.port=0", "--set", "http.port=0"]
    return server_process([str(executable), "serve", "--data-dir", str(data), *settings], data)


def listen(data: Path) -> AbstractContextManager[Address]:
    """The door alone."""
    executable = Path(sys.executable).with_name("fhir-bridge")
    return server_process([str(executable), "listen", "--data-dir", str(data), "--set", "mllp.port=0"], data)


def hl7apy(data: Path) -> AbstractContextManager[Address]:
    """hl7apy's MLLPServer."""
    return server_process([sys.executable, str(PEERS), "hl7apy"], data)


def hl7(data: Path) -> AbstractContextManager[Address]:
    """python-hl7's asyncio server, under an interpreter of its own."""
    return server_process([str(hl7_python()), str(PEERS), "hl7"], data)


def hl7_python() -> Path:
    """An interpreter with python-hl7, made once."""
    folder = ROOT / ".work" / "python-hl7"
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "hl7==0.4.5"], check=True)
    return python


SUBJECTS: dict[str, Subject] = {
    "storage-off": storage_off,
    "serve": serve,
    "listen": listen,
    "hl7apy": hl7apy,
    "hl7": hl7,
}
ONE_MESSAGE_A_CONNECTION = {"hl7apy"}


@contextlib.contextmanager
def server_process(command: list[str], data: Path) -> Iterator[Address]:
    """Start a server, read its ready line, give its address, stop it."""
    with (data / "server.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert process.stdout is not None
        watchdog = threading.Timer(START_SECONDS, process.kill)
        watchdog.start()
        try:
            ready = next((line for line in process.stdout if line.startswith("ready ")), "")
            watchdog.cancel()
            found = re.search(r"mllp=(\S+):(\d+)", ready)
            if found is None:
                raise SystemExit(
                    f"{command[0]} did not become ready; see its log: {(data / 'server.log').read_text()[-2000:]}"
                )
            yield found[1], int(found[2])
        finally:
            watchdog.cancel()
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()


def accept_all() -> None:
    """The process behind `storage_off`."""

    def accept(_received: Received) -> Future[Outcome]:
        future: Future[Outcome] = Future()
        future.set_result(Outcome("AA"))
        return future

    host, port = MllpServer(ListenerPolicy("bench", port=0), accept).start()
    print(f"ready mllp={host}:{port}", flush=True)
    threading.Event().wait()


def order(number: int, run: str) -> tuple[bytes, bytes]:
    """A new order of about a kilobyte, and the MSA that must come back."""
    key = f"{run}-{number}"
    text = "\r".join(
        (
            f"MSH|^~\\&|RIS|BENCH|BRIDGE|AI|20260302093000||ORM^O01^ORM_O01|{key}|P|2.3.1",
            f"PID|1||CANARY-{key}^^^HOSP^MR||CANARY^ZEBRA||20210504|F",
            f"ORC|NW|P{key}^RIS|F{key}^RIS||SC||^^^20260302100000^^S",
            f"OBR|1|P{key}^RIS|F{key}^RIS|XCH2^Chest, 2 views^LOCAL|S|||||||||||||A{key}|RP{key}|SPS{key}||||DX",
            "NTE|1||",
        )
    )
    padded = text + "x" * (ORDER_BYTES - len(text) - 1) + "\r"
    return frame(padded.encode()), f"\rMSA|AA|{key}\r".encode()


@dataclass(slots=True)
class Load:
    """What one closed loop saw. Latencies in seconds."""

    seconds: float
    latencies: list[float] = field(default_factory=list)

    def as_json(self, floor: "Load") -> dict[str, Any]:
        """Rate, latencies in milliseconds, ratios to the floor."""
        limit_ms = 5 * (percentile_ms(floor.latencies, 0.99) + 2)
        p99_ms = percentile_ms(self.latencies, 0.99)
        return {
            "per_second": round(self.per_second, 1),
            "p50_ms": percentile_ms(self.latencies, 0.5),
            "p99_ms": p99_ms,
            "to_floor": round(self.per_second / floor.per_second, 2),
            "p99_within_goal": p99_ms <= limit_ms,
        }

    @property
    def per_second(self) -> float:
        return len(self.latencies) / self.seconds


def percentile_ms(latencies: list[float], share: float) -> float:
    """A percentile in milliseconds."""
    return round(1000 * sorted(latencies)[min(len(latencies) - 1, int(share * len(latencies)))], 3)


def floor(folder: Path) -> Load:
    """One fdatasync after each kilobyte appended: what the disk itself allows to one writer."""
    path = folder / "floor"
    load = Load(FLOOR_SECONDS)
    with path.open("wb", buffering=0) as file:
        end = time.perf_counter() + FLOOR_SECONDS
        while (begun := time.perf_counter()) < end:
            file.write(bytes(ORDER_BYTES))
            os.fdatasync(file.fileno())
            load.latencies.append(time.perf_counter() - begun)
    path.unlink()
    return load


class Sender:
    """One order in flight, on one connection; on a new one each time where the server `closes`."""

    def __init__(self, address: Address, run: str, *, closes: bool = False) -> None:
        self._address = address
        self._run = run
        self._closes = closes
        self._connect()
        self._number = 0
        self._answer = b""
        self.begun = 0.0

    def send(self) -> None:
        """The next order."""
        if self._closes and self._number:
            self.socket.close()
            self._connect()
        self._number += 1
        data, self._expected = order(self._number, self._run)
        self._answer = b""
        self.begun = time.perf_counter()
        self.socket.sendall(data)

    def _connect(self) -> None:
        self.socket = socket.create_connection(self._address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def read(self) -> bool:
        """Whether the answer is complete. Stops the benchmark where it is not AA to this very order."""
        data = self.socket.recv(65536)
        self._answer += data
        if data and not self._answer.endswith(b"\x1c\r"):
            return False
        if self._expected not in self._answer:
            raise SystemExit("an order was not answered with AA and its own control ID")
        return True


def closed_loop(address: Address, connections: int, seconds: float, run: str, *, closes: bool = False) -> Load:
    """All connections at once, each with one order in flight. The clock starts when each has had its first answer."""
    load = Load(seconds)
    with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
        cold = {Sender(address, f"{run}-{number}", closes=closes) for number in range(connections)}
        for sender in cold:
            stack.callback(lambda one: one.socket.close(), sender)
            selector.register(sender.socket, selectors.EVENT_READ, sender)
            sender.send()
        end = time.perf_counter() + START_SECONDS
        while time.perf_counter() < end:
            for key, _ in selector.select(timeout=0.1):
                sender = key.data
                if not sender.read():
                    continue
                if cold:
                    cold.discard(sender)
                    end = end if cold else time.perf_counter() + seconds
                else:
                    load.latencies.append(time.perf_counter() - sender.begun)
                if closes:
                    selector.unregister(sender.socket)
                sender.send()
                if closes:
                    selector.register(sender.socket, selectors.EVENT_READ, sender)
    if cold or not load.latencies:
        raise SystemExit("some connection was never answered")
    return load


def one_round(arguments: argparse.Namespace, number: int) -> dict[str, Any]:
    """The floor, then every subject at every number of connections."""
    found: dict[str, Any] = {}
    for connections in arguments.connections:
        loads: dict[str, Load] = {}
        folder = Path(tempfile.mkdtemp(prefix="mllp-bench-", dir=arguments.folder))
        try:
            limit = floor(folder)
            for name in arguments.subject:
                data = folder / name
                data.mkdir()
                with SUBJECTS[name](data) as address:
                    run, closes = f"R{number}C{connections}", name in ONE_MESSAGE_A_CONNECTION
                    loads[name] = closed_loop(address, connections, arguments.seconds, run, closes=closes)
        finally:
            shutil.rmtree(folder)
        found[str(connections)] = {
            "floor": {"per_second": round(limit.per_second, 1), "p99_ms": percentile_ms(limit.latencies, 0.99)},
            **{name: load.as_json(limit) for name, load in loads.items()},
            **goal(loads, limit, connections),
        }
    return found


def goal(loads: dict[str, Load], limit: Load, connections: int) -> dict[str, Any]:
    """How the product stands to its goal; nothing where it was not run beside storage off."""
    if not {"storage-off", "serve"} <= loads.keys() or connections not in FLOOR_FACTORS:
        return {}
    serve, off = loads["serve"].per_second, loads["storage-off"].per_second
    wanted = min(FLOOR_FACTORS[connections] * limit.per_second, 0.5 * off)
    return {"to_goal": round(serve / wanted, 2), "to_storage_off": round(serve / off, 2)}


def medians(rounds: list[dict[str, Any]], subjects: list[str]) -> dict[str, Any]:
    """The median ratio to the floor, and to the goal, over the rounds."""
    summary: dict[str, Any] = {}
    for connections in rounds[0]:
        at = [found[connections] for found in rounds]
        summary[connections] = {name: statistics.median(one[name]["to_floor"] for one in at) for name in subjects}
        if all("to_goal" in one for one in at):
            summary[connections]["serve_to_goal"] = statistics.median(one["to_goal"] for one in at)
            summary[connections]["serve_to_storage_off"] = statistics.median(one["to_storage_off"] for one in at)
    return summary


def main() -> None:
    """Read the arguments, run the rounds, print the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subject", action="append", choices=sorted(SUBJECTS))
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the data goes: a folder on the disk in question")
    parser.add_argument("--accept-all", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.accept_all:
        accept_all()
    arguments.subject = arguments.subject or ["storage-off", "serve"]
    rounds = [one_round(arguments, number) for number in range(arguments.rounds)]
    print(json.dumps({"median_to_floor": medians(rounds, arguments.subject), "rounds": rounds}, indent=2))


if __name__ == "__main__":
    main()
