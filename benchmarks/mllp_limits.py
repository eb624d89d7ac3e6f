"""What the listener needs at its limits: 500 idle connections, a message of 50 MB, one that is too large, and memory that is full.

    python benchmarks/mllp_limits.py

The server is ours with an acceptor that says AA and keeps nothing, in a process of its own; its resident memory is read from /proc
before, during (the highest) and after each load. Prints one JSON object and ends with 1 where an answer is not the one expected or
memory grew by more than the limits allow: a message is held once, and all unfinished and unanswered ones under one limit.
"""

import argparse
import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from hl7_listener.acknowledgement import Outcome, parse_acknowledgement
from hl7_listener.framing import Decoder, Frame, frame
from hl7_listener.server import ListenerPolicy, MllpServer, Received

MEBIBYTE = 1024 * 1024
IDLE = 500
MESSAGE_MEBIBYTES = 50
LIMIT_MEBIBYTES = 64  # for one message
BUFFERED_MEBIBYTES = 128  # for all of them together
OVERSIZE_MEBIBYTES = 400
PARALLEL = 12  # unfinished messages of 40 MiB each: 480 MiB in all
SLACK_MEBIBYTES = 24  # the interpreter's own: growth of buffers by an eighth, heaps that are not given back
CHUNK = bytes(MEBIBYTE).replace(b"\0", b"A")
ANSWER_SECONDS = 120.0

Address = tuple[str, int]


def serve() -> None:
    """The process that is measured."""

    def accept(received: Received) -> "Future[Outcome]":
        future: Future[Outcome] = Future()
        future.set_result(Outcome("AR", 207, text="too large") if received.oversize else Outcome("AA"))
        return future

    policy = ListenerPolicy(
        "limits",
        port=0,
        max_message_mebibytes=LIMIT_MEBIBYTES,
        max_buffered_mebibytes=BUFFERED_MEBIBYTES,
        max_connections=2 * IDLE,
        max_connections_per_peer=2 * IDLE,
    )
    host, port = MllpServer(policy, accept).start()
    print(f"{host}:{port}", flush=True)
    threading.Event().wait()


