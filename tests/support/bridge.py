"""A real bridge for acceptance tests: started by its command line, given orders at its doors, watched in its own store."""

import itertools
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fhir_bridge.adapters.fhir_client import FhirClient
from fhir_bridge.adapters.sql_database import SqlDatabase
from fhir_bridge.adapters.sql_store import SqlStore
from fhir_bridge.compose import SystemClock
from fhir_bridge.job import Job
from fhir_bridge.practice import patients
from fhir_bridge.practice.bridge_process import BridgeProcess
from fhir_bridge.practice.ris import order_message
from fhir_bridge.practice.ris_sender import RisSender
from fhir_bridge.practice.story import PATIENT_SYSTEM, PLACER_SYSTEM, Story
from tests.support.processes import child_of, until

Resource = dict[str, Any]

OURS = ("_tag", "urn:fhir-bridge:tag|ai-result")
SETTINGS = {
    "mllp.port": "0",
    "http.port": "0",
    "study.quiet_seconds": "0.3",
    "study.poll_seconds": "0.2",
    "worker.backoff_seconds": "0.2",
    "worker.backoff_cap_seconds": "1",
    "authority.HOSP.system": PATIENT_SYSTEM,
    "authority.CPOE.system": PLACER_SYSTEM,
}
_numbers = itertools.count(41)  # the practice hospital's own stories are below


def a_story(name: str, film: str = "person121_bacteria_575.jpeg", **changes: Any) -> Story:
    """A patient, an order and a film that no other test uses."""
    number = next(_numbers)
    return replace(Story(f"{name}-{number}", name, number, (), film=film), **changes)


@dataclass(frozen=True)
class Bridge:
    """A running bridge. `fhir` is the hospital's server, asked past the bridge."""

    process: BridgeProcess
    store: SqlStore
    ris: RisSender
    fhir: FhirClient
    data_dir: Path

    def admit(self, *stories: Story) -> None:
        """The patients and their history, on the FHIR server."""
        self.put(*(resource for story in stories for resource in patients.history(story)))

    def put(self, *resources: Resource) -> None:
        requests = [{"method": "PUT", "url": f"{one['resourceType']}/{one['id']}"} for one in resources]
        entries = [
            {"resource": resource, "request": request} for resource, request in zip(resources, requests, strict=True)
        ]
        self.fhir.transaction({"resourceType": "Bundle", "type": "transaction", "entry": entries})

    def send(self, story: Story, control: str = "NW", changes: Mapping[bytes, bytes] | None = None) -> str:
        """The order by HL7 v2; `changes` are made in the finished message. Returns MSA-1, once a message that was taken had its effect."""
        known = control if control == "CA" else "NW"  # the practice hospital's RIS has no other
        message = order_message(story, known, self.ris.next_control_id(), datetime.now(UTC))
        for old, new in {f"ORC|{known}|".encode(): f"ORC|{control}|".encode(), **(changes or {})}.items():
            assert old in message
            message = message.replace(old, new)
        before = self.store.intake_position()
        answer = self.ris.send(message)
        if answer == "AA":
            until(lambda: self.store.intake_position() > before, f"{story.name}: the effect of {control}")
        return answer

    def jobs_of(self, story: Story) -> tuple[Job, ...]:
        return tuple(job for job in self.store.jobs() if job.order.placer and job.order.placer.value == story.placer)

    def job_of(self, story: Story) -> Job:
        (job,) = self.jobs_of(story)
        return job

    def await_status(self, story: Story, *statuses: str, stage: str = "", seconds: float = 60) -> Job:
        """The story's job once it stands so."""

        def look() -> Job | None:
            found = [job for job in self.jobs_of(story) if job.status in statuses and stage in ("", job.stage)]
            return found[0] if found else None

        return until(look, f"{story.name}: {' or '.join(statuses)} {stage}", seconds)

    def timeline(self, story: Story) -> list[tuple[str, str]]:
        """What happened to the story's job, and why."""
        return [(entry.event, entry.reason) for entry in self.store.history(self.job_of(story).id)]

    def reports_of(self, job: Job) -> tuple[Resource, ...]:
        return self.fhir.search("DiagnosticReport", (("identifier", f"urn:fhir-bridge:job|{job.id}"),), limit=10)

    def report_of(self, job: Job) -> Resource:
        (report,) = self.reports_of(job)
        return report

    def results_about(self, *stories: Story) -> tuple[Resource, ...]:
        """Everything that the bridge wrote about these patients."""
        return tuple(
            found
            for story in stories
            for kind in ("DiagnosticReport", "Observation", "ImagingStudy")
            for found in self.fhir.search(kind, (OURS, ("subject", patients.patient_reference(story))), limit=50)
        )

    def model_process(self) -> int:
        """The process id of the model process, once there is one."""
        return until(lambda: child_of(self.process.pid, "inference"), "a model process")

    def door_process(self) -> int:
        """The process id of the door of HL7 v2."""
        return until(lambda: child_of(self.process.pid, "listen"), "a door process")


@contextmanager
def running_bridge(
    data_dir: Path, fhir: FhirClient, settings: Mapping[str, str] | None = None, secrets: str = ""
) -> Iterator[Bridge]:
    """A bridge with its data in `data_dir`, until the end: with these settings, else with the file that is there.

    `secrets` is TOML: they come from a file, never by `--set`.
    """
    given: dict[str, str] = {}
    if settings is not None:
        data_dir.mkdir(parents=True)
        (data_dir / "fhir-bridge.toml").write_text(secrets)
        given = SETTINGS | {"fhir.base_url": fhir.base_url} | dict(settings)
    with BridgeProcess(data_dir, given) as process:
        process.wait_until_ready()
        database = SqlDatabase.in_folder(data_dir / "phi")
        try:
            with RisSender(*process.mllp) as ris:
                yield Bridge(process, SqlStore(database, SystemClock()), ris, fhir, data_dir)
        finally:
            database.close()


@contextmanager
def frozen_model_process(bridge: Bridge) -> Iterator[int]:
    """The model process stands still until the end, so that a job stays at its analysis. Its process id."""
    process = bridge.model_process()
    os.kill(process, signal.SIGSTOP)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):  # killed meanwhile
            os.kill(process, signal.SIGCONT)
