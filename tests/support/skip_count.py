"""Counts the tests that used a real part, and makes a skip a failure under REQUIRE_REAL_PARTS=1 (CI).

Tests of material beside the repository (marker `shared`, or a reason that names it) may be skipped even then: nobody else has it.
"""

import os
from collections import Counter
from collections.abc import Generator

import pytest

KINDS = {
    "real_parts": "with real parts (HAPI, Orthanc, our processes)",
    "tensorflow": "with TensorFlow",
    "shared": "on material beside the repository",
}


class SkipCount:
    """A pytest plugin; registered by conftest.py."""

    def __init__(self) -> None:
        self._required = os.environ.get("REQUIRE_REAL_PARTS") == "1"
        self._counts: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
        self._left_out: list[str] = []

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        kinds = {kind for kind in KINDS if item.get_closest_marker(kind)}
        reason = _reason(report)
        if "shared" in reason:
            kinds.add("shared")
        if report.skipped and not hasattr(report, "wasxfail"):
            self._left_out.append(f"{item.nodeid}: {reason}")
            if self._required and "shared" not in kinds:
                report.outcome = "failed"
                report.longrepr = f"skipped, and REQUIRE_REAL_PARTS=1 allows no skip: {reason}"
        if report.when == "call" or not report.passed:
            for kind in kinds:
                self._counts[kind][report.outcome] += 1
        return report

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(self) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        report = yield
        reason = _reason(report)
        if report.skipped and self._required and "shared" not in reason:
            report.outcome = "failed"
            report.longrepr = f"file skipped, and REQUIRE_REAL_PARTS=1 allows no skip: {reason}"
        return report

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for kind, words in KINDS.items():
            counts = self._counts[kind]
            if counts:
                line = ", ".join(f"{counts[outcome]} {outcome}" for outcome in ("passed", "failed", "skipped"))
                terminalreporter.write_line(f"tests {words}: {line}")
        for line in self._left_out:
            terminalreporter.write_line(f"left out: {line}")


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    if report.skipped and isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    return ""
