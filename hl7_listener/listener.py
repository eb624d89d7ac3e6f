"""The connections of one listener, on the event loop's thread."""

import asyncio
import concurrent.futures
import contextlib
import socket
from collections.abc import Callable

from hl7_listener.acknowledgement import Outcome
from hl7_listener.connection import Connection, Received
from hl7_listener.policy import ListenerPolicy
from hl7_listener.traffic import Statistics, Traffic

Acceptor = Callable[[Received], "concurrent.futures.Future[Outcome]"]
_CHECK_SECONDS = 1.0  # how often the limits in time are applied, at least


class Listener:
    """Opens, counts, limits and closes the connections; `server.MllpServer` gives it its thread."""

    def __init__(self, policy: ListenerPolicy, accept: Acceptor) -> None:
        self._policy = policy
        self._accept = accept
        self._traffic = Traffic()
        self._connections: set[Connection] = set()
        self._asked: set[asyncio.Task[Outcome]] = set()
        self._is_draining = False
        self._none_open = asyncio.Event()
        self._none_open.set()
        self._server: asyncio.Server | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def listen(self, listening: socket.socket) -> None:
        """Take connections on a socket that listens already."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._new, sock=listening, ssl=self._policy.ssl_context)
        self._check_time()

    async def drain(self, seconds: float) -> bool:
        """Stop listening, let every connection finish; False where one was still open after so long."""
        self._stop_listening()
        for connection in tuple(self._connections):
            connection.drain()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._none_open.wait(), seconds)
        return not self._connections

    async def close(self) -> None:
        """Stop listening, end every connection at once."""
        self._stop_listening()
        if self._timer is not None:
            self._timer.cancel()
        for connection in tuple(self._connections):
            connection.abort()
        await self._none_open.wait()
        for task in self._asked:
            task.cancel()
        await asyncio.gather(*self._asked, return_exceptions=True)

    def statistics(self) -> Statistics:
        """The counts so far."""
        return self._traffic.statistics(len(self._connections))

    def opened(self, connection: Connection) -> bool:
        """Whether a new connection may stay."""
        if self._is_draining or len(self._connections) >= self._policy.max_connections:
            self._traffic.connections_refused += 1
            return False
        self._traffic.connections_accepted += 1
        self._connections.add(connection)
        self._none_open.clear()
        return True

    def closed(self, connection: Connection) -> None:
        """A connection is gone, refused ones included."""
        self._connections.discard(connection)
        if not self._connections:
            self._none_open.set()

    def answer(self, received: Received) -> "asyncio.Task[Outcome]":
        """Ask the acceptor. In a task, so that one that raises is seen as one whose future fails."""
        task = asyncio.get_running_loop().create_task(self._ask(received))
        self._asked.add(task)  # the loop itself holds tasks weakly
        task.add_done_callback(self._asked.discard)
        return task

    async def _ask(self, received: Received) -> Outcome:
        """Wait without ever cancelling the acceptor's future: a commit that is under way stays its own business."""
        accepted = self._accept(received)
        if not accepted.done():
            done = asyncio.Event()
            loop = asyncio.get_running_loop()
            accepted.add_done_callback(lambda _: _wake(loop, done))
            await done.wait()
        return accepted.result()

    def _new(self) -> Connection:
        return Connection(self._policy, self, self._traffic)

    def _stop_listening(self) -> None:
        self._is_draining = True
        if self._server is not None:
            self._server.close()

    def _check_time(self) -> None:
        loop = asyncio.get_running_loop()
        for connection in tuple(self._connections):
            connection.check_time(loop.time())
        policy = self._policy
        limits = (policy.idle_timeout_seconds, policy.write_timeout_seconds, policy.max_partial_age_seconds)
        interval = min([_CHECK_SECONDS, *(limit / 4 for limit in limits if limit is not None)])
        self._timer = loop.call_later(interval, self._check_time)


def _wake(loop: asyncio.AbstractEventLoop, done: asyncio.Event) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(done.set)
