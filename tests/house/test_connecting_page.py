"""docs/connecting.md names only settings that exist, and its example is a configuration."""

import re
from pathlib import Path

from fhir_bridge.sections import Section
from fhir_bridge.settings import Settings, load
from tests.support.source_tree import ROOT

PAGE = (ROOT / "docs" / "connecting.md").read_text(encoding="utf-8")


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


def test_every_setting_that_the_page_names_exists() -> None:
    sections = "|".join(name for name in Settings.model_fields if name != "data_dir")
    named = set(re.findall(rf"`((?:{sections})\.[A-Za-z_.]+)(?: = [^`]*)?`", PAGE))
    assert len(named) > 25
    assert named - every_setting() == set()


def test_the_example_is_a_configuration(tmp_path: Path) -> None:
    file = tmp_path / "fhir-bridge.toml"
    file.write_text(PAGE.split("```toml\n")[1].split("```")[0], encoding="utf-8")
    settings = load(tmp_path, file=file)
    assert settings.senders["ris"].charset == "cp1252"
    assert settings.destinations["engine"].results
