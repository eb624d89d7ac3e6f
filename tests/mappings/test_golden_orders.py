"""Orders against what a person wrote beside them, from the standard: golden/<case>/input.hl7 or input.json, expected.json."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from hl7_listener.message import Message
from mappings.authority import Authorities, Authority
from mappings.fhir_imaging_study import study_facts, with_study
from mappings.fhir_order import order_from
from mappings.hl7v2_order import SenderPolicy, orders_from
from mappings.order import Order
from mappings.refusal import MappingRefused

GOLDEN = Path(__file__).parent / "golden"
SITE = Authorities(
    [
        Authority("HOSP", oid="1.2.3"),
        Authority("RIS", system="urn:ris"),
        Authority("99RIS", system="urn:ris:procedures"),
    ]
)


def orders_of(case: Path) -> tuple[Order, ...]:
    if (case / "input.hl7").exists():
        policy = SenderPolicy(SITE, time_zone="Europe/Berlin", patient_authority="HOSP")
        return orders_from(Message((case / "input.hl7").read_bytes()), policy)
    resources = json.loads((case / "input.json").read_text())
    order = order_from(resources["service_request"], resources["patient"], SITE)
    if study := resources["imaging_study"]:
        order = with_study(order, study_facts(study, order.patient.reference, order.service_request))
    return (order,)


def shown(value: Any) -> Any:
    """As JSON, without what is empty."""
    if isinstance(value, dict):
        return {name: shown(part) for name, part in value.items() if part not in ("", None, (), 0)}
    if isinstance(value, list | tuple):
        return [shown(part) for part in value]
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def outcome(case: Path) -> tuple[tuple[Order, ...], Any]:
    """The orders, and no refusal; or none, and the refusal as expected.json writes it."""
    try:
        return orders_of(case), None
    except MappingRefused as refusal:
        return (), {"refused": {"code": refusal.code, "where": refusal.where}}


@pytest.mark.parametrize("case", sorted(GOLDEN.iterdir()), ids=lambda case: case.name)
def test_an_order_is_read_as_the_standard_says(case: Path) -> None:
    expected = json.loads((case / "expected.json").read_text())
    traces = [order.pop("trace", {}) for order in expected] if isinstance(expected, list) else []

    orders, refused = outcome(case)

    assert (refused or [shown({**asdict(order), "trace": ()}) for order in orders]) == expected
    for order, trace in zip(orders, traces, strict=True):
        for element, sources in trace.items():
            assert [source for name, source in order.trace if name == element] == sources
