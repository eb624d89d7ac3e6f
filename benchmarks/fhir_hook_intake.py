"""Durable FHIR notifications a second, against the same endpoint with storage off.

    python benchmarks/fhir_hook_intake.py [--seconds 3] [--rounds 5] [--connections 1 16] [--profile]

Two processes run the web role as `serve` does: `durable` commits each call to SQLite before the 204 (one commit for all that wait),
`storage-off` does all the rest and keeps nothing. A closed loop: each connection sends one update of an order as HAPI sends it, waits
for the 204, sends the next; each is of another order. In every round both are measured at every number of connections, in turns: the
figure is the ratio, not the rate. The disk's own limit (one fdatasync after each kilobyte appended) stands beside it. Prints one JSON
object. `--profile` prints where the durable process spent its processor time instead.

The goal, as the median of the rounds: at least half of storage off at 16 connections.
"""

import argparse
import contextlib
import cProfile
import json
import os
import pstats
import re
import selectors
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SUBJECTS = ("storage-off", "durable")
GOAL = 0.5
SECRET = "bench"
START_SECONDS = 60.0
STOP_SECONDS = 20.0
FLOOR_SECONDS = 1.0

Address = tuple[str, int]


def serve(subject: str, data: Path, *, profile: bool) -> None:
    """The process of one subject: ready line, then until SIGTERM."""
    from fhir_bridge import log
    from fhir_bridge.adapters.door_process import DoorProcess
    from fhir_bridge.adapters.group_commit import GroupCommit
    from fhir_bridge.cli.stopping import SWITCH_SECONDS
    from fhir_bridge.compose import Parts
    from fhir_bridge.hook_intake import HookCall
    from fhir_bridge.roles.web import Web
    from fhir_bridge.server import of_the_door
    from fhir_bridge.settings import Settings

    class KeepsNothing(Web):
        def _receive(self, call: HookCall) -> None:
            pass

    log.configure()
    sys.setswitchinterval(SWITCH_SECONDS)
    settings = Settings.model_validate({"data_dir": data, "http": {"port": 0, "hook_token": SECRET}})
    parts = Parts(settings)
    writer = GroupCommit(parts.store, lambda: None)
    door = DoorProcess(of_the_door(settings), lambda: None, lambda _numbers: {})  # never started: the pages want one
    web = (Web if subject == "durable" else KeepsNothing)(parts, writer, door)
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    profiler = cProfile.Profile() if profile else None
    if profiler is not None:
        threading.setprofile(lambda *_: profiler.enable())  # type: ignore[union-attr] # each thread, from its first call on
    writer.start()
    host, port = web.start()
    print(f"ready http={host}:{port}", flush=True)
    over.wait()
    web.drain(STOP_SECONDS)
    writer.stop()
    parts.close()
    if profiler is not None:
        pstats.Stats(profiler, stream=sys.stderr).sort_stats("tottime").print_stats(45)


@contextlib.contextmanager
def server_process(subject: str, data: Path, *, profile: bool = False) -> Iterator[Address]:
    """Start it, read its ready line, give its address, stop it."""
    command = [sys.executable, __file__, "--serve", subject, "--data", str(data), *(["--profile"] if profile else [])]
    with (data / "server.log").open("wb") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=None if profile else errors, text=True)
        assert process.stdout is not None
        watchdog = threading.Timer(START_SECONDS, process.kill)
        watchdog.start()
        try:
            ready = re.search(r"http=(\S+):(\d+)", process.stdout.readline())
            watchdog.cancel()
            if ready is None:
                raise SystemExit(f"{subject} did not start; its log: {(data / 'server.log').read_text()[-2000:]}")
            yield ready[1], int(ready[2])
        finally:
            watchdog.cancel()
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()


def notification(number: str) -> bytes:
    """A new order as HAPI 8.8 tells it (tests/data/fhir/hapi)."""
    from fhir_bridge.hook_token import token_for

    order = {
        "resourceType": "ServiceRequest",
        "id": number,
        "meta": {"versionId": "1", "lastUpdated": "2026-11-25T08:49:54.760+00:00", "source": "#bhN70Da6tQm1sD4f"},
        "identifier": [
            {
                "type": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "ACSN"}]},
                "system": "urn:test:accession",
                "value": "A1",
            }
        ],
        "status": "active",
        "intent": "order",
        "code": {"coding": [{"system": "http://loinc.org", "code": "36643-5"}]},
        "subject": {"reference": "Patient/1000"},
    }
    body = json.dumps(order, separators=(",", ":")).encode()
    head = (
        f"PUT /hooks/fhir/orders/ServiceRequest/{number} HTTP/1.1\r\n"
        'If-Match: W/"1"\r\n'
        "User-Agent: HAPI-FHIR/8.8.0 (FHIR Client; FHIR 4.0.1/R4; apache)\r\n"
        "Accept-Encoding: gzip\r\n"
        "Accept: application/fhir+json;q=1.0, application/json+fhir;q=0.9\r\n"
        "Content-Type: application/fhir+json; charset=UTF-8\r\n"
        f"Authorization: Bearer {token_for(SECRET, 'orders')}\r\n"
        f"Content-Length: {len(body)}\r\n"
        "Host: 127.0.0.1\r\n"
        "Connection: Keep-Alive\r\n\r\n"
    )
    return head.encode() + body


