"""The step `context`: who the patient is, and what is known of the patient and the order."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fhir_bridge import encoding
from fhir_bridge.job import Stage, Status
from fhir_bridge.study import ClinicalContext
from mappings.clinical_facts import facts_of
from tests.support.bridge_in_memory import PATIENT, BridgeInMemory
from tests.support.builders import an_order
from tests.support.frozen_clock import FrozenClock

WHY = {"coding": [{"system": "http://snomed.info/sct", "code": "49727002"}]}


@pytest.fixture
def bridge(tmp_path: Path, clock: FrozenClock) -> Iterator[BridgeInMemory]:
    bridge = BridgeInMemory(tmp_path, clock)
    yield bridge
    bridge.vault.close()


def request(**elements: Any) -> dict[str, Any]:
    """As the EMR keeps the order that came by HL7 v2."""
    placer = an_order().placer
    assert placer is not None
    return {
        "resourceType": "ServiceRequest", "id": "17", "status": "active", "intent": "order",
        "subject": {"reference": "Patient/7"}, "reasonCode": [WHY],
        "identifier": [{"system": placer.system, "value": placer.value}], **elements,
    }  # fmt: skip


def test_an_order_by_hl7v2_is_joined_with_the_request_on_the_server_and_its_reason(bridge: BridgeInMemory) -> None:
    cough = {"resourceType": "Condition", "id": "c", "subject": {"reference": "Patient/7"}, "code": WHY}
    bridge.record.store(request(reasonReference=[{"reference": "Condition/c"}]), cough)
    job = bridge.order()
    bridge.run()
    context = encoding.load(ClinicalContext, bridge.kit.read(bridge.job(job), Stage.CONTEXT))
    (reason,) = facts_of(context.others).reasons
    assert ([code.codes[0].code for code in reason.codes], reason.references) == (["49727002"], ("Condition/c",))
    assert context.sources["Condition"].how == "search"


@pytest.mark.parametrize(
    ("patient", "reason"),
    [
        ({"active": False}, "patient.inactive"),
        ({"link": [{"type": "replaced-by", "other": {"reference": "Patient/7"}}]}, "patient.ambiguous"),
        ({"gender": "male"}, "patient.mismatch"),
        ({"identifier": []}, "patient.not-found"),
    ],
)
def test_a_patient_who_is_not_surely_the_one_holds_the_job_with_the_reason(
    bridge: BridgeInMemory, patient: dict[str, Any], reason: str
) -> None:
    bridge.record.store({**PATIENT, **patient})
    job = bridge.order()
    bridge.run()
    assert (bridge.job(job).status, bridge.job(job).reason) == (Status.HELD, reason)


def test_a_reason_of_another_patient_holds_the_job(bridge: BridgeInMemory) -> None:
    theirs = {"resourceType": "Condition", "id": "c", "subject": {"reference": "Patient/8"}}
    bridge.record.store(request(reasonReference=[{"reference": "Condition/c"}]), theirs)
    job = bridge.order()
    bridge.run()
    assert (bridge.job(job).status, bridge.job(job).reason) == (Status.HELD, "patient.mismatch")


def test_a_patient_who_died_is_served(bridge: BridgeInMemory) -> None:
    bridge.record.store({**PATIENT, "deceasedDateTime": "2026-03-01"})
    bridge.film()
    job = bridge.order()
    bridge.run_until_quiet()
    assert bridge.job(job).status is Status.DONE
