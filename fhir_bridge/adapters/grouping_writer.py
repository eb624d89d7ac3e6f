"""One thread in front of a store: whatever waits while it writes is written together next time."""

import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class GroupingWriter(Generic[T]):
    """Hands on what was put in, in that order, in groups of at most `max_group`. `write` must not raise."""

    def __init__(self, name: str, write: Callable[[list[T]], None], max_group: int) -> None:
        self._write = write
        self._max_group = max_group
        self._queue: queue.SimpleQueue[T | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._loop, name=name)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self) -> None:
        """Write what was put in, then end."""
        self._queue.put(None)
        self._thread.join()

    def put(self, work: T) -> None:
        """Comes back at once."""
        self._queue.put(work)

    def _loop(self) -> None:
        ending = False
        while not ending:
            group: list[T] = []
            first = self._queue.get()
            while first is not None:
                group.append(first)
                if len(group) == self._max_group or self._queue.empty():
                    break
                first = self._queue.get()
            ending = first is None
            if group:
                self._write(group)
