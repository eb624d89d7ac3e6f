"""Every way to the outside, as a Protocol. Each has a real adapter and an in-memory twin that passes the same contract tests."""

from collections.abc import Collection, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from fhir_bridge.feed import Feed
from fhir_bridge.job import Event, Job, Stage
from fhir_bridge.journal import Effect, Reply
from fhir_bridge.study import ClinicalContext, DeidentifiedStudy, InstanceRef, Resource, StudyQuery
from inference.prediction import Prediction
from mappings.finding import Report
from mappings.order import EventTime, Identifier, Order, OrderKey, PatientIdentity


class Clock(Protocol):
    """The time, aware, UTC."""

    def now(self) -> datetime: ...


class ClinicalRecord(Protocol):
    """The hospital's FHIR server, read side.

    Raises Refused `patient.not-found`, `patient.ambiguous`, `patient.mismatch`, `fhir.not-found`; Unavailable `fhir.unavailable`.
    """

    def read(self, reference: str) -> Resource:
        """The current version of `Type/id`. Refused `fhir.not-found` on 404 and 410."""

    def find_patient(self, patient: PatientIdentity) -> Resource:
        """Exactly one Patient, by identifier, never by name (DESIGN §4a)."""

    def find_service_request(self, order: Order, patient: str) -> str:
        """`ServiceRequest/id` by placer, filler or accession identifier; empty where the server has none."""

    def find_imaging_study(self, study_instance_uid: str, patient: str, former: Sequence[Identifier] = ()) -> str:
        """`ImagingStudy/id` by study UID; empty where the server has none. `former`: numbers that the patient had before a merge."""

    def find_orders_for(self, study: Resource, window_days: float) -> tuple[Resource, ...]:
        """ServiceRequests that an ImagingStudy may be of, where it names none: by its accession number, else the active ones of its
        patient and procedure, placed within the window. Current versions; empty where there is none."""

    def context_of(self, patient: Resource, order: Order) -> ClinicalContext:
        """What of this patient's record may be used (`record_context.TOPICS`), and the reason for the order."""


class ImageArchive(Protocol):
    """The PACS. Raises Unavailable `archive.unavailable`, `archive.truncated`, `archive.incomplete`; Refused `archive.corrupt`."""

    def find_studies(self, query: StudyQuery) -> tuple[str, ...]:
        """Study Instance UIDs that match; empty while there are none."""

    def list_instances(self, study_instance_uid: str) -> tuple[InstanceRef, ...]:
        """All instances of the study, results of others and ours included."""

    def retrieve(self, study_instance_uid: str, into: Path) -> tuple[Path, ...]:
        """Every instance as a DICOM file under `into`; complete by SOP Instance UID, or an error."""

    def ping(self) -> None:
        """Raises Unavailable where the archive does not answer."""


class Predictor(Protocol):
    """The model process. Raises Unavailable `model.unavailable`, `model.timeout`."""

    @property
    def guard(self) -> str:
        """How the model process is kept off the network: `netns`, `seccomp`, or `none`."""

    def analyse(self, study: DeidentifiedStudy, models: Sequence[str], into: Path) -> tuple[Prediction, ...]:
        """One prediction a model; pictures are written into `into`."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a destination answered. `reference` is the resource it made of the report, or its answer to the message.

    Not `is_accepted`: it refused the report, and the site wants that noted and nothing more; `detail` is then the code.
    """

    reference: str
    detail: str = ""
    is_accepted: bool = True


class ReportDelivery(Protocol):
    """A destination of results. Delivering the same report again must change nothing there."""

    @property
    def destination(self) -> str: ...

    def deliver(self, report: Report) -> Receipt: ...


class ArtifactStore(Protocol):
    """Objects under (job, stage, digest). `put` returns only when the bytes are on disk."""

    def put(self, job: str, stage: Stage, content: bytes) -> str:
        """The digest (SHA-256, lower-case hex) under which the bytes are found again."""

    def get(self, job: str, stage: Stage, digest: str) -> bytes: ...

    def folder(self, job: str, *, identified: bool) -> Path:
        """A folder for the job's files: under `phi/` or under `deidentified/`."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A lease on a job. Every write of the worker carries the fence and is refused once it is stale."""

    job: Job
    fence: int


@dataclass(frozen=True, slots=True)
class StepArtifact:
    """What a step made: `inputs` is the digest of what it read, `content` that of the stored object."""

    inputs: str
    content: str


@dataclass(frozen=True, slots=True)
class Move:
    """How a step ended. Its artifact counts from the same transaction on, or the step runs again."""

    event: Event
    stage: Stage
    reason: str = ""
    wake_at: datetime | None = None
    attempts: int = 0
    models: tuple[str, ...] | None = None
    memo: str = ""
    artifact: StepArtifact | None = None


