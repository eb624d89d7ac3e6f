"""The one description of an imaging order, whichever door it came by."""

from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum

from mappings.code import Code


class OrderControl(StrEnum):
    """What the sender wants done with the order, or says of it (HL7 v2.5.1 ORC-1, table 0119), reduced to what we act on."""

    NEW = "new"  # NW, SN, PR, RO; ServiceRequest.status active
    CHANGE = "change"  # XO, XX; a later version of an active ServiceRequest
    CHANGE_CONFIRMED = "change-confirmed"  # XR: a change, if we know the order
    CANCEL = "cancel"  # CA, DC, OC, CR, OD, DR; ServiceRequest.status revoked or entered-in-error
    REPLACED = "replaced"  # RP, RQ, RU: a cancel, since another order takes its place
    HOLD = "hold"  # HD, OH; ServiceRequest.status on-hold
    HOLD_CONFIRMED = "hold-confirmed"  # HR: a hold, if we know the order
    RELEASE = "release"  # RL, OE, OR
    PROGRESS = "progress"  # SC with ORC-5 A, IP, SC: the procedure is scheduled or on its way
    COMPLETED = "completed"  # SC, XO or XX with ORC-5 CM: the procedure is done, the images should be there
    NUMBER = "number"  # NA: a number was assigned
    LINK = "link"  # PA, CH: parent and child orders
    TROUBLE = "trouble"  # UA, UC, UX, DE, ...; SC with ORC-5 ER: the other side could not do what was asked
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
    """Who the patient is, as the sender says it. Names are left out on purpose: nothing is ever joined by name.

    `former` are numbers that the patient had before a merge or a change of numbers: images may still bear them.
    """

    identifiers: tuple[Identifier, ...] = ()
    birth_date: date | None = field(default=None, repr=False)
    sex: str = field(default="", repr=False)  # FHIR AdministrativeGender: male, female, other, unknown, or empty
    reference: str = ""  # "Patient/123" where the FHIR door named the resource
    former: tuple[Identifier, ...] = ()
    as_of: "EventTime | None" = field(default=None, compare=False)  # when an HL7 v2 sender said so: MSH-7, EVN-2


@dataclass(frozen=True, slots=True)
class EventTime:
    """When something happened to an order or a patient, and by whose clock: the sender's, of an order with the field (`ORC-9`, `MSH-7`).

    Only times of one clock compare. `version` is the number of a version of a resource (`meta.versionId`); 0 where there is none, or it
    is no number.
    """

    at: datetime
    clock: str
    version: int = 0

    def is_before(self, other: "EventTime | None") -> bool:
        """Surely earlier; False where the two cannot be compared.

        Versions of one resource decide within one moment, and against a clock that was set back: a higher one is never earlier.
        """
        if other is None or self.clock != other.clock:
            return False
        if not self.version or not other.version:
            return self.at < other.at
        return self.version <= other.version and (self.at, self.version) < (other.at, other.version)

    def among(self, others: "tuple[EventTime, ...]") -> "tuple[EventTime, ...]":
        """The others with this one as the last of its clock."""
        return (*(other for other in others if other.clock != self.clock), self)


@dataclass(frozen=True, slots=True)
class Standing:
    """What one side says of an order now, as against what it did: NEW (go on), HOLD, CANCEL; NONE: it has nothing to say.

    `source`: `hl7v2`, `ServiceRequest/9`, `Task/12`. `as_of`: the version of the resource. `status`: the sender's own word for it.
    """

    source: str
    word: OrderControl
    as_of: EventTime | None = None
    status: str = ""


@dataclass(frozen=True, slots=True)
class OrderKey:
    """One key of an order; unique over all live orders. Accession numbers and study UIDs have no system of their own."""

    kind: str
    system: str
    value: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Order:
    """One imaging order (FHIR ServiceRequest; HL7 v2 ORC + OBR + IPC/ZDS).

    Two orders do not differ by what their messages wanted: `control_code`, `event`, `moved`, `related`, `standings`. `part` tells apart
    orders under one number. In an order that we hold, `control` is NEW once HL7 v2 placed it, `event` is the time of the last new order or change that counted, `moved` those
    of the last cancel, hold or release by each clock, `standings` the last word of each side.
    """

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
    task: str = ""  # "Task/12" that asks for the ServiceRequest to be done, where there is one
    account: Identifier | None = None  # PID-18
    visit: Identifier | None = None  # PV1-19
    group: Identifier | None = None  # ORC-4, ServiceRequest.requisition
    requested_procedure_id: str = field(default="", repr=False)  # IPC-2, OBR-19; DICOM (0040,1001)
    scheduled_step_id: str = field(default="", repr=False)  # IPC-4, OBR-20; DICOM (0040,0009)
    station_ae_title: str = ""  # IPC-9
    scheduled_at: datetime | None = None  # TQ1-7, ORC-7.4, OBR-27.4, OBR-36, OBR-6
    part: str = ""
    control_code: str = field(default="", compare=False)  # ORC-1; ServiceRequest.status
    event: EventTime | None = field(default=None, compare=False)
    moved: tuple[EventTime, ...] = field(default=(), compare=False)
    related: tuple[OrderKey, ...] = field(
        default=(), compare=False
    )  # of the orders it replaces (RO, ServiceRequest.replaces), of its parent (CH)
    standings: tuple[Standing, ...] = field(default=(), compare=False)
    trace: tuple[tuple[str, str], ...] = ()  # (element, where it came from), free of values

    def states(self, element: str) -> bool:
        """Whether the sender said this element, as against its default."""
        return any(name == element for name, _ in self.trace)

    def came_from(self, element: str, resource: str) -> bool:
        """Whether this element was said by that kind of resource (`ServiceRequest`, `ImagingStudy`)."""
        return any(name == element and source.partition(".")[0] == resource for name, source in self.trace)

    def keys(self) -> tuple[OrderKey, ...]:
        """The keys by which two arrivals are the same order (DESIGN §4a), strongest first."""
        found = keys_of(self.study_instance_uid, self.accession, self.placer, self.filler)
        if self.service_request:
            found.append(OrderKey("service-request", "", self.service_request))
        tasks = (standing.source for standing in self.standings if standing.source.startswith("Task/"))
        found += [OrderKey("task", "", task) for task in tasks]
        if self.part and (number := self.placer or self.filler or self.accession):
            found.append(OrderKey("part", _authority(number), f"{number.value}#{self.part}"))
        return tuple(found)


def keys_of(
    study_instance_uid: str, accession: Identifier | None, placer: Identifier | None, filler: Identifier | None
) -> list[OrderKey]:
    """The keys that an order's numbers are, strongest first.

    A filler order number is a key only with its authority: fillers count from 1, too.
    """
    found = []
    if study_instance_uid:
        found.append(OrderKey("study", "", study_instance_uid))
    if accession:
        found.append(OrderKey("accession", "", accession.value))
    if placer:
        found.append(OrderKey("placer", _authority(placer), placer.value))
    if filler and _authority(filler):
        found.append(OrderKey("filler", _authority(filler), filler.value))
    return found


def _authority(number: Identifier) -> str:
    return number.system or number.namespace
