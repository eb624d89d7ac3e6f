"""Stands between a sender and a listener, counts connections, keeps every byte, and loses an answer where a test asks for it."""

import contextlib
import socket
import threading
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

Address = tuple[str, int]


END = b"\x1c\r"


@dataclass
class Relayed:
    """One connection: what the sender wrote and what the listener answered. `in_flight`: the most blocks that waited for an answer at once."""

    sent: bytearray = field(default_factory=bytearray)
    answered: bytearray = field(default_factory=bytearray)
    in_flight: int = 0

    def look(self) -> None:
        """Take note after each piece that the sender wrote."""
        self.in_flight = max(self.in_flight, self.sent.count(END) - self.answered.count(END))


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
                for ends in ((sender, listener, False), (listener, sender, True)):
                    threading.Thread(target=self._carry, args=(relayed, *ends), daemon=True).start()

    def _carry(self, relayed: Relayed, source: socket.socket, sink: socket.socket, backwards: bool) -> None:
        kept = relayed.answered if backwards else relayed.sent
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                kept += data
                relayed.look()
                if backwards and self._lose_next_answer.is_set():
                    self._lose_next_answer.clear()
                    break
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            if not backwards:
                end.close()
