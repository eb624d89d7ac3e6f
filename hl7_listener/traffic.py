"""What passed through a listener, counted for each peer's address. No value of a message gets in here."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypedDict

_MAX_PEERS = 1000  # addresses with counts of their own; any further share one row
_OTHERS = "others"


class Counts(TypedDict):
    """A copy of the counts since the start. `discarded` counts bytes by reason, the other tables count events by name.

    `crowded_out`: messages given up half-read because memory for unfinished ones was used up; they are among `oversize` once they
    ended. `commits`: blocks of MLLP Release 2 that the peer sent.
    """

    connections_accepted: int
    connections_refused: dict[str, int]
    messages: int
    oversize: int
    crowded_out: int
    acceptor_failures: int
    acknowledgements: dict[str, int]
    tolerances: dict[str, int]
    discarded: dict[str, int]
    commits: dict[str, int]
    closed: dict[str, int]


class Statistics(Counts):
    """The counts of a listener, and of each peer; `connections` are those open now, `buffered_bytes` what they hold in memory."""

    connections: int
    buffered_bytes: int
    certificate_renewals: int
    certificate_failures: int
    peers: dict[str, Counts]


@dataclass(slots=True)
class PeerTraffic:
    """The counts of one address. Written on the event loop's thread only."""

    connections_accepted: int = 0
    connections_refused: Counter[str] = field(default_factory=Counter)
    messages: int = 0
    oversize: int = 0
    crowded_out: int = 0
    acceptor_failures: int = 0
    acknowledgements: Counter[str] = field(default_factory=Counter)
    tolerances: Counter[str] = field(default_factory=Counter)
    discarded: Counter[str] = field(default_factory=Counter)
    commits: Counter[str] = field(default_factory=Counter)
    closed: Counter[str] = field(default_factory=Counter)

    def note_message(self, tolerances: tuple[str, ...], *, oversize: bool) -> None:
        """One more message."""
        self.messages += 1
        self.oversize += oversize
        if tolerances:
            self.tolerances.update(tolerances)


class Traffic:
    """The counts of a listener: those of its peers, and their sum."""

    def __init__(self) -> None:
        self._peers: dict[str, PeerTraffic] = {}

    def of(self, host: str) -> PeerTraffic:
        """The counts of an address."""
        if host not in self._peers and len(self._peers) >= _MAX_PEERS:
            host = _OTHERS
        return self._peers.setdefault(host, PeerTraffic())

    def statistics(
        self, connections: int, buffered_bytes: int, certificate_renewals: int, certificate_failures: int
    ) -> Statistics:
        """A copy, safe to keep; may be asked for from any thread."""
        peers = {host: _counts([peer]) for host, peer in tuple(self._peers.items())}
        return Statistics(
            **_counts(tuple(self._peers.values())),
            connections=connections,
            buffered_bytes=buffered_bytes,
            certificate_renewals=certificate_renewals,
            certificate_failures=certificate_failures,
            peers=peers,
        )


def _counts(peers: Iterable[PeerTraffic]) -> Counts:
    peers = tuple(peers)
    return Counts(
        connections_accepted=sum(peer.connections_accepted for peer in peers),
        connections_refused=_sum(peer.connections_refused for peer in peers),
        messages=sum(peer.messages for peer in peers),
        oversize=sum(peer.oversize for peer in peers),
        crowded_out=sum(peer.crowded_out for peer in peers),
        acceptor_failures=sum(peer.acceptor_failures for peer in peers),
        acknowledgements=_sum(peer.acknowledgements for peer in peers),
        tolerances=_sum(peer.tolerances for peer in peers),
        discarded=_sum(peer.discarded for peer in peers),
        commits=_sum(peer.commits for peer in peers),
        closed=_sum(peer.closed for peer in peers),
    )


def _sum(tables: Iterable[Counter[str]]) -> dict[str, int]:
    """Over copies: the tables may grow meanwhile."""
    total: Counter[str] = Counter()
    for table in tables:
        total.update(dict(table))
    return dict(total)
