"""What a person decides about a report: to sign it, or to take it back. The report is made anew, and goes out by the normal flow."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fhir_bridge import encoding
from fhir_bridge.errors import Refused
from fhir_bridge.job import Event, Job, Stage, Status
from fhir_bridge.ports import ArtifactStore, ClinicalRecord, Clock, Delivery, HistoryEntry, JobStore
from fhir_bridge.study import Resource
from mappings.fhir_edition import edition_of
from mappings.fhir_elements import is_relative_reference, local_reference
from mappings.finding import (
    PEOPLE,
    SIGNED,
    Decision,
    Edition,
    Report,
    ReportOutcome,
    ReportStatus,
    RetractionReason,
)

DECISION_NEEDED = "report.decision-needed"


@dataclass(frozen=True, slots=True)
class Decisions:
    """`record` is where the people are looked up. Raises Refused, and then nothing has changed."""

    store: JobStore
    artifacts: ArtifactStore
    record: ClinicalRecord
    clock: Clock

    def sign(self, job: Job, by: str, status: ReportStatus) -> Report:
        """The report is that person's from now on: `final`; once signed, only `amended` or `corrected`.

        Refused `report.not-signable`, `report.status-unfit`, `report.person-unfit`, `report.changed-meanwhile`.
        """
        digest = self.store.latest_artifact(job.id, Stage.REPORT)
        awaited = job.status is Status.HELD and job.reason == DECISION_NEEDED
        if digest is None or not (job.status is Status.DONE or awaited):
            raise Refused(
                "report.not-signable", "job", f"it is {job.status}; only the report of a job that is done is signed"
            )
        old = self._load(job.id, digest)
        if old.outcome is not ReportOutcome.ANALYSED or old.is_retracted:
            raise Refused("report.not-signable", "report", "there is no result in it, or it was taken back")
        if (status is ReportStatus.FINAL) is was_signed(self.store.history(job.id)) or status not in SIGNED:
            raise Refused(
                "report.status-unfit", "status", "signed once it can be amended or corrected, before only final"
            )
        self._require_person(by)
        now = self.clock.now()
        earlier = self._editions(job.id, (old,))
        made = replace(old, issued=now, decision=Decision(status, by, now), earlier=earlier)
        self._replace(job.id, Event.SIGN, f"report.{status}", made, instead_of=digest, as_seen=job)
        return made

    def retract(self, job: Job, by: str, reason: RetractionReason) -> Report:
        """What is out, or may be, was entered in error: it is said so wherever it went, also of a report that was signed.

        Refused `report.not-out`, `report.person-unfit`, `report.changed-meanwhile`.
        """
        out = [delivery for delivery in self.store.deliveries(job.id) if delivery.is_out]
        digest = self.store.latest_artifact(job.id, Stage.REPORT) or ""
        known = [d for delivery in out for d in delivery.contents[-1:]]
        if not out or not (digest or known):
            raise Refused("report.not-out", "job", "no result of it went out; cancel the job instead")
        old = self._load(job.id, digest or known[0])
        if old.is_retracted and job.status is Status.DONE:
            raise Refused("report.not-out", "report", "it was taken back already")
        self._require_person(by)
        decision = Decision(ReportStatus.RETRACTED, by, self.clock.now(), reason)
        made = replace(old, decision=decision, earlier=self._editions(job.id, (old,)))
        self._replace(job.id, Event.RETRACT, f"report.retracted-{reason}", made, instead_of=digest)
        return made

    def _replace(
        self, job: str, event: Event, reason: str, made: Report, *, instead_of: str, as_seen: Job | None = None
    ) -> None:
        """`as_seen`: a signature is of the job as it was then, with its reason for being held; a retraction is of whatever is out."""
        digest = self.artifacts.put(job, Stage.REPORT, encoding.dump(made))
        with self.store.transaction() as ledger:
            now = self.store.job(job)
            unseen = as_seen is not None and (now is None or now.fence != as_seen.fence)
            same = not unseen and ledger.replace_artifact(job, Stage.REPORT, digest, instead_of=instead_of)
            if not same or not ledger.happen(job, event, reason, Stage.DELIVER):
                raise Refused("report.changed-meanwhile", "job", "something happened to it just now; look at it again")

    def _require_person(self, by: str) -> None:
        """The server must know them, and as somebody who still works there; of a role, who holds it, too: a role alone is nobody."""
        if not (is_relative_reference(by) and by.startswith(PEOPLE)):
            raise Refused("report.person-unfit", "by", "expected Practitioner/id or PractitionerRole/id")
        person = self._active(by)
        if person["resourceType"] != "PractitionerRole":
            return
        if not _is_now(person.get("period", {}), f"{self.clock.now():%Y-%m-%d}"):
            raise Refused("report.person-unfit", "by", "the role is not held now")
        holder = local_reference(str(person.get("practitioner", {}).get("reference", "")))
        if not holder.startswith("Practitioner/"):
            raise Refused("report.person-unfit", "by", "the FHIR server does not say which Practitioner holds the role")
        self._active(holder)

    def _active(self, reference: str) -> Resource:
        try:
            person = self.record.read(reference)
        except Refused as refusal:
            raise Refused("report.person-unfit", "by", "the FHIR server does not know this person") from refusal
        if person.get("active") is False:
            raise Refused("report.person-unfit", "by", "the FHIR server has this person as no longer active")
        return person

    def _load(self, job: str, digest: str) -> Report:
        return encoding.load(Report, self.artifacts.get(job, Stage.REPORT, digest))

    def _editions(self, job: str, beside: tuple[Report, ...]) -> tuple[Edition, ...]:
        return editions_of((*reports_out(self.store, self.artifacts, job), *beside))


def _is_now(period: Resource, today: str) -> bool:
    """Whether an R4 Period has begun and not ended, to the day: its ends may be dates, months or years."""
    start, end = str(period.get("start", ""))[:10], str(period.get("end", ""))[:10]
    return start <= today[: len(start)] and (not end or today[: len(end)] <= end)


def reports_out(store: JobStore, artifacts: ArtifactStore, job: str) -> tuple[Report, ...]:
    """Every report of the job that is at a destination, or may be."""
    digests = dict.fromkeys(digest for delivery in store.deliveries(job) for digest in delivery.contents)
    return tuple(encoding.load(Report, artifacts.get(job, Stage.REPORT, digest)) for digest in digests)


def editions_of(reports: Sequence[Report]) -> tuple[Edition, ...]:
    """By which what a person decided with us is known again. Any edition before a retraction may be the one that it was of."""
    found: dict[Edition, None] = {}
    for report in reports:
        known = (*report.earlier, edition_of(report))
        retracted = (
            [replace(edition, status=ReportStatus.RETRACTED) for edition in known] if report.is_retracted else []
        )
        found |= dict.fromkeys((*known, *retracted))
    return tuple(found)


def was_signed(history: Sequence[HistoryEntry]) -> bool:
    """Whether a signed report is out, or on its way: what comes after it is for a person to decide."""
    decided = [entry.event for entry in history if entry.event in (Event.SIGN, Event.RETRACT)]
    return bool(decided) and decided[-1] == Event.SIGN


def as_it_went(report: Report, delivery: Delivery, artifacts: ArtifactStore) -> Report:
    """The retraction of what this very destination got last: an order may have changed since."""
    if not delivery.contents:
        return report
    went = encoding.load(Report, artifacts.get(report.job, Stage.REPORT, delivery.contents[-1]))
    return replace(went, decision=report.decision, earlier=report.earlier)
