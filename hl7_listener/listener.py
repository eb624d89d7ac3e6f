"""One listening socket and its connections, on the event loop's thread."""

import asyncio
import contextlib
import socket

from hl7_listener.admission import Admission
from hl7_listener.answering import Answering
from hl7_listener.connection import Acceptor, Connection, Shared
from hl7_listener.memory import Memory
from hl7_listener.policy import ListenerPolicy
from hl7_listener.traffic import PeerTraffic, Statistics, Traffic
from hl7_listener.wakeup import Wakeup

_CHECK_SECONDS = 1.0  # how often the limits in time are applied and certificates looked at, at least
_ACCEPT_AGAIN_SECONDS = 1.0  # after the process ran out of file descriptors
_FAREWELL_SECONDS = 2.0  # for the end of TLS, which a peer that does not read never confirms
_READ_BYTES = 65536


class Listener:
    """Admits, counts, limits and ends the connections; `server.MllpServer` gives it its thread.

    It accepts on its own rather than by `loop.create_server`, so that a peer is judged before a handshake is begun with it, and each
    handshake takes the certificate of the day.
    """

    def __init__(self, policy: ListenerPolicy, accept: Acceptor, wakeup: Wakeup) -> None:
        self._policy = policy
        self._admission = Admission(policy)
        self._traffic = Traffic()
        memory = Memory(policy.max_buffered_bytes)
        buffer = memoryview(bytearray(_READ_BYTES))
        self._shared = Shared(policy, accept, Answering(policy), memory, wakeup, buffer)
        self._connections: set[Connection] = set()
        self._opening: dict[asyncio.Task[None], Connection] = {}
        self._none_open = asyncio.Event()
        self._none_open.set()
        self._listening: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def listen(self, listening: socket.socket) -> None:
        """Take connections on a socket that listens already."""
        listening.setblocking(False)
        self._listening = listening
        self._begin_accepting()
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
        await asyncio.gather(*self._opening, return_exceptions=True)
        await self._none_open.wait()

    def statistics(self) -> Statistics:
        """The counts so far."""
        tls = self._policy.tls
        certificates = (tls.renewals, tls.failures) if tls else (0, 0)
        return self._traffic.statistics(len(self._connections), self._shared.memory.held_bytes, *certificates)

    def opened(self, connection: Connection) -> None:
        """A connection speaks, its handshake over."""
        self._connections.add(connection)
        self._none_open.clear()

    def closed(self, connection: Connection) -> None:
        """A connection is gone."""
        self._connections.discard(connection)
        if not self._connections:
            self._none_open.set()

    def _begin_accepting(self) -> None:
        if self._listening is not None:
            asyncio.get_running_loop().add_reader(self._listening, self._accept_one)

    def _accept_one(self) -> None:
        if self._listening is None:
            return
        try:
            connection, address = self._listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError:  # no file descriptors are left: peers wait in the queue of the system
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._listening)
            loop.call_later(_ACCEPT_AGAIN_SECONDS, self._begin_accepting)
            return
        self._admit(connection, *address[:2])

    def _admit(self, accepted: socket.socket, host: str, port: int) -> None:
        traffic = self._traffic.of(host)
        if self._policy.replace_on_reconnect:
            self._replace(host)
        open_now = [one for one in self._connections.union(self._opening.values()) if not one.is_over]
        refusal = self._admission.refusal(host, len(open_now), sum(one.host == host for one in open_now))
        if refusal:
            traffic.connections_refused[refusal] += 1
            accepted.close()
            return
        traffic.connections_accepted += 1
        accepted.setblocking(False)
        connection = Connection(self._shared, self, traffic, host, port)
        task = asyncio.get_running_loop().create_task(self._open(accepted, connection, traffic))
        self._opening[task] = connection
        task.add_done_callback(lambda task: self._end_opening(task, accepted))

    def _replace(self, host: str) -> None:
        """End the idle connections of an address: a peer that comes again has lost them, or will not miss them."""
        for connection in tuple(self._connections):
            if connection.host == host and connection.is_idle:
                connection.end("replaced")

    async def _open(self, accepted: socket.socket, connection: Connection, traffic: PeerTraffic) -> None:
        """Hand the socket to its connection; with TLS, after the handshake."""
        loop, tls = asyncio.get_running_loop(), self._policy.tls
        try:
            if tls is None:
                await loop.connect_accepted_socket(lambda: connection, accepted)
            else:
                await loop.connect_accepted_socket(
                    lambda: connection,
                    accepted,
                    ssl=tls.current(),
                    ssl_handshake_timeout=self._policy.handshake_timeout_seconds,
                    ssl_shutdown_timeout=_FAREWELL_SECONDS,
                )
        except OSError:  # plaintext, no common version, no or a wrong certificate, silence; or the peer went away
            traffic.closed["tls-handshake" if tls else "connection-lost"] += 1

    def _end_opening(self, task: asyncio.Task[None], accepted: socket.socket) -> None:
        del self._opening[task]
        if task.cancelled():
            accepted.close()  # it may never have begun

    def _stop_listening(self) -> None:
        if self._listening is not None:
            asyncio.get_running_loop().remove_reader(self._listening)
            self._listening.close()
            self._listening = None
        for task in self._opening:
            task.cancel()

    def _check_time(self) -> None:
        loop = asyncio.get_running_loop()
        for connection in tuple(self._connections):
            connection.check_time(loop.time())
        policy = self._policy
        if policy.tls is not None:
            policy.tls.current()  # so that a wrong file shows before a peer comes
        limits = (policy.idle_timeout_seconds, policy.write_timeout_seconds, policy.max_partial_age_seconds)
        interval = min([_CHECK_SECONDS, *(limit / 4 for limit in limits if limit)])
        self._timer = loop.call_later(interval, self._check_time)
