"""The shipped tables, row by row, and the reader of tables."""

import tomllib
from pathlib import Path

import pytest
from pydicom.sr.codedict import codes

from mappings import code_system
from mappings.code_system import has_valid_shape
from mappings.code_table import COLUMNS, Row, load, parse
from mappings.refusal import MappingRefused

ROOT = Path(__file__).resolve().parents[2]
NAMES = sorted(path.stem for path in (ROOT / "mappings" / "tables").glob("*.csv"))
ROWS = [(name, row) for name in NAMES for row in load(name)]
KNOWN_SYSTEMS = {value for name, value in vars(code_system).items() if name.isupper() and isinstance(value, str)} | {
    "urn:ietf:rfc:3986"
}
HEADER = ",".join(COLUMNS)
LINE = "a,urn:s,b,urn:t,B,equivalent,,,somewhere"


@pytest.mark.parametrize(("name", "row"), ROWS, ids=lambda part: part if isinstance(part, str) else part.source_code)
def test_every_row_is_sound(name: str, row: Row) -> None:
    assert row.source_system in KNOWN_SYSTEMS or row.source_system.startswith(code_system.MODEL_OUTPUTS)
    assert row.source_code == row.source_code.strip()
    assert len(row.reference) > 10
    if row.target is None:
        assert row.comment, "a row without a target says why"
    else:
        assert row.target.system in KNOWN_SYSTEMS
        assert has_valid_shape(row.target.code, row.target.system)


def test_our_own_codes_are_defined() -> None:
    own = {row.target.code for _, row in ROWS if row.target and row.target.system == code_system.OWN_CODES}

    assert own <= code_system.OWN_DEFINITIONS.keys()
    assert all(display and definition for display, definition in code_system.OWN_DEFINITIONS.values())


def test_dicom_codes_are_those_of_the_published_dictionary() -> None:
    """pydicom generates its dictionary from PS3.16 Annex D."""
    assert (codes.DCM.SignalToNoiseRatio.value, codes.DCM.ArtificialIntelligence.value) == ("111787", "123110")
    assert (codes.SCT.Present.value, codes.SCT.LungStructure.value) == ("52101004", "39607008")
    published = {getattr(codes.cid29, name).value for name in codes.cid29.dir()}  # CID 29, Acquisition Modality
    assert {row.target.code for row in load("modalities") if row.target} <= published


def declared_outputs() -> list[tuple[str, str]]:
    manifests = sorted((ROOT / "inference" / "models").glob("*/manifest.toml"))
    return [
        (manifest["name"], output["name"])
        for manifest in (tomllib.loads(path.read_text(encoding="utf-8")) for path in manifests)
        for output in manifest["outputs"]
    ]


@pytest.mark.parametrize(("model", "output"), declared_outputs())
def test_every_output_of_every_model_is_reported_or_says_why_not(model: str, output: str) -> None:
    system = code_system.MODEL_OUTPUTS + model

    assert (load("findings").find(output, system) is None) != (load("not_reported").find(output, system) is None)


def test_the_viral_output_is_not_shown() -> None:
    row = load("not_reported").find("viral", code_system.MODEL_OUTPUTS + "xray_pneumonia")

    assert row is not None
    assert load("findings").find("viral", row.source_system) is None


@pytest.mark.parametrize("name", ["conclusions", "body_sites"])
def test_the_tables_beside_findings_name_no_other_output(name: str) -> None:
    questions = {(row.source_system, row.source_code) for row in load("findings")}

    assert {(row.source_system, row.source_code) for row in load(name)} <= questions


def test_every_quality_measure_has_a_unit() -> None:
    assert {row.source_code for row in load("quality_measures")} == {
        row.source_code for row in load("measurement_units")
    }


def test_a_missing_outbound_code_is_refused_without_the_value() -> None:
    with pytest.raises(MappingRefused) as caught:
        load("findings").translate("SECRET", "urn:nobody")

    assert (caught.value.code, caught.value.where) == ("mapping.code-missing", "tables/findings.csv")
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", 1),
        ("source_code,target_code\n", 1),
        (f"{HEADER}\n{LINE},more\n", 2),
        (f"{HEADER}\na,urn:s\n", 2),
        (f"{HEADER}\n{LINE}\n{LINE}\n", 3),
        (f"{HEADER}\n,urn:s,b,urn:t,B,equivalent,,,x\n", 2),
        (f"{HEADER}\na,urn:s,b,urn:t,B,equivalent,,,\n", 2),
        (f"{HEADER}\na,urn:s,b,urn:t,B,sort-of,,,x\n", 2),
        (f"{HEADER}\na,urn:s,,,,equivalent,,,x\n", 2),
        (f"{HEADER}\na,urn:s,b,urn:t,B,not-related-to,,,x\n", 2),
        (f"{HEADER}\na,urn:s,b,urn:t,B,equivalent,when,,x\n", 2),
        (f'{HEADER}\n"a,urn:s\n', 2),
    ],
)
def test_a_malformed_table_is_refused_with_its_line(text: str, line: int) -> None:
    with pytest.raises(MappingRefused) as caught:
        parse("site", text)

    assert (caught.value.code, caught.value.where) == ("mapping.table-malformed", f"site.csv line {line}")


@pytest.mark.parametrize(
    ("code", "system", "valid"),
    [
        ("233604007", code_system.SNOMED_CT, True),
        ("233604008", code_system.SNOMED_CT, False),  # check digit
        ("36554-4", code_system.LOINC, True),
        ("36554-5", code_system.LOINC, False),
        ("LP29684-5", code_system.LOINC, True),
        ("RID5350", code_system.RADLEX, True),
        ("5350", code_system.RADLEX, False),
        ("", code_system.OWN_CODES, False),
    ],
)
def test_the_shape_of_codes(code: str, system: str, valid: bool) -> None:
    assert has_valid_shape(code, system) is valid
