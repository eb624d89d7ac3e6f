"""How a process that serves is asked to end: SIGTERM or SIGINT drains it, a second one stops it at once."""

import os
import signal
import threading
from types import FrameType

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
