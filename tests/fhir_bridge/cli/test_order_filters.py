"""`check` names values of the order filters that no table knows: they may be typing errors. It refuses none."""

import pytest

from fhir_bridge.cli.filters import unknown_filters
from fhir_bridge.fhir_sections import Fhir


def test_the_defaults_are_all_known() -> None:
    assert unknown_filters(Fhir()) == {}


@pytest.mark.parametrize(
    "value",
    [
        "http://snomed.info/sct|363679005",  # US Core, imaging
        "http://terminology.hl7.org/CodeSystem/v2-0074|CT",
        "LP29684-5",
        "http://terminology.hl7.org/CodeSystem/service-category|30",
    ],
)
def test_the_codes_that_servers_use_for_imaging_are_known(value: str) -> None:
    assert unknown_filters(Fhir(order_categories=(value,))) == {}


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("order_categories", "363679006", "363679006 is in no table"),
        ("order_categories", "Rad", "a typing error for RAD?"),
        ("order_categories", "http://loinc.org|363679005", "is in no table"),
        ("order_codes", "XCHEST", "XCHEST is in no table"),
        ("task_codes", "fulfil", "fulfil is in no table"),
    ],
)
def test_a_value_that_is_in_no_table_is_named(setting: str, value: str, said: str) -> None:
    assert said in unknown_filters(Fhir(**{setting: (value,)}))[f"fhir.{setting}"]


@pytest.mark.parametrize("value", ["fulfill", "http://hl7.org/fhir/CodeSystem/task-code|fulfill"])
def test_the_task_codes_of_the_standard_are_known(value: str) -> None:
    assert unknown_filters(Fhir(task_codes=(value,))) == {}
