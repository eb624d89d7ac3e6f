"""One bridge at one FHIR server: orders placed there, changed and called off; the bridge killed and started again; the end state seen."""

import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from fhir_bridge.adapters.sql_database import SqlDatabase
from fhir_bridge.adapters.sql_store import SqlStore
from fhir_bridge.compose import SystemClock
from fhir_bridge.feed import Feed
from fhir_bridge.job import Job
from fhir_bridge.ports import CATCH_UP
from fhir_bridge.practice import patients
from fhir_bridge.practice.film import wrap
from fhir_bridge.practice.ris import order_message
from fhir_bridge.practice.ris_sender import RisSender
from fhir_bridge.practice.story import Story
from mappings.order import Order
from tests.support.bridge import SETTINGS
from tests.support.fhir_hospital import FhirHospital, Resource, relative, value_in
from tests.support.processes import until
from tests.support.serve_process import ServeProcess, unlistened_port

JOB_SYSTEM, OBSERVATION_SYSTEM = "urn:fhir-bridge:job", "urn:fhir-bridge:observation"
SECONDS = 90.0
_NEVER = datetime.min.replace(tzinfo=UTC)
ENDED = ("done", "held", "failed", "cancelled")
QUICK = {
    "study.quiet_seconds": "0.3",
    "study.poll_seconds": "0.3",
    "fhir.catch_up_seconds": "2",
    "fhir.catch_up_overlap_seconds": "20",
    "fhir.watch_seconds": "2",
    "fhir.circuit_seconds": "2",
}


@dataclass(frozen=True, slots=True)
class ReportSeen:
    """A DiagnosticReport of ours with what it names, as the server holds it."""

    status: str
    subject: str
    based_on: tuple[str, ...]
    conclusions: tuple[str, ...]
    observations: tuple[tuple[str, str], ...]  # status, subject
    resource: Resource