@dataclass(slots=True)
class Load:
    """What one closed loop saw. Latencies in seconds."""

    seconds: float
    latencies: list[float] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        return len(self.latencies) / self.seconds

    def as_json(self) -> dict[str, float]:
        ordered = sorted(self.latencies)
        return {
            "per_second": round(self.per_second, 1),
            "p50_ms": round(1000 * ordered[len(ordered) // 2], 2),
            "p99_ms": round(1000 * ordered[int(0.99 * len(ordered))], 2),
        }


class Sender:
    """One call in flight on one connection."""

    def __init__(self, address: Address, run: str) -> None:
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._run = run
        self._number = 0
        self.begun = 0.0

    def send(self) -> None:
        """The next order."""
        self._number += 1
        call = notification(f"{self._run}-{self._number}")
        self.begun = time.perf_counter()
        self.socket.sendall(call)

    def read(self) -> None:
        """The answer, which is small. Stops the benchmark where it is not 204."""
        answer = self.socket.recv(65536)
        if not (answer.startswith(b"HTTP/1.1 204 ") and answer.endswith(b"\r\n\r\n")):
            raise SystemExit(f"a call was not answered 204: {answer[:60]!r}")


def closed_loop(address: Address, connections: int, seconds: float, run: str) -> Load:
    """All connections at once. The first tenth of the time warms up."""
    load = Load(seconds)
    with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
        for number in range(connections):
            sender = Sender(address, f"{run}-{number}")
            stack.callback(sender.socket.close)
            selector.register(sender.socket, selectors.EVENT_READ, sender)
            sender.send()
        begin = time.perf_counter() + seconds / 10
        while (now := time.perf_counter()) < begin + seconds:
            for key, _ in selector.select(timeout=0.1):
                sender = key.data
                sender.read()
                if now >= begin:
                    load.latencies.append(time.perf_counter() - sender.begun)
                sender.send()
    return load


def syncs_per_second(folder: Path) -> float:
    """One fdatasync after each kilobyte appended: what the disk allows to one writer."""
    path, count, end = folder / "floor", 0, time.perf_counter() + FLOOR_SECONDS
    with path.open("wb", buffering=0) as file:
        while time.perf_counter() < end:
            file.write(bytes(1024))
            os.fdatasync(file.fileno())
            count += 1
    path.unlink()
    return count / FLOOR_SECONDS


def one_round(
    addresses: dict[str, Address], arguments: argparse.Namespace, number: int, folder: Path
) -> dict[str, Any]:
    """Both subjects at every number of connections; who is first changes with the round."""
    found: dict[str, Any] = {"syncs_per_second": round(syncs_per_second(folder))}
    for connections in arguments.connections:
        loads = {
            subject: closed_loop(addresses[subject], connections, arguments.seconds, f"R{number}C{connections}")
            for subject in (SUBJECTS if number % 2 else SUBJECTS[::-1])
        }
        ratio = loads["durable"].per_second / loads["storage-off"].per_second
        found[str(connections)] = {name: load.as_json() for name, load in loads.items()} | {"ratio": round(ratio, 3)}
    return found


def main() -> None:
    """Read the arguments, run the rounds, print the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where the data goes: a folder on the disk in question")
    parser.add_argument(
        "--profile", action="store_true", help="where the durable process spends its time, at 16 connections"
    )
    parser.add_argument("--serve", choices=SUBJECTS, help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve, arguments.data, profile=arguments.profile)
        return
    with (
        tempfile.TemporaryDirectory(prefix="hook-bench-", dir=arguments.folder) as name,
        contextlib.ExitStack() as stack,
    ):
        folder = Path(name)
        if arguments.profile:
            address = stack.enter_context(server_process("durable", folder, profile=True))
            print(json.dumps(closed_loop(address, 16, arguments.seconds, "P").as_json()))
            return
        addresses: dict[str, Address] = {}
        for subject in SUBJECTS:
            (folder / subject).mkdir()
            addresses[subject] = stack.enter_context(server_process(subject, folder / subject))
        rounds = [one_round(addresses, arguments, number, folder) for number in range(arguments.rounds)]
    ratios = {str(n): [one[str(n)]["ratio"] for one in rounds] for n in arguments.connections}
    summary = {n: {"median": statistics.median(all_), "from": min(all_), "to": max(all_)} for n, all_ in ratios.items()}
    goal = {"goal_met": summary["16"]["median"] >= GOAL} if "16" in summary else {}
    print(json.dumps({"ratio_to_storage_off": summary, **goal, "rounds": rounds}, indent=2))


if __name__ == "__main__":
    main()