class Server:
    """The other process and its memory."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        host, port = process.stdout.readline().strip().rsplit(":", 1)
        self.address: Address = (host, int(port))
        self._proc = Path(f"/proc/{process.pid}")

    def resident_mebibytes(self, which: str = "VmRSS") -> float:
        """Resident memory now, or the highest since the last `forget_peak` (VmHWM)."""
        line = next(line for line in (self._proc / "status").read_text().splitlines() if line.startswith(which))
        return round(int(line.split()[1]) / 1024, 1)

    def forget_peak(self) -> None:
        """Let VmHWM begin again."""
        (self._proc / "clear_refs").write_text("5")


@contextlib.contextmanager
def running() -> Iterator[Server]:
    """The server process, ended at the end."""
    process = subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True)
    try:
        yield Server(process)
    finally:
        process.terminate()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


class Sender:
    """One connection."""

    def __init__(self, address: Address) -> None:
        self.socket = socket.create_connection(address, ANSWER_SECONDS)
        self._decoder = Decoder(MEBIBYTE)

    def begin(self, control_id: str) -> None:
        """The start of a message with one long OBX-5."""
        head = (
            f"MSH|^~\\&|LAB|BENCH|||20260302093000||ORU^R01^ORU_R01|{control_id}|P|2.5.1\rPID|1||CANARY-{control_id}\r"
        )
        self.socket.sendall(b"\x0b" + head.encode() + b"OBX|1|ED|PDF||^application^pdf^Base64^")

    def go_on(self, mebibytes: int) -> None:
        """More of it."""
        for _ in range(mebibytes):
            self.socket.sendall(CHUNK)

    def end(self) -> tuple[str, str]:
        """The end of the message; MSA-1 and MSA-2 of its answer."""
        self.socket.sendall(b"\r\x1c\r")
        return self.answer()

    def answer(self) -> tuple[str, str]:
        """MSA-1 and MSA-2 of the next answer."""
        while True:
            data = self.socket.recv(65536)
            if not data:
                return "closed", ""
            for event in self._decoder.feed(data):
                if isinstance(event, Frame):
                    found = parse_acknowledgement(event.payload)
                    return found.code, found.control_id.decode()

    def order(self, control_id: str) -> tuple[str, str]:
        """A small order and its answer."""
        self.socket.sendall(frame(f"MSH|^~\\&|RIS||||2026||ORM^O01|{control_id}|P|2.5\rORC|NW|P1\r".encode()))
        return self.answer()


def idle_connections(server: Server, stack: contextlib.ExitStack) -> dict[str, Any]:
    """Many senders that say nothing; a message beside them; then one from each."""
    senders = [Sender(server.address) for _ in range(IDLE)]
    for sender in senders:
        stack.enter_context(sender.socket)
    first = senders[0].order("0")
    begun = time.perf_counter()
    beside = [senders[0].order(str(number))[0] for number in range(200)]
    each_ms = 1000 * (time.perf_counter() - begun) / len(beside)
    answers = [sender.order(str(number)) for number, sender in enumerate(senders)]
    right = first == ("AA", "0") and answers == [("AA", str(number)) for number in range(IDLE)]
    return {"connections": IDLE, "answered": right and set(beside) == {"AA"}, "ms_beside_them": round(each_ms, 3)}


def large_message(server: Server, stack: contextlib.ExitStack) -> dict[str, Any]:
    """One message of 50 MB."""
    return one_message(server, stack, MESSAGE_MEBIBYTES, "AA")


def oversize_message(server: Server, stack: contextlib.ExitStack) -> dict[str, Any]:
    """One message far beyond the limit: refused by name."""
    return one_message(server, stack, OVERSIZE_MEBIBYTES, "AR")


def one_message(server: Server, stack: contextlib.ExitStack, mebibytes: int, code: str) -> dict[str, Any]:
    """A message of this size, and how long its answer took."""
    sender = Sender(server.address)
    stack.enter_context(sender.socket)
    begun = time.perf_counter()
    sender.begin("LARGE")
    sender.go_on(mebibytes)
    answer = sender.end()
    return {
        "mebibytes": mebibytes,
        "answered": answer == (code, "LARGE"),
        "seconds": round(time.perf_counter() - begun, 2),
    }


def full_memory(server: Server, stack: contextlib.ExitStack) -> dict[str, Any]:
    """More unfinished messages than memory: some are refused, each by name, and none is left without an answer."""
    senders = [Sender(server.address) for _ in range(PARALLEL)]
    for number, sender in enumerate(senders):
        stack.enter_context(sender.socket)
        sender.begin(str(number))
    for _ in range(8):
        for sender in senders:
            sender.go_on(5)
    answers = [sender.end() for sender in senders]
    ids = [control_id for _, control_id in answers]
    codes = sorted({code for code, _ in answers})
    right = ids == [str(number) for number in range(PARALLEL)] and codes == ["AA", "AR"]
    return {"messages": PARALLEL, "answered": right, "taken": sum(code == "AA" for code, _ in answers)}


LOADS = {  # and by how much memory may grow
    idle_connections: 10,
    large_message: MESSAGE_MEBIBYTES + SLACK_MEBIBYTES,
    oversize_message: LIMIT_MEBIBYTES + SLACK_MEBIBYTES,
    full_memory: BUFFERED_MEBIBYTES + SLACK_MEBIBYTES,
}


def main() -> None:
    """Run the loads one after the other against one server."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    if parser.parse_args().serve:
        serve()
    found: dict[str, Any] = {}
    with running() as server:
        for load, may_grow in LOADS.items():
            server.forget_peak()
            before = server.resident_mebibytes()
            with contextlib.ExitStack() as stack:
                result = load(server, stack)
            peak = server.resident_mebibytes("VmHWM")
            result |= {"mebibytes_before": before, "mebibytes_at_most": peak, "bounded": peak - before <= may_grow}
            found[load.__name__] = result | {"mebibytes_after": server.resident_mebibytes()}
    print(json.dumps(found, indent=2))
    if not all(result["answered"] and result["bounded"] for result in found.values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
