"""Which loops the role `work` runs: those of the FHIR server only where there is one."""

import threading
from pathlib import Path

import pytest

from fhir_bridge.catch_up import CatchUp, Pace
from fhir_bridge.compose import Parts
from fhir_bridge.roles import work
from fhir_bridge.roles.work import Work
from fhir_bridge.settings import load


def loops(monkeypatch: pytest.MonkeyPatch, data_dir: Path, *settings: str) -> set[str]:
    names: list[str] = []
    monkeypatch.setattr(threading, "Thread", lambda name="", **_: names.append(name))
    parts = Parts(load(data_dir, settings))
    try:
        Work(parts)
    finally:
        parts.close()
    return {name for name in names if not name.startswith("worker-")}


def test_without_a_fhir_server_nothing_is_asked(monkeypatch: pytest.MonkeyPatch, data_dir: Path) -> None:
    assert loops(monkeypatch, data_dir) == {"intake", "inbox", "replies"}


def test_a_fhir_server_is_asked_and_our_subscriptions_there_are_watched(
    monkeypatch: pytest.MonkeyPatch, data_dir: Path
) -> None:
    found = loops(monkeypatch, data_dir, "fhir.base_url=http://127.0.0.1:9/fhir")
    assert found == {"intake", "inbox", "replies", "catch-up", "watchdog"}


@pytest.mark.parametrize(
    ("task_orders", "feeds"), [("false", ("orders", "studies")), ("true", ("orders", "studies", "tasks"))]
)
def test_it_is_asked_at_the_pace_of_the_settings(
    monkeypatch: pytest.MonkeyPatch, data_dir: Path, task_orders: str, feeds: tuple[str, ...]
) -> None:
    paces: list[Pace] = []
    monkeypatch.setattr(work, "CatchUp", lambda *parts: paces.append(parts[3]) or CatchUp(*parts))
    server = "fhir.base_url=http://127.0.0.1:9/fhir", f"fhir.task_orders={task_orders}"
    times = "fhir.catch_up_seconds=20", "fhir.catch_up_overlap_seconds=130", "fhir.first_catch_up_hours=12"
    loops(monkeypatch, data_dir, *server, *times)
    assert paces == [Pace(20, 130, 12, feeds)]
