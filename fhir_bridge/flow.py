"""The six steps of a job, in the order in which an order is served. The file to read first.

A step reads what the steps before it stored, and returns its artifact (`Next`), asks to be run later (`Wait`), or ends the job (`Done`).
It raises Refused, Unavailable or Uncertain; `worker.py` decides what follows. Running a step again is harmless.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from fhir_bridge import encoding
from fhir_bridge.decisions import DECISION_NEEDED, editions_of, reports_out, was_signed
from fhir_bridge.deid.crossing import bring_back, cross, reopen
from fhir_bridge.deid.pseudonym import ProjectKeys
from fhir_bridge.deid.vault import Vault
from fhir_bridge.errors import Refused, Unavailable
from fhir_bridge.job import Job, Stage
from fhir_bridge.ports import (
    ArtifactStore,
    Claim,
    ClinicalRecord,
    Clock,
    ImageArchive,
    JobStore,
    Predictor,
    ReportDelivery,
)
from fhir_bridge.rendezvous.completeness import Complete, Expired, Watch, fingerprint, judge, source_instances
from fhir_bridge.rendezvous.identity import read_identity, require_match, study_date
from fhir_bridge.result import links_of, report_of
from fhir_bridge.sending import send
from fhir_bridge.study import ClinicalContext, RawStudy, Resource, StudyQuery
from mappings.finding import Report


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a study may take. All in seconds; see settings `study.*`."""

    quiet_seconds: float = 60
    poll_seconds: float = 15
    deadline_seconds: float = 7200


@dataclass(frozen=True)
class Kit:
    """Everything a step may use. `compose.py` fills it."""

    record: ClinicalRecord
    archive: ImageArchive
    predictor: Predictor
    deliveries: tuple[ReportDelivery, ...]
    store: JobStore
    artifacts: ArtifactStore
    keys: ProjectKeys
    vault: Vault
    clock: Clock
    models: tuple[str, ...]
    patience: Patience = Patience()

    def read(self, job: Job, stage: Stage) -> bytes:
        """What an earlier step stored. Raises Refused `store.artifact-missing`."""
        digest = self.store.latest_artifact(job.id, stage)
        if digest is None:
            raise Refused("store.artifact-missing", stage, "this step has no stored result; replay the job --from it")
        return self.artifacts.get(job.id, stage, digest)


@dataclass(frozen=True, slots=True)
class Next:
    """The step is done: store its artifact, go on."""

    artifact: bytes
    models: tuple[str, ...] | None = None
    note: str = ""  # for the timeline


@dataclass(frozen=True, slots=True)
class Crossed:
    """The artifact of `deidentify`: the folder that was released, and its manifest."""

    folder: str
    manifest: bytes


@dataclass(frozen=True, slots=True)
class Wait:
    """Not yet. The job holds no worker until `wake_at`; `memo` is what the step wants to find again then."""

    wake_at: datetime
    reason: str
    memo: str = ""


@dataclass(frozen=True, slots=True)
class Done:
    """The job is finished; `reason` says why it has no result, where it has none."""

    reason: str = ""


Step = Callable[[Claim, Kit], Next | Wait | Done]


def context(claim: Claim, kit: Kit) -> Next:
    """Who the patient is on the FHIR server, and what is known there."""
    order = claim.job.order
    patient = kit.record.find_patient(order.patient)
    request = kit.record.find_service_request(order, f"Patient/{patient['id']}")  # somebody else's is found out now
    return Next(encoding.dump(kit.record.context_of(patient, replace(order, service_request=request))))


def study(claim: Claim, kit: Kit) -> Next | Wait:
    """Find the images, wait until they are complete, fetch them, and make sure whose they are."""
    job, now = claim.job, kit.clock.now()
    first_seen, watch = _recall(job.memo, now)
    query = _query_of(job)
    uid = _find_study(query, kit) if query else ""
    instances = kit.archive.list_instances(uid) if uid else ()
    verdict = judge(
        instances, watch, now, kit.patience.quiet_seconds, kit.patience.deadline_seconds, first_seen,
        poll_seconds=kit.patience.poll_seconds,
    )  # fmt: skip
    if isinstance(verdict, Expired) and query is None:
        raise Refused(
            "study.key-missing", "order", "neither a Study Instance UID nor an accession number to find the images by"
        )
    if isinstance(verdict, Expired):
        raise Refused(
            verdict.reason, "study", "the images did not come, or never came to rest, before study.deadline_seconds"
        )
    if not isinstance(verdict, Complete):
        awaited = "study.key-missing" if query is None else "study.not-there-yet"
        reason = "study.not-complete-yet" if instances else awaited
        return Wait(verdict.wake_at, reason, _remember(first_seen, verdict.watch))
    raw = _fetch(claim, uid, verdict.fingerprint, kit)
    patient = encoding.load(ClinicalContext, kit.read(job, Stage.CONTEXT)).patient
    require_match(read_identity(raw.files), job.order, patient, uid)
    return Next(encoding.dump(raw))


def deidentify(claim: Claim, kit: Kit) -> Next:
    """Cross the boundary: from here on nothing says who the patient is."""
    job = claim.job
    raw = encoding.load(RawStudy, kit.read(job, Stage.STUDY))
    known = encoding.load(ClinicalContext, kit.read(job, Stage.CONTEXT))
    into = _folder(claim, kit, "study", identified=False)
    manifest = cross(raw, known, job=job.id, into=into, keys=kit.keys, vault=kit.vault).manifest
    return Next(encoding.dump(Crossed(into.name, manifest)))


