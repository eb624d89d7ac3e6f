"""What waits to be settled, put together by resource: one look at a resource answers all that was told of it before."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from fhir_bridge.ports import Ledger, Notification
from fhir_bridge.study import Resource
from mappings.fhir_reading import object_of, text_of

RETRY_SECONDS = (1, 2, 5, 10, 30, 60)
NOT_FOUND, NOT_FOUND_ATTEMPTS = "fhir.not-found", 3
OLDER = "fhir.older-version"


@dataclass(frozen=True, slots=True)
class Told:
    """What waits to be settled of one resource."""

    reference: str
    rows: tuple[Notification, ...]
    up_to: int  # the last row that was stored before the resource is read

    @property
    def kind(self) -> str:
        return self.rows[0].resource_type

    @property
    def attempts(self) -> int:
        return max(row.attempts for row in self.rows)

    @property
    def is_late(self) -> bool:
        """Found gone: told to be deleted, or looked for often enough. A server that has just started, or is amid a transaction, does not
        find what it told us of."""
        return self.was_missed or any(row.method == "DELETE" for row in self.rows)

    @property
    def was_missed(self) -> bool:
        """It was looked for often enough, the last time in vain: tries in an outage say nothing of what is there."""
        return any(row.attempts >= NOT_FOUND_ATTEMPTS and row.reason == NOT_FOUND for row in self.rows)

    def is_ahead_of(self, resource: Resource) -> bool:
        """Told a later version than this one, by number. Not for ever: a server that was restored from a backup counts on from there."""
        numbers = [int(row.version_id) for row in self.rows if row.version_id.isdecimal()]
        read = text_of(object_of(resource.get("meta")), "versionId")
        tries = (row.attempts for row in self.rows if row.reason == OLDER)  # those in an outage count for nothing
        return read.isdecimal() and int(read) < max(numbers, default=0) and max(tries, default=0) < len(RETRY_SECONDS)

    def settle(self, ledger: Ledger, status: str, reason: str) -> None:
        """All that was stored of the resource before it was read; what came meanwhile stays."""
        first = self.rows[0]
        if first.resource_id:
            ledger.settle_told(first.resource_type, first.resource_id, self.up_to, status, reason)
        else:
            ledger.settle_notification(first.id, status, reason)

    def put_off(self, ledger: Ledger, reason: str, wake_at: datetime) -> None:
        for row in self.rows:
            ledger.settle_notification(row.id, "ready", reason, wake_at)


def by_resource(due: Sequence[Notification]) -> list[Told]:
    """What is due, put together by resource; what names none stands alone."""
    resources: dict[str, list[Notification]] = {}
    for row in due:
        name = f"{row.resource_type}/{row.resource_id}" if row.resource_id else f"#{row.id}"
        resources.setdefault(name, []).append(row)
    last = max((row.id for row in due), default=0)
    return [Told(name, tuple(rows), last) for name, rows in resources.items()]
