"""An ImagingStudy that is available leads to its order: by reference, by identifier, by accession number, else by patient and procedure."""

from typing import Any

import pytest

from fhir_bridge.job import Status
from fhir_bridge.study import Resource
from tests.support.builders import an_order
from tests.support.fhir_house import (
    OTHER_PATIENT,
    House,
    a_category,
    a_code,
    a_service_request,
    an_imaging_study,
    typed,
)
from tests.support.frozen_clock import FrozenClock

NO_ORDER = ("done", "notification.no-order")
NINE, TEN = {"reference": "ServiceRequest/9"}, {"reference": "ServiceRequest/10"}
CHEST = a_code("36643-5")
ACCESSION = [{"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"}, typed("ACSN", "CANARY-A1")]


@pytest.fixture
def house(clock: FrozenClock) -> House:
    return House(clock)


def uids(house: House) -> list[str]:
    return [job.order.study_instance_uid for job in house.jobs()]


@pytest.mark.parametrize("status", ["available", "unknown", None])
def test_a_study_brings_the_order_it_is_based_on_and_its_uid(house: House, status: str | None) -> None:
    house.put(an_imaging_study(basedOn=[NINE], status=status))
    assert (uids(house), house.settled()) == (["1.2.3"], ("done", ""))


@pytest.mark.parametrize("status", ["registered", "cancelled", "entered-in-error"])
def test_a_study_without_images_to_read_is_no_news(house: House, status: str) -> None:
    house.put(an_imaging_study(basedOn=[NINE], status=status))
    assert (house.jobs(), house.settled()) == ([], NO_ORDER)


def test_a_deleted_study_is_no_news(house: House) -> None:
    house.put(an_imaging_study(basedOn=[NINE]))
    house.delete("ImagingStudy/5")
    assert (house.statuses(), house.settled()) == ([Status.READY], ("done", "notification.gone"))


def test_of_several_requests_those_for_imaging_count(house: House) -> None:
    house.record.store(a_service_request(id="10", category=a_category("108252007")))
    house.put(an_imaging_study(basedOn=[TEN, NINE]))
    assert [job.order.service_request for job in house.jobs()] == ["ServiceRequest/9"]


def test_two_orders_done_in_one_study_keep_their_own_jobs(house: House) -> None:
    house.put(a_service_request(code=a_code("24627-2")))
    house.put(a_service_request(id="10", code=CHEST))
    house.put(an_imaging_study(basedOn=[NINE, TEN]))
    assert [(job.order.service_request, job.order.study_instance_uid) for job in house.jobs()] == [
        ("ServiceRequest/9", "1.2.3"),
        ("ServiceRequest/10", "1.2.3"),
    ]


def test_the_accession_number_beside_the_reference_to_another_request_is_not_this_ones(house: House) -> None:
    house.put(a_service_request(identifier=[]))
    house.put(a_service_request(id="10", identifier=[]))
    based_on = [NINE | {"identifier": typed("ACSN", "CANARY-A1")}, TEN | {"identifier": typed("ACSN", "CANARY-A2")}]
    house.put(an_imaging_study(basedOn=based_on))
    assert [job.order.accession and job.order.accession.value for job in house.jobs()] == ["CANARY-A1", "CANARY-A2"]


@pytest.mark.parametrize("kind", ["ACSN", "PLAC"])
def test_a_study_that_names_its_order_by_identifier_finds_it(house: House, kind: str) -> None:
    house.record.store(a_service_request(identifier=[typed(kind, "CANARY-N1", "urn:ris")]))
    house.put(an_imaging_study(basedOn=[{"identifier": typed(kind, "CANARY-N1", "urn:ris")}]))
    assert [(job.order.service_request, job.order.study_instance_uid) for job in house.jobs()] == [
        ("ServiceRequest/9", "1.2.3")
    ]


def test_a_study_with_the_accession_number_of_a_request_brings_it(house: House) -> None:
    house.put(an_imaging_study(identifier=ACCESSION))
    assert [(job.order.service_request, job.order.study_instance_uid) for job in house.jobs()] == [
        ("ServiceRequest/9", "1.2.3")
    ]


def test_an_order_by_hl7_v2_learns_its_study_and_wakes(house: House) -> None:
    house.record.remove("ServiceRequest/9")
    house.hl7(an_order("1"))
    house.wait()
    house.put(an_imaging_study(identifier=ACCESSION))
    (job,) = house.jobs()
    assert (job.source, job.order.study_instance_uid, job.status, job.reason) == (
        "hl7v2",
        "1.2.3",
        Status.READY,
        "study.available",
    )


@pytest.mark.parametrize("reason", ["study.no-images", "study.still-arriving", "study.key-missing"])
def test_a_job_that_was_held_since_no_images_came_looks_again(house: House, reason: str) -> None:
    house.put(a_service_request())
    house.hold(reason)
    house.put(an_imaging_study(basedOn=[NINE]))
    assert house.standing() == [(Status.READY, "study.available")]


def test_a_job_that_is_held_for_another_reason_stays_held(house: House) -> None:
    house.put(a_service_request())
    house.hold("patient.mismatch")
    house.put(an_imaging_study(basedOn=[NINE]))
    assert house.standing() == [(Status.HELD, "patient.mismatch")]