def analyse(claim: Claim, kit: Kit) -> Next:
    """The quality gate and the models, in their own process."""
    crossed = encoding.load(Crossed, kit.read(claim.job, Stage.DEIDENTIFY))
    crossing = reopen(crossed.manifest, kit.artifacts.folder(claim.job.id, identified=False) / crossed.folder)
    into, guard = _folder(claim, kit, "analysis", identified=False), kit.predictor.guard
    predictions = tuple(
        replace(prediction, picture=f"{into.name}/{prediction.picture}" if prediction.picture else "")
        for prediction in kit.predictor.analyse(crossing.study, kit.models, into)
    )
    models = tuple(prediction.model for prediction in predictions)
    return Next(encoding.dump(predictions, encoding.PREDICTIONS), models, f"model.guard-{guard}")


def report(claim: Claim, kit: Kit) -> Next:
    """Numbers become coded findings, and pseudonyms the identifiers of this very job again.

    The order and the study on the FHIR server are looked up here, with the UID of the images that were analysed: they may have come
    while the job waited. Both must be this patient's. And the patient may have been merged meanwhile.
    """
    job = claim.job
    predictions = encoding.load(encoding.PREDICTIONS, kit.read(job, Stage.ANALYSE))
    originals = bring_back(predictions, job=job.id, vault=kit.vault)
    reference = f"Patient/{_patient_of_now(job, kit)['id']}"
    links = links_of(kit.record, job.order, reference, originals[0].study_instance_uid)
    links = links if links.started else replace(links, started=_study_date(job, kit))
    pictures = kit.artifacts.folder(job.id, identified=False)
    out = reports_out(kit.store, kit.artifacts, job.id)
    made = report_of(
        job.id, job.order, links, originals, pictures, issued=kit.clock.now(), earlier=editions_of(out)
    )  # fmt: skip
    return Next(encoding.dump(made))


def deliver(claim: Claim, kit: Kit) -> Done:
    """To every destination that does not have it yet; one that fails does not keep it from the others.

    What may still succeed is tried again first. Only then is the job held for a destination that refused, which meanwhile is left alone.
    """
    finished = encoding.load(Report, kit.read(claim.job, Stage.REPORT))
    if finished.decision is None and was_signed(kit.store.history(claim.job.id)):
        raise Refused(
            DECISION_NEEDED, "report", "a person signed the one before; sign this one as amended or corrected"
        )
    before = {delivery.destination: delivery for delivery in kit.store.deliveries(claim.job.id)}
    tried = (send(to, before.get(to.destination), finished, claim, kit.store, kit.artifacts) for to in kit.deliveries)
    failures = [error for error in tried if error]
    if failures:
        raise next((error for error in failures if not isinstance(error, Refused)), failures[0])
    return Done("report.retracted" if finished.is_retracted else finished.reason)


STEPS: dict[Stage, Step] = {
    Stage.CONTEXT: context,
    Stage.STUDY: study,
    Stage.DEIDENTIFY: deidentify,
    Stage.ANALYSE: analyse,
    Stage.REPORT: report,
    Stage.DELIVER: deliver,
}


def _patient_of_now(job: Job, kit: Kit) -> Resource:
    """The patient as the order and the FHIR server name him now. Whoever that is, the images must still be his, and the order's."""
    patient = kit.record.find_patient(job.order.patient)
    raw = encoding.load(RawStudy, kit.read(job, Stage.STUDY))
    require_match(read_identity(raw.files), job.order, patient, job.order.study_instance_uid or raw.study_instance_uid)
    return patient


def _study_date(job: Job, kit: Kit) -> str:
    """As the images say it, where the FHIR server does not."""
    return study_date(encoding.load(RawStudy, kit.read(job, Stage.STUDY)).files)


def _query_of(job: Job) -> StudyQuery | None:
    """None while nothing names the study; the ImagingStudy, or the order by the other door, may still say."""
    order = job.order
    query = StudyQuery(order.study_instance_uid, order.accession.value if order.accession else "")
    return query if query != StudyQuery() else None


def _find_study(query: StudyQuery, kit: Kit) -> str:
    found = kit.archive.find_studies(query)
    if len(found) > 1:
        raise Refused("study.ambiguous", "archive", "several studies bear the accession number of the order")
    return found[0] if found else ""


def _fetch(claim: Claim, uid: str, wanted: str, kit: Kit) -> RawStudy:
    into = _folder(claim, kit, "study", identified=True)
    files = kit.archive.retrieve(uid, into)
    if fingerprint(source_instances(kit.archive.list_instances(uid))) != wanted:
        raise Unavailable("study.still-arriving", "archive", "instances came while the study was fetched")
    return RawStudy(into, uid, files, wanted)


def _folder(claim: Claim, kit: Kit, name: str, *, identified: bool) -> Path:
    """A folder of this claim's own: a step that lost its job and does not know it yet must not touch its successor's files."""
    folder = kit.artifacts.folder(claim.job.id, identified=identified) / f"{name}-{claim.fence}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    return folder


def _remember(first_seen: datetime, watch: Watch) -> str:
    times = {"first_seen": first_seen.isoformat(), "since": watch.since.isoformat()}
    return json.dumps(times | {"fingerprint": watch.fingerprint})


def _recall(memo: str, now: datetime) -> tuple[datetime, Watch | None]:
    if not memo:
        return now, None
    kept = json.loads(memo)
    return datetime.fromisoformat(kept["first_seen"]), Watch(kept["fingerprint"], datetime.fromisoformat(kept["since"]))
