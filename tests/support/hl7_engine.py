"""Starts the real HL7 v2 neighbours: Apache Camel as integration engine, HAPI HL7v2 as client and receiver (`engine/README.md`).

The build is kept in `.work/engine` of the checkout, which git ignores.
"""

import functools
import json
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from fhir_bridge.practice.fhir_peer import missing_parts
from tests.support.real_parts import part_missing

ENGINE_WORK = Path(__file__).parents[2] / ".work" / "engine"
SCRIPT = Path(__file__).with_name("engine") / "run.sh"
Event = dict[str, Any]
Address = tuple[str, int]

_BUILD_SECONDS = 900
_WAIT_SECONDS = 30.0
_STOP_SECONDS = 10.0


@functools.cache
def _build() -> None:
    """Once a run: afterwards every start is java alone. Skips or fails the test where this machine cannot."""
    if missing := missing_parts("hapi", ENGINE_WORK):  # the same parts as the FHIR peer of this name
        part_missing("the HL7 v2 engine", f"this machine lacks {', '.join(missing)}")
    ENGINE_WORK.mkdir(parents=True, exist_ok=True)
    command = ["bash", SCRIPT, "--work", ENGINE_WORK, "--build-only"]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, timeout=_BUILD_SECONDS)


class Program:
    """One of the programs; its JSON lines are `events`, in their order."""

    def __init__(self, errors: Path, *words: str, java_options: str = "") -> None:
        _build()
        with errors.open("wb") as log:
            self.process = subprocess.Popen(
                ["bash", str(SCRIPT), "--work", str(ENGINE_WORK), *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, "JAVA_OPTS": java_options},
                start_new_session=True,  # Ctrl-C reaches only us
            )
        self.events: list[Event] = []
        self._changed = threading.Condition()
        self._ended = False
        assert self.process.stdout is not None
        self._reader = threading.Thread(target=self._follow, args=(self.process.stdout,), name=words[0], daemon=True)
        self._reader.start()

    def wait_for(self, what: Callable[[Event], bool], seconds: float = _WAIT_SECONDS, *, after: int = 0) -> Event:
        """The first event of this kind, once it is there; `after` so many events."""
        found: list[Event] = []

        def look() -> bool:
            found[:] = filter(what, self.events[after:])
            return bool(found)

        self._wait(look, seconds)
        return found[0]

    def _wait(self, look: Callable[[], bool], seconds: float) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: look() or self._ended, seconds), "the neighbour never did it"
        assert look(), "the neighbour ended before it did it"

    def wait_until_ready(self) -> None:
        self.wait_for(lambda event: event["event"] == "ready")

    def wait_until_ended(self, seconds: float = _WAIT_SECONDS) -> int:
        """The exit code; all events are there then."""
        code = self.process.wait(seconds)
        self._reader.join(seconds)
        return code

    def stop(self) -> None:
        """Ask, then insist. May be called twice."""
        for sign in (signal.SIGTERM, signal.SIGKILL):
            if self.process.poll() is not None:
                break
            os.killpg(self.process.pid, sign)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(_STOP_SECONDS)
        self._reader.join(_STOP_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _follow(self, lines: IO[str]) -> None:
        with lines:
            for line in lines:
                with self._changed:
                    self.events.append(json.loads(line))
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()


class Engine(Program):
    """Camel: sends what is put into its outbox, takes results at `inbound` and answers them as told."""

    def __init__(
        self, folder: Path, to: Address | None = None, options: Sequence[str] = (), java_options: str = ""
    ) -> None:
        self.outbox, self.inbox = folder / "outbox", folder / "inbox"
        for made in (self.outbox, self.inbox):
            made.mkdir(parents=True)
        self.inbound = ("127.0.0.1", free_port())
        words = ["--listen", str(self.inbound[1]), "--inbox", str(self.inbox), *options]
        if to:
            words += ["--to", f"{to[0]}:{to[1]}", "--outbox", str(self.outbox)]
        super().__init__(folder / "engine.err", "engine", *words, java_options=java_options)

    def put(self, name: str, message: bytes) -> None:
        """Hand one message over for sending."""
        unfinished = self.outbox / f"{name}.part"
        unfinished.write_bytes(message)
        unfinished.rename(self.outbox / f"{name}.hl7")

    def sent(self, name: str, seconds: float = _WAIT_SECONDS) -> Event:
        """What came of it."""
        return self.wait_for(lambda event: event["event"] == "sent" and event["file"] == f"{name}.hl7", seconds)

    def send(self, name: str, message: bytes) -> Event:
        self.put(name, message)
        return self.sent(name)

    def answer_to(self, name: str) -> bytes:
        """The acknowledgement as it came."""
        return (self.outbox / f"{name}.ack").read_bytes()

    def answer_with(self, *modes: str) -> None:
        """How the next messages are answered: each mode once, the last from then on."""
        unfinished = self.inbox / "mode.part"
        unfinished.write_text("\n".join(modes))
        unfinished.rename(self.inbox / "mode")

    def received(self, control_id: str = "") -> list[Event]:
        """What came in so far; of one MSH-10, where it is given."""
        return [
            event for event in self.events if event["event"] == "received" and control_id in ("", event.get("msh10"))
        ]

    def await_received(self, control_id: str, times: int = 1) -> list[Event]:
        """All that came in with this MSH-10, once it came so often. The answer may overtake the line that tells us."""
        self._wait(lambda: len(self.received(control_id)) >= times, _WAIT_SECONDS)
        return self.received(control_id)

    def content(self, event: Event) -> bytes:
        """A received message, byte for byte."""
        return (self.inbox / event["file"]).read_bytes()


class HapiReceiver(Program):
    """HAPI's SimpleServer at `address`: parses, validates, keeps and answers what it gets."""

    def __init__(self, folder: Path, options: Sequence[str] = (), java_options: str = "") -> None:
        self.kept = folder / "kept"
        folder.mkdir(parents=True, exist_ok=True)
        self.address = ("127.0.0.1", free_port())
        words = ["--listen", str(self.address[1]), "--store", str(self.kept), *options]
        super().__init__(folder / "serve.err", "serve", *words, java_options=java_options)

    def received(self) -> list[Event]:
        """What came in so far, whether HAPI could parse it or not."""
        return [event for event in self.events if event["event"] in ("received", "refused")]

    def await_received(self, count: int) -> list[Event]:
        """All of it, once it is so many."""
        self._wait(lambda: len(self.received()) >= count, _WAIT_SECONDS)
        return self.received()


def hapi_sends(
    folder: Path, to: Address, messages: Mapping[str, bytes], *options: str, java_options: str = ""
) -> dict[str, list[Event]]:
    """HAPI's Initiator sends these messages, on one connection; what came of each, by its name."""
    folder.mkdir(parents=True)
    for name, message in messages.items():
        (folder / name).write_bytes(message)
    words = ["send", "--to", f"{to[0]}:{to[1]}", *options, *(str(folder / name) for name in messages)]
    with Program(folder / "send.err", *words, java_options=java_options) as program:
        program.wait_until_ended()
    return {name: [event for event in program.events if event["file"] == name] for name in messages}


@contextmanager
def running_engine(folder: Path, to: Address | None = None, *options: str, java_options: str = "") -> Iterator[Engine]:
    with Engine(folder, to, options, java_options) as engine:
        engine.wait_until_ready()
        yield engine


@contextmanager
def running_hapi_receiver(folder: Path, *options: str) -> Iterator[HapiReceiver]:
    with HapiReceiver(folder, options) as receiver:
        receiver.wait_until_ready()
        yield receiver


def free_port() -> int:
    """A port that is free now: these programs cannot take port 0 and say which."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
