"""How a process that serves is asked to end: SIGTERM or SIGINT drains it, a second one stops it at once."""

import contextlib
import os
import signal
import sys
import threading
from types import FrameType
from typing import NoReturn

DRAIN_SECONDS = 20
# SQLite gives the interpreter lock back at every statement; with the default of 5 ms the writer waits for it, not for the disk
SWITCH_SECONDS = 0.0005


def stopping_on_signals() -> threading.Event:
    """Set by the first signal; the second one ends the process: what is stored is stored, the next start takes the rest over."""
    stopping = threading.Event()

    def stop(number: int, _: FrameType | None) -> None:
        if stopping.is_set():
            os._exit(128 + number)
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    return stopping


def end(code: int = 0) -> NoReturn:
    """End the process, whatever its threads do: what is stored is stored. Python would wait for some, and abort (`Fatal Python error`)
    where another writes a line of the log while the interpreter is taken down."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    os._exit(code)
