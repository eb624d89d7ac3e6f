"""docs/conformance/hl7v2.md: every item and every order control code has a row, and every row a test that exists."""

import csv
import re

import pytest

from tests.support.source_tree import ROOT
from tests.support.statements import faults_of, rows_below

ITEMS = range(1, 35)
CHECKLIST, CONTROL = rows_below("hl7v2.md", "Checklist"), rows_below("hl7v2.md", "Order control")


def test_every_item_has_a_row() -> None:
    assert {int(number) for row in CHECKLIST for number in re.findall(r"^\d+", row[0])} == set(ITEMS)


def test_every_order_control_code_of_the_table_has_a_row() -> None:
    with (ROOT / "mappings" / "tables" / "order_control.csv").open(encoding="utf-8") as file:
        codes = {row["source_code"] for row in csv.DictReader(file)}
    named = {code for row in CONTROL for code in re.findall(r"[A-Z]{2}", row[0])}
    assert codes - named == set()


@pytest.mark.parametrize("row", CHECKLIST + CONTROL, ids=lambda row: row[0][:30])
def test_a_row_says_how_far_and_names_tests_that_exist(row: list[str]) -> None:
    assert faults_of(row, said=2, shown=3) == []
