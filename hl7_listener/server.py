"""The MLLP server: an event loop in a thread of its own, driven from any other thread.

It knows nothing of what a message means: it gives each one to the acceptor of its composer and sends the outcome when the
acceptor's future is done. The acceptor commits first, so that no acknowledgement leaves before what it acknowledges is safe.
"""

import asyncio
import logging
import socket
import threading
from collections.abc import Coroutine, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any, TypeVar

from hl7_listener.connection import Acceptor, Answer, Received
from hl7_listener.listener import Listener
from hl7_listener.policy import ListenerPolicy
from hl7_listener.traffic import Statistics
from hl7_listener.wakeup import Wakeup

__all__ = ["Acceptor", "Address", "Answer", "ListenerPolicy", "MllpServer", "Received"]

Address = tuple[str, int]
_BACKLOG = 128
_STOP_SECONDS = 10.0
_T = TypeVar("_T")
_logger = logging.getLogger(__name__)


class MllpServer:
    """One listener or several, each with a policy of its own, on one event loop.

    `accept` is called on the loop's thread and must not block: it hands the message on and gives a future, whose result is an outcome
    or ready-made answers. A future that fails or is cancelled, and an acceptor that raises, are answered AR with error 207: never
    with silence. Start it once; after `stop` it is done with. Raises ValueError where two policies have one name.
    """

    def __init__(self, policies: ListenerPolicy | Sequence[ListenerPolicy], accept: Acceptor) -> None:
        self._policies = [policies] if isinstance(policies, ListenerPolicy) else list(policies)
        if not len({policy.name for policy in self._policies}) == len(self._policies) > 0:
            raise ValueError("a server needs one listener or more, each with a name of its own")
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(_log_without_text)
        self._wakeup = Wakeup(self._loop)
        self._listeners = {policy.name: Listener(policy, accept, self._wakeup) for policy in self._policies}
        self._thread = threading.Thread(target=self._run, name="mllp", daemon=True)
        self.addresses: dict[str, Address] = {}

    def start(self) -> Address:
        """Listen; the address of the first listener, with the real port where 0 was asked for. `addresses` has them all by name.

        Raises OSError where one cannot be had; then none listens.
        """
        with ExitStack() as stack:
            sockets = {policy.name: stack.enter_context(_listening(policy)) for policy in self._policies}
            stack.pop_all()
        self.addresses = {name: listening.getsockname()[:2] for name, listening in sockets.items()}
        self._thread.start()
        for name, listening in sockets.items():
            self._call(self._listeners[name].listen(listening))
        return self.addresses[self._policies[0].name]

    def together(self) -> AbstractContextManager[None]:
        """Outcomes that are set inside reach their senders with one wake-up of the loop, at the end: for a commit of many."""
        return self._wakeup.together()

    def drain(self, seconds: float) -> bool:
        """Take no more connections, answer what was read, close. False where a connection was still open after so long."""
        return self._call(self._drain(seconds)) if self._thread.is_alive() else True

    def stop(self) -> None:
        """Close everything at once and end the thread. Harmless when called again."""
        if self._thread.is_alive():
            for listener in self._listeners.values():
                self._call(listener.close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_STOP_SECONDS)
        if not self._loop.is_running():
            self._loop.close()

    def statistics(self, listener: str = "") -> Statistics:
        """The counts so far of a listener, of the first where none is named; may be called from any thread."""
        return self._listeners[listener or self._policies[0].name].statistics()

    async def _drain(self, seconds: float) -> bool:
        return all(await asyncio.gather(*(listener.drain(seconds) for listener in self._listeners.values())))

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _call(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


def _listening(policy: ListenerPolicy) -> socket.socket:
    family = socket.AF_INET6 if ":" in policy.host else socket.AF_INET
    return socket.create_server((policy.host, policy.port), family=family, backlog=_BACKLOG)


def _log_without_text(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """An error on the loop is our bug or the network's; its text may quote a message, so only its type is written down."""
    _logger.error("error on the event loop: %s", type(context.get("exception")).__name__)
