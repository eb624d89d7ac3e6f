"""What every test gets: the canary guard, the count of real parts, a frozen clock, a folder for the data."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from fhir_bridge import log
from tests.support.canary_guard import CanaryGuard, watched_files
from tests.support.frozen_clock import FrozenClock
from tests.support.skip_count import SkipCount

__all__ = ["watched_files"]

pytest_plugins = ["pytester"]  # for the tests of these two plugins


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(SkipCount(), "skip-count")
    config.pluginmanager.register(CanaryGuard(), "canary-guard")


@pytest.fixture(autouse=True)
def strict_log(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A log field that is not on the allow-list is an error in tests; what a test configures is undone after it."""
    monkeypatch.setattr(log, "_strict", True)
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()


NOTES = pytest.StashKey[list[str]]()


@pytest.fixture
def notes(request: pytest.FixtureRequest) -> list[str]:
    """Lines for the end of the run: things to know that are no failure."""
    return request.config.stash.setdefault(NOTES, [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in config.stash.get(NOTES, []):
        terminalreporter.write_line(line)


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """An empty DATA_DIR, with the two folders of the boundary."""
    for name in ("phi", "deidentified"):
        (tmp_path / "data" / name).mkdir(parents=True)
    return tmp_path / "data"


@pytest.fixture
def repository() -> Path:
    """The root of the repository."""
    return Path(__file__).resolve().parent.parent
