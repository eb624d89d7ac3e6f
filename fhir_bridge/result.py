"""From what the models said, with the original identifiers back, to the one typed Report."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from inference.manifest import ModelManifest, manifest_of
from inference.prediction import Prediction
from mappings.finding import ModelStatement, Report, ReportOutcome
from mappings.model_findings import findings_of, measurements_of
from mappings.order import Order


@dataclass(frozen=True, slots=True)
class Links:
    """The resources of the FHIR server that the report is about, as `Type/id`; empty where the server has none."""

    patient: str = ""
    service_request: str = ""
    imaging_study: str = ""


def report_of(
    job: str,
    order: Order,
    links: Links,
    predictions: tuple[Prediction, ...],
    pictures: Path,
    *,
    issued: datetime,
) -> Report:
    """One model speaks for a study for now: the first that answered, else the first that refused, with its reason."""
    spoke = next((p for p in predictions if p.status == "analysed"), predictions[0])
    analysed = spoke.status == "analysed"
    manifest = manifest_of(spoke.model)
    return Report(
        job=job,
        outcome=ReportOutcome.ANALYSED if analysed else ReportOutcome.NOT_ANALYSED,
        patient=links.patient,
        service_request=links.service_request,
        imaging_study=links.imaging_study,
        order_identifiers=tuple(i for i in (order.placer, order.filler, order.accession) if i is not None),
        study_instance_uid=spoke.study_instance_uid,
        modality=order.modality,
        procedure=order.procedure,
        issued=issued,
        model=_statement(spoke, manifest),
        findings=findings_of(spoke.model, spoke.outputs, spoke.thresholds) if analysed else (),
        measurements=measurements_of(spoke.quality, spoke.quality_score),
        reason=spoke.reason,
        reason_text=spoke.explanation,
        caveats=spoke.caveats,
        quality_score=spoke.quality_score,
        input_digests=tuple(image.digest for image in spoke.inputs),
        instance_uids=tuple(image.sop_instance_uid for image in spoke.inputs),
        explanation_png=(pictures / spoke.picture).read_bytes() if spoke.picture else None,
        explanation_method=spoke.picture_method,
        patient_identity=order.patient,
    )


def _statement(prediction: Prediction, manifest: ModelManifest) -> ModelStatement:
    return ModelStatement(
        name=prediction.model,
        version=prediction.version,
        weights_digest=prediction.weights_digest,
        display=manifest.display,
        intended_use=manifest.intended_use,
        limits=manifest.limits,
    )
