"""Reads our own source: its files, its functions, the error codes it can raise."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from fhir_bridge.sections import AuthoritySection, Destination, Listener, Section, Sender, SenderRule
from fhir_bridge.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("fhir_bridge", "hl7_listener", "inference", "mappings")
SLUG = re.compile(r"[a-z][a-z0-9]*\.[a-z][a-z0-9]*(-[a-z0-9]+)*")
FILE_NAME = re.compile(r".*\.(csv|css|db|dcm|hl7|html|ini|json|keras|key|log|md|out|png|sh|sql|svg|token|toml|txt|xml)")
NO_CODES = {
    "patient.identifiers", "patient.sex", "patient.at", "patient.event", "patient.prior", "period.end",  # elements of traces
    "hl7apy.v",  # the beginning of a module's name
    "bridge.id", "http.address",  # files of the data folder
    "channel.extension", "meta.tag",  # elements of a Subscription
    "sekmet.cli",  # a module
}  # fmt: skip


def python_files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Name and body length in lines, docstring left out, of every function."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            yield node.name, (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def error_codes() -> dict[str, str]:
    """Every code that the packages can raise, answer or put as a reason, with a file that does.

    A code is any string of the shape `family.some-word` that is no file name, no name of a setting and no name of a log event.
    """
    settings = set(setting_names())
    found = {
        code: str(path.relative_to(ROOT))
        for path in python_files(*PACKAGES)
        if "training" not in path.parts
        for code in _slugs(tree(path))
    }
    return {
        code: where
        for code, where in found.items()
        if code not in settings | NO_CODES and not FILE_NAME.fullmatch(code)
    }


def setting_names() -> Iterator[str]:
    """`section.key` of every setting; of a table that a site names itself, `section.NAME.key` of what no other table has."""
    for name, field in Settings.model_fields.items():
        if isinstance(field.default, Section):
            yield from _keys(name, type(field.default))
        elif section := _NAMED_TABLES.get(name):
            yield from (
                key for key in _keys(f"{name}.NAME", section) if key.removeprefix(f"{name}.NAME.") not in _SHARED[name]
            )
        else:
            yield name


_NAMED_TABLES: dict[str, type[Section]] = {
    "senders": SenderRule,
    "listeners": Listener,
    "destinations": Destination,
    "authority": AuthoritySection,
}


def _keys(prefix: str, section: type[Section]) -> Iterator[str]:
    for key, field in section.model_fields.items():
        if isinstance(field.default, Section):
            yield from _keys(f"{prefix}.{key}", type(field.default))
        else:
            yield f"{prefix}.{key}"


_SHARED = {  # what `[sender]` and `[mllp]` explain already
    "senders": {key.removeprefix("sender.") for key in _keys("sender", Sender)},
    "listeners": {key.removeprefix("mllp.") for key in _keys("mllp", Listener)},
    "destinations": set[str](),
    "authority": set[str](),
}


def _slugs(module: ast.Module) -> Iterator[str]:
    events = {
        id(node.args[0])
        for node in ast.walk(module)
        if isinstance(node, ast.Call) and node.args and _name(node.func) == "event"
    }
    for node in ast.walk(module):
        if (
            isinstance(node, ast.Constant)
            and id(node) not in events
            and isinstance(node.value, str)
            and SLUG.fullmatch(node.value)
        ):
            yield node.value


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
