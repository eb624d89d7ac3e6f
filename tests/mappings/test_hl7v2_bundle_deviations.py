"""docs/conformance/deviations.md against the tables and the code: what the page says of `convert` is what it does."""

import re
from pathlib import Path

import pytest

from mappings.code_table import load
from mappings.hl7v2_bundle import PERSON_EVENTS, VISIT_EVENTS
from mappings.hl7v2_to_merge import MERGES

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "conformance" / "deviations.md").read_text(encoding="utf-8")


def section(heading: str) -> str:
    return PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def test_every_status_that_differs_from_the_guides_is_published() -> None:
    """The tables' comments begin with what the guide's ConceptMap OrderControlCode says (facts of its release of 2025-10)."""
    published = re.findall(
        r"^\| `([A-Z]{2})` \| ([a-z -]+) \| ([a-z-]+) \|", section("Bundle: ServiceRequest.status"), re.MULTILINE
    )

    differing = []
    for row in load("order_control_status"):
        guide = row.comment.removeprefix("guide: ").partition(";")[0]
        if row.target and row.target.code != guide:
            differing.append((row.source_code, guide, row.target.code))
    assert published == differing


def test_the_guides_own_status_stands_where_nothing_is_published() -> None:
    """The rows of the guide's ConceptMap, as published: none is lost, none is added."""
    guide = {
        "active": "AF CA HD NW OK PR PY RL RO RQ",
        "revoked": "CR DC DF DR OC OD",
        "on-hold": "HR OH",
        "completed": "FU",
    }
    stated = {code: status for status, codes in guide.items() for code in codes.split()}

    commented = {
        row.source_code: row.comment.removeprefix("guide: ").partition(";")[0] for row in load("order_control_status")
    }
    assert {code: status for code, status in commented.items() if status != "no target"} == stated


def test_every_adt_event_is_published_and_no_other() -> None:
    rows = re.findall(r"^\| ((?:`A\d\d` ?)+) \|", section("Bundle: ADT"), re.MULTILINE)

    published = {event for row in rows for event in re.findall(r"A\d\d", row)}
    assert published == PERSON_EVENTS | VISIT_EVENTS | MERGES.keys()


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(golden_bundles/\w+|test_\w+\.py)", PAGE))))
def test_the_tests_that_the_page_names_exist(name: str) -> None:
    assert list((ROOT / "tests").rglob(name))


def test_both_tables_of_order_control_know_the_same_codes() -> None:
    codes = {
        name: {row.source_code for row in load(name)}
        for name in ("order_control", "order_control_status", "order_control_write")
    }

    assert codes["order_control_status"] == codes["order_control_write"] == codes["order_control"]
