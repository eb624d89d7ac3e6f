"""What happens to orders on a FHIR server, told without the server: each story plays itself at a site and says how it ended.

A story waits for what it needs and for its own end, so all of them can be played at once. None asks how the bridge came to hear of
anything: by a hook or by asking, the end is the same.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from fhir_bridge.practice import patients
from fhir_bridge.practice.story import PLACER_SYSTEM, Story
from tests.support.bridge import a_story
from tests.support.fhir_hospital import Resource
from tests.support.fhir_site import ReportSeen, Site

SYSTEM = "http://terminology.hl7.org/CodeSystem/v2-0203"


@dataclass(frozen=True, slots=True)
class Ended:
    """How an order ended: status and reason of each of its jobs, and the reports about it or its patient."""

    story: Story
    jobs: tuple[tuple[str, str], ...]
    reports: tuple[ReportSeen, ...]
    timeline: tuple[tuple[str, str], ...] = ()
    others: dict[str, Any] = field(default_factory=dict)

    @property
    def statuses(self) -> tuple[str, ...]:
        return tuple(status for status, _ in self.jobs)


def ended(site: Site, story: Story, **others: Any) -> Ended:
    """As it is now."""
    jobs = site.jobs_of(story)
    timeline = tuple(site.timeline(story)) if len(jobs) == 1 else ()
    return Ended(
        story, tuple((str(job.status), job.reason) for job in jobs), tuple(site.reports_of(story)), timeline, others
    )


def _admitted(site: Site, name: str) -> Story:
    story = a_story(name)
    site.admit(story)
    return story


def ordered(site: Site) -> Ended:
    story = _admitted(site, "ordered")
    site.film(story)
    site.place(story)
    site.await_end(story)
    return ended(site, story)


def changed(site: Site) -> Ended:
    """The priority and the procedure, while the job waits for the film."""
    story = _admitted(site, "changed")
    order = site.place(story)
    site.await_status(story, "waiting", stage="study")
    coding = {**order["code"]["coding"][0], "code": "XRCHEST2", "display": "Two views"}
    site.place(story, code={"coding": [coding]}, priority="stat")
    until_changed = site.await_order(story, lambda known: known.priority == "stat")
    site.film(story)
    site.await_end(story)
    return ended(site, story, priority=str(until_changed.order.priority))


def held_and_released(site: Site) -> Ended:
    """An order on hold is not worked on, though its film is there; active again it is."""
    story = _admitted(site, "held-and-released")
    site.place(story)
    site.await_status(story, "waiting", stage="study")
    site.place(story, status="on-hold")
    site.await_status(story, "on-hold")
    site.film(story)
    before = site.reports_of(story)
    site.place(story)
    site.await_end(story)
    return ended(site, story, before=before)


def revoked(site: Site) -> Ended:
    story = _admitted(site, "revoked")
    site.place(story)
    site.await_status(story, "waiting", stage="study")
    site.place(story, status="revoked")
    site.await_end(story)
    site.film(story)
    return ended(site, story)


def revoked_at_once(site: Site) -> Ended:
    """Placed and revoked before anybody can have heard of it: whoever hears of it hears that it is revoked."""
    story = _admitted(site, "revoked-at-once")
    site.film(story)
    site.place(story)
    site.place(story, status="revoked")
    probe = _admitted(site, "after-the-revoked")
    site.film(probe)
    site.place(probe)
    site.await_end(probe)
    return ended(site, story)


def entered_in_error(site: Site) -> Ended:
    story = _admitted(site, "entered-in-error")
    site.place(story)
    site.await_status(story, "waiting", stage="study")
    site.place(story, status="entered-in-error")
    site.await_end(story)
    return ended(site, story)


def revoked_after_its_report(site: Site) -> Ended:
    """The report is out: that it was called off is noted, and no second one comes."""
    story = _admitted(site, "revoked-late")
    site.film(story)
    site.place(story)
    site.await_end(story)
    site.place(story, status="revoked")
    site.await_entry(story, "cancel-ignored")
    return ended(site, story)


def deleted(site: Site) -> Ended:
    """Where the server tells no deletion the film comes, and the order is found gone when its report is written."""
    story = _admitted(site, "deleted")
    site.place(story)
    site.await_status(story, "waiting", stage="study")
    site.hospital.delete(patients.service_request_reference(story))
    if not site.tells_deletions:
        site.film(story)
    site.await_end(story)
    return ended(site, story)


def replaced(site: Site) -> Ended:
    """A second order of the same patient replaces the first, which is revoked as R4 §12.9 wants it."""
    first = _admitted(site, "replaced")
    order = site.place(first)
    site.await_status(first, "waiting", stage="study")
    second = replace(first, name=f"{first.name}-new")
    numbers = [{**number, "value": f"{number['value']}N"} for number in order["identifier"]]
    site.film(second, AccessionNumber=numbers[2]["value"], StudyID=numbers[2]["value"])
    site.hospital.put(
        {
            **order,
            "id": f"{order['id']}-new",
            "identifier": numbers,
            "replaces": [{"reference": f"ServiceRequest/{order['id']}"}],
        }
    )
    site.place(first, status="revoked")
    site.await_end(first)
    newer = site.await_job(numbers[0]["value"], "done", "held", "failed", "cancelled")
    return ended(site, first, newer=(str(newer.status), newer.reason))


def named_by_a_later_study(site: Site) -> Ended:
    """No accession number: the ImagingStudy that comes later says which study the order is of."""
    story = _admitted(site, "study-later")
    site.film(story)
    _place_unnumbered(site, story)
    waiting = site.await_status(story, "waiting", "held", stage="study")
    site.hospital.put(study_of(story))
    site.await_end(story)
    return ended(site, story, waiting=waiting.reason)


def named_by_an_earlier_study(site: Site) -> Ended:
    """The ImagingStudy is there before the order. It names the patient and the accession number, no order: there was none."""
    story = _admitted(site, "study-earlier")
    site.film(story)
    accession = {"type": {"coding": [{"system": SYSTEM, "code": "ACSN"}]}, "value": story.accession}
    study = study_of(story)
    del study["basedOn"]
    site.hospital.put({**study, "identifier": [*study["identifier"], accession]})
    site.place(story)
    site.await_end(story)
    return ended(site, story)


def by_both_doors(site: Site) -> Ended:
    story = _admitted(site, "both-doors")
    site.place(story)
    site.await_status(story, "waiting", stage="study")
    answer = site.send(story)
    site.await_entry(story, "received-again")
    site.film(story)
    site.await_end(story)
    return ended(site, story, answer=answer)


def with_swapped_films(site: Site) -> Ended:
    """Each film bears the numbers of one order and the patient of the other: nothing is written about either."""
    one, other = _admitted(site, "swapped"), _admitted(site, "swapped")
    for story, bearer in ((one, other), (other, one)):
        site.film(story, PatientID=bearer.patient.mrn)
        site.place(story)
    for story in (one, other):
        site.await_end(story)
    return ended(site, one, other=ended(site, other))


def with_the_subject_of_another(site: Site) -> Ended:
    """The order's number comes again by HL7 v2, of another patient: it is held, and the first one's report is the first one's."""
    story, stranger = _admitted(site, "mixed-up"), _admitted(site, "mixed-up")
    site.place(story)
    site.await_status(story, "waiting", stage="study")
    answer = site.send(stranger, changes={stranger.placer.encode(): story.placer.encode()})
    site.film(story)
    jobs = site.await_jobs(story, 2)
    return ended(site, story, answer=answer, jobs=jobs, stranger=site.reports_of(stranger))


