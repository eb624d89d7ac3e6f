"""The tables as ConceptMaps: every row is there, and means in R4's words what it means in ours."""

import csv
from pathlib import Path

import pytest
from fhir.resources.R4B.codesystem import CodeSystem
from fhir.resources.R4B.conceptmap import ConceptMap

from mappings.code_system import OWN_DEFINITIONS
from mappings.code_table import parse
from mappings.concept_map import code_systems, concept_map_of, concept_maps

TABLES = Path(__file__).parents[2] / "mappings" / "tables"
FILLED = {
    path.stem.replace("_", "-"): list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    for path in TABLES.glob("*.csv")
    if len(path.read_text(encoding="utf-8").splitlines()) > 1
}
MAPS = concept_maps("1")
HEAD = "source_code,source_system,target_code,target_system,target_display,relationship,condition,comment,reference\n"


def test_every_table_with_a_row_is_published() -> None:
    assert MAPS.keys() == FILLED.keys()


@pytest.mark.parametrize("name", sorted(FILLED))
def test_every_row_of_a_table_is_in_its_map(name: str) -> None:
    ConceptMap.model_validate(MAPS[name])
    published = {
        (group["source"], element["code"], group.get("target", ""), target.get("code", ""))
        for group in MAPS[name]["group"]
        for element in group["element"]
        for target in element["target"]
    }
    rows = {
        (
            row["source_system"],
            row["source_code"],
            row["target_system"] if row["target_code"] else "",
            row["target_code"],
        )
        for row in FILLED[name]
    }
    assert published == rows


# R4 ConceptMapEquivalence says what the target is to the source: `wider` is "the target mapping is wider in meaning than the source"
RELATIONSHIPS = [
    ("equivalent", "b", "equivalent"),
    ("related-to", "b", "relatedto"),
    ("source-is-narrower-than-target", "b", "wider"),
    ("source-is-broader-than-target", "b", "narrower"),
    ("not-related-to", "", "unmatched"),
]


@pytest.mark.parametrize(("relationship", "target", "equivalence"), RELATIONSHIPS)
def test_a_relationship_is_said_in_the_words_of_r4(relationship: str, target: str, equivalence: str) -> None:
    system = "urn:t" if target else ""
    table = parse("made_up", HEAD + f"a,urn:s,{target},{system},,{relationship},,because,somewhere\n")
    (element,) = concept_map_of(table, "1")["group"][0]["element"]
    assert element["target"][0]["equivalence"] == equivalence
    assert element["target"][0]["comment"] == "because; somewhere"


def test_all_our_codes_are_published_with_their_definitions() -> None:
    systems = code_systems("1")
    for resource in systems.values():
        CodeSystem.model_validate(resource)
    published = {one["code"]: one["definition"] for system in systems.values() for one in system["concept"]}
    assert published == {code: definition for code, (_, definition) in OWN_DEFINITIONS.items()}
