"""One suite for FHIR servers that differ: whatever a server can and cannot do, an order on it comes to the same end.

HAPI and sekmet are real; Epic, Azure and Google are played (`scripted_fhir` says from which sources), and so is a server whose
notifications bear ids only. Where a server cannot come to an end that the others come to, its profile says so and a test shows what
happens instead.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from fhir_bridge.practice import patients
from fhir_bridge.server_traits import PROFILES
from tests.support import fhir_stories as stories
from tests.support.bridge import a_story
from tests.support.fhir_hospital import FhirHospital, real_hospital, value_in
from tests.support.fhir_site import OBSERVATION_SYSTEM, Site, running_site
from tests.support.fhir_stories import Ended, Tale, Told
from tests.support.scripted_fhir import (
    AZURE_LIKE,
    EMPTY_NOTICES,
    EPIC_LIKE,
    GOOGLE_LIKE,
    IDS_ONLY,
    ScriptedFhir,
    scripted_fhir,
)

pytestmark = [pytest.mark.real_parts, pytest.mark.tensorflow]

PNEUMONIA = "233604007"  # SNOMED CT
SCRIPTED = {"epic": EPIC_LIKE, "azure": AZURE_LIKE, "google": GOOGLE_LIKE, "ids": IDS_ONLY, "empty": EMPTY_NOTICES}
SITES = ("hapi", "sekmet", "epic", "azure", "google", "ids")
EVERYWHERE: tuple[Tale, ...] = (
    stories.ordered,
    stories.changed,
    stories.held_and_released,
    stories.revoked,
    stories.revoked_at_once,
    stories.entered_in_error,
    stories.revoked_after_its_report,
    stories.deleted,
    stories.replaced,
    stories.named_by_a_later_study,
    stories.named_by_an_earlier_study,
    stories.by_both_doors,
    stories.with_swapped_films,
    stories.with_the_subject_of_another,
    stories.placed_by_a_task,
)


def settings_at(name: str) -> dict[str, str]:
    profile = name if name in PROFILES else "generic"
    settings = {"fhir.profile": profile, "fhir.task_orders": "true"}
    if name in SCRIPTED and SCRIPTED[name].token:
        settings["fhir.auth"] = "bearer"
    return settings


@pytest.fixture(scope="module", params=SITES)
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A bridge at each server in turn."""
    name, folder = request.param, tmp_path_factory.mktemp(request.param)
    with ExitStack() as stack:
        secrets = ""
        hospital: FhirHospital
        if name == "hapi":
            hospital = request.getfixturevalue("lasting_hapi")
        elif name == "sekmet":
            hospital = stack.enter_context(real_hospital("sekmet", folder / "sekmet"))
        else:
            hospital = stack.enter_context(scripted_fhir(SCRIPTED[name]))
            secrets = f'[fhir]\ntoken = "{SCRIPTED[name].token}"\n' if SCRIPTED[name].token else ""
        site = stack.enter_context(running_site(hospital, folder / "site", settings_at(name), secrets))
        traits = PROFILES[settings_at(name)["fhir.profile"]]
        site.name, site.tells_deletions = name, traits.history
        if traits.hooks:
            site.process.subscribe()
        yield site
        site.process.stop()  # its watchdog would make them again
        if traits.hooks:
            site.unsubscribe()


@pytest.fixture(scope="module")
def told(site: Site) -> Iterator[Told]:
    """Every story, played at once; each test looks at the end of one."""
    told = Told(site, EVERYWHERE, after=(stories.while_the_server_is_down,))
    yield told
    told.close()


def assert_reported_once(end: Ended) -> None:
    """One job, and one report: of the right patient, based on the order, with its Observations."""
    patient, order = patients.patient_reference(end.story), patients.service_request_reference(end.story)
    assert (end.statuses, len(end.reports)) == (("done",), 1), end.timeline
    (report,) = end.reports
    assert (report.status, report.subject, report.based_on) == ("preliminary", patient, (order,))
    assert report.conclusions == (PNEUMONIA,)
    assert set(report.observations) == {("preliminary", patient)}


def test_an_order_gets_its_report_on_its_patient_and_with_its_observations(told: Told) -> None:
    assert_reported_once(told.end_of(stories.ordered))


def test_a_changed_order_is_reported_as_it_was_changed(told: Told) -> None:
    end = told.end_of(stories.changed)
    assert_reported_once(end)
    assert "XRCHEST2" in {coding["code"] for coding in end.reports[0].resource["code"]["coding"]}


def test_an_order_on_hold_waits_until_it_is_released(told: Told) -> None:
    end = told.end_of(stories.held_and_released)
    assert end.others["before"] == []
    assert_reported_once(end)


def test_a_revoked_order_is_cancelled_and_gets_no_report(told: Told) -> None:
    end = told.end_of(stories.revoked)
    assert (end.jobs, end.reports) == ((("cancelled", "order.revoked"),), ())


def test_an_order_revoked_before_it_was_told_gets_no_report(told: Told) -> None:
    end = told.end_of(stories.revoked_at_once)
    assert end.reports == ()
    assert set(end.statuses) <= {"cancelled"}


