"""The MLLP server: an event loop in a thread of its own, driven from any other thread.

It knows nothing of what a message means: it gives each one to the acceptor of its composer and sends the outcome when the
acceptor's future is done. The acceptor commits first, so that no acknowledgement leaves before what it acknowledges is safe.
"""

import asyncio
import logging
import socket
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from hl7_listener.connection import Received
from hl7_listener.listener import Acceptor, Listener
from hl7_listener.policy import ListenerPolicy
from hl7_listener.traffic import Statistics

__all__ = ["Acceptor", "ListenerPolicy", "MllpServer", "Received"]

_BACKLOG = 128
_STOP_SECONDS = 10.0
_T = TypeVar("_T")
_logger = logging.getLogger(__name__)


class MllpServer:
    """One listener. `accept` is called on the loop's thread and must not block: it hands the message on and gives a future.

    A future that fails or is cancelled, and an acceptor that raises, are answered AR with error 207: never with silence.
    Start it once; after `stop` it is done with.
    """

    def __init__(self, policy: ListenerPolicy, accept: Acceptor) -> None:
        self._policy = policy
        self._listener = Listener(policy, accept)
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(_log_without_text)
        self._thread = threading.Thread(target=self._run, name=f"mllp-{policy.name}", daemon=True)

    def start(self) -> tuple[str, int]:
        """Listen; the address in use, with the real port where 0 was asked for. Raises OSError where it cannot be had."""
        family = socket.AF_INET6 if ":" in self._policy.host else socket.AF_INET
        listening = socket.create_server((self._policy.host, self._policy.port), family=family, backlog=_BACKLOG)
        host, port = listening.getsockname()[:2]
        self._thread.start()
        self._call(self._listener.listen(listening))
        return host, port

    def drain(self, seconds: float) -> bool:
        """Take no more connections, answer what was read, close. False where a connection was still open after so long."""
        return self._call(self._listener.drain(seconds)) if self._thread.is_alive() else True

    def stop(self) -> None:
        """Close everything at once and end the thread. Harmless when called again."""
        if self._thread.is_alive():
            self._call(self._listener.close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_STOP_SECONDS)
        if not self._loop.is_running():
            self._loop.close()

    def statistics(self) -> Statistics:
        """The counts so far; may be called from any thread."""
        return self._listener.statistics()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _call(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


def _log_without_text(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """An error on the loop is our bug or the network's; its text may quote a message, so only its type is written down."""
    _logger.error("error on the event loop: %s", type(context.get("exception")).__name__)