class JobQueue(Protocol):
    """Which worker runs which job when (DESIGN §12). STAT first; one patient's jobs one after the other."""

    def claim(self, worker: str) -> Claim | None:
        """The next ready job, leased; wakes waiting jobs whose time has come and takes over expired leases."""

    def renew(self, claim: Claim) -> None:
        """Longer lease. Raises StaleClaim."""

    def record(self, claim: Claim, move: Move) -> None:
        """The step's end. A job that somebody wished to cancel while its result was on its way out, in vain, is cancelled now.

        Raises StaleClaim.
        """


OUT = ("sending", "delivered", "stale")  # with these a report is at the destination, or may be, whatever its contents


@dataclass(frozen=True, slots=True)
class Delivery:
    """One destination of one job's report. `contents`: digests of the reports that are there, or may be, the latest last.

    `status`: pending, sending (it may be there), delivered, stale (an older one is there, and the job runs anew), refused (a person
    must look), skipped (refused, and the site wants that passed over).
    """

    job: str
    destination: str
    status: str
    attempts: int = 0
    reason: str = ""
    reference: str = ""
    updated: datetime | None = None
    contents: tuple[str, ...] = ()

    @property
    def is_out(self) -> bool:
        """Whether a report of the job is there, or may be: an older one, where a later one was refused."""
        return bool(self.contents) or self.status in OUT


def with_content(contents: tuple[str, ...], content: str) -> tuple[str, ...]:
    """`Delivery.contents` once the report of this digest may be there, too."""
    return (*(other for other in contents if other != content), content) if content else contents


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One line of a job's timeline."""

    at: datetime
    event: str
    stage: str
    status: str
    reason: str = ""


CATCH_UP = "catch-up"  # instead of a Subscription's name: we asked


@dataclass(frozen=True, slots=True)
class Notification:
    """A hint that a resource changed, as kept: from a hook, or because we asked (`subscription` is `catch-up`).

    Without a type it says no more than that something did. `status`: ready, done, quarantined.
    """

    id: int
    subscription: str
    method: str
    resource_type: str
    resource_id: str
    version_id: str
    status: str
    attempts: int = 0
    reason: str = ""
    received: datetime | None = (
        None  # given to `Ledger.add_changes`: when it changed, by our clock; None where nobody knows
    )


@dataclass(frozen=True, slots=True)
class Added:
    """Of the changes that asking found: how many are kept now, and which of them no Subscription had told, not even in vain."""

    stored: int
    untold: tuple[Notification, ...] = ()


@dataclass(frozen=True, slots=True)
class PatientAlias:
    """A patient's number and the one that it was merged into (A40: MRG-1, PID-3). `at`: when its sender recorded that, if it says so."""

    former: Identifier
    survivor: Identifier
    at: EventTime | None = None


@dataclass(frozen=True, slots=True)
class KnownOrder:
    """An order we hold, with its job."""

    order: Order
    job: Job


