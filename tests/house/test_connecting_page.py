"""The pages on connecting name only settings that exist, and their examples are configurations."""

import re
from pathlib import Path

import pytest

from fhir_bridge.sections import Section
from fhir_bridge.settings import Settings, load
from tests.support.source_tree import ROOT

PAGES = {name: (ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("connecting.md", "connecting-fhir.md")}


def names(section: type[Section], prefix: str) -> set[str]:
    """Every setting of a table and of the tables in it."""
    found = set()
    for key, field in section.model_fields.items():
        found.add(f"{prefix}.{key}")
        if isinstance(field.default, Section):
            found |= names(type(field.default), f"{prefix}.{key}")
    return found


def every_setting() -> set[str]:
    found: set[str] = set()
    for name, field in Settings.model_fields.items():
        if isinstance(field.default, Section):
            found |= names(type(field.default), name)
        elif field.default == {}:  # tables that the site names itself
            (_, section) = field.annotation.__args__  # type: ignore[union-attr]
            found |= names(section, f"{name}.NAME")
    return found


@pytest.mark.parametrize(("page", "at_least"), [("connecting.md", 25), ("connecting-fhir.md", 7)])
def test_every_setting_that_a_page_names_exists(page: str, at_least: int) -> None:
    sections = "|".join(name for name in Settings.model_fields if name != "data_dir")
    named = set(re.findall(rf"`((?:{sections})\.[A-Za-z_.]+)(?: = [^`]*)?`", PAGES[page]))
    assert len(named) >= at_least
    assert named - every_setting() == set()


def example(page: str, folder: Path) -> Settings:
    file = folder / "fhir-bridge.toml"
    file.write_text(PAGES[page].split("```toml\n")[1].split("```")[0], encoding="utf-8")
    return load(folder, file=file)


def test_the_example_of_hl7_v2_is_a_configuration(tmp_path: Path) -> None:
    settings = example("connecting.md", tmp_path)
    assert settings.senders["ris"].charset == "cp1252"
    assert settings.destinations["engine"].results


def test_the_example_of_fhir_is_a_configuration(tmp_path: Path) -> None:
    settings = example("connecting-fhir.md", tmp_path)
    assert settings.fhir.auth == "smart"
    assert settings.fhir.smart.client_id == "fhir-bridge"
