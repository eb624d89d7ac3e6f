"""The one description of an imaging order, whichever door it came by."""

from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum

from mappings.code import Code


class OrderControl(StrEnum):
    """What the sender wants done with the order (HL7 v2.5.1 ORC-1, table 0119), reduced to what we act on."""

    NEW = "new"  # NW; ServiceRequest.status active
    CHANGE = "change"  # XO, XX; a later version of an active ServiceRequest
    CANCEL = "cancel"  # CA, DC, OC, CR, OD; ServiceRequest.status revoked or entered-in-error
    NONE = "none"  # understood, acknowledged, no effect on a job


class Priority(StrEnum):
    """FHIR RequestPriority; the order of claiming is STAT, ASAP, URGENT, ROUTINE."""

    STAT = "stat"
    ASAP = "asap"
    URGENT = "urgent"
    ROUTINE = "routine"


@dataclass(frozen=True, slots=True)
class Identifier:
    """A business identifier: FHIR `Identifier`, HL7 v2 `CX` / `EI`.

    `system` is the FHIR identifier system, resolved by `Authorities` from `namespace` (HD.1) and `universal_id` (HD.2);
    empty where the site has no rule for the authority. `type` is a code of table 0203 (`MR`, `PLAC`, `FILL`, `ACSN`).
    """

    value: str = field(repr=False)
    system: str = ""
    type: str = ""
    namespace: str = ""
    universal_id: str = ""


@dataclass(frozen=True, slots=True)
class PatientIdentity:
    """Who the patient is, as the sender says it. Names are left out on purpose: nothing is ever joined by name."""

    identifiers: tuple[Identifier, ...] = ()
    birth_date: date | None = field(default=None, repr=False)
    sex: str = field(default="", repr=False)  # FHIR AdministrativeGender: male, female, other, unknown, or empty
    reference: str = ""  # "Patient/123" where the FHIR door named the resource


@dataclass(frozen=True, slots=True)
class Order:
    """One imaging order (FHIR ServiceRequest; HL7 v2 ORC + OBR + IPC/ZDS)."""

    control: OrderControl
    patient: PatientIdentity
    placer: Identifier | None = None  # ORC-2
    filler: Identifier | None = None  # ORC-3
    accession: Identifier | None = None  # IPC-1.1, OBR-18
    study_instance_uid: str = field(default="", repr=False)  # IPC-3.1, ZDS-1.1
    procedure: Code | None = None  # OBR-4, local codes pass unchanged
    modality: str = ""  # OBR-24, IPC-5
    priority: Priority = Priority.ROUTINE
    reason: str = field(default="", repr=False)  # OBR-31 text, ServiceRequest.reasonCode text
    requested_at: datetime | None = None  # ORC-9, with zone
    service_request: str = ""  # "ServiceRequest/123" where known
    trace: tuple[tuple[str, str], ...] = ()  # (element, where it came from), free of values

    def keys(self) -> tuple["OrderKey", ...]:
        """The keys by which two arrivals are the same order (DESIGN §4a), strongest first."""
        found = []
        if self.study_instance_uid:
            found.append(OrderKey("study", "", self.study_instance_uid))
        if self.accession:
            found.append(OrderKey("accession", "", self.accession.value))
        if self.placer:
            found.append(OrderKey("placer", self.placer.system or self.placer.namespace, self.placer.value))
        if self.service_request:
            found.append(OrderKey("service-request", "", self.service_request))
        return tuple(found)


@dataclass(frozen=True, slots=True)
class OrderKey:
    """One key of an order; unique over all live orders. Accession numbers and study UIDs have no system of their own."""

    kind: str
    system: str
    value: str = field(repr=False)