def test_an_order_entered_in_error_is_cancelled_and_gets_no_report(told: Told) -> None:
    end = told.end_of(stories.entered_in_error)
    assert (end.statuses, end.reports) == (("cancelled",), ())


def test_an_order_revoked_after_its_report_gets_no_second_one(told: Told) -> None:
    end = told.end_of(stories.revoked_after_its_report)
    assert_reported_once(end)
    assert "cancel-ignored" in {event for event, _ in end.timeline}


def test_a_deleted_order_gets_no_report(told: Told) -> None:
    """Where the server tells no deletion (profile: no history), the order is found gone before anything is written: a person looks."""
    end = told.end_of(stories.deleted)
    assert end.reports == ()
    (job,) = end.jobs
    assert job == (("cancelled", "order.deleted") if told.site.tells_deletions else ("held", "fhir.not-found"))


def test_an_order_that_replaces_another_is_done_in_its_stead(told: Told) -> None:
    end = told.end_of(stories.replaced)
    assert end.statuses == ("cancelled",)
    assert end.others["newer"] == ("done", "")
    assert len(end.reports) == 1  # about the patient: that of the newer


def test_an_order_without_numbers_is_completed_by_the_study_that_comes_later(told: Told) -> None:
    end = told.end_of(stories.named_by_a_later_study)
    assert end.others["waiting"] == "study.key-missing"
    assert_reported_once(end)


def test_a_study_that_was_there_before_its_order_is_the_one_reported_on(told: Told) -> None:
    end = told.end_of(stories.named_by_an_earlier_study)
    assert_reported_once(end)
    (study,) = (one["reference"] for one in end.reports[0].resource["imagingStudy"])
    assert study.endswith(f"ImagingStudy/{stories.study_of(end.story)['id']}")


def test_the_same_order_by_hl7_v2_and_by_fhir_is_one_job(told: Told) -> None:
    end = told.end_of(stories.by_both_doors)
    assert end.others["answer"] == "AA"
    assert_reported_once(end)


def test_films_that_were_swapped_between_two_patients_are_reported_on_neither(told: Told) -> None:
    end = told.end_of(stories.with_swapped_films)
    assert (end.statuses, end.reports) == (("held",), ())
    assert (end.others["other"].statuses, end.others["other"].reports) == (("held",), ())


def test_an_order_number_that_comes_with_another_patient_is_held_and_the_first_patients_report_stays_theirs(
    told: Told,
) -> None:
    end = told.end_of(stories.with_the_subject_of_another)
    assert end.others["jobs"] == (("done", ""), ("held", "order.patient-conflict"))
    assert [report.subject for report in end.reports] == [patients.patient_reference(end.story)]
    assert end.others["stranger"] == []


def test_an_order_placed_by_a_task_is_one_job(told: Told) -> None:
    assert_reported_once(told.end_of(stories.placed_by_a_task))


def test_an_order_is_served_when_the_server_comes_back(told: Told) -> None:
    assert_reported_once(told.end_of(stories.while_the_server_is_down))


@pytest.mark.parametrize("site", ["empty"], indirect=True)
@pytest.mark.parametrize("tale", [stories.ordered, stories.changed], ids=lambda tale: tale.__name__)
def test_a_notification_that_says_nothing_is_enough(site: Site, tale: Tale) -> None:
    assert_reported_once(tale(site))


@pytest.mark.parametrize("site", ["epic", "azure", "google"], indirect=True)
def test_an_answer_that_is_lost_makes_no_second_result(site: Site) -> None:
    """Also where the server knows no conditional create, no transaction and no client's ids (profile `conditional_create`)."""
    hospital = site.hospital
    assert isinstance(hospital, ScriptedFhir)
    hospital.lost_answers = 1 if hospital.traits.transactions else 3
    end = stories.ordered(site)
    assert_reported_once(end)
    names = [value_in(one, OBSERVATION_SYSTEM) for one in hospital.all_of("Observation")]
    assert hospital.lost_answers == 0
    assert [name for name, count in Counter(names).items() if name and count > 1] == []


@pytest.mark.parametrize("site", ["epic"], indirect=True)
def test_a_result_without_the_element_that_the_server_demands_is_held(site: Site) -> None:
    """Profile `required`: Epic takes no Observation without an encounter."""
    story = a_story("no-encounter")
    site.admit(story)
    site.film(story)
    site.place(story, encounter=None)
    job = site.await_end(story)
    assert (job.status, site.reports_of(story)) == ("held", [])


@pytest.mark.parametrize("site", ["epic"], indirect=True)
def test_what_the_server_does_not_take_from_us_is_left_out(told: Told) -> None:
    """Profile `not_written`: the report is there, the Device and the Provenance are not."""
    told.end_of(stories.ordered)
    written = {kind: told.site.hospital.all_of(kind) for kind in ("DiagnosticReport", "Device", "Provenance")}
    assert written["DiagnosticReport"]
    assert (written["Device"], written["Provenance"]) == ([], [])
