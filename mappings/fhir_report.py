"""A Report as one FHIR R4 transaction: DiagnosticReport, Observations, Device, Provenance, ImagingStudy where the server has none, and
a Communication where the site wants one.

Everything is found again by our identifiers and holds no time but the report's own: the same report makes the same bytes, and a
repeated delivery changes nothing on the server (a conditional PUT of equal content makes no version on HAPI). A ServiceRequest is
never written: that would place an order.
"""

import base64
import re
from collections.abc import Sequence

from mappings import code_system
from mappings.code import Code
from mappings.code_table import load
from mappings.fhir_edition import pdf_digest
from mappings.fhir_elements import (
    Json,
    business_identifier,
    coding,
    concept,
    condition,
    dicom_uid,
    full_url,
    identifier,
    instant,
    is_relative_reference,
    without_empty,
)
from mappings.fhir_notice import communication_entry
from mappings.fhir_observations import ObservationLinks, ai_meta, observations_of, own_meta
from mappings.fhir_provenance import provenance_entry
from mappings.fhir_publisher import Publisher
from mappings.finding import PEOPLE, SIGNED, ModelStatement, Report, ReportOutcome
from mappings.narrative import narrative_of
from mappings.pdf_report import TITLE, pdf_of
from mappings.refusal import MappingRefused

_JOB = re.compile(r"[A-Za-z0-9\-.]{1,43}")  # with what else stands in a Provenance's id: 64 at most
_BASED_ON = ("PLAC", "ACSN", "FILL")  # which identifier names the order, where the server has no ServiceRequest


def bundle_of(report: Report, publisher: Publisher) -> Json:
    """The transaction for a report. Raises MappingRefused `report.job-malformed`, `report.reference-malformed`,
    `report.output-repeated`, `report.study-missing`, `report.issued-naive`.
    """
    _check(report)
    entries: list[Json] = []
    device = study = ""
    if report.model:
        entries.append(_device_entry(report.model, publisher))
        device = entries[-1]["fullUrl"]
    if report.imaging_study:
        study = report.imaging_study
    else:
        entries.append(_imaging_study_entry(report))
        study = entries[-1]["fullUrl"]
    meta = ai_meta(label=publisher.ai_label)
    links = ObservationLinks(publisher.observation_system, device, study, publisher.reference(), meta)
    observations = [
        _updated("Observation", links.system, name, resource) for name, resource in observations_of(report, links)
    ]
    _require_unique([entry["fullUrl"] for entry in observations])
    results = [entry["fullUrl"] for entry in observations]
    diagnostic_report = _diagnostic_report(report, publisher, study, results)
    entries += observations
    entries.append(_updated("DiagnosticReport", publisher.job_system, report.job, diagnostic_report))
    about = entries[-1]["fullUrl"]
    sources = [*_based_on(report), {"reference": study}]
    targets = [about, *results]
    entries.append(provenance_entry(report, publisher, device=device, targets=targets, sources=sources))
    if publisher.communications and report.requester:
        entries.append(communication_entry(report, publisher, about))
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries}


def _check(report: Report) -> None:
    if not _JOB.fullmatch(report.job):
        raise MappingRefused("report.job-malformed", "Report.job", "must serve as a FHIR id: letters, digits, - and .")
    for name, reference, needed in (
        ("patient", report.patient, ("Patient/",)),
        ("service_request", report.service_request, ("ServiceRequest/",)),
        ("imaging_study", report.imaging_study, ("ImagingStudy/",)),
        ("encounter", report.encounter, ("Encounter/",)),
        ("decision", report.decision.by if report.decision else "", PEOPLE),
    ):
        optional = name != "patient"
        if (reference or not optional) and not (is_relative_reference(reference) and reference.startswith(needed)):
            raise MappingRefused("report.reference-malformed", f"Report.{name}", f"expected {needed[0]}id")
    if not report.imaging_study and not report.study_instance_uid:
        raise MappingRefused("report.study-missing", "Report.study_instance_uid", "a result is of a study")
    if report.issued.tzinfo is None:
        raise MappingRefused("report.issued-naive", "Report.issued", "the time has no zone")


def _require_unique(urls: Sequence[str]) -> None:
    """Two entries of one identity are merged by the server, and one is lost (hapi-fhir#8183)."""
    if len(set(urls)) != len(urls):
        raise MappingRefused(
            "report.output-repeated", "Report.findings", "two results of one report have one output name"
        )


def _updated(kind: str, system: str, value: str, resource: Json) -> Json:
    """An entry that creates the resource, or corrects the one that has this identifier."""
    request = {"method": "PUT", "url": f"{kind}?{condition(system, value)}"}
    return {"fullUrl": full_url(kind, system, value), "resource": resource, "request": request}


def _created_once(kind: str, system: str, value: str, resource: Json) -> Json:
    """An entry that creates the resource unless the server has one of this identifier, which then stays as it is."""
    request = {"method": "POST", "url": kind, "ifNoneExist": condition(system, value)}
    return {"fullUrl": full_url(kind, system, value), "resource": resource, "request": request}


