"""The allow-list of DICOM attributes as data (`tables/cr_dx.csv`): one row an attribute path, everything else is removed.

Each row cites the module of PS3.3 that defines the attribute. `rule` names a gate of `gates`; `otherwise` says what becomes of
a value that does not pass: the element is removed, or emptied where the IOD wants it present (Type 2).
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from pydicom.datadict import dictionary_VM, dictionary_VR, tag_for_keyword

CR_IMAGE = "1.2.840.10008.5.1.4.1.1.1"
DX_IMAGES = ("1.2.840.10008.5.1.4.1.1.1.1", "1.2.840.10008.5.1.4.1.1.1.1.1")  # for presentation, for processing
_COLUMNS: Mapping[str, str] = {CR_IMAGE: "cr", **dict.fromkeys(DX_IMAGES, "dx")}
_MOST_VALUES = 256  # where the dictionary says n
Path = tuple[int, ...]  # tags from the data set down


@dataclass(frozen=True, slots=True)
class Rule:
    """What may stay of one attribute. `vrs` has two entries where the dictionary says, say, `US or SS`."""

    tag: int
    gate: str
    vrs: tuple[str, ...]
    fewest: int
    most: int
    values: tuple[str, ...]
    empty_otherwise: bool


@cache
def allow_list(sop_class: str) -> Mapping[Path, Rule] | None:
    """The rules of a SOP Class by attribute path; None where the class has no list."""
    column = _COLUMNS.get(sop_class)
    if column is None:
        return None
    return dict(_rule(row) for row in read_table("cr_dx.csv") if row[column] == "y")


def read_table(name: str) -> list[dict[str, str]]:
    """The rows of a table of this package."""
    text = (files("fhir_bridge.deid") / "tables" / name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def _rule(row: Mapping[str, str]) -> tuple[Path, Rule]:
    path = tuple(_tag(keyword) for keyword in row["attribute"].split("."))
    fewest, most = _multiplicity(dictionary_VM(path[-1]))
    values = tuple(row["values"].split("|")) if row["values"] else ()
    vrs = tuple(dictionary_VR(path[-1]).split(" or "))
    return path, Rule(path[-1], row["rule"], vrs, fewest, most, values, row["otherwise"] == "empty")


def _tag(keyword: str) -> int:
    tag: int | None = tag_for_keyword(keyword)
    if tag is None:
        raise ValueError(f"{keyword} is no keyword of PS3.6")
    return tag


def _multiplicity(vm: str) -> tuple[int, int]:
    fewest, _, most = vm.partition("-")
    if not most:
        return int(fewest), int(fewest)
    return int(fewest), _MOST_VALUES if most.endswith("n") else int(most)
