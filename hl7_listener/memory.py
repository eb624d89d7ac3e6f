"""What the connections of one listener hold in memory, against one limit.

    unfinished   blocks that have begun and not ended      too much: the largest is cut down to its head, and answered as oversize
    unanswered   whole messages that wait for an outcome   too much: no connection is read before some are answered

Together they stay under the limit, but for one read of each connection. Only where nothing waits for an outcome, so that waiting
would not help, is a block cut down.
"""

from typing import Protocol


class Holder(Protocol):
    """A connection, as far as its memory goes."""

    def crowd_out(self) -> int:
        """Keep only the head of the open block; how many bytes that leaves."""

    def go_on(self) -> None:
        """There is room again."""


class Memory:
    """The account. Used on the event loop's thread only."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._unfinished: dict[Holder, int] = {}
        self._unfinished_total = 0
        self._unanswered = 0
        self._stopped: dict[Holder, None] = {}  # in the order in which they came: the first goes on first

    @property
    def held_bytes(self) -> int:
        """Unfinished and unanswered together."""
        return self._unanswered + self._unfinished_total

    def has_room(self, holder: Holder) -> bool:
        """Whether to read on. A connection that may not is told to go on later."""
        if self._unanswered and self.held_bytes >= self._limit:
            self._stopped[holder] = None
            return False
        return True

    def note_unfinished(self, holder: Holder, count: int) -> None:
        """How much of an open block a connection keeps now."""
        self._unfinished_total += count - self._unfinished.pop(holder, 0)
        if count:
            self._unfinished[holder] = count
        self._make_room()

    def hold(self, count: int) -> None:
        """A whole message waits for its outcome."""
        self._unanswered += count

    def release(self, count: int) -> None:
        """A message is answered, or nobody waits for it any more."""
        self._unanswered -= count
        self._make_room()
        if self._stopped and (not self._unanswered or self.held_bytes < self._limit):
            stopped, self._stopped = self._stopped, {}
            for holder in stopped:
                holder.go_on()

    def forget(self, holder: Holder) -> None:
        """A connection is gone."""
        self._stopped.pop(holder, None)
        self.note_unfinished(holder, 0)

    def _make_room(self) -> None:
        while not self._unanswered and self._unfinished_total > self._limit:
            largest = max(self._unfinished, key=self._unfinished.__getitem__)
            saved = self._unfinished[largest] - largest.crowd_out()
            if not saved:
                return  # it was a head already, and so are all
            self._unfinished[largest] -= saved
            self._unfinished_total -= saved
