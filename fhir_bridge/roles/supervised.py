"""The role `listen` as a child of `serve`: settings and effects come on its standard input, news goes to its standard output.

It must not outlive its parent, whatever kills that: the end of its standard input ends it at once, and so does the kernel. What it
had not answered by then comes again.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from typing import IO

from fhir_bridge.adapters.door_lines import Line, outcome_from_json, read_line, write_line
from fhir_bridge.adapters.folder_lock import DOOR, sole_owner
from fhir_bridge.adapters.waiting_answers import WaitingAnswers
from fhir_bridge.compose import Parts
from fhir_bridge.errors import BridgeError
from fhir_bridge.roles.listen import Listen
from fhir_bridge.settings import Settings
from inference.network_guard import die_with_parent

SET_UP = 2
PREDECESSOR_SECONDS = 5.0
_PAUSE_SECONDS = 0.02  # between two wake-ups of the parent: under load one is enough for many commits
_TRAFFIC_SECONDS = 1.0


class Reporter:
    """Tells the parent what it should know, from a thread of its own: a parent that does not read stops nothing but this thread."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._waits: list[int] = []
        self._stopping = False

    def committed(self, waits: Sequence[int]) -> None:
        """There is something for intake; the senders of these messages wait for their effect."""
        if waits:
            with self._lock:
                self._waits.extend(waits)
        self._news.set()

    def start(self, figures: Callable[[], Line]) -> None:
        """`figures`: the line about traffic, now."""
        threading.Thread(target=self._report, args=(figures,), name="door-reporter", daemon=True).start()

    def stop(self) -> None:
        """Say nothing more."""
        self._stopping = True
        self._news.set()

    def _report(self, figures: Callable[[], Line]) -> None:
        told, next_look = None, 0.0
        while not self._stopping:
            if self._news.wait(_TRAFFIC_SECONDS):
                self._news.clear()
                with self._lock:
                    waits, self._waits = self._waits, []
                write_line(self._stream, {"committed": True, "waits": waits})
            if time.monotonic() >= next_look:
                next_look = time.monotonic() + _TRAFFIC_SECONDS
                now = figures()
                if now != told:
                    write_line(self._stream, now)
                    told = now
            time.sleep(_PAUSE_SECONDS)


class SupervisedListen:
    """One life of the door."""

    def __init__(self, lines: IO[bytes], news: IO[bytes]) -> None:
        self._lines = lines
        self._news = news
        self._waiting = WaitingAnswers()
        self._reporter = Reporter(news)
        self._draining = threading.Event()
        self._drain_seconds = 0.0

    def run(self) -> int:
        """Until the parent says so; the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):  # they reach the whole group; when to end, the parent says
            signal.signal(number, signal.SIG_IGN)
        die_with_parent()
        parts = Parts(Settings(**read_line(self._lines.readline())["settings"]))
        try:
            with sole_owner(parts.data_dir, DOOR, PREDECESSOR_SECONDS):
                self._serve(Listen(parts, self._waiting, self._reporter.committed))
        except BridgeError as error:
            write_line(self._news, {"failed": [error.code, error.where, error.explanation]})
            return SET_UP
        finally:
            parts.close()
        return 0

    def _serve(self, listen: Listen) -> None:
        write_line(self._news, {"ready": listen.start()})
        self._reporter.start(lambda: {"traffic": listen.traffic(), "journal": listen.can_write})
        threading.Thread(target=self._obey, name="door-lines", daemon=True).start()
        self._draining.wait()
        listen.drain(self._drain_seconds)
        self._reporter.stop()

    def _obey(self) -> None:
        for text in self._lines:
            line = read_line(text)
            if "effect" in line:
                self._waiting.settle(line["effect"], outcome_from_json(line["outcome"]))
            elif "drain" in line:
                self._drain_seconds = line["drain"]
                self._draining.set()
        os._exit(1)  # the parent is gone
