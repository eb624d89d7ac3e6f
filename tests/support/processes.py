"""Processes as the system sees them, and waiting for what they do."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def until(look: Callable[[], T | None], what: str, seconds: float = 60) -> T:
    """What `look` finds, once it finds something. A process of its own tells nobody when it is done: hence the polling."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"never came about: {what}"
        time.sleep(0.05)
    return found


def child_of(parent: int, word: str) -> int | None:
    """A child whose command line holds this word."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            ppid = int(path.read_text().rpartition(")")[2].split()[1])
            if ppid == parent and word.encode() in path.with_name("cmdline").read_bytes():
                return int(path.parent.name)
        except (OSError, IndexError):
            continue  # gone meanwhile
    return None
