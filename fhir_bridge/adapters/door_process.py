"""The door as a child of `serve`: started, watched, started again, told of effects, drained.

One thread owns the process: it starts it and reads its lines, so that the child, which dies with the thread that started it, lives
as long as this adapter. Another writes to it. A child that is frozen holds up nobody but these two.
"""

import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import IO

from fhir_bridge import log
from fhir_bridge.adapters.door_lines import Address, Line, outcome_as_json, read_line, write_line
from fhir_bridge.errors import Refused, Unavailable, attempt
from fhir_bridge.journal import Effect
from hl7_listener.traffic import Statistics

_READY_SECONDS = 30.0
_END_SECONDS = 5.0  # from its last word to its end
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.1, 10.0
_LONG_LIFE_SECONDS = 30.0  # a door that lived so long is started again at once
_MAX_UNSENT = 10_000  # lines for a child that does not read: its senders are answered without them, later

EffectsOf = Callable[[Sequence[int]], Mapping[int, Effect]]


class DoorProcess:
    """`settings`: the tables that the door needs. `on_commit`: there may be something for intake.

    `effects_of` looks up what became of messages, for senders that repeat one. `command` is the program, for tests.
    """

    def __init__(
        self,
        settings: Line,
        on_commit: Callable[[], None],
        effects_of: EffectsOf,
        command: Sequence[str] = (sys.executable, "-m", "fhir_bridge", "listen", "--supervised"),
    ) -> None:
        self._settings = settings
        self._on_commit = on_commit
        self._effects_of = effects_of
        self._command = command
        self._ready = threading.Event()  # set once, at the end of the first start, for good or bad
        self._stopping = threading.Event()
        self._owner = threading.Thread(target=self._own, name="door", daemon=True)
        self._lock = threading.Lock()
        self._lines: queue.SimpleQueue[Line | None] = queue.SimpleQueue()
        self._waits: set[int] = set()
        self._process: subprocess.Popen[bytes] | None = None
        self._addresses: dict[str, Address] = {}
        self._failure: Refused | None = None
        self.is_up = False
        self.can_write = True
        self.traffic: Mapping[str, Statistics] = {}

    @property
    def pid(self) -> int | None:
        """The process id, while there is a process."""
        process = self._process
        return process.pid if process and process.poll() is None else None

    def start(self) -> None:
        """Start the process and come back at once."""
        self._owner.start()

    def wait_until_ready(self) -> dict[str, Address]:
        """The addresses of the listeners by their names. Raises Refused as the door said it, Unavailable `mllp.door-not-ready`."""
        in_time = self._ready.wait(_READY_SECONDS)
        if self._failure is not None:
            raise self._failure
        if not in_time or not self._addresses:
            raise Unavailable("mllp.door-not-ready", "listen", "the listening process did not become ready")
        return self._addresses

    def tell(self, effects: Sequence[Effect]) -> None:
        """What became of messages; whose sender waits is answered."""
        if not self._waits:
            return
        for effect in effects:
            with self._lock:
                awaited = effect.message in self._waits
                self._waits.discard(effect.message)
            if awaited:
                self._send({"effect": effect.message, "outcome": outcome_as_json(effect.outcome)})

    def drain(self, seconds: float) -> None:
        """No new connections; what was read is answered; then the process ends, or is ended."""
        self._stopping.set()
        self._send({"drain": seconds})
        if self._owner.is_alive():
            self._owner.join(seconds)
        process = self._process
        if process is not None and process.poll() is None:
            process.kill()
        if self._owner.is_alive():
            self._owner.join(_END_SECONDS)

    def look_up(self, messages: Sequence[int] | None = None) -> None:
        """Answer those who wait for an effect that is there already: for all of them where no messages are named."""
        with self._lock:
            awaited = tuple(self._waits if messages is None else messages)
        if awaited:
            self.tell(tuple((attempt(lambda: self._effects_of(awaited)).value or {}).values()))

    def _send(self, line: Line) -> None:
        if self._lines.qsize() < _MAX_UNSENT:
            self._lines.put(line)

    def _own(self) -> None:
        """A door that never became ready is not started again: whoever waits for it is told."""
        pause = _FIRST_PAUSE_SECONDS
        while not self._stopping.is_set():
            begun = time.monotonic()
            lived = attempt(self._one_life)
            self.is_up = False
            if not self._addresses or self._stopping.is_set():
                break
            error = lived.error
            log.event("mllp.door-ended", status=lived.value, code=error.code if error else "",
                      error_id=error.error_id if error else "", frames=error.frames if error else ())  # fmt: skip
            if time.monotonic() - begun > _LONG_LIFE_SECONDS:
                pause = _FIRST_PAUSE_SECONDS
            self._stopping.wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        self._ready.set()

    def _one_life(self) -> int:
        """Start the process, hear what it says until it ends; its exit code."""
        lines: queue.SimpleQueue[Line | None] = queue.SimpleQueue()
        lines.put({"settings": self._settings})  # the first line, whatever others say from now on
        with self._lock:
            self._waits.clear()
            self._lines = lines
        if self._stopping.is_set():
            return 0  # the word to drain went to the life before
        process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603 - our own program, no shell
        self._process = process
        assert process.stdin is not None  # noqa: S101 - asked for above
        assert process.stdout is not None  # noqa: S101
        writer = threading.Thread(target=_write_all, args=(process.stdin, lines), name="door-lines", daemon=True)
        writer.start()
        try:
            for text in process.stdout:
                self._hear(read_line(text))
            with suppress(subprocess.TimeoutExpired):
                process.wait(_END_SECONDS)
        finally:
            process.kill()  # one that cannot be understood, or does not end; else harmless
            lines.put(None)
            writer.join()
            process.wait()
            process.stdout.close()
        return process.returncode

    def _hear(self, line: Line) -> None:
        if "committed" in line:
            waits = line["waits"]
            with self._lock:
                self._waits.update(waits)
            self._on_commit()
            self.look_up(waits)
        elif "traffic" in line:
            self.traffic, self.can_write = line["traffic"], line["journal"]
        elif "ready" in line:
            self._is_ready({name: (host, port) for name, (host, port) in line["ready"].items()})
        elif "failed" in line:
            code, where, explanation = line["failed"]
            self._failure = Refused(code, where, explanation)
            log.event("mllp.door-failed", code=code, where=where)

    def _is_ready(self, addresses: dict[str, Address]) -> None:
        """The next life listens where this one does, also where a free port was asked for."""
        self._addresses = addresses
        self.is_up, self._failure = True, None
        for name, (_, port) in addresses.items():
            tables = self._settings if name == "mllp" else self._settings.setdefault("listeners", {})
            tables.setdefault(name, {})["port"] = port
        log.event("server.listening", mllp=" ".join(f"{host}:{port}" for host, port in addresses.values()))
        self._ready.set()


def _write_all(stream: IO[bytes], lines: "queue.SimpleQueue[Line | None]") -> None:
    """Until there is nothing more, or nobody reads any more."""
    with suppress(OSError):
        while (line := lines.get()) is not None:
            write_line(stream, line)
    with suppress(OSError):  # it flushes what could not be written
        stream.close()
