"""From what the models said, with the original identifiers back, to the one typed Report."""

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from fhir_bridge.errors import Refused
from fhir_bridge.ports import ClinicalRecord
from fhir_bridge.study import Resource
from inference.manifest import ModelManifest, manifest_of
from inference.prediction import Prediction
from mappings.fhir_elements import local_reference
from mappings.finding import Edition, ModelStatement, Report, ReportOutcome
from mappings.model_findings import findings_of, measurements_of
from mappings.order import Order

_DATE_TIME = re.compile(r"\d{4}(-\d\d(-\d\d(T\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d))?)?)?")  # R4 §2.24.0.1


@dataclass(frozen=True, slots=True)
class Links:
    """The resources of the FHIR server that the report is about, as `Type/id`; empty where the server has none.

    `started`: when the images were taken (R4 dateTime).
    """

    patient: str = ""
    service_request: str = ""
    imaging_study: str = ""
    encounter: str = ""
    requester: str = ""
    started: str = ""


def links_of(record: ClinicalRecord, order: Order, patient: str, study_instance_uid: str) -> Links:
    """What the server says now of the order and of the study: they may have come while the job waited. Both must be this patient's."""
    request_name = record.find_service_request(order, patient)
    study_name = record.find_imaging_study(study_instance_uid, patient, order.patient.former)
    request = record.read(request_name) if request_name else {}
    study = record.read(study_name) if study_name else {}
    return Links(
        patient,
        request_name,
        study_name,
        _encounter(record, request, patient),
        local_reference(str(request.get("requester", {}).get("reference", ""))),
        _started(study),
    )


def _encounter(record: ClinicalRecord, request: Resource, patient: str) -> str:
    """The order's, if it is there and the order's patient's: a result is filed under nobody else's visit."""
    name = local_reference(str(request.get("encounter", {}).get("reference", "")))
    if not name.startswith("Encounter/"):
        return ""
    try:
        encounter = record.read(name)
    except Refused as refusal:
        if refusal.code != "fhir.not-found":
            raise
        return ""
    of_order, of_visit = (_subject(resource) for resource in (request, encounter))
    return name if of_visit in (patient, of_order) else ""


def _subject(resource: Resource) -> str:
    return local_reference(str(resource.get("subject", {}).get("reference", "")))


def _started(study: Resource) -> str:
    """The study's beginning, else that of its first series, as the server says it; no other time is one of the images."""
    series = [str(one["started"]) for one in study.get("series", ()) if one.get("started")]
    said = str(study.get("started", "")) or min(series, default="")
    return said if _DATE_TIME.fullmatch(said) else ""


def report_of(
    job: str,
    order: Order,
    links: Links,
    predictions: tuple[Prediction, ...],
    pictures: Path,
    *,
    issued: datetime,
    earlier: tuple[Edition, ...] = (),
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
        encounter=links.encounter,
        started=links.started,
        requester=links.requester,
        task=order.task,
        earlier=earlier,
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