def test_a_study_that_is_told_after_the_result_changes_nothing_of_it(house: House) -> None:
    house.put(a_service_request())
    house.finish()
    house.put(an_imaging_study(basedOn=[NINE]))
    assert (house.statuses(), uids(house), house.settled()) == ([Status.DONE], ["1.2.3"], ("done", ""))


def test_the_uid_of_the_study_goes_before_the_one_that_was_planned(house: House) -> None:
    planned = [{"system": "urn:dicom:uid", "value": "urn:oid:1.2.9"}]
    house.put(a_service_request(identifier=planned))
    house.put(an_imaging_study(basedOn=[NINE]))
    house.put(a_service_request(identifier=planned, priority="stat"))
    assert uids(house) == ["1.2.3"]


def test_the_uid_of_the_study_stays_when_the_request_changes(house: House) -> None:
    house.put(an_imaging_study(basedOn=[NINE]))
    house.put(a_service_request(priority="stat"))
    assert [(job.order.study_instance_uid, job.priority) for job in house.jobs()] == [("1.2.3", "stat")]


def test_a_second_study_of_an_order_is_noted_and_changes_nothing(house: House) -> None:
    house.put(an_imaging_study(basedOn=[NINE]))
    other = [{"system": "urn:dicom:uid", "value": "urn:oid:1.2.4"}]
    house.put(an_imaging_study(id="6", basedOn=[NINE], identifier=other))
    assert (uids(house), house.timeline()[-1]) == (["1.2.3"], ("another-study", "study.another"))


MATCHING: dict[str, Any] = {"started": "2026-03-02T10:00:00Z", "procedureCode": [CHEST]}
PLACED: dict[str, Any] = {
    "identifier": [],
    "code": CHEST,
    "authoredOn": "2026-03-01",
    "category": a_category("363679005"),
}


def test_a_study_without_numbers_is_of_the_only_order_of_its_patient_and_procedure(house: House) -> None:
    house.record.store(a_service_request(**PLACED))
    house.put(an_imaging_study(**MATCHING))
    assert [(job.order.service_request, job.order.study_instance_uid) for job in house.jobs()] == [
        ("ServiceRequest/9", "1.2.3")
    ]


def test_of_several_orders_that_a_study_fits_none_is_guessed(house: House) -> None:
    house.record.store(a_service_request(**PLACED), a_service_request(**PLACED, id="10"))
    house.put(an_imaging_study(**MATCHING))
    assert (house.jobs(), house.settled()) == ([], ("done", "study.order-ambiguous"))


@pytest.mark.parametrize(("days", "jobs"), [(1.0, 0), (30.0, 1)])
def test_the_window_is_a_setting(clock: FrozenClock, days: float, jobs: int) -> None:
    house = House(clock, study_window_days=days)
    house.record.store(a_service_request(**(PLACED | {"authoredOn": "2026-02-20"})))
    house.put(an_imaging_study(**MATCHING))
    assert len(house.jobs()) == jobs


def test_a_study_that_fits_no_order_is_no_news(house: House) -> None:
    house.record.store(a_service_request(**PLACED))
    house.put(an_imaging_study(**(MATCHING | {"procedureCode": [a_code("24627-2")]})))
    assert (house.jobs(), house.settled()) == ([], NO_ORDER)


def test_an_order_that_we_hold_under_the_number_goes_before_one_that_merely_fits(house: House) -> None:
    house.hl7(an_order("1"))
    house.record.store(a_service_request(**PLACED))
    house.put(an_imaging_study(identifier=ACCESSION, **MATCHING))
    assert [(job.source, job.order.study_instance_uid) for job in house.jobs()] == [("hl7v2", "1.2.3")]


# references to other patients: never joined
def of_the_other(**elements: Any) -> Resource:
    return an_imaging_study(subject={"reference": "Patient/8"}, **elements)


def test_a_study_of_another_patient_than_its_request_is_quarantined(house: House) -> None:
    house.record.store(OTHER_PATIENT)
    house.put(of_the_other(basedOn=[NINE]))
    assert (house.jobs(), house.settled()) == ([], ("quarantined", "order.subject-mismatch"))


def test_a_study_with_the_accession_number_of_another_patients_order_is_quarantined(house: House) -> None:
    house.record.remove("ServiceRequest/9")
    house.record.store(OTHER_PATIENT)
    house.hl7(an_order("1"))
    house.put(of_the_other(identifier=ACCESSION))
    assert (uids(house), house.settled()) == ([""], ("quarantined", "order.subject-mismatch"))


def test_a_study_of_nobody_is_quarantined(house: House) -> None:
    house.put(an_imaging_study(basedOn=[NINE], subject={"display": "CANARY^ZEBRA"}))
    assert (house.jobs(), house.settled()) == ([], ("quarantined", "order.patient-identifier-missing"))


def test_a_reference_to_a_request_that_is_gone_does_not_hide_the_others(house: House) -> None:
    house.put(an_imaging_study(basedOn=[TEN, NINE]))
    house.retry()
    assert (uids(house), house.settled()) == (["1.2.3"], ("done", ""))


def test_a_revoked_order_of_a_study_does_not_run(house: House) -> None:
    house.put(a_service_request(status="revoked"))
    house.put(an_imaging_study(basedOn=[NINE]))
    assert house.statuses() == [Status.CANCELLED]
