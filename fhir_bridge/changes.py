"""The port through which the FHIR server is asked for what changed there. Notifications get lost; this does not."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Change:
    """A resource that changed on the FHIR server. `changed` is `meta.lastUpdated`, the server's time; None where it does not say.

    `version_id` is `meta.versionId`; of a server without versions it is the time as that server wrote it.
    """

    resource_type: str
    resource_id: str
    version_id: str = ""
    changed: datetime | None = None
    is_deleted: bool = False
    is_ours: bool = False  # bears our own tag


@dataclass(frozen=True, slots=True)
class ChangePage:
    """Some of what changed, as one answer of the server told it. `unusable` entries said not what they are of.

    `server_time` is its own clock at that answer: the earlier of `Date`, which may be a proxy's, and `Bundle.meta.lastUpdated`.
    """

    changes: tuple[Change, ...]
    server_time: datetime | None = None
    unusable: int = 0
    latest_time: datetime | None = (
        None  # the later of the two: some servers say in `Bundle.meta` when something changed last
    )


class ChangeFeed(Protocol):
    """What changed on the FHIR server since a time of its own clock. Raises what `ClinicalRecord` raises.

    Pages come oldest first where the server can sort (`is_sorted`), to the end; what changes meanwhile may stand anywhere with its new
    time. A search that the server forgot raises Unavailable `fhir.page-expired`, one whose page we could not take `fhir.page-too-large`:
    ask again from where you are.
    """

    @property
    def is_sorted(self) -> bool: ...

    @property
    def tells_deletions(self) -> bool: ...

    def server_time(self) -> datetime | None:
        """What time it is there now."""

    def changed_since(self, kind: str, since: datetime) -> Iterator[ChangePage]:
        """Created or changed at `since` or later, each in its current version."""

    def deleted_since(self, kind: str, since: datetime) -> Iterator[ChangePage]:
        """Deleted at `since` or later; of one that is there again, too. Nothing where the server does not tell deletions."""
