"""The twin of `sqlite_queue`."""

from dataclasses import replace
from datetime import timedelta

from fhir_bridge.adapters.in_memory.store import InMemoryStore
from fhir_bridge.job import Event, Job, Status, after
from fhir_bridge.ports import Claim, Clock, Move, StepArtifact
from mappings.order import Priority

_URGENCY = (Priority.STAT, Priority.ASAP, Priority.URGENT, Priority.ROUTINE)


class InMemoryQueue:
    """`ports.JobQueue` over an `InMemoryStore`."""

    def __init__(self, store: InMemoryStore, clock: Clock, lease_seconds: float = 300, max_losses: int = 50) -> None:
        self._store = store
        self._state = store.state
        self._clock = clock
        self._lease = timedelta(seconds=lease_seconds)
        self._max_losses = max_losses

    def claim(self, worker: str) -> Claim | None:
        with self._store.lock:
            now = self._clock.now()
            self._lose([job for job in self._running() if self._state.lease_until[job.id] < now])
            busy = {_patient(job) for job in self._running()}
            ready = [job for job in self._state.jobs.values() if self._may_run(job) and _patient(job) not in busy]
            if not ready:
                return None
            job = min(
                ready, key=lambda job: _URGENCY.index(job.priority)
            )  # the first of the most urgent: they stand by age
            status = after(job.status, Event.WAKE) if job.status is Status.WAITING else job.status
            leased = replace(job, status=after(status, Event.CLAIM), fence=job.fence + 1, wake_at=None, updated=now)
            self._state.jobs[job.id] = leased
            self._state.lease_until[job.id] = now + self._lease
            self._state.remember(leased, Event.CLAIM, "", now)
            return Claim(leased, leased.fence)

    def renew(self, claim: Claim) -> None:
        with self._store.lock:
            self._state.require(claim)
            self._state.lease_until[claim.job.id] = self._clock.now() + self._lease

    def record(self, claim: Claim, move: Move) -> None:
        with self._store.lock:
            job, now = self._state.require(claim), self._clock.now()
            if move.artifact:
                self._add_artifact(job, move.artifact)
            wished = self._state.wishes.get(job.id) == Event.CANCEL
            if wished and move.event is not Event.FINISH and not self._state.is_out(job.id):
                move = Move(Event.CANCEL, move.stage, "order.cancelled")
            moved = replace(
                job, status=after(job.status, move.event), stage=move.stage, reason=move.reason, attempts=move.attempts,
                memo=move.memo, wake_at=move.wake_at, models=job.models if move.models is None else move.models, updated=now,
            )  # fmt: skip
            self._state.jobs[job.id] = moved
            if move.event is not Event.WAIT:
                self._state.losses.pop(job.id, None)
            self._state.remember(moved, move.event, move.reason, now)

    def take_over(self) -> int:
        with self._store.lock:
            running = self._running()
            self._lose(running)
            return len(running)

    def _add_artifact(self, job: Job, artifact: StepArtifact) -> None:
        place = job.id, job.stage, artifact.inputs
        self._state.artifacts.pop(place, None)  # the latest is the last
        self._state.artifacts[place] = artifact.content

    def _running(self) -> list[Job]:
        return [job for job in self._state.jobs.values() if job.status is Status.RUNNING]

    def _may_run(self, job: Job) -> bool:
        due = job.wake_at is not None and job.wake_at <= self._clock.now()
        return job.status is Status.READY or (job.status is Status.WAITING and due)

    def _lose(self, jobs: list[Job]) -> None:
        for job in jobs:
            losses = self._state.losses.get(job.id, 0)
            event = Event.EXHAUST if losses >= self._max_losses else Event.LOSE
            reason = "job.lost-too-often" if event is Event.EXHAUST else ""
            now = self._clock.now()
            lost = replace(job, status=after(job.status, event), fence=job.fence + 1, reason=reason, updated=now)
            self._state.jobs[job.id] = lost
            self._state.losses[job.id] = losses + 1
            self._state.remember(lost, event, reason, now)


def _patient(job: Job) -> str:
    for identifier in job.order.patient.identifiers:
        return f"{identifier.system}|{identifier.value}"
    return job.order.patient.reference
