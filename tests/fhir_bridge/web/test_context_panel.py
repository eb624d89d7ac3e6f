"""What the page of a job says of the clinical context. The canary guard reads every answer here."""

from datetime import UTC, datetime
from typing import Any

import pytest
from flask.testing import FlaskClient

from fhir_bridge.study import ClinicalContext, ContextSource
from fhir_bridge.web.app import make_app
from fhir_bridge.web.context_panel import KnownRow, rows_of
from fhir_bridge.web.pages import pages
from tests.support.frozen_clock import FrozenClock
from tests.support.shown_jobs import AT, ShownJobs, a_job

PATIENT = {"resourceType": "Patient", "id": "CANARY-P", "name": [{"family": "CANARY"}]}


def resource(kind: str, name: str, **elements: Any) -> dict[str, Any]:
    code = {"text": "CANARY^ZEBRA", "coding": [{"system": "urn:site", "code": "CANARY-CODE"}]}
    return {"resourceType": kind, "id": f"CANARY-{name}", "code": code, **elements}


def laboratory(name: str) -> dict[str, Any]:
    return resource("Observation", name, category=[{"coding": [{"code": "laboratory"}]}], valueString="CANARY")


CONTEXT = ClinicalContext(
    PATIENT,
    {
        "Condition": (
            resource("Condition", "1"),
            resource("Condition", "2", verificationStatus={"coding": [{"code": "refuted"}]}),
        ),
        "Observation": (laboratory("3"),),
        "MedicationRequest": (resource("MedicationRequest", "4"),),
        "Immunization": (),
    },
    {
        "Condition": ContextSource("search", 2, is_truncated=True, newest="2026-02-28T09:32:00Z"),
        "Observation": ContextSource("everything", 1, newest="2026-03"),
        "MedicationRequest": ContextSource("search", 1, newest="CANARY"),
        "Procedure": ContextSource("refused", code="fhir.unauthorized"),
        "Immunization": ContextSource("search"),
        "Encounter": ContextSource("not-offered"),
    },
)


@pytest.fixture
def store() -> ShownJobs:
    store = ShownJobs(a_job("job-1"))
    store.contexts["job-1"] = CONTEXT
    return store


@pytest.fixture
def client(store: ShownJobs) -> FlaskClient:
    clock = FrozenClock(AT)
    clock.advance(120)
    return make_app([pages(store, store, clock, store.job_counts)]).test_client()  # type: ignore[arg-type]


def test_each_type_has_a_line_with_what_was_found_and_how() -> None:
    assert rows_of(CONTEXT) == (
        KnownRow("Visits", 0, False, "the server does not offer it", "", None),
        KnownRow("Problems", 1, True, "searched", "", datetime(2026, 2, 28, 9, 32, tzinfo=UTC)),
        KnownRow(
            "Laboratory results and vital signs", 1, False, "by $everything", "", datetime(2026, 3, 1, tzinfo=UTC)
        ),
        KnownRow("Medications ordered", 1, False, "searched", "", None),
        KnownRow("Procedures", 0, False, "the server does not show it", "fhir.unauthorized", None),
        KnownRow("Vaccinations", 0, False, "searched", "", None),
    )


def test_the_page_tells_the_age_and_neither_dates_nor_values(client: FlaskClient) -> None:
    page = client.get("/jobs/job-1").text
    assert "Known of the patient" in page
    assert "2 d ago" in page
    assert "1 or more" in page
    assert "2026-02-28" not in page
    assert "CANARY-CODE" not in page


def test_a_job_without_a_context_has_no_panel(client: FlaskClient, store: ShownJobs) -> None:
    store.contexts.clear()
    assert "Known of the patient" not in client.get("/jobs/job-1").text


def test_a_damaged_context_does_not_hide_its_job(client: FlaskClient, store: ShownJobs) -> None:
    store.damaged = True
    answer = client.get("/jobs/job-1")
    assert (answer.status_code, "Known of the patient" in answer.text) == (200, False)
