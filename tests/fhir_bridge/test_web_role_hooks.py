"""Hooks through the web role as `serve` runs it: real HTTP, one writer, SQLite."""

import http.client
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fhir_bridge.adapters.door_process import DoorProcess
from fhir_bridge.adapters.group_commit import GroupCommit
from fhir_bridge.adapters.sql_database import SqlDatabase
from fhir_bridge.compose import Parts
from fhir_bridge.feed import Feed
from fhir_bridge.hook_token import token_for
from fhir_bridge.roles import web as role
from fhir_bridge.roles.web import Web
from fhir_bridge.server import of_the_door
from fhir_bridge.settings import Settings

TASK = b'{"resourceType":"Task","id":"1","meta":{"versionId":"4"}}'


class Running:
    """The role, its writer not begun yet."""

    def __init__(self, data_dir: Path) -> None:
        http_ = {"port": 0, "hook_token": "new", "previous_hook_token": "old"}
        settings = Settings.model_validate({"data_dir": data_dir, "http": http_})
        self.parts = Parts(settings)
        self.writer = GroupCommit(self.parts.store, lambda: None)
        self.web = Web(self.parts, self.writer, DoorProcess(of_the_door(settings), lambda: None, lambda _: {}))
        self._address = self.web.start()

    def post(self, body: bytes = TASK, token: str = "") -> int:
        connection = http.client.HTTPConnection(*self._address, timeout=20)
        headers = {"Authorization": f"Bearer {token or token_for('new', 'orders')}"}
        connection.request("POST", "/hooks/fhir/orders", body, headers)
        status = connection.getresponse().status
        connection.close()
        return status

    def get(self, path: str) -> str:
        connection = http.client.HTTPConnection(*self._address, timeout=20)
        connection.request("GET", path)
        text = connection.getresponse().read().decode()
        connection.close()
        return text

    def kept(self) -> list[tuple[str, str]]:
        return [(n.resource_type, n.version_id) for n in self.parts.store.notifications()]


@pytest.fixture
def running(data_dir: Path) -> Iterator[Running]:
    running = Running(data_dir)
    running.writer.start()
    yield running
    running.web.drain(10)
    running.writer.stop()
    running.parts.close()


def test_a_notification_is_on_disk_when_it_is_answered(running: Running, data_dir: Path) -> None:
    assert running.post() == 204
    beside = SqlDatabase.in_folder(data_dir / "phi")
    with beside.reading() as connection:
        rows = connection.exec_driver_sql("SELECT resource_type, version_id, body FROM notification").all()
    beside.close()
    assert [tuple(row) for row in rows] == [("Task", "4", TASK)]


@pytest.mark.parametrize("token", ["new", "old", token_for("old", "orders")])
def test_the_token_can_be_rotated(running: Running, token: str) -> None:
    assert running.post(token=token) == 204


def test_a_stranger_is_401(running: Running) -> None:
    assert (running.post(token=token_for("new", "studies")), running.kept()) == (401, [])


def test_a_feed_that_the_configuration_does_without_now_is_no_alarm(running: Running) -> None:
    with running.parts.store.transaction() as ledger:
        ledger.keep_feed(Feed("orders"))
        ledger.keep_feed(Feed("tasks", caught_up=datetime.now(UTC) - timedelta(days=9)))
    shown = {path: running.get(path) for path in ("/health/ready", "/metrics", "/subscriptions")}
    assert [path for path, text in shown.items() if "tasks" in text.lower()] == []


def test_many_calls_are_all_kept(running: Running) -> None:
    for number in range(30):
        assert running.post(TASK.replace(b'"1"', b'"%d"' % number)) == 204
    assert len(running.kept()) == 30


def test_a_store_that_is_gone_is_503(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError("disk")

    monkeypatch.setattr(running.parts.store, "transaction", full)
    assert running.post() == 503


def test_a_commit_that_does_not_come_in_time_is_503(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """HAPI gives up after 10 s: see `role._HOOK_SECONDS`."""
    monkeypatch.setattr(role, "_HOOK_SECONDS", 0.05)
    monkeypatch.setattr(running.writer._group, "put", lambda _work: None)
    assert (running.post(), running.kept()) == (503, [])
