"""docs/conformance/fhir.md: every row names tests that exist, and what is generated there equals the code."""

from dataclasses import fields

import pytest

from fhir_bridge.adapters.record_context import CONTEXT_TYPES
from fhir_bridge.server_traits import PROFILES, ServerTraits
from tests.support.statements import faults_of, rows_below

PAGE = "fhir.md"
STATEMENTS = [
    row
    for heading in ("Notifications", "Healing", "Orders", "Reading", "Writing", "SMART Backend Services", "Bad input")
    for row in rows_below(PAGE, heading)
]


@pytest.mark.parametrize("row", STATEMENTS, ids=lambda row: row[0][:50])
def test_a_row_says_how_far_and_names_tests_that_exist(row: list[str]) -> None:
    assert faults_of(row, said=1, shown=2) == []


def said(value: object) -> str:
    """A trait as the page writes it."""
    if isinstance(value, tuple):
        return ", ".join(value) or "-"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def test_the_profiles_are_those_of_the_code() -> None:
    table = {
        row[0].strip("`"): dict(zip(PROFILES, row[1:], strict=True)) for row in rows_below(PAGE, "Profiles of servers")
    }
    assert table == {
        field.name: {name: said(getattr(traits, field.name)) for name, traits in PROFILES.items()}
        for field in fields(ServerTraits)
    }


def test_the_context_is_of_the_types_of_the_code() -> None:
    assert {row[0].strip("`") for row in rows_below(PAGE, "Patient context")} == set(CONTEXT_TYPES)
