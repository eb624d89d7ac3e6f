"""Coded results, free of any wire format: what every face of a report is made from."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from pydantic import ConfigDict, with_config

from mappings.code import Code
from mappings.order import Identifier, PatientIdentity


class ReportOutcome(StrEnum):
    """Whether a model gave a result. A refused study is reported as such, never as normal."""

    ANALYSED = "analysed"
    NOT_ANALYSED = "not-analysed"


@dataclass(frozen=True, slots=True)
class Measurement:
    """A measured quantity. `unit` is a UCUM code."""

    code: Code
    value: float
    unit: str
    output: str = ""  # the model output or quality measure it came from


@dataclass(frozen=True, slots=True)
class Finding:
    """One question a model answered: `code` asks, `value` answers (present, absent), `probability` is 0..1."""

    code: Code
    value: Code
    probability: float
    threshold: float
    interpretation: Code | None = None
    body_site: Code | None = None
    conclusion: Code | None = None  # DiagnosticReport.conclusionCode where the finding is present
    output: str = ""  # the model output it came from


@dataclass(frozen=True, slots=True)
class ModelStatement:
    """Which model said it: FHIR Device. Digests are lower-case hex SHA-256."""

    name: str
    version: str
    weights_digest: str
    display: str
    intended_use: str = ""
    limits: str = ""


@with_config(ConfigDict(ser_json_bytes="base64", val_json_bytes="base64"))
@dataclass(frozen=True, slots=True)
class Report:
    """The one typed result of a job, with the *original* identifiers. Every face (FHIR, PDF, HL7 v2, later SR) is made from it."""

    job: str
    outcome: ReportOutcome
    patient: str  # "Patient/123"
    service_request: str  # "ServiceRequest/9", or empty: then basedOn is identifier-only
    order_identifiers: tuple[Identifier, ...]  # placer, filler, accession
    study_instance_uid: str = field(repr=False)
    modality: str
    procedure: Code | None
    issued: datetime
    model: ModelStatement | None
    findings: tuple[Finding, ...] = ()
    measurements: tuple[Measurement, ...] = ()
    reason: str = ""  # why not analysed: a stable code such as scope.age
    reason_text: str = ""
    caveats: tuple[str, ...] = ()
    quality_score: float | None = None  # 0..1
    input_digests: tuple[str, ...] = ()
    instance_uids: tuple[str, ...] = field(default=(), repr=False)  # original SOP Instance UIDs the model looked at
    explanation_png: bytes | None = field(default=None, repr=False)
    explanation_method: str = ""
    imaging_study: str = ""  # "ImagingStudy/7", or empty: then our own is created unless the server has one by then
    patient_identity: PatientIdentity = field(default=PatientIdentity(), repr=False)  # as the order's sender wrote it
