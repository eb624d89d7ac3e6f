"""Our tables as FHIR R4 ConceptMaps (§5.13.1), our own codes as CodeSystems: what a server publishes of a mapping."""

from collections.abc import Iterable
from importlib import resources

from mappings import code_system
from mappings.code_table import CodeTable, Row, load
from mappings.fhir_elements import Json, without_empty

# R5 relationship of a table -> R4 ConceptMapEquivalence, which says what the *target* is to the source
_EQUIVALENCE = {
    "equivalent": "equivalent",
    "related-to": "relatedto",
    "source-is-narrower-than-target": "wider",
    "source-is-broader-than-target": "narrower",
    "not-related-to": "unmatched",
}
_PUBLISHER = "fhir-bridge"
_SYSTEM_NAMES = {code_system.OWN_CODES: "Codes", code_system.OWN_TAGS: "Tags"}


def table_names() -> tuple[str, ...]:
    """All tables that there are, by name."""
    folder = resources.files("mappings").joinpath("tables")
    return tuple(sorted(file.name.removesuffix(".csv") for file in folder.iterdir() if file.name.endswith(".csv")))


def concept_maps(version: str) -> dict[str, Json]:
    """Every table that has a row, by resource id."""
    maps = (concept_map_of(load(name), version) for name in table_names() if len(load(name)))
    return {resource["id"]: resource for resource in maps}


def concept_map_of(table: CodeTable, version: str) -> Json:
    """One table. A source code without a counterpart is there, `unmatched`, with the reason."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in table:
        groups.setdefault((row.source_system, row.target.system if row.target else ""), []).append(row)
    return {
        "resourceType": "ConceptMap",
        "id": table.name.replace("_", "-"),
        "url": f"urn:fhir-bridge:concept-map:{table.name.replace('_', '-')}",
        "version": version,
        "name": "".join(word.capitalize() for word in table.name.split("_")),
        "title": f"fhir-bridge: {table.name.replace('_', ' ')}",
        "status": "active",
        "publisher": _PUBLISHER,
        "group": [_group(source, target, rows) for (source, target), rows in groups.items()],
    }


def _group(source: str, target: str, rows: Iterable[Row]) -> Json:
    elements = [{"code": row.source_code, "target": [_target(row)]} for row in rows]
    return without_empty((("source", source), ("target", target), ("element", elements)))


def _target(row: Row) -> Json:
    """With a comment always: R4 (cmd-1) wants one wherever the meanings differ, and a reader wants the source."""
    return without_empty(
        (
            ("code", row.target.code if row.target else ""),
            ("display", row.target.display if row.target else ""),
            ("equivalence", _EQUIVALENCE[row.relationship]),
            ("comment", "; ".join(filter(None, (row.comment, row.reference)))),
        )
    )


def code_systems(version: str) -> dict[str, Json]:
    """The codes that are ours, with their definitions, by resource id: whoever finds one in a result can look it up."""
    systems = (_code_system(system, name, version) for system, name in _SYSTEM_NAMES.items())
    return {resource["id"]: resource for resource in systems}


def _code_system(system: str, name: str, version: str) -> Json:
    concepts = [
        {"code": code, "display": display, "definition": definition}
        for code, (display, definition) in code_system.OWN_DEFINITIONS.items()
        if (code == "ai-result") == (system == code_system.OWN_TAGS)
    ]
    return {
        "resourceType": "CodeSystem",
        "id": name.lower(),
        "url": system,
        "version": version,
        "name": f"FhirBridge{name}",
        "title": f"fhir-bridge: {name.lower()}",
        "status": "active",
        "publisher": _PUBLISHER,
        "caseSensitive": True,
        "content": "complete",
        "count": len(concepts),
        "concept": concepts,
    }
