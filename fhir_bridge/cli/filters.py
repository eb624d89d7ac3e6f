"""What `check` says of the filters of FHIR orders: a value that no table knows may be a typing error, or a code of the site's own."""

from collections.abc import Iterable, Iterator

from fhir_bridge.fhir_sections import Fhir
from mappings.code_table import load
from mappings.fhir_task import CODE_SYSTEM, CODES


def unknown_filters(fhir: Fhir) -> dict[str, str]:
    """By setting: its values that are in no table. It says so and refuses nothing: codes of a site are its own."""
    known = {
        "order_categories": _table("order_categories"),
        "order_codes": _table("procedures"),
        "task_codes": {form for code in CODES for form in (code, f"{CODE_SYSTEM}|{code}")},
    }
    values = {"order_categories": fhir.order_categories, "order_codes": fhir.order_codes, "task_codes": fhir.task_codes}
    return {f"fhir.{name}": words for name, codes in known.items() if (words := _unknown(values[name], codes))}


def _table(name: str) -> set[str]:
    return {form for row in load(name) for form in (row.source_code, f"{row.source_system}|{row.source_code}")}


def _unknown(values: Iterable[str], known: set[str]) -> str:
    return "; ".join(_in_words(value, known) for value in values if value not in known)


def _in_words(value: str, known: set[str]) -> str:
    near = next(_nearly(value, known), "")
    return f"{value} is in no table: " + (
        f"a typing error for {near}?" if near else "a code of the site's own, or a typing error?"
    )


def _nearly(value: str, known: set[str]) -> Iterator[str]:
    """Codes that differ in case or blanks alone."""
    return (code for code in sorted(known) if code.casefold() == "".join(value.split()).casefold())
