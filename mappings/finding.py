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


class ReportStatus(StrEnum):
    """How far a report is in its life (R4 DiagnosticReportStatus). Only a person moves it on from preliminary."""

    PRELIMINARY = "preliminary"
    FINAL = "final"
    AMENDED = "amended"  # changed after it was final
    CORRECTED = "corrected"  # after it was final, an error in it
    RETRACTED = "entered-in-error"


PEOPLE = ("Practitioner/", "PractitionerRole/")  # who can sign: how the reference to them begins
SIGNED = (ReportStatus.FINAL, ReportStatus.AMENDED, ReportStatus.CORRECTED)


class RetractionReason(StrEnum):
    """Why a person takes a report back."""

    WRONG_PATIENT = "wrong-patient"
    WRONG_STUDY = "wrong-study"
    MODEL_ERROR = "model-error"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person made of a report: signed it, or took it back. `by` is `Practitioner/12` or `PractitionerRole/12`."""

    status: ReportStatus
    by: str
    at: datetime
    reason: str = ""  # a RetractionReason


@dataclass(frozen=True, slots=True)
class Edition:
    """A version of the report that went out before: by this a server's is known as ours, and not as another's since.

    `mark` is that of its time and words, see `mappings.fhir_edition`; `results` the outputs of which it made Observations.
    """

    status: str
    issued: datetime
    mark: str
    results: tuple[str, ...] = ()


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
    encounter: str = ""  # "Encounter/4", as the order on the FHIR server says
    started: str = ""  # when the images were taken, as the FHIR server says it (R4 dateTime)
    requester: str = ""  # who ordered it, as the order on the FHIR server says
    task: str = ""  # "Task/5" that placed the order
    decision: Decision | None = None  # none: preliminary
    earlier: tuple[Edition, ...] = ()  # that a person's decision, or a run after it, takes the place of

    @property
    def status(self) -> ReportStatus:
        return self.decision.status if self.decision else ReportStatus.PRELIMINARY

    @property
    def is_retracted(self) -> bool:
        return self.status is ReportStatus.RETRACTED

    @property
    def act_at(self) -> datetime:
        """When this edition was made: by the analysis, or by the person's decision."""
        return self.decision.at if self.decision else self.issued
