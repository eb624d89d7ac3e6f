"""Claim a job, run its next step, record the result, again. And the same for notifications of the FHIR server."""

import hashlib
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from fhir_bridge import encoding, log
from fhir_bridge.errors import Classified, Disposition, StaleClaim, attempt
from fhir_bridge.flow import STEPS, Done, Kit, Wait
from fhir_bridge.job import STAGES, Event, Job, next_stage
from fhir_bridge.ports import Claim, JobQueue, Move, StepArtifact


@dataclass(frozen=True, slots=True)
class Retry:
    """When to try again, and how often."""

    max_attempts: int = 300
    backoff_seconds: float = 2
    backoff_cap_seconds: float = 300

    def delay(self, attempts: int, wanted: float | None = None) -> timedelta:
        """Exponential with full jitter from half the step upwards; a peer's own Retry-After is honoured, capped."""
        step = min(self.backoff_cap_seconds, self.backoff_seconds * 2 ** min(attempts, 16))
        jittered = step * random.uniform(0.5, 1)  # noqa: S311 - spreads load, guards nothing
        return timedelta(seconds=max(jittered, min(wanted or 0, self.backoff_cap_seconds)))


class Worker:
    """`threads` threads over one queue, and one for each of `loops`, which say how much they did. Survives the loss of store, FHIR server and archive: it waits and goes on."""

    def __init__(
        self,
        queue: JobQueue,
        kit: Kit,
        retry: Retry,
        *,
        threads: int,
        loops: Mapping[str, Callable[[], int]],
        lease_seconds: float,
    ) -> None:
        self._queue = queue
        self._kit = kit
        self._retry = retry
        self._lease_seconds = lease_seconds
        self._stopping = threading.Event()
        self._abandoned = threading.Event()
        self._news = threading.Condition()
        self._threads = [
            threading.Thread(target=self._loop, args=(f"worker-{n}", self.run_once), name=f"worker-{n}", daemon=True)
            for n in range(threads)
        ]
        self._threads += [
            threading.Thread(target=self._loop, args=(name, _whether(work)), name=name, daemon=True)
            for name, work in loops.items()
        ]

    def start(self) -> None:
        """Begin to work."""
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """There may be something to do: do not wait for the next look."""
        with self._news:
            self._news.notify_all()

    def stop(self, timeout_seconds: float) -> None:
        """Let running steps end; what does not end in time records nothing more and is taken over at the next start."""
        self._stopping.set()
        self.wake()
        deadline = time.monotonic() + timeout_seconds
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, deadline - time.monotonic()))
        self._abandoned.set()

    def run_once(self, name: str) -> bool:
        """One step of one job; False where there was nothing to do."""
        claim = self._queue.claim(name)
        if claim is None:
            return False
        with _Heartbeat(self._queue, claim, self._lease_seconds / 3):
            tried = attempt(lambda: run_step(claim, self._kit))
        if self._abandoned.is_set():
            return True  # the parts are being closed under this step: its end says nothing about the job
        try:
            if tried.value is not None or (tried.error and tried.error.disposition is not Disposition.STALE):
                self._queue.record(claim, tried.value or self._failed(claim.job, tried.error))
                return True
        except StaleClaim:
            pass  # cancelled, changed or taken over while the step ran: it is no longer ours to say how it ended
        log.event("job.claim-lost", job=claim.job.id, stage=claim.job.stage)
        return True

    def _failed(self, job: Job, error: Classified | None) -> Move:
        assert error is not None  # noqa: S101 - an attempt without a value has an error
        log.event(
            "job.step-failed", job=job.id, stage=job.stage, code=error.code, where=error.where, disposition=error.disposition,
            error_id=error.error_id, frames=error.frames, attempts=job.attempts + 1,
        )  # fmt: skip
        if error.disposition in (Disposition.REFUSED, Disposition.BUG):
            reason = f"{error.code} {error.error_id}".strip()
            return Move(Event.HOLD, job.stage, reason, attempts=job.attempts + 1)
        attempts = job.attempts + 1
        if attempts >= self._retry.max_attempts:
            return Move(Event.EXHAUST, job.stage, error.code, attempts=attempts)
        wake_at = self._kit.clock.now() + self._retry.delay(attempts, error.retry_after)
        return Move(Event.WAIT, job.stage, error.code, wake_at, attempts, memo=job.memo)

    def _loop(self, name: str, once: Callable[[str], bool]) -> None:
        while not self._stopping.is_set():
            turn = attempt(lambda: once(name))
            if turn.error is not None:
                log.event("worker.store-trouble", worker=name, code=turn.error.code, reason=turn.error.explanation,
                          error_id=turn.error.error_id, frames=turn.error.frames)  # fmt: skip
            if turn.value:
                continue
            with self._news:
                self._news.wait(0.5 if turn.error is None else 2)


def _whether(work: Callable[[], int]) -> Callable[[str], bool]:
    """Whether there was something to do."""
    return lambda _: work() > 0


class _Heartbeat:
    """Renews the lease while a step runs, through any trouble of the store; a stale claim is found out at the next write."""

    def __init__(self, queue: JobQueue, claim: Claim, every_seconds: float) -> None:
        self._queue, self._claim, self._every = queue, claim, every_seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()

    def _beat(self) -> None:
        while not self._over.wait(self._every):
            error = attempt(lambda: self._queue.renew(self._claim)).error
            if error is not None and error.disposition is Disposition.STALE:
                return


def run_step(claim: Claim, kit: Kit) -> Move:
    """The job's next step, and how it ended. Its artifact is on disk before this returns; it counts once the move is recorded."""
    job = claim.job
    inputs = inputs_digest(job, kit)
    log.event("job.step", job=job.id, stage=job.stage)
    result = STEPS[job.stage](claim, kit)
    if isinstance(result, Wait):
        return Move(Event.WAIT, job.stage, result.reason, result.wake_at, memo=result.memo)
    if isinstance(result, Done):
        return Move(Event.FINISH, job.stage, result.reason)
    following = next_stage(job.stage)
    assert following is not None  # noqa: S101 - the last step returns Done
    made = StepArtifact(inputs, kit.artifacts.put(job.id, job.stage, result.artifact))
    return Move(Event.ADVANCE, following, result.note, models=result.models, artifact=made)


def inputs_digest(job: Job, kit: Kit) -> str:
    """SHA-256 over the order and the artifacts of all earlier steps: what this step reads."""
    digest = hashlib.sha256(encoding.dump(job.order))
    for stage in STAGES[: STAGES.index(job.stage)]:
        digest.update((kit.store.latest_artifact(job.id, stage) or "").encode())
    return digest.hexdigest()
