"""What a FHIR server keeps: every version of every resource, with its time, in memory. No wire; R4 §2.26 (meta), §3.1.0 (RESTful API)."""

import copy
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

Resource = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a resource; `resource` is None where this one deletes it."""

    reference: str
    number: int
    changed: datetime
    resource: Resource | None = field(repr=False)


def instant(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Shelf:
    """Threads may share it. `on_change` hears of each version, once all of its transaction is kept."""

    def __init__(self, on_change: Callable[[Version], None] = lambda version: None) -> None:
        self._versions: dict[str, list[Version]] = {}
        self._lock = threading.RLock()
        self._ids = count(1001)
        self._last = datetime(2026, 1, 1, tzinfo=UTC)
        self._pending: list[Version] | None = None
        self._on_change = on_change

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Everything inside is kept, or nothing; nobody else sees half of it."""
        with self._lock:
            if self._pending is not None:
                yield
                return
            before, self._pending = {k: list(v) for k, v in self._versions.items()}, []
            try:
                yield
            except BaseException:
                self._versions, self._pending = before, None
                raise
            made, self._pending = self._pending, None
        for version in made:
            self._on_change(version)

    def new_id(self) -> str:
        return f"s{next(self._ids)}"

    def put(self, resource: Resource) -> Version:
        """The next version; `resource` has its id."""
        reference = f"{resource['resourceType']}/{resource['id']}"
        with self.at_once():
            number, changed = len(self._versions.get(reference, ())) + 1, self._now()
            kept = copy.deepcopy(resource)
            kept["meta"] = {**kept.get("meta", {}), "versionId": str(number), "lastUpdated": instant(changed)}
            return self._keep(Version(reference, number, changed, kept))

    def delete(self, reference: str) -> bool:
        """False where there was nothing."""
        with self.at_once():
            if self.current(reference) is None:
                return False
            self._keep(Version(reference, len(self._versions[reference]) + 1, self._now(), None))
            return True

    def current(self, reference: str) -> Resource | None:
        with self._lock:
            newest = self._versions.get(reference, [None])[-1]
        return newest.resource if newest else None

    def is_gone(self, reference: str) -> bool:
        """Whether it was there once and is deleted."""
        return self.current(reference) is None and reference in self._versions

    def all_of(self, kind: str) -> list[Resource]:
        """The current versions, oldest change first."""
        with self._lock:
            newest = [v[-1] for name, v in self._versions.items() if name.startswith(f"{kind}/")]
        return [v.resource for v in sorted(newest, key=lambda v: v.changed) if v.resource is not None]

    def history_of(self, kind: str) -> list[Version]:
        """Every version of every resource of this type, newest first."""
        with self._lock:
            found = [v for name, versions in self._versions.items() if name.startswith(f"{kind}/") for v in versions]
        return sorted(found, key=lambda v: v.changed, reverse=True)

    def _keep(self, version: Version) -> Version:
        assert self._pending is not None
        self._versions.setdefault(version.reference, []).append(version)
        self._pending.append(version)
        return version

    def _now(self) -> datetime:
        """The wall clock in milliseconds, never the same twice: what changed is told apart by it."""
        now = datetime.now(UTC)
        now = now.replace(microsecond=now.microsecond // 1000 * 1000)
        self._last = max(now, self._last + timedelta(milliseconds=1))
        return self._last
