"""The running server: all roles in one process that owns its data folder, started and drained in order."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fhir_bridge import log
from fhir_bridge.adapters.group_commit import GroupCommit
from fhir_bridge.compose import Parts
from fhir_bridge.errors import Refused
from fhir_bridge.roles.listen import Listen

if TYPE_CHECKING:
    from fhir_bridge.roles.web import Web
    from fhir_bridge.roles.work import Work

Address = tuple[str, int]


class Server:
    """Senders wait for their answers: the listener opens first, what the other roles need is imported behind it."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._listen = Listen(parts, self._wake)
        self._writer = GroupCommit(parts.store, self._wake)
        self._web: Web | None = None
        self._work: Work | None = None

    def start(self) -> tuple[Address, Address]:
        """The addresses of MLLP and HTTP, once both doors are open. What a killed predecessor left running is taken over.

        Raises what a role raises that cannot start; then nothing is open any more.
        """
        log.event("server.take-over", count=self._parts.queue.take_over())
        mllp = self._listen.start()
        log.event("server.listening", mllp=f"{mllp[0]}:{mllp[1]}")
        try:
            return mllp, self._start_behind()
        except BaseException:
            self.drain(1)
            raise

    def _start_behind(self) -> Address:
        from fhir_bridge.roles.web import Web
        from fhir_bridge.roles.work import Work

        work, web = Work(self._parts), Web(self._parts, self._writer)
        self._writer.start()
        http = web.start()
        self._web, self._work = web, work
        work.start()
        return http

    def drain(self, seconds: float) -> None:
        """No new connections; what was stored is answered; the running step ends or is taken over at the next start."""
        self._listen.drain(seconds)
        for role in (self._web, self._work):
            if role is not None:
                role.drain(seconds)
        if self._web is not None:
            self._writer.stop()
        self._parts.close()

    def _wake(self) -> None:
        if self._work is not None:
            self._work.wake()


@contextmanager
def sole_owner(data_dir: Path) -> Iterator[None]:
    """Two servers on one data folder would take over each other's jobs. Raises Refused `server.already-running`."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (data_dir / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused("server.already-running", "data_dir", "another server works on this data folder") from None
        yield
