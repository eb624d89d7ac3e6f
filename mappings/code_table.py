"""Code tables: read a CSV, translate a code, refuse an unmapped one. One table is one FHIR ConceptMap."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from io import StringIO

from mappings.code import Code
from mappings.refusal import MappingRefused

COLUMNS = (
    "source_code",
    "source_system",
    "target_code",
    "target_system",
    "target_display",
    "relationship",
    "condition",
    "comment",
    "reference",
)
RELATIONSHIPS = frozenset(  # FHIR R5 ConceptMapRelationship; a row without a target is `not-related-to`
    {
        "equivalent",
        "related-to",
        "source-is-narrower-than-target",
        "source-is-broader-than-target",
        "not-related-to",
    }
)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table. `target` is None where the source is known and has no counterpart; `comment` says why."""

    source_code: str
    source_system: str
    target: Code | None
    relationship: str
    comment: str
    reference: str


class CodeTable:
    """The rows of one CSV by (source system, source code). Unchangeable once read."""

    __slots__ = ("_rows", "name")

    def __init__(self, name: str, rows: dict[tuple[str, str], Row]) -> None:
        self.name = name
        self._rows = rows

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows.values())

    def __len__(self) -> int:
        return len(self._rows)

    def find(self, code: str, system: str) -> Row | None:
        """The row of this source code, or None."""
        return self._rows.get((system, code))

    def target(self, code: str, system: str) -> Code | None:
        """The target of this source code; None where there is no row, or a row without a target (inbound codes)."""
        row = self._rows.get((system, code))
        return row.target if row else None

    def translate(self, code: str, system: str) -> Code:
        """The target code of something we write. Raises MappingRefused `mapping.code-missing`: never a pass-through."""
        target = self.target(code, system)
        if target is None:
            raise MappingRefused(
                "mapping.code-missing", f"tables/{self.name}.csv", "the table has no target for a code"
            )
        return target


@cache
def load(name: str) -> CodeTable:
    """One of our own tables, by its name without `.csv`."""
    return parse(name, resources.files("mappings").joinpath("tables", f"{name}.csv").read_text("utf-8"))


def parse(name: str, text: str) -> CodeTable:
    """A table from CSV text, a site's own too. Raises MappingRefused `mapping.table-malformed` with the line."""
    reader = csv.DictReader(StringIO(text), strict=True)
    if tuple(reader.fieldnames or ()) != COLUMNS:
        raise _malformed(name, 1, "the columns must be " + ", ".join(COLUMNS))
    rows: dict[tuple[str, str], Row] = {}
    try:
        for cells in reader:
            row = _row(name, reader.line_num, cells)
            if rows.setdefault((row.source_system, row.source_code), row) is not row:
                raise _malformed(name, reader.line_num, "the source code stands twice")
    except csv.Error as error:
        raise _malformed(name, reader.line_num + 1, "not CSV") from error
    return CodeTable(name, rows)


def _row(name: str, line: int, cells: dict[str, str | None]) -> Row:
    if set(cells) != set(COLUMNS) or None in cells.values():
        raise _malformed(name, line, "wrong number of cells")
    cell = {column: (value or "").strip() for column, value in cells.items()}
    if not cell["source_code"] or not cell["source_system"] or not cell["reference"]:
        raise _malformed(name, line, "source_code, source_system and reference must be filled")
    if cell["relationship"] not in RELATIONSHIPS:
        raise _malformed(name, line, "unknown relationship")
    if (cell["relationship"] == "not-related-to") != (not cell["target_code"]):
        raise _malformed(name, line, "a row has a target, or is not-related-to")
    if cell["condition"]:
        raise _malformed(name, line, "no condition is defined")
    target = Code(cell["target_code"], cell["target_system"], cell["target_display"]) if cell["target_code"] else None
    return Row(
        cell["source_code"], cell["source_system"], target, cell["relationship"], cell["comment"], cell["reference"]
    )


def _malformed(name: str, line: int, explanation: str) -> MappingRefused:
    return MappingRefused("mapping.table-malformed", f"{name}.csv line {line}", explanation)
