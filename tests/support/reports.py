"""Reports that tests need, with sensible defaults."""

from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO

from PIL import Image

from mappings.code import Code
from mappings.fhir_publisher import Publisher
from mappings.finding import ModelStatement, Report, ReportOutcome
from mappings.model_findings import findings_of, measurements_of
from mappings.order import Identifier

PUBLISHER = Publisher("Test Hospital, Radiology", Identifier("RAD-1", "urn:oid:1.2.3.9"))
MODEL = ModelStatement(
    name="xray_pneumonia",
    version="1.0.0",
    weights_digest="ab" * 32,
    display="Pneumonia on a chest radiograph of a young child",
    intended_use="Integration work and research",
    limits="Children of 1 to 5 years of one hospital",
)


def a_picture() -> bytes:
    """A small PNG."""
    buffer = BytesIO()
    Image.new("RGB", (60, 40), (200, 80, 20)).save(buffer, "PNG")
    return buffer.getvalue()


def a_report(probability: float = 0.9, **changes: object) -> Report:
    """An analysed chest film; present from 0.3 on."""
    report = Report(
        job="job-7f3c",
        outcome=ReportOutcome.ANALYSED,
        patient="Patient/p-1",
        service_request="ServiceRequest/sr-1",
        order_identifiers=(Identifier("CANARY-P1", "urn:ris", "PLAC"), Identifier("CANARY-A1", "", "ACSN")),
        study_instance_uid="1.2.840.99.1",
        modality="DX",
        procedure=Code("XCHEST", "urn:site:procedures", "Chest frontal"),
        issued=datetime(2026, 1, 15, 8, 30, 5, 123456, tzinfo=UTC),
        model=MODEL,
        findings=findings_of("xray_pneumonia", {"pneumonia": probability, "viral": 0.4}, {"pneumonia": 0.3}),
        measurements=measurements_of({"snr_db": 21.5, "saturation": 0.0}, 0.93),
        quality_score=0.93,
        input_digests=("cd" * 32,),
        instance_uids=("1.2.840.99.1.1.1",),
        explanation_png=a_picture(),
        explanation_method="Grad-CAM",
    )
    return replace(report, **changes)  # type: ignore[arg-type]


def a_refused_report(**changes: object) -> Report:
    """A study that the model refused for the patient's age, findings and conclusion left in by mistake."""
    refused = {
        "outcome": ReportOutcome.NOT_ANALYSED,
        "reason": "scope.age",
        "reason_text": "the patient is 41 years old and the model is for children from 1 to under 6 years",
        "measurements": (),
        "explanation_png": None,
    }
    return a_report(**{**refused, **changes})