class Ledger(Protocol):
    """The store inside one transaction. `intake` is written against it; all of it commits, or nothing does."""

    def savepoint(self) -> AbstractContextManager[None]:
        """One message of a group: its failure rolls back to here and leaves the others."""

    def intake_position(self) -> int:
        """The last message of the journal whose effect is in this store; 0 before the first."""

    def add_effect(self, effect: Effect) -> None:
        """What became of a message; intake now stands there."""

    def add_reply(self, reply: Reply) -> None:
        """An application acknowledgement that must go out on a connection of its own."""

    def add_notification(self, notification: Notification, body: bytes) -> bool:
        """False where this version of the resource was notified before, by whichever Subscription, and could be used."""

    def feed(self, name: str) -> Feed:
        """As kept; a new one where nothing is."""

    def keep_feed(self, feed: Feed) -> None: ...

    def add_changes(self, found: Sequence[Notification], awaited: Collection[Notification] = ()) -> Added:
        """What asking found (`subscription` is `catch-up`), without bodies: those that were not told before are kept.

        Told before is a version of a resource that a Subscription told, and that could be used, or that asking found before.
        Of the `awaited` ones a Subscription should tell yet, by its version or without one: see `given_up`.
        """

    def given_up(self, resource_type: str, before: datetime) -> int:
        """How many changes were awaited that asking found before then, and no Subscription told: they are awaited no longer."""

    def settle_notification(
        self, notification: int, status: str, reason: str = "", wake_at: datetime | None = None
    ) -> None: ...

    def settle_told(self, resource_type: str, resource_id: str, up_to: int, status: str, reason: str = "") -> None:
        """All that wait of one resource, up to this number: one look at it answers what was told before the look; where it is `done`,
        what earlier looks could not use, too."""

    def replay_notification(self, notification: int) -> bool:
        """It is due again at once, as if it had never been tried. False where it is unknown."""

    def forget_notifications(self, before: datetime) -> int:
        """Those that were done before then are removed, and those that name no resource; how many. The same version would be news again."""

    def aliases_of(self, identifiers: Sequence[Identifier]) -> tuple[PatientAlias, ...]:
        """Of those of these numbers that were merged: the one at the end of the chain. By system, else namespace, and value."""

    def set_alias(self, alias: PatientAlias) -> bool:
        """From now on the former number means the survivor, and so does whatever was merged into the former.

        The newest word counts: the former leaves where it was merged before, and a merge the other way round is undone. False, and
        nothing changes, where the merge the other way round was recorded later than this one.
        """

    def orders_of_patient(self, identifiers: Sequence[Identifier]) -> tuple[KnownOrder, ...]:
        """All orders, in any status, whose patient has or had one of these numbers; also where one side does not say its authority."""

    def orders_by_keys(self, keys: Sequence[OrderKey]) -> tuple[KnownOrder, ...]: ...

    def add_order(self, order: Order, source: str, *, held: str = "", keys: Sequence[OrderKey] | None = None) -> str:
        """The new job's id. `held` is a reason to hold it at once. It claims `keys`, by default those of the order;
        a key that another job has stays there."""

    def update_order(self, job: str, order: Order) -> None: ...

    def release_key(self, job: str, key: OrderKey) -> None:
        """The job has this key no longer: the next order that has it may claim it."""

    def happen(self, job: str, event: Event, reason: str = "", stage: Stage | None = None) -> bool:
        """Something from outside happens to a job; False where the table has no such move (a finished job, say).

        A cancel while a result may be out is False too; it is kept as a wish, see `JobQueue.record`.
        """

    def replace_artifact(self, job: str, stage: Stage, content: str, *, instead_of: str) -> bool:
        """From now on this digest is the step's artifact. False, and nothing changes, where it was not `instead_of` (empty: none)."""

    def note(self, job: str, event: str, reason: str = "") -> None:
        """A line in the timeline without a move."""


class JobStore(Protocol):
    """Orders, jobs, messages, artifacts' index, deliveries. Raises Unavailable `store.unavailable`."""

    def transaction(self) -> AbstractContextManager[Ledger]: ...

    def job(self, job: str) -> Job | None: ...

    def jobs(self, statuses: Iterable[str] = (), limit: int = 1000) -> tuple[Job, ...]:
        """Newest first."""

    def job_counts(self) -> dict[str, int]:
        """Jobs by status."""

    def history(self, job: str) -> tuple[HistoryEntry, ...]: ...

    def effects(self, messages: Sequence[int]) -> dict[int, Effect]:
        """By message; one that intake has not reached yet is missing."""

    def failed_effects(self, limit: int = 100) -> tuple[Effect, ...]:
        """Messages that were accepted and then refused by intake: dead letters. Newest first."""

    def intake_position(self) -> int:
        """As `Ledger.intake_position`."""

    def due_replies(self, limit: int = 20) -> tuple[Reply, ...]:
        """The oldest open reply of each destination whose time has come: one in flight, in order."""

    def settle_reply(self, reply: int, status: str, reason: str = "", wake_at: datetime | None = None) -> None:
        """`status`: ready, delivered, failed."""

    def due_notifications(self, limit: int = 20) -> tuple[Notification, ...]:
        """The longest due first: what was put off does not hold up what came since."""

    def notifications(self, statuses: Iterable[str] = (), limit: int = 200) -> tuple[Notification, ...]:
        """Newest first."""

    def notification(self, notification: int) -> Notification | None: ...

    def notification_body(self, notification: int) -> bytes | None:
        """As it came; None for an unknown number."""

    def notification_counts(self) -> dict[str, int]:
        """By status."""

    def feeds(self) -> tuple[Feed, ...]:
        """All that are kept, by name."""

    def latest_artifact(self, job: str, stage: Stage) -> str | None:
        """The content digest of the step's artifact."""

    def deliveries(self, job: str) -> tuple[Delivery, ...]: ...

    def begin_delivery(self, claim: Claim, destination: str, content: str = "") -> Delivery:
        """Now `sending`: from here a cancel comes too late, and the report of this digest may be there. A delivered one is given back
        as it stands. Raises StaleClaim."""

    def end_delivery(self, claim: Claim, delivery: Delivery) -> None: ...
