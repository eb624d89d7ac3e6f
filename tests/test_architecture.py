"""The shape of the code: who imports whom, how long things are, where a broad except may stand, what is generated."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import job_diagram
from tests.support.source_tree import PACKAGES, ROOT, functions, python_files, tree

CODE = python_files(*PACKAGES)
EVERYTHING = [*CODE, *python_files("tests", "scripts", "benchmarks")]
VAGUE = {"utils", "common", "helpers", "base", "manager", "misc"}


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_imports_go_only_in_the_directions_of_the_contracts() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-logo"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_no_file_and_no_function_is_too_long(notes: list[str]) -> None:
    lengths = {name(path): len(path.read_text(encoding="utf-8").splitlines()) for path in EVERYTHING}
    bodies = {f"{name(path)}:{function}": lines for path in EVERYTHING for function, lines in functions(path)}
    notes += [f"over budget (300 lines): {where}, {n} lines" for where, n in lengths.items() if n > 300]
    notes += [f"over budget (40 lines a body): {where}, {n} lines" for where, n in bodies.items() if n > 40]
    assert [f"{where}: {n}" for where, n in lengths.items() if n > 400] == []
    assert [f"{where}: {n}" for where, n in bodies.items() if n > 60] == []


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert [name(path) for path in EVERYTHING if VAGUE & {path.stem, path.parent.name}] == []


def test_one_place_only_catches_whatever_comes() -> None:
    handlers = [
        (name(path), node) for path in CODE for node in ast.walk(tree(path)) if isinstance(node, ast.ExceptHandler)
    ]
    assert [where for where, node in handlers if _is_broad(node) and not _raises_again(node)] == [
        "fhir_bridge/errors.py"
    ]


def _is_broad(handler: ast.ExceptHandler) -> bool:
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(
        kind is None or (isinstance(kind, ast.Name) and kind.id in ("Exception", "BaseException")) for kind in caught
    )


def _raises_again(handler: ast.ExceptHandler) -> bool:
    """A rollback: whatever came goes on."""
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def test_the_file_names_of_tests_are_unique() -> None:
    names = [path.name for path in python_files("tests") if path.name.startswith("test_")]
    assert sorted(names) == sorted(set(names))


def test_no_package_hides_under_tests() -> None:
    assert [name(path) for path in python_files("tests") if path.name == "__init__.py"] == []


def test_the_job_diagram_is_the_table_of_moves() -> None:
    page = job_diagram.PAGE.read_text(encoding="utf-8")
    assert job_diagram.drawn_in(page) == job_diagram.draw(), "run .venv/bin/python scripts/job_diagram.py"


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_says_what_it_is(package: str) -> None:
    assert ast.get_docstring(tree(ROOT / package / "__init__.py"))
