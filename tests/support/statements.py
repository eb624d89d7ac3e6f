"""Reads a page of docs/conformance: tables whose rows say what we do, how far, and which tests show it."""

import re

from tests.support.source_tree import ROOT, functions

WORDS = {"yes", "partial", "no"}


def rows_below(page: str, heading: str) -> list[list[str]]:
    """The cells of the table below a heading of a page of docs/conformance."""
    text = (ROOT / "docs" / "conformance" / page).read_text(encoding="utf-8")
    section = text.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines[1:]]


def faults_of(row: list[str], said: int, shown: int) -> list[str]:
    """What is wrong with a row that says in one column how far it is there, and in another which tests show it."""
    word, _, missing = row[said].partition(":")
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", row[shown])
    faults = [] if word in WORDS else [f"{word} is not yes, partial or no"]
    faults += [] if named or word == "no" else ["no test is named"]
    faults += ["what is missing?"] if word != "yes" and not missing.strip() else []
    return faults + [
        f"{path} has no {name}"
        for path, name in named
        if not (ROOT / path).is_file() or (name and name not in dict(functions(ROOT / path)))
    ]
