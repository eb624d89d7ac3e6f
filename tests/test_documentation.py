"""The documents keep up with the code: links lead somewhere, every setting, error code, page, table and command has its row."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import click
import pytest

from fhir_bridge.adapters.in_memory.journal import InMemoryJournal
from fhir_bridge.adapters.in_memory.store import InMemoryStore
from fhir_bridge.api.fhir_api import fhir_api
from fhir_bridge.api.fhir_endpoints import hooks
from fhir_bridge.api.health import health
from fhir_bridge.api.jwks import jwks
from fhir_bridge.api.metrics import DoorFigures, FeedFigures, Metrics, metrics
from fhir_bridge.cli.root import main
from fhir_bridge.feed import Feed
from fhir_bridge.web.app import make_app
from fhir_bridge.web.message_pages import message_pages
from fhir_bridge.web.pages import only_this_machine, pages
from fhir_bridge.web.subscription_pages import subscription_pages
from hl7_listener.traffic import Statistics
from tests.support.frozen_clock import FrozenClock
from tests.support.shown_jobs import ShownJobs
from tests.support.source_tree import ROOT, error_codes, setting_names

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


def rows(heading: str) -> set[str]:
    """The first column of the table below a heading of docs/operations.md, without its backticks."""
    section = OPERATIONS.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return set(re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE))


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings_that_exist(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        there = (page.parent / file).resolve() if file else page
        if not there.exists() or (anchor and anchor not in anchors(there)):
            broken.append(target)
    assert broken == []


def test_every_error_code_is_explained_and_no_other() -> None:
    codes = error_codes()
    assert {code: codes[code] for code in codes.keys() - rows("Error codes")} == {}
    assert rows("Error codes") - codes.keys() == set()


def test_every_setting_is_explained_and_no_other() -> None:
    assert rows("Settings") == set(setting_names())


def test_every_mapping_table_is_explained_and_no_other() -> None:
    assert rows("Tables") == {path.name for path in (ROOT / "mappings" / "tables").glob("*.csv")}


def test_every_path_is_explained_and_no_other() -> None:
    store, clock = ShownJobs(), FrozenClock()
    blueprints = (
        pages(store, store, clock, store.job_counts),  # type: ignore[arg-type]
        message_pages(InMemoryJournal(clock), InMemoryStore(clock), clock, lambda *_: "", only_this_machine),
        subscription_pages(InMemoryStore(clock), clock, tuple, only_this_machine),
        hooks(lambda call: None, "token", 1),
        health({}),
        metrics(Metrics(dict)),
        jwks(dict),
        fhir_api("1", "", ()),
    )
    rules = [rule.rule for rule in make_app(blueprints).url_map.iter_rules() if rule.endpoint != "static"]
    assert rows("Over HTTP") == {re.sub(r"\(.*?\)", "", rule) for rule in rules}  # without the limits of a converter


def test_every_metric_is_explained_and_no_other() -> None:
    at = FrozenClock().now()
    feed = Feed("orders", wanted=True, heard=at, caught_up=at)
    feeds = FeedFigures(lambda: [(feed, ("feed.silent",))], dict)
    figures = Metrics(dict, DoorFigures(lambda: True, lambda: {"mllp": busy_listener()}, lambda: 0), feeds)
    figures.hook("received")
    samples = {sample.name for family in figures.registry.collect() for sample in family.samples}
    assert rows("Metrics") == {name for name in samples if not name.endswith("_created")}


def busy_listener() -> Statistics:
    tables = ("acknowledgements", "connections_refused", "closed", "discarded", "tolerances")
    numbers = {"connections": 1, "messages": 1, "acceptor_failures": 0}
    return cast(Statistics, numbers | {table: {"word": 1} for table in tables})


def commands(command: click.Command, name: str) -> Iterator[str]:
    if not isinstance(command, click.Group):
        yield name
        return
    context = click.Context(command)
    for verb in command.list_commands(context):
        found = command.get_command(context, verb)
        assert found
        yield from commands(found, f"{name} {verb}".strip())


def test_every_command_is_explained_and_no_other() -> None:
    assert rows("Commands") == set(commands(main, ""))


def test_every_command_that_a_document_names_exists() -> None:
    known = {word for command in commands(main, "") for word in (command, command.split()[0])}
    named = {
        verb
        for page in PAGES
        for verb in re.findall(r"`(?:\S*/)?fhir-bridge ([a-z]+)", page.read_text(encoding="utf-8"))
    }
    assert named - known == set()


def test_every_marker_is_explained_and_no_other() -> None:
    table = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("| marker |")[1].split("\n## ")[0]
    markers = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"]["ini_options"][
        "markers"
    ]
    assert set(re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)) == {marker.split(":")[0] for marker in markers}


def test_every_make_target_that_a_document_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {target for page in PAGES for target in re.findall(r"`make ([a-z-]+)", page.read_text(encoding="utf-8"))}
    assert named - targets == set()


def test_the_changelog_knows_this_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{version}]" in changelog or "## [Unreleased]" in changelog
