"""Plays the stories against a running bridge and waits for their ends."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from fhir_bridge.practice import film
from fhir_bridge.practice.bridge_process import BridgeProcess
from fhir_bridge.practice.outcome import (
    JobSeen,
    Outcome,
    belongs,
    differences,
    job_seen,
    outcome_of,
    strays,
    strays_at_the_ris,
)
from fhir_bridge.practice.record import HospitalRecord
from fhir_bridge.practice.ris import GARBAGE, order_message
from fhir_bridge.practice.ris_inbox import RisInbox
from fhir_bridge.practice.ris_sender import RisSender
from fhir_bridge.practice.story import Step, Story

_CONTROLS = {Step.SEND_NEW: "NW", Step.SEND_CANCEL: "CA"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was seen, and what of it is wrong."""

    outcomes: tuple[Outcome, ...]
    differing: dict[str, tuple[str, ...]]
    problems: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return self.passed_but_for("")

    def passed_but_for(self, column: str) -> bool:
        """Whether nothing is wrong, or only this column."""
        return not self.problems and all(columns == (column,) for columns in self.differing.values())


@dataclass
class Play:
    """One performance. `tell` is given each thing that happens, in words without patient data."""

    stories: Sequence[Story]
    expected: Sequence[Outcome]
    record: HospitalRecord
    bridge: BridgeProcess
    ris: RisSender
    inbox: RisInbox
    pacs: Path
    tell: Callable[[str], None]
    poll_seconds: float = 1.0
    settle_seconds: float = 3.0  # a second report of one order would have come by then
    _steps: dict[str, deque[Step]] = field(init=False, default_factory=dict)
    _answers: dict[str, list[str]] = field(init=False, default_factory=dict)
    _orders_placed: int = field(init=False, default=0)

    def run(self, deadline_seconds: float) -> Verdict:
        """Play everything; the verdict once all is as expected and stays so, or at the deadline."""
        self._steps = {story.name: deque(story.steps) for story in self.stories}
        self._answers = {story.name: [] for story in self.stories}
        self._orders_placed = self.record.count_service_requests()
        deadline = time.monotonic() + deadline_seconds
        self._advance(())
        while time.monotonic() < deadline and self.bridge.is_alive():
            jobs = tuple(job_seen(line) for line in self.bridge.jobs())
            self._advance(jobs)
            if self._judge(jobs).passed_but_for("doors"):
                time.sleep(self.settle_seconds)
                verdict = self._judge(self._jobs_with_history())
                if verdict.passed:
                    return verdict
            time.sleep(self.poll_seconds)
        return self._judge(self._jobs_with_history())

    def _advance(self, jobs: Sequence[JobSeen]) -> None:
        """Every story goes on until its next step must wait."""
        for story in self.stories:
            steps = self._steps[story.name]
            while steps and (steps[0] is not Step.AWAIT_IMAGES or _waits_for_images(story, jobs)):
                self._do(steps.popleft(), story)

    def _do(self, step: Step, story: Story) -> None:
        answers = self._answers[story.name]
        now = datetime.now(UTC)
        if step in _CONTROLS:
            answers.append(self.ris.send(order_message(story, _CONTROLS[step], self.ris.next_control_id(), now)))
        elif step is Step.SEND_AGAIN:
            answers.append(self.ris.send_again())
        elif step is Step.SEND_GARBAGE:
            answers.append(self.ris.send(GARBAGE))
        elif step is Step.PLACE:
            self.record.place(story, now)
            self._orders_placed += 1
        elif step is Step.FILM:
            film.store(story, self.pacs)
        self.tell(f"{story.name}: {step}" + (f", answered {answers[-1]}" if step.startswith("send") else ""))

    def _jobs_with_history(self) -> tuple[JobSeen, ...]:
        """Of orders that may have come twice the timelines are read too: a command each, so only when the rest is right."""
        again = [story for story in self.stories if story.arrives_again]
        jobs = []
        for line in self.bridge.jobs():
            job = job_seen(line)
            if any(belongs(story, job.orders) for story in again):
                job = job_seen(line, self.bridge.job(job.id)["history"])
            jobs.append(job)
        return tuple(jobs)

    def _judge(self, jobs: Sequence[JobSeen]) -> Verdict:
        reports, results = self.record.reports(), self.inbox.results()
        outcomes = tuple(outcome_of(story, self._answers[story.name], jobs, reports, results) for story in self.stories)
        problems = strays(self.stories, reports, self._orders_placed, self.record.count_service_requests())
        problems += strays_at_the_ris(self.stories, results)
        unplayed = tuple(f"{story}: {steps[0]} never came about" for story, steps in self._steps.items() if steps)
        return Verdict(outcomes, differences(outcomes, self.expected), problems + unplayed)


def _waits_for_images(story: Story, jobs: Sequence[JobSeen]) -> bool:
    return any(job.status == "waiting" and job.stage == "study" for job in jobs if belongs(story, job.orders))
