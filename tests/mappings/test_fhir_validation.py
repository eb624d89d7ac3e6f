import subprocess
import sys
from typing import Any

import pytest

from mappings.fhir_report import bundle_of
from mappings.fhir_validation import validate
from mappings.refusal import MappingRefused
from tests.support.reports import PUBLISHER, a_report


def broken(kind: str, **changes: Any) -> dict[str, Any]:
    """A bundle whose resource of this kind is changed; None takes an element away."""
    bundle = bundle_of(a_report(), PUBLISHER)
    for entry in bundle["entry"]:
        if entry["resource"]["resourceType"] == kind:
            changed = {**entry["resource"], **changes}
            entry["resource"] = {name: value for name, value in changed.items() if value is not None}
            break
    return bundle


@pytest.mark.parametrize(
    ("bundle", "where"),
    [
        (broken("DiagnosticReport", status=None), "status"),
        (broken("DiagnosticReport", patientName="CANARY^ZEBRA"), "patientName"),
        (broken("Observation", code={"text": 5}), "code.text"),
        (broken("Provenance", agent=None), "agent"),
        (broken("Observation", subject={"reference": "https://server/fhir/Patient/1"}), "subject.reference"),
        (broken("Observation", device={"reference": "urn:uuid:0000"}), "device.reference"),
    ],
)
def test_a_wrong_bundle_is_refused_with_its_place_and_no_value(bundle: dict[str, Any], where: str) -> None:
    with pytest.raises(MappingRefused) as caught:
        validate(bundle)

    assert caught.value.code == "report.fhir-invalid"
    assert caught.value.where.endswith(where)
    assert "CANARY" not in str(caught.value)
    assert caught.value.__context__ is None or caught.value.__suppress_context__


def test_two_entries_of_one_identity_are_refused() -> None:
    bundle = bundle_of(a_report(), PUBLISHER)
    bundle["entry"].append({**bundle["entry"][-1], "fullUrl": "urn:uuid:00000000-0000-4000-8000-000000000000"})

    with pytest.raises(MappingRefused, match="one identity"):
        validate(bundle)


def test_making_a_bundle_does_not_import_the_validator() -> None:
    """Its import takes seconds, and every command that never sends would pay for it."""
    code = "import sys, mappings.fhir_report, mappings.fhir_validation; print('fhir.resources' in sys.modules)"

    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert answer.stdout.strip() == "False"
