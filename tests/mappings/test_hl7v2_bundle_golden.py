"""Bundles against what a person wrote beside the messages, from the guide and our deviations: golden_bundles/<case>/{input.hl7,expected.json}.

An expected entry has a label; `@label` is a reference to it, and `*` stands for a value that is a digest.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from hl7_listener.message import Message
from mappings.authority import Authorities, Authority
from mappings.fhir_validation import validate
from mappings.hl7v2_bundle import bundle_from
from mappings.hl7v2_order_keys import SenderPolicy

GOLDEN = Path(__file__).parent / "golden_bundles"
CASES = sorted(GOLDEN.iterdir())
SITE = Authorities(
    [
        Authority("HOSP", oid="1.2.3"),
        Authority("RIS", system="urn:ris"),
        Authority("99RIS", system="urn:ris:procedures"),
    ]
)
POLICY = SenderPolicy(SITE, time_zone="Europe/Berlin", patient_authority="HOSP")


def bundle_of(case: Path) -> dict[str, Any]:
    return bundle_from(Message((case / "input.hl7").read_bytes()), POLICY)


def labelled(bundle: dict[str, Any], labels: list[str]) -> list[dict[str, Any]]:
    """The entries with labels for their fullUrls, and without the Provenance's id."""
    pairs = zip(bundle["entry"], labels, strict=True)
    names = {entry["fullUrl"]: f"@{label}" for entry, label in pairs if "fullUrl" in entry}  # a PATCH has none
    text = json.dumps([{name: entry[name] for name in ("request", "resource")} for entry in bundle["entry"]])
    for url, name in names.items():
        text = text.replace(url, name)
    entries = json.loads(re.sub(r"Provenance/hl7v2-[0-9a-f-]{36}", "Provenance/*", text))
    for entry in entries:
        if entry["resource"]["resourceType"] == "Provenance":
            assert entry["resource"].pop("id").startswith("hl7v2-")
    return [dict(entry, label=label) for entry, label in zip(entries, labels, strict=True)]


def filled(expected: Any, found: Any) -> Any:
    """The expectation, with what it leaves open taken from what was found."""
    if expected == "*":
        return found
    if isinstance(expected, dict) and isinstance(found, dict):
        return {name: filled(value, found.get(name)) for name, value in expected.items()}
    if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        return [filled(one, other) for one, other in zip(expected, found, strict=True)]
    return expected


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_message_becomes_the_bundle_that_was_written_by_hand(case: Path) -> None:
    expected = json.loads((case / "expected.json").read_text())
    labels = [entry["label"] for entry in expected]

    found = labelled(bundle_of(case), labels)

    assert found == filled(expected, found)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_golden_bundle_is_valid_r4b(case: Path) -> None:
    validate(bundle_of(case))


def test_siblings_without_numbers_of_their_own_get_different_identities() -> None:
    orders = [
        entry["request"]["ifNoneExist"]
        for entry in bundle_of(GOLDEN / "two_obr_under_one_orc")["entry"]
        if entry["request"]["url"] == "ServiceRequest"
    ]

    assert len(set(orders)) == len(orders) == 2
