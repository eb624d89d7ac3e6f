"""The canary guard: no test may let an invented patient show where no patient may be seen.

Every invented patient is CANARY^ZEBRA, every identifier holds CANARY. A test that passed is failed afterwards if one of the two is
found in what it logged or printed (also where it read the capture itself), in an answer of a Flask test client, in what a click
test runner printed, in a `*.log` file, the bridge's own `bridge.out` or a file below a folder `deidentified` under its `tmp_path`, or in a file that it gave to
the fixture `watched_files`. The marker `prints_identifiers` is for the few tests of a command whose purpose is to show them.
"""

import functools
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from flask.testing import FlaskClient

CANARIES = ("CANARY", "ZEBRA")
WATCHED = pytest.StashKey[list[Path]]()


class CanaryGuard:
    """A pytest plugin; registered by conftest.py."""

    def __init__(self) -> None:
        self._patches = pytest.MonkeyPatch()
        self._seen: list[tuple[str, str]] = []

    def pytest_configure(self, config: pytest.Config) -> None:
        self._listen(pytest.CaptureFixture, "readouterr", lambda read: f"{read.out}{read.err}")
        self._listen(CliRunner, "invoke", lambda result: result.output)
        self._listen(FlaskClient, "open", lambda r: f"{r.headers}{r.get_data().decode(errors='replace')}")

    def pytest_unconfigure(self, config: pytest.Config) -> None:
        self._patches.undo()

    def _listen(self, owner: type, method: str, text_of: Callable[[Any], str]) -> None:
        original = getattr(owner, method)

        @functools.wraps(original)
        def and_keep(*args: Any, **kwargs: Any) -> Any:
            answer = original(*args, **kwargs)
            self._seen.append((f"{owner.__name__}.{method}", str(text_of(answer))))
            return answer

        self._patches.setattr(owner, method, and_keep)

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        self._seen.clear()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if report.when == "teardown" and report.passed and not item.get_closest_marker("prints_identifiers"):
            places = sorted(set(self._leaks(item, report)))
            if places:
                report.outcome = "failed"
                report.longrepr = "canary guard: a patient's name or number was found in: " + ", ".join(places)
        return report

    def _leaks(self, item: pytest.Item, report: pytest.TestReport) -> Iterator[str]:
        for place, text in (*report.sections, *self._seen):
            if any(canary in text for canary in CANARIES):
                yield place
        for path in self._files(item):
            content = path.read_bytes()
            if any(canary.encode() in content for canary in CANARIES):
                yield path.name

    def _files(self, item: pytest.Item) -> Iterator[Path]:
        yield from (path for path in item.stash.get(WATCHED, []) if path.is_file())
        tmp_path = getattr(item, "funcargs", {}).get("tmp_path")
        if tmp_path is not None:
            for path in tmp_path.rglob("*"):
                if path.is_file() and (
                    path.suffix == ".log"
                    or path.name == "bridge.out"
                    or "deidentified" in path.relative_to(tmp_path).parts[:-1]
                ):
                    yield path


@pytest.fixture
def watched_files(request: pytest.FixtureRequest) -> list[Path]:
    """Put a file here, and the guard reads it when the test is over."""
    files: list[Path] = []
    request.node.stash[WATCHED] = files
    return files
