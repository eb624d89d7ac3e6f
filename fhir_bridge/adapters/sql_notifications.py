"""The stored notifications inside one transaction: what `SqlLedger` does with them."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, and_, bindparam, delete, insert, or_, select, text, update

from fhir_bridge.adapters import sql_tables as t
from fhir_bridge.adapters.sql_rows import NOTIFICATION_COLUMNS, notification_of
from fhir_bridge.adapters.told_before import news_among
from fhir_bridge.ports import CATCH_UP, Added, Notification

_N = t.notification.c
_ADD = insert(t.notification)
_AWAITED = text("awaited = 1")  # no parameter: else SQLite does not use the index of these few rows

# of many versions at once, by the index; `resource_type` is one
TOLD_BEFORE_QUERY: Select[Any] = select(*NOTIFICATION_COLUMNS).where(
    _N.resource_type == bindparam("resource_type"),
    _N.resource_id.in_(bindparam("ids", expanding=True)),
    _N.version_id.in_(bindparam("versions", expanding=True)),
)

_ONE_TOLD_BEFORE = select(*NOTIFICATION_COLUMNS).where(  # half the work of the above, and each hook asks it
    _N.resource_type == bindparam("resource_type"),
    _N.resource_id == bindparam("resource_id"),
    _N.version_id == bindparam("version_id"),
)


def add(connection: Connection, at: datetime, notification: Notification, body: bytes) -> bool:
    """`Ledger.add_notification`."""
    kept = _one_told_before(connection, notification)
    if any(one.subscription == CATCH_UP for one in kept) or not notification.version_id:
        same = [_N.version_id == notification.version_id] if notification.version_id else []
        of_it = _N.resource_type == notification.resource_type, _N.resource_id == notification.resource_id
        connection.execute(update(t.notification).where(_AWAITED, *of_it, *same).values(awaited=0))
    news, _ = news_among([notification], kept, lambda _: False)
    if news:
        connection.execute(_ADD, _row(notification, at, body))
    return bool(news)


def add_changes(
    connection: Connection, at: datetime, found: Sequence[Notification], awaited: Collection[Notification]
) -> Added:
    """`Ledger.add_changes`: one statement looks up all of them, one adds them."""
    news, untold = news_among(found, _told_before(connection, found), lambda one: _is_gone(connection, one))
    if news:
        still = {one for one in untold if one in awaited}
        connection.execute(_ADD, [_row(one, at, b"", awaited=one in still) for one in news])
    return Added(len(news), tuple(untold))


def give_up(connection: Connection, resource_type: str, before: datetime) -> int:
    """`Ledger.given_up`."""
    overdue = _AWAITED, _N.resource_type == resource_type, _N.received < before
    return connection.execute(update(t.notification).where(*overdue).values(awaited=0)).rowcount


def settle(
    connection: Connection, at: datetime, notification: int, status: str, reason: str, wake_at: datetime | None
) -> None:
    """`Ledger.settle_notification`."""
    _settle(connection, status, reason, wake_at or at, _N.id == notification)


def settle_told(
    connection: Connection, at: datetime, resource: tuple[str, str], up_to: int, status: str, reason: str
) -> None:
    """`Ledger.settle_told`."""
    settles = _N.status.in_(("ready", "quarantined") if status == "done" else ("ready",))
    of_it = _N.resource_type == resource[0], _N.resource_id == resource[1], settles, _N.id <= up_to
    _settle(connection, status, reason, at, and_(*of_it))


def replay(connection: Connection, at: datetime, notification: int) -> bool:
    """`Ledger.replay_notification`."""
    again = update(t.notification).where(_N.id == notification)
    return connection.execute(again.values(status="ready", reason="", attempts=0, wake_at=at)).rowcount > 0


def forget(connection: Connection, before: datetime) -> int:
    """`Ledger.forget_notifications`. A settled one's `wake_at` is when it was settled."""
    useless = and_(_N.status == "quarantined", _N.resource_type == "")
    old = delete(t.notification).where(or_(_N.status == "done", useless), _N.wake_at < before)
    return connection.execute(old).rowcount


def _settle(connection: Connection, status: str, reason: str, wake_at: datetime, which: Any) -> None:
    values = {"status": status, "reason": reason, "wake_at": wake_at, "attempts": _N.attempts + 1}
    connection.execute(update(t.notification).where(which).values(values))


def _one_told_before(connection: Connection, found: Notification) -> list[Notification]:
    if not found.version_id:
        return []
    values = {name: getattr(found, name) for name in ("resource_type", "resource_id", "version_id")}
    return [notification_of(row) for row in connection.execute(_ONE_TOLD_BEFORE, values)]


def _told_before(connection: Connection, found: Sequence[Notification]) -> list[Notification]:
    """What tells of one of these versions, or of no version; with them a few others, as ids and versions are looked up apart."""
    kept: list[Notification] = []
    for kind in {one.resource_type for one in found}:
        versions = [one for one in found if one.resource_type == kind and one.version_id]
        if versions:
            values = {
                "resource_type": kind,
                "ids": [one.resource_id for one in versions],
                "versions": sorted({"", *(one.version_id for one in versions)}),
            }
            kept += [notification_of(row) for row in connection.execute(TOLD_BEFORE_QUERY, values)]
    return kept


def _is_gone(connection: Connection, deletion: Notification) -> bool:
    same = _N.resource_type == deletion.resource_type, _N.resource_id == deletion.resource_id
    usable = or_(_N.status != "quarantined", _N.subscription == CATCH_UP)
    newest = select(_N.method).where(*same, usable).order_by(_N.id.desc()).limit(1)
    return connection.execute(newest).scalar() == "DELETE"


def _row(notification: Notification, at: datetime, body: bytes, *, awaited: bool = False) -> dict[str, object]:
    return {
        "subscription": notification.subscription,
        "method": notification.method,
        "resource_type": notification.resource_type,
        "resource_id": notification.resource_id,
        "version_id": notification.version_id,
        "received": at,
        "status": notification.status,
        "attempts": 0,
        "reason": notification.reason,
        "wake_at": at,
        "body": body,
        "awaited": int(awaited),
    }
