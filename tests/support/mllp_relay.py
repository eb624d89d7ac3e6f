"""Stands between a sender and a listener, counts connections, keeps every byte, and loses an answer where a test asks for it."""

import contextlib
import socket
import threading
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

Address = tuple[str, int]


@dataclass
class Relayed:
    """One connection: what the sender wrote and what the listener answered."""

    sent: bytearray = field(default_factory=bytearray)
    answered: bytearray = field(default_factory=bytearray)


class MllpRelay:
    """Listens at `address` for `target`; any number of connections."""

    def __init__(self, target: Address) -> None:
        self._target = target
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address: Address = self._listening.getsockname()[:2]
        self.connections: list[Relayed] = []
        self._lose_next_answer = threading.Event()
        threading.Thread(target=self._accept, name="relay", daemon=True).start()

    def lose_next_answer(self) -> None:
        """The next answer is read, and the sender's connection ends instead of giving it on."""
        self._lose_next_answer.set()

    @property
    def answers(self) -> bytes:
        """All that the listener wrote, connection after connection."""
        return b"".join(bytes(relayed.answered) for relayed in self.connections)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listening.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sender, _ = self._listening.accept()
                try:
                    listener = socket.create_connection(self._target, 10)
                except OSError:
                    sender.close()
                    continue
                listener.settimeout(None)
                relayed = Relayed()
                self.connections.append(relayed)
                for ends, kept, backwards in (
                    ((sender, listener), relayed.sent, False),
                    ((listener, sender), relayed.answered, True),
                ):
                    threading.Thread(target=self._carry, args=(*ends, kept, backwards), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket, kept: bytearray, backwards: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                kept += data
                if backwards and self._lose_next_answer.is_set():
                    self._lose_next_answer.clear()
                    break
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            if not backwards:
                end.close()