def _device_entry(model: ModelStatement, publisher: Publisher) -> Json:
    """The model as a Device: one per name, version and weights, whichever jobs it served."""
    value = f"{model.name}/{model.version}/{model.weights_digest}"
    device = without_empty(
        (
            ("resourceType", "Device"),
            ("meta", own_meta()),
            (
                "identifier",
                [identifier(publisher.model_system, value), identifier(publisher.digest_system, model.weights_digest)],
            ),
            ("status", "active"),
            ("deviceName", [{"name": model.display, "type": "model-name"}]),
            ("modelNumber", model.name),
            ("type", concept(Code("123110", code_system.DCM, "Artificial Intelligence"))),
            ("version", [{"value": model.version}]),
            ("note", [{"text": text} for text in (model.intended_use, model.limits) if text]),
        )
    )
    return _created_once("Device", publisher.model_system, value, device)


def _imaging_study_entry(report: Report) -> Json:
    """The study, where the server has none yet. Only what is known of it: no counts, no start."""
    uid = dicom_uid(report.study_instance_uid)
    accessions = [business_identifier(number) for number in report.order_identifiers if number.type == "ACSN"]
    modality = load("modalities").target(report.modality, code_system.DCM) if report.modality else None
    study = without_empty(
        (
            ("resourceType", "ImagingStudy"),
            ("meta", own_meta()),
            ("identifier", [uid, *accessions]),
            ("status", "available"),
            ("modality", [coding(modality)] if modality else []),
            ("subject", {"reference": report.patient}),
            ("basedOn", _based_on(report)),
        )
    )
    return _created_once("ImagingStudy", uid["system"], uid["value"], study)


def _based_on(report: Report) -> list[Json]:
    """The order: the server's ServiceRequest, else its best identifier alone."""
    if report.service_request:
        return [{"reference": report.service_request}]
    for kind in _BASED_ON:
        for number in report.order_identifiers:
            if number.type == kind:
                return [{"type": "ServiceRequest", "identifier": business_identifier(number)}]
    return []


def _diagnostic_report(report: Report, publisher: Publisher, study: str, results: Sequence[str]) -> Json:
    """DiagnosticReport (R4 §10.3; IHE RAD.IMR). `preliminary` until a person signs it, who is its interpreter; `performer` may be no Device.

    The shape of IMR's profile is whole once it is signed and the server knows the order and when the images were taken.
    """
    conclusions = {f.conclusion: None for f in report.findings if f.conclusion}  # in their order, each once
    if report.outcome is ReportOutcome.NOT_ANALYSED:
        conclusions = {}
    return without_empty(
        (
            ("resourceType", "DiagnosticReport"),
            ("meta", ai_meta(label=publisher.ai_label)),
            ("identifier", [identifier(publisher.job_system, report.job)]),
            ("basedOn", _based_on(report)),
            ("status", report.status),
            (
                "category",
                [
                    concept(Code("LP29684-5", code_system.LOINC, "Radiology")),
                    concept(Code("RAD", code_system.SERVICE_SECTION, "Radiology")),
                ],
            ),
            ("code", _report_code(report)),
            ("subject", {"reference": report.patient}),
            ("encounter", {"reference": report.encounter} if report.encounter else {}),
            ("effectiveDateTime", report.started),
            ("issued", instant(report.issued)),
            ("performer", [publisher.reference()]),
            (
                "resultsInterpreter",
                [{"reference": report.decision.by}] if report.decision and report.status in SIGNED else [],
            ),
            ("result", [{"reference": url} for url in results]),
            ("imagingStudy", [{"reference": study}]),
            ("conclusion", narrative_of(report).conclusion()),
            ("conclusionCode", [concept(code) for code in conclusions]),
            ("presentedForm", [_presented_form(report)]),
        )
    )


def _report_code(report: Report) -> Json:
    """The order's LOINC or RadLex code; else the model's row in report_codes.csv, else 18748-4, with the order's local code beside it."""
    procedure = report.procedure
    if procedure and procedure.system in (code_system.LOINC, code_system.RADLEX):
        return concept(procedure)
    table, row = load("report_codes"), None
    if report.model and report.outcome is ReportOutcome.ANALYSED:
        row = table.target(report.model.name, code_system.OWN_MODELS)
    code = row or table.translate("*", code_system.OWN_MODELS)
    return concept(code, procedure, text=procedure.display) if procedure else concept(code)


def _presented_form(report: Report) -> Json:
    pdf = pdf_of(report)
    return {
        "contentType": "application/pdf",
        "language": "en",
        "data": base64.b64encode(pdf).decode("ascii"),
        "size": len(pdf),
        "hash": pdf_digest(pdf),
        "title": f"{TITLE} ({report.status})",
        "creation": instant(report.issued),
    }