class Site:
    """`hospital` is asked past the bridge. The hooks keep their address when the bridge is started again."""

    name = ""
    tells_deletions = True  # by a hook, or when it is asked

    def __init__(self, hospital: FhirHospital, folder: Path, settings: Mapping[str, str], secrets: str = "") -> None:
        self.hospital, self.folder = hospital, folder
        self.data_dir, self.pacs = folder / "bridge", folder / "pacs"
        self.data_dir.mkdir(parents=True)
        self.pacs.mkdir()
        (folder / "pacs-incoming").mkdir()
        (self.data_dir / "fhir-bridge.toml").write_text(secrets)
        port = unlistened_port()
        self._settings = {
            **SETTINGS,
            **QUICK,
            "http.port": str(port),
            "http.public_url": f"http://127.0.0.1:{port}",
            "fhir.base_url": hospital.base_url,
            "archive.folder": str(self.pacs),
            **settings,
        }
        self.start()
        self._database = SqlDatabase.in_folder(self.data_dir / "phi")
        self.store = SqlStore(self._database, SystemClock())

    def start(self) -> None:
        self.process = ServeProcess(self.data_dir, self._settings)
        with ExitStack() as unless_ready:
            unless_ready.callback(self.process.stop)
            self.process.wait_until_ready()
            unless_ready.pop_all()

    def kill(self) -> None:
        """SIGKILL to the bridge and all that belongs to it."""
        self.process.kill()

    def close(self) -> None:
        self.process.stop()
        self._database.close()

    def admit(self, *stories: Story) -> None:
        """The patients, their history and their present visit, on the FHIR server."""
        for story in stories:
            self.hospital.put(*patients.history(story), visit_of(story))

    def place(self, story: Story, **elements: Any) -> Resource:
        """The order as it is from now on; an element of None is left out."""
        visit = {"reference": f"Encounter/{visit_of(story)['id']}"}
        order = {**patients.service_request(story, datetime.now(UTC)), "encounter": visit, **elements}
        order = {name: value for name, value in order.items() if value is not None}
        self.hospital.put(order)
        return order

    def film(self, story: Story, **attributes: Any) -> None:
        """Into the PACS; `attributes` by keyword are set."""
        dataset = wrap(story)
        for keyword, value in attributes.items():
            setattr(dataset, keyword, value)
        content = io.BytesIO()
        dataset.save_as(content, enforce_file_format=True)
        unfinished = self.folder / "pacs-incoming" / f"{story.name}.dcm"
        unfinished.write_bytes(content.getvalue())
        unfinished.replace(self.pacs / unfinished.name)

    def send(self, story: Story, changes: Mapping[bytes, bytes] | None = None) -> str:
        """The order by HL7 v2; `changes` are made in the finished message. MSA-1."""
        message = order_message(story, "NW", f"CANARY-C{story.number}", datetime.now(UTC))
        for old, new in (changes or {}).items():
            assert old in message
            message = message.replace(old, new)
        with RisSender(*self.process.mllp) as ris:
            return ris.send(message)

    def jobs_of(self, story: Story) -> tuple[Job, ...]:
        return self.jobs_with(story.placer)

    def jobs_with(self, placer: str) -> tuple[Job, ...]:
        """By placer order number."""
        jobs = self.store.jobs(limit=10_000)
        return tuple(job for job in jobs if job.order.placer and job.order.placer.value == placer)

    def await_status(self, story: Story, *statuses: str, stage: str = "", seconds: float = SECONDS) -> Job:
        """The story's one job, once it stands so."""

        return self.await_job(story.placer, *statuses, stage=stage, seconds=seconds)

    def await_job(self, placer: str, *statuses: str, stage: str = "", seconds: float = SECONDS) -> Job:
        """The one job of the order with this number."""

        def look() -> Job | None:
            found = self.jobs_with(placer)
            assert len(found) < 2, f"{len(found)} jobs"
            return next((job for job in found if job.status in statuses and stage in ("", job.stage)), None)

        with self._explained(placer):
            return until(look, f"{' or '.join(statuses)} {stage}", seconds)

    def await_jobs(self, story: Story, count: int) -> tuple[tuple[str, str], ...]:
        """Status and reason of so many jobs under the order's number, all at their end."""

        def look() -> tuple[tuple[str, str], ...] | None:
            found = self.jobs_of(story)
            good = len(found) == count and all(job.status in ENDED for job in found)
            return tuple(sorted((str(job.status), job.reason) for job in found)) if good else None

        with self._explained(story.placer):
            return until(look, f"{count} jobs at their end", SECONDS)

    def await_order(self, story: Story, good: Callable[[Order], bool]) -> Job:
        """The story's one job, once its order is as wanted."""

        def look() -> Job | None:
            return next((job for job in self.jobs_of(story) if good(job.order)), None)

        with self._explained(story.placer):
            return until(look, "an order as wanted", SECONDS)

    def await_entry(self, story: Story, event: str, reason: str = "") -> None:
        """A line in the timeline of the story's job."""
        with self._explained(story.placer):
            until(
                lambda: any(entry[0] == event and reason in ("", entry[1]) for entry in self.timeline(story)),
                f"{event} {reason}",
                SECONDS,
            )

    def await_end(self, story: Story, seconds: float = SECONDS) -> Job:
        return self.await_status(story, *ENDED, seconds=seconds)

    def subscriptions(self) -> dict[str, str]:
        """Status of each of ours on the server, by reference."""
        found = self.hospital.all_of("Subscription")
        ours = [one for one in found if one["channel"].get("endpoint", "").startswith(self.process.url)]
        return {f"Subscription/{one['id']}": one["status"] for one in ours}

    def unsubscribe(self) -> set[str]:
        """Delete ours past the bridge; HAPI may be writing them at this moment. What there was."""
        gone = set(self.subscriptions())

        def deleted(reference: str) -> bool:
            try:
                self.hospital.delete(reference)
            except AssertionError:
                return False
            return True

        for reference in gone:
            until(partial(deleted, reference), "a deleted Subscription")
        return gone

    def feed(self, name: str) -> Feed:
        """How we hear of orders, studies or tasks."""
        return next((feed for feed in self.store.feeds() if feed.name == name), Feed(name))

    def found_by_asking(self, stories: Iterable[Story]) -> int:
        """How many of the orders no notification told of, ever."""
        told: dict[str, set[bool]] = {}
        for notification in self.store.notifications(limit=100_000):
            reference = f"{notification.resource_type}/{notification.resource_id}"
            told.setdefault(reference, set()).add(notification.subscription != CATCH_UP)
        return sum(told.get(patients.service_request_reference(story)) == {False} for story in stories)

    def await_look(self) -> None:
        """Until the watchdog has looked at our Subscriptions, and then leaves them alone for a while."""
        now = datetime.now(UTC)
        until(lambda: (self.feed("studies").looked or _NEVER) > now, "a look of the watchdog", SECONDS)

    def await_asked(self) -> None:
        """Until the server was asked for everything that changed up to now."""
        now = datetime.now(UTC)
        until(
            lambda: all((self.feed(name).caught_up or _NEVER) > now for name in ("orders", "studies")),
            "a whole round of asking the server",
            SECONDS,
        )

    @contextmanager
    def _explained(self, placer: str) -> Iterator[None]:
        """A wait in vain says what it saw instead."""
        try:
            yield
        except AssertionError as error:
            jobs = [f"{j.status} {j.stage} {j.reason}" for j in self.jobs_with(placer)]
            notices = [f"{n.resource_type} {n.status} {n.reason}" for n in self.store.notifications(limit=12)]
            raise AssertionError(f"{error}; jobs: {jobs}; newest notifications: {notices}") from None

    def timeline(self, story: Story) -> list[tuple[str, str]]:
        (job,) = self.jobs_of(story)
        return [(entry.event, entry.reason) for entry in self.store.history(job.id)]

    def reports_of(self, story: Story) -> list[ReportSeen]:
        """Of all jobs of the order; and whatever else is based on it, or says that it is about the patient and is ours."""
        jobs = {job.id for job in self.jobs_of(story)}
        patient, order = patients.patient_reference(story), patients.service_request_reference(story)
        seen = [_seen(one, self.hospital) for one in self.hospital.all_of("DiagnosticReport") if _job_of(one)]
        return [one for one in seen if _job_of(one.resource) in jobs or order in one.based_on or one.subject == patient]


@contextmanager
def running_site(
    hospital: FhirHospital, folder: Path, settings: Mapping[str, str], secrets: str = ""
) -> Iterator[Site]:
    """The bridge until the end; `secrets` is TOML."""
    site = Site(hospital, folder, settings, secrets)
    try:
        yield site
    finally:
        site.close()


def visit_of(story: Story) -> Resource:
    """The Encounter that the order belongs to."""
    return {
        "resourceType": "Encounter",
        "id": f"practice-{story.name}-visit",
        "status": "in-progress",
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"},
        "subject": {"reference": patients.patient_reference(story)},
    }


def _job_of(report: Resource) -> str:
    return value_in(report, JOB_SYSTEM)


def _seen(report: Resource, hospital: FhirHospital) -> ReportSeen:
    results = [hospital.read(relative(result["reference"])) for result in report.get("result", ())]
    return ReportSeen(
        status=report["status"],
        subject=relative(report["subject"]["reference"]),
        based_on=tuple(relative(one["reference"]) for one in report.get("basedOn", ()) if "reference" in one),
        conclusions=tuple(c["coding"][0]["code"] for c in report.get("conclusionCode", ())),
        observations=tuple((one["status"], relative(one["subject"]["reference"])) for one in results),
        resource=report,
    )
