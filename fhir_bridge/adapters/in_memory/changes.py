"""The twin of `fhir_changes`: a record whose resources get versions and times as they are stored, and that remembers what was deleted."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from fhir_bridge.adapters.in_memory.record import InMemoryRecord
from fhir_bridge.adapters.record_match import reference_to
from fhir_bridge.changes import Change, ChangePage
from fhir_bridge.errors import BridgeError
from fhir_bridge.ports import Clock
from fhir_bridge.study import Resource
from mappings.fhir_observations import is_ours

T = TypeVar("T")


@dataclass(slots=True)
class InMemoryChanges:
    """The port `ChangeFeed` over `record`; `clock` is the server's. Every call raises `outage` while it is set.

    Like HAPI's, a search is a snapshot of ids: what changes between two pages keeps its place and shows its new time.
    """

    record: InMemoryRecord
    clock: Clock
    page_size: int = 50
    is_sorted: bool = True
    tells_deletions: bool = True
    outage: BridgeError | None = None
    _current: dict[str, Change] = field(default_factory=dict, init=False, repr=False)  # by reference
    _deleted: list[Change] = field(default_factory=list, init=False, repr=False)  # oldest first

    def store(self, resource: Resource) -> Resource:
        """Create, update, or bring back: as kept, with `meta.versionId` and `meta.lastUpdated`."""
        change = self._next(reference_to(resource), is_ours=is_ours(resource))
        assert change.changed is not None  # noqa: S101 - `_next` sets it
        meta = {"versionId": change.version_id, "lastUpdated": change.changed.isoformat(timespec="milliseconds")}
        kept = {**resource, "meta": {**resource.get("meta", {}), **meta}}
        self.record.store(kept)
        return kept

    def remove(self, reference: str) -> None:
        """Delete."""
        self._deleted.append(self._next(reference, is_deleted=True))
        self.record.remove(reference)

    def server_time(self) -> datetime | None:
        self._be_there()
        return self.clock.now()

    def changed_since(self, kind: str, since: datetime) -> Iterator[ChangePage]:
        found = [
            (change.changed, reference)
            for reference, change in self._current.items()
            if change.resource_type == kind and not change.is_deleted and change.changed and change.changed >= since
        ]
        references = [reference for _, reference in (sorted(found) if self.is_sorted else found)]
        for some in _portions(references, self.page_size):
            now = [self._current[reference] for reference in some]
            yield self._page([change for change in now if not change.is_deleted])

    def deleted_since(self, kind: str, since: datetime) -> Iterator[ChangePage]:
        found = [c for c in self._deleted if c.resource_type == kind and c.changed and c.changed >= since]
        for some in _portions(found[::-1] if self.tells_deletions else [], self.page_size):
            yield self._page(some)

    def _next(self, reference: str, *, is_deleted: bool = False, is_ours: bool = False) -> Change:
        known, (kind, _, identity) = self._current.get(reference), reference.partition("/")
        now = self.clock.now()
        now -= timedelta(microseconds=now.microsecond % 1000)
        version = str(int(known.version_id) + 1 if known else 1)
        change = self._current[reference] = Change(kind, identity, version, now, is_deleted, is_ours)
        return change

    def _page(self, changes: Sequence[Change]) -> ChangePage:
        self._be_there()
        return ChangePage(tuple(changes), self.clock.now())

    def _be_there(self) -> None:
        if self.outage is not None:
            raise self.outage


def _portions(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """One page at least: a server answers that it found nothing, too."""
    return (values[start : start + size] for start in range(0, max(1, len(values)), size))
