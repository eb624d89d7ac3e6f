"""docs/conformance/hl7v2.md: every item and every order control code has a row, and every row a test that exists."""

import csv
import re

import pytest

from tests.support.source_tree import ROOT, functions

PAGE = (ROOT / "docs" / "conformance" / "hl7v2.md").read_text(encoding="utf-8")
WORDS = {"yes", "partial", "no"}
ITEMS = range(1, 35)


def rows(heading: str) -> list[list[str]]:
    """The cells of the table below a heading."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines[1:]]


CHECKLIST, CONTROL = rows("Checklist"), rows("Order control")


def test_every_item_has_a_row() -> None:
    assert {int(number) for row in CHECKLIST for number in re.findall(r"^\d+", row[0])} == set(ITEMS)


def test_every_order_control_code_of_the_table_has_a_row() -> None:
    with (ROOT / "mappings" / "tables" / "order_control.csv").open(encoding="utf-8") as file:
        codes = {row["source_code"] for row in csv.DictReader(file)}
    named = {code for row in CONTROL for code in re.findall(r"[A-Z]{2}", row[0])}
    assert codes - named == set()


@pytest.mark.parametrize("row", CHECKLIST + CONTROL, ids=lambda row: row[0][:30])
def test_a_row_says_how_far_and_names_tests_that_exist(row: list[str]) -> None:
    assert row[2].split(":")[0] in WORDS
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", row[3])
    assert named or row[2].startswith("no")
    missing = [
        (path, name)
        for path, name in named
        if not (ROOT / path).is_file() or (name and name not in dict(functions(ROOT / path)))
    ]
    assert missing == []


def test_a_row_that_is_not_whole_says_what_is_missing() -> None:
    assert [row[0] for row in CHECKLIST + CONTROL if row[2] in ("partial", "no")] == []
