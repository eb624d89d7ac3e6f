"""Which codes may cross: those of a public code system that look like one of its own (`tables/code_systems.csv`).

A local system's code may spell a name or a ward; a record number in SNOMED CT's place fails its check digit.
"""

import re
from collections.abc import Callable, Mapping
from functools import cache

from fhir_bridge.deid.allow_list import read_table
from fhir_bridge.deid.gates import code_meaning

_PREFIX = "(?:[numkcdpf]|da)?"
_ATOM = rf"(?:{_PREFIX}(?:g|L|l|mol|m|s|eq|U|\[IU\]|Pa|Hz|kat|osm|J|V|A)|min|h|d|wk|mo|a|m\[Hg\]|mm\[Hg\]|Cel|%|1|10\*[0-9]{{1,2}}|\[pH\]|\[in_i\]|\[lb_av\])"
_UCUM = re.compile(rf"{_ATOM}[2-3]?(?:[./]{_ATOM}[2-3]?){{0,3}}")
UCUM = "http://unitsofmeasure.org"
_DIHEDRAL = (  # the multiplication of D5, by which Verhoeff's check digit is computed
    (0, 1, 2, 3, 4, 5, 6, 7, 8, 9),
    (1, 2, 3, 4, 0, 6, 7, 8, 9, 5),
    (2, 3, 4, 0, 1, 7, 8, 9, 5, 6),
    (3, 4, 0, 1, 2, 8, 9, 5, 6, 7),
    (4, 0, 1, 2, 3, 9, 5, 6, 7, 8),
    (5, 9, 8, 7, 6, 0, 4, 3, 2, 1),
    (6, 5, 9, 8, 7, 1, 0, 4, 3, 2),
    (7, 6, 5, 9, 8, 2, 1, 0, 4, 3),
    (8, 7, 6, 5, 9, 3, 2, 1, 0, 4),
    (9, 8, 7, 6, 5, 4, 3, 2, 1, 0),
)
_PERMUTATION = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)


def is_public_code(system: str, code: str) -> bool:
    """Whether the code may be one of a public system."""
    known = _systems().get(system)
    return known is not None and known[0].fullmatch(code) is not None and _CHECKS[known[1]](code)


def is_unit(code: str) -> bool:
    """Whether it is a UCUM expression of usual units; annotations in braces are free text and are not."""
    return _UCUM.fullmatch(code) is not None


@cache
def _systems() -> Mapping[str, tuple[re.Pattern[str], str]]:
    return {row["system"]: (re.compile(row["pattern"]), row["check"]) for row in read_table("code_systems.csv")}


def _verhoeff(code: str) -> bool:
    check = 0
    for place, digit in enumerate(reversed(code)):
        number = int(digit)
        for _ in range(place % 8):
            number = _PERMUTATION[number]
        check = _DIHEDRAL[check][number]
    return check == 0


def _mod10(code: str) -> bool:
    """Luhn's sum over the digits, the check digit after the hyphen included."""
    digits = [int(digit) for digit in reversed(code.replace("-", ""))]
    doubled = [2 * digit - 9 * (digit > 4) for digit in digits[1::2]]
    return (sum(digits[::2]) + sum(doubled)) % 10 == 0


_CHECKS: Mapping[str, Callable[[str], bool]] = {
    "": lambda _: True,
    "verhoeff": _verhoeff,
    "mod10": _mod10,
    "dicom": lambda code: code_meaning(code, "DCM") is not None,
}