def placed_by_a_task(site: Site) -> Ended:
    """The hospital hands the order over by a Task whose focus it is."""
    story = _admitted(site, "by-task")
    site.film(story)
    site.place(story)
    site.hospital.put(
        {
            "resourceType": "Task",
            "id": f"practice-{story.name}-task",
            "status": "requested",
            "intent": "order",
            "focus": {"reference": patients.service_request_reference(story)},
            "for": {"reference": patients.patient_reference(story)},
        }
    )
    site.await_end(story)
    return ended(site, story)


def while_the_server_is_down(site: Site) -> Ended:
    """The server dies while the job waits, the film comes, the server comes back."""
    story = _admitted(site, "server-down")
    site.place(story)
    site.await_status(story, "waiting", stage="study")
    site.hospital.stop()
    site.film(story)
    site.await_entry(story, "wait", "fhir.unavailable")
    site.hospital.start()
    site.await_end(story, seconds=120)
    return ended(site, story)


def study_of(story: Story) -> Resource:
    return {
        "resourceType": "ImagingStudy",
        "id": f"practice-{story.name}-study",
        "identifier": [{"system": "urn:dicom:uid", "value": f"urn:oid:{story.study_instance_uid}"}],
        "status": "available",
        "started": "2026-11-02T09:15:00Z",
        "subject": {"reference": patients.patient_reference(story)},
        "basedOn": [{"reference": patients.service_request_reference(story)}],
    }


def _place_unnumbered(site: Site, story: Story) -> None:
    placer = {"type": {"coding": [{"system": SYSTEM, "code": "PLAC"}]}, "system": PLACER_SYSTEM, "value": story.placer}
    site.place(story, identifier=[placer])


Tale = Callable[[Site], Ended]


class Told:
    """Stories played at once at one site, each as often as it is asked for: once. What needs the server for itself comes `after` them."""

    def __init__(self, site: Site, tales: tuple[Tale, ...], after: tuple[Tale, ...] = (), threads: int = 8) -> None:
        self.site = site
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="story")
        self._played = {tale: self._pool.submit(tale, site) for tale in tales}
        self._after = after

    def end_of(self, tale: Tale) -> Ended:
        """How it ended, as soon as it did. Raises what went wrong in it."""
        if tale in self._after and tale not in self._played:
            for played in self._played.values():
                played.exception()
            self._played[tale] = self._pool.submit(tale, self.site)
        future: Future[Ended] = self._played[tale]
        return future.result()

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
