"""A bridge that asks a FHIR server what changed, on twins: two clocks, a store, and a server that a test changes or scripts."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from fhir_bridge.adapters.in_memory.changes import InMemoryChanges
from fhir_bridge.adapters.in_memory.record import InMemoryRecord
from fhir_bridge.adapters.in_memory.store import InMemoryStore
from fhir_bridge.catch_up import CatchUp, Pace
from fhir_bridge.changes import Change, ChangePage
from fhir_bridge.feed import Feed
from tests.support.changes_contract import service_request
from tests.support.frozen_clock import FrozenClock

KIND = "ServiceRequest"
PACE = Pace(every_seconds=300, overlap_seconds=120, feeds=("orders",))
Step = ChangePage | Exception


class ScriptedChanges:
    """A server that answers each search with the next of these scripts: pages, and errors that end them."""

    def __init__(self, at: datetime, *scripts: Iterable[Step], is_sorted: bool = True) -> None:
        self.at = at
        self.is_sorted = is_sorted
        self.tells_deletions = True
        self.deletions: Iterable[Step] = ()
        self.asked: list[datetime] = []
        self._scripts = list(scripts)

    def server_time(self) -> datetime | None:
        return self.at

    def changed_since(self, kind: str, since: datetime) -> Iterator[ChangePage]:
        self.asked.append(since)
        return _told(self._scripts.pop(0) if self._scripts else ())

    def deleted_since(self, kind: str, since: datetime) -> Iterator[ChangePage]:
        return _told(self.deletions)


def _told(script: Iterable[Step]) -> Iterator[ChangePage]:
    for step in script:
        if isinstance(step, Exception):
            raise step
        yield step


@dataclass
class Asking:
    """`ours` is our clock, `theirs` the server's. `changes` is the twin until a test scripts another."""

    ours: FrozenClock
    theirs: FrozenClock = field(default_factory=FrozenClock)
    pace: Pace = PACE

    def __post_init__(self) -> None:
        self.store = InMemoryStore(self.ours)
        self.server = InMemoryChanges(InMemoryRecord(), self.theirs)
        self.changes: Any = self.server
        self.catch_up = self.started()

    def started(self) -> CatchUp:
        """As after a restart of ours."""
        self.catch_up = CatchUp(self.store, self.changes, self.ours, self.pace)
        return self.catch_up

    def script(self, *scripts: Iterable[Step], **options: bool) -> ScriptedChanges:
        self.changes = ScriptedChanges(self.theirs.now(), *scripts, **options)
        self.started()
        return self.changes  # type: ignore[no-any-return]

    def put(self, identity: str, **elements: Any) -> None:
        self.server.store(service_request(identity, **elements))

    def pass_time(self, seconds: float) -> None:
        self.ours.advance(seconds)
        self.theirs.advance(seconds)

    def walk_later(self, seconds: float | None = None) -> int:
        self.pass_time(self.pace.every_seconds if seconds is None else seconds)
        return self.catch_up.turn()

    def feed(self, name: str = "orders") -> Feed:
        return next((feed for feed in self.store.feeds() if feed.name == name), Feed(name))

    def set_feed(self, **values: Any) -> None:
        with self.store.transaction() as ledger:
            ledger.keep_feed(replace(ledger.feed("orders"), **values))

    def found(self) -> list[tuple[str, str, str]]:
        """Oldest first."""
        return [(n.method, n.resource_id, n.version_id) for n in reversed(self.store.notifications(limit=10_000))]


def page(at: datetime, *seconds: float, of: Callable[[float], str] = lambda second: f"r{second:g}") -> ChangePage:
    """Changes so many seconds before `at`, told at `at`."""
    changes = (Change(KIND, of(second), "1", at - timedelta(seconds=second)) for second in seconds)
    return ChangePage(tuple(changes), at)
