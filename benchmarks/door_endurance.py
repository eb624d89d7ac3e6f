"""Does the door's memory stay flat over many messages?

    python benchmarks/door_endurance.py [--messages 100000] [--connections 16] [--folder DIR]

Orders of a kilobyte go through `fhir-bridge listen`, in a closed loop on some connections. The resident memory of the process is
read after each twentieth of them: the growth from the second sample to the last, in bytes a message, is the figure, beside the
first half against the second. Half a thousand idle connections are open meanwhile. At the end the journal must hold every message.
Prints one JSON object; exit code 1 if a message is missing.
"""

import argparse
import contextlib
import json
import os
import selectors
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from mllp_acknowledgements import Address, Sender, percentile_ms

from fhir_bridge.adapters.sqlite_journal import SqliteJournal
from fhir_bridge.compose import SystemClock

SAMPLES = 20
IDLE = 500
OURS = ("--set", "mllp.port=0", "--set", "mllp.max_connections_per_peer=2000", "--set", "mllp.max_connections=2000")


def resident_mebibytes(pid: int) -> float:
    """VmRSS."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS:")).split()[1]) / 1024


def pump(address: Address, pid: int, messages: int, connections: int) -> tuple[list[float], list[float]]:
    """Memory in mebibytes at each sample, and latencies in seconds."""
    sizes, latencies, answered = [resident_mebibytes(pid)], [], 0
    senders = [Sender(address, f"E{number}") for number in range(connections)]
    with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
        for sender in senders:
            stack.enter_context(sender.socket)
            selector.register(sender.socket, selectors.EVENT_READ, sender)
            sender.send()
        begun = connections
        while answered < messages:
            for key, _ in selector.select(timeout=1):
                sender = key.data
                if not sender.read():
                    continue
                latencies.append(time.perf_counter() - sender.begun)
                answered += 1
                if answered % max(1, messages // SAMPLES) == 0:
                    sizes.append(resident_mebibytes(pid))
                if begun < messages:
                    begun += 1
                    sender.send()
    return sizes, latencies


def main() -> int:
    """Runs, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--folder", type=Path, help="where the data goes: a folder on the disk in question")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="door-", dir=arguments.folder) as temporary,
        contextlib.ExitStack() as stack,
    ):
        data = Path(temporary)
        command = [sys.executable, "-m", "fhir_bridge", "listen", "--data-dir", str(data), *OURS]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert process.stdout is not None
        try:
            host, _, port = process.stdout.readline().split("mllp=")[1].split()[0].rpartition(":")
            address = (host, int(port))
            for _ in range(IDLE):
                stack.enter_context(socket.create_connection(address))
            started = time.monotonic()
            sizes, latencies = pump(address, process.pid, arguments.messages, arguments.connections)
            seconds = time.monotonic() - started
        finally:
            stack.close()
            process.terminate()
            process.wait()
            process.stdout.close()
        figures = figures_of(arguments.messages, sizes, latencies, seconds) | {"kept": kept(data)}
    print(json.dumps(figures, indent=2))
    return 0 if figures["kept"] == arguments.messages else 1


def figures_of(messages: int, sizes: list[float], latencies: list[float], seconds: float) -> dict[str, Any]:
    """What is printed."""
    grown = (sizes[-1] - sizes[1]) * 2**20 / (messages * (len(sizes) - 2) / (len(sizes) - 1))
    half = len(latencies) // 2
    return {
        "messages": messages,
        "idle_connections": IDLE,
        "resident_mebibytes": [round(size, 1) for size in sizes],
        "growth_bytes_a_message": round(grown, 1),
        "per_second": round(messages / seconds),
        "p50_ms_of_the_first_and_the_second_half": [
            percentile_ms(latencies[:half], 0.5),
            percentile_ms(latencies[half:], 0.5),
        ],
        "load_average": round(os.getloadavg()[0], 1),
    }


def kept(data: Path) -> int:
    """How many messages the journal holds."""
    journal = SqliteJournal(data / "phi" / "journal.db", SystemClock())
    try:
        return sum(journal.counts().values())
    finally:
        journal.close()


if __name__ == "__main__":
    sys.exit(main())
