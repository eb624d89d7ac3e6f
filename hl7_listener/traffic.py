"""What passed through a listener, counted. No value of a message gets in here."""

from collections import Counter
from dataclasses import dataclass, field
from typing import TypedDict


class Statistics(TypedDict):
    """A copy of the counts since the start; `connections` are those open now. `discarded` counts bytes by reason."""

    connections: int
    connections_accepted: int
    connections_refused: int
    messages: int
    oversize: int
    acceptor_failures: int
    acknowledgements: dict[str, int]
    tolerances: dict[str, int]
    discarded: dict[str, int]
    closed: dict[str, int]


@dataclass(slots=True)
class Traffic:
    """Written on the event loop's thread only."""

    connections_accepted: int = 0
    connections_refused: int = 0
    messages: int = 0
    oversize: int = 0
    acceptor_failures: int = 0
    acknowledgements: Counter[str] = field(default_factory=Counter)
    tolerances: Counter[str] = field(default_factory=Counter)
    discarded: Counter[str] = field(default_factory=Counter)
    closed: Counter[str] = field(default_factory=Counter)

    def note_message(self, tolerances: tuple[str, ...], *, oversize: bool) -> None:
        """One more message."""
        self.messages += 1
        self.oversize += oversize
        self.tolerances.update(tolerances)

    def statistics(self, connections: int) -> Statistics:
        """A copy, safe to keep."""
        return Statistics(
            connections=connections,
            connections_accepted=self.connections_accepted,
            connections_refused=self.connections_refused,
            messages=self.messages,
            oversize=self.oversize,
            acceptor_failures=self.acceptor_failures,
            acknowledgements=dict(self.acknowledgements),
            tolerances=dict(self.tolerances),
            discarded=dict(self.discarded),
            closed=dict(self.closed),
        )
