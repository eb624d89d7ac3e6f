"""Who works on a data folder: two processes of one role would take each other's work."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from fhir_bridge.errors import Refused

JOBS, DOOR = "lock", "lock-door"
_AGAIN_SECONDS = 0.05


@contextmanager
def sole_owner(data_dir: Path, role: str, patience_seconds: float = 0.0) -> Iterator[None]:
    """Hold the lock of a role until the block ends. Raises Refused `server.already-running`.

    The kernel gives the lock back with the last breath of its owner; `patience_seconds` is for one that is being killed.
    """
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    deadline = time.monotonic() + patience_seconds
    with (data_dir / role).open("w") as file:
        while not _locked(file):
            if time.monotonic() >= deadline:
                what = "listens for" if role == DOOR else "works on"
                raise Refused("server.already-running", "data_dir", f"another process {what} this data folder")
            time.sleep(_AGAIN_SECONDS)
        yield


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
