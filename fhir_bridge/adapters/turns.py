"""Who may write next: where intake and workers both wait they take turns, so that many workers do not slow the answers down."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """A lock for two sides. Against n waiting workers, intake still gets every second turn instead of one in n + 1."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting = {True: 0, False: 0}
        self._held = False
        self._last = False

    @contextmanager
    def turn(self, *, intake: bool) -> Iterator[None]:
        """Wait for a turn and have it until the block ends."""
        with self._changed:
            self._waiting[intake] += 1
            self._changed.wait_for(
                lambda: not self._held and (self._last is not intake or not self._waiting[not intake])
            )
            self._waiting[intake] -= 1
            self._held, self._last = True, intake
        try:
            yield
        finally:
            with self._changed:
                self._held = False
                self._changed.notify_all()
