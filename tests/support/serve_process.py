"""A running `fhir-bridge serve` as tests treat it: traced, limited, frozen, asked to end, killed without warning; its door, too."""

import os
import random
import signal
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from fhir_bridge.adapters.sqlite_journal import SqliteJournal
from fhir_bridge.compose import SystemClock
from fhir_bridge.practice.bridge_process import BridgeProcess
from tests.support.processes import child_of, until

_EXIT_SECONDS = 30.0
_UNLISTENED_PORTS = range(20_000, 32_000)  # below the ports that outgoing connections are given


class ServeProcess(BridgeProcess):
    """`prefix` is a program to run it under. Its model process belongs to the same process group."""

    def __init__(self, data_dir: Path, settings: Mapping[str, str], prefix: Sequence[str] = ()) -> None:
        self._prefix = prefix
        self.data_dir = data_dir
        super().__init__(data_dir, {"mllp.port": "0", "http.port": "0"} | dict(settings))

    def _command(self, *words: str) -> list[str]:
        return [*(self._prefix if words[0] == "serve" else ()), *super()._command(*words)]

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def door_pid(self) -> int:
        """The process that listens."""
        return until(lambda: child_of(self.pid, "--supervised"), "the door's process")

    def kept_control_ids(self) -> list[str]:
        """MSH-10 of every message in the journal that was answered AA."""
        journal = SqliteJournal(self.data_dir / "phi" / "journal.db", SystemClock())
        try:
            return [m.entry.key.control_id for m in journal.messages(10**6) if m.entry.outcome.code == "AA"]
        finally:
            journal.close()

    def is_ready_within(self, seconds: float) -> bool:
        """False where it was not ready by then; True also where it ended."""
        return self._ready.wait(seconds)

    def signal(self, number: signal.Signals) -> None:
        """To the server itself."""
        self._process.send_signal(number)

    def freeze(self) -> None:
        """Nothing of it runs until `thaw`."""
        os.killpg(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.killpg(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL to the server and its model process at once, as a power cut would."""
        os.killpg(self.pid, signal.SIGKILL)
        self._process.wait(_EXIT_SECONDS)

    def exit_code(self, seconds: float = _EXIT_SECONDS) -> int:
        """Once it has ended. Raises subprocess.TimeoutExpired."""
        return self._process.wait(seconds)


def unlistened_port() -> int:
    """A port that stays free while a server that is killed again and again does not listen on it.

    A port of the ephemeral range would not do: a sender that tries to connect may be given it as its own end, and then speaks to itself.
    """
    for port in random.sample(_UNLISTENED_PORTS, len(_UNLISTENED_PORTS)):  # two runs at once must not choose the same
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no free port")
