"""Many orders placed on a FHIR server at once, whatever dies meanwhile, and what must be there in the end: for each one job and one report."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

import requests

from fhir_bridge.practice import patients
from fhir_bridge.practice.story import Story
from tests.support.bridge import a_story
from tests.support.fhir_hospital import relative, value_in
from tests.support.fhir_site import ENDED, JOB_SYSTEM, OBSERVATION_SYSTEM, Site
from tests.support.processes import until

FILMS = ("person121_bacteria_575.jpeg", "person136_bacteria_649.jpeg", "person144_bacteria_690.jpeg")
_THREADS = 8
_ADMITTED_AT_ONCE = 20


@dataclass(frozen=True, slots=True)
class BurstEnd:
    """Counts of orders; all but the first four must be 0."""

    orders: int
    called_off: int
    jobs: int
    reports: int
    without_job: int = 0
    with_several_jobs: int = 0
    not_ended: int = 0
    held_or_failed: int = 0
    without_report: int = 0
    with_several_reports: int = 0
    reported_though_called_off: int = 0
    on_another_patient: int = 0
    doubled_observations: int = 0

    @property
    def faults(self) -> dict[str, int]:
        """What is wrong."""
        first = ("orders", "called_off", "jobs", "reports")
        return {name: count for name, count in asdict(self).items() if count and name not in first}


class Burst:
    """`mark` names the orders. All of it may be called while the server is down now and then: it tries again, as an order desk would."""

    def __init__(self, site: Site, mark: str, count: int) -> None:
        self.site = site
        self.stories = [replace(a_story(mark), film=FILMS[number % len(FILMS)]) for number in range(count)]
        self.called_off: set[str] = set()  # names of stories

    def admit(self, *, films: bool = True) -> None:
        """The patients are on the server, the films in the PACS."""
        for start in range(0, len(self.stories), _ADMITTED_AT_ONCE):
            some = self.stories[start : start + _ADMITTED_AT_ONCE]
            self.site.hospital.put(*(patients.history(story)[0] for story in some))
        if films:
            self.film(self.stories)

    def film(self, stories: Sequence[Story]) -> None:
        for story in stories:
            self.site.film(story)

    def place(self, stories: Sequence[Story], **elements: object) -> None:
        """As they are from now on, all at once."""
        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(lambda story: self._place(story, elements), stories))

    def revoke(self, stories: Sequence[Story]) -> None:
        self.called_off |= {story.name for story in stories}
        self.place(stories, status="revoked")

    def delete(self, stories: Sequence[Story]) -> None:
        self.called_off |= {story.name for story in stories}
        for story in stories:
            self.site.hospital.delete(patients.service_request_reference(story))

    def await_jobs(self, count: int, seconds: float = 120) -> None:
        """So many of the orders have come to the bridge."""
        until(lambda: len(self._statuses()) >= count, f"{count} of the orders at the bridge", seconds)

    def await_reports(self, count: int, seconds: float = 240) -> None:
        """So many of the orders are done."""
        until(lambda: self._done() >= count, f"{count} orders done", seconds)

    def await_end(self, seconds: float = 240) -> BurstEnd:
        """Every order has ended, and one whole round of asking the server has changed nothing since."""
        missing = len(self.stories)

        def look() -> bool:
            nonlocal missing
            statuses = self._statuses()
            missing = sum(
                not set(statuses.get(story.placer, ())) & set(ENDED)
                for story in self.stories
                if story.name not in self.called_off or story.placer in statuses
            )
            return missing == 0

        try:
            until(look, "the end of all orders", seconds)
            self.site.await_asked()
        except AssertionError as error:
            raise AssertionError(f"{error}: {missing} are not; {self.end()}") from None
        return self.end()

    def end(self) -> BurstEnd:
        """As it is now."""
        statuses, reports = self._statuses(), self._reports()
        called_off = {story.placer for story in self.stories if story.name in self.called_off}
        wanted = [story.placer for story in self.stories if story.placer not in called_off]
        patients_of = {story.placer: patients.patient_reference(story) for story in self.stories}
        return BurstEnd(
            orders=len(self.stories),
            called_off=len(called_off),
            jobs=sum(map(len, statuses.values())),
            reports=sum(map(len, reports.values())),
            without_job=sum(placer not in statuses for placer in wanted),
            with_several_jobs=sum(len(jobs) > 1 for jobs in statuses.values()),
            not_ended=sum(not set(jobs) <= set(ENDED) for jobs in statuses.values()),
            held_or_failed=sum(bool({"held", "failed"} & set(jobs)) for jobs in statuses.values()),
            without_report=sum(placer not in reports for placer in wanted),
            with_several_reports=sum(len(found) > 1 for found in reports.values()),
            reported_though_called_off=len(called_off & set(reports)),
            on_another_patient=sum(
                subject != patients_of[placer] for placer, found in reports.items() for subject in found
            ),
            doubled_observations=self._doubled_observations(),
        )

    def _place(self, story: Story, elements: dict[str, object]) -> None:
        order = {**patients.service_request(story, datetime.now(UTC)), **elements}

        def put() -> bool:
            try:
                self.site.hospital.put(order)
            except requests.RequestException:
                return False
            return True

        until(put, "an order that the server takes", 300)

    def _statuses(self) -> dict[str, list[str]]:
        """Placer number -> status of each of its jobs."""
        found: dict[str, list[str]] = {}
        placers = {story.placer for story in self.stories}
        for job in self.site.store.jobs(limit=10_000):
            if job.order.placer and job.order.placer.value in placers:
                found.setdefault(job.order.placer.value, []).append(str(job.status))
        return found

    def _done(self) -> int:
        return sum("done" in jobs for jobs in self._statuses().values())

    def _reports(self) -> dict[str, list[str]]:
        """Placer number -> subject of each report that is based on its order."""
        orders = {patients.service_request_reference(story): story.placer for story in self.stories}
        found: dict[str, list[str]] = {}
        for report in self.site.hospital.all_of("DiagnosticReport"):
            if not value_in(report, JOB_SYSTEM):
                continue
            based_on = [relative(one.get("reference", "")) for one in report.get("basedOn", ())]
            for reference in set(based_on) & set(orders):
                found.setdefault(orders[reference], []).append(relative(report["subject"]["reference"]))
        return found

    def _doubled_observations(self) -> int:
        counts = Counter(value_in(one, OBSERVATION_SYSTEM) for one in self.site.hospital.all_of("Observation"))
        return sum(count > 1 for value, count in counts.items() if value)
