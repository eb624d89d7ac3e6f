"""Orders in trouble: servers after an outage, clocks that jump, several studies, cancels without a patient, mixed doors."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from fhir_bridge.errors import Unavailable
from fhir_bridge.job import Event, Status
from mappings.code import Code
from mappings.order import OrderControl
from tests.support.builders import an_order
from tests.support.fhir_house import (
    BEGIN,
    OTHER_PATIENT,
    PATIENT,
    House,
    a_category,
    a_code,
    a_service_request,
    a_task,
    an_imaging_study,
    typed,
)
from tests.support.frozen_clock import FrozenClock

READY, ON_HOLD, CANCELLED, HELD = Status.READY, Status.ON_HOLD, Status.CANCELLED, Status.HELD
CANCEL, HOLD, RELEASE, CHANGE = OrderControl.CANCEL, OrderControl.HOLD, OrderControl.RELEASE, OrderControl.CHANGE


@pytest.fixture
def house(clock: FrozenClock) -> House:
    return House(clock, task_orders=True)


def put_version(house: House, resource: dict[str, Any], version: str, minute: int) -> None:
    updated = (BEGIN + timedelta(minutes=minute)).isoformat(timespec="milliseconds")
    house.record.store(resource | {"meta": {"versionId": version, "lastUpdated": updated}})
    house.notify(resource["resourceType"], resource["id"], "")


# a server that has just started does not find everything at first
def test_an_outage_before_does_not_make_one_missing_answer_a_deletion(house: House) -> None:
    house.put(a_service_request())
    house.record.outage = Unavailable("fhir.unavailable", "GET ServiceRequest", "no answer")
    house.tell()
    house.retry(10)
    house.record.outage = None
    request = house.record.read("ServiceRequest/9")
    house.record.remove("ServiceRequest/9")
    house.retry(1)
    house.record.store(request)
    house.retry(2)
    assert (house.statuses(), house.settled()) == ([READY], ("done", ""))


def test_a_cancel_counts_though_the_clock_of_the_server_jumped_back(house: House) -> None:
    put_version(house, a_service_request(), "1", 60)
    put_version(house, a_service_request(status="revoked"), "2", 30)
    assert house.standing() == [(CANCELLED, "order.revoked")]


def test_an_older_version_of_the_same_second_is_ignored(house: House) -> None:
    put_version(house, a_service_request(status="revoked"), "10", 1)
    put_version(house, a_service_request(), "9", 1)
    assert house.statuses() == [CANCELLED]


def test_a_request_that_is_put_again_after_its_deletion_counts_whatever_the_clock_says(house: House) -> None:
    put_version(house, a_service_request(), "3", 60)
    house.delete("ServiceRequest/9")
    put_version(house, a_service_request(), "1", 30)
    assert house.statuses() == [READY]


def test_a_resource_is_read_once_in_a_round_so_that_nobody_sees_an_older_one(house: House) -> None:
    house.record.store(a_task())
    house.tell("ServiceRequest", "9")
    house.tell("Task", "12")
    house.inbox.settle_due()
    assert sorted(house.record.reads) == ["Patient/7", "ServiceRequest/9", "Task/12"]


# two orders under one accession number, each with its study
def test_a_study_that_names_its_order_is_of_no_other_request_under_its_number(house: House) -> None:
    house.put(a_service_request())
    house.put(a_service_request(id="10"))
    uid = {"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"}
    first = {"basedOn": [{"reference": "ServiceRequest/9"}], "identifier": [uid, typed("ACSN", "CANARY-A1")]}
    house.put(an_imaging_study(**first))
    assert [job.order.study_instance_uid for job in house.jobs()] == ["1.2.3", ""]


def test_a_study_does_not_release_a_job_whose_patient_is_disputed(house: House) -> None:
    house.record.store(OTHER_PATIENT)
    planned = [{"system": "urn:dicom:uid", "value": "urn:oid:1.2.9"}, typed("ACSN", "CANARY-A1")]
    house.put(a_service_request(identifier=planned))
    house.put(a_service_request(identifier=planned, subject={"reference": "Patient/8"}))
    before = house.standing()
    house.put(an_imaging_study(subject={"reference": "Patient/8"}, basedOn=[{"reference": "ServiceRequest/9"}]))
    assert (before, house.standing()) == ([(HELD, "order.patient-conflict")],) * 2
    assert ([job.order.study_instance_uid for job in house.jobs()], house.settled()) == (
        ["1.2.9"],
        ("done", "order.patient-conflict"),
    )


def test_a_change_of_the_study_does_not_release_what_adt_left_uncertain(house: House) -> None:
    planned = [{"system": "urn:dicom:uid", "value": "urn:oid:1.2.9"}]
    house.put(a_service_request(identifier=planned))
    with house.store.transaction() as ledger:
        ledger.happen(house.jobs()[0].id, Event.HOLD, "order.move-uncertain")
    house.put(an_imaging_study(basedOn=[{"reference": "ServiceRequest/9"}]))
    assert house.standing() == [(HELD, "order.move-uncertain")]


@pytest.mark.parametrize(
    "subject", [{"reference": "Patient/404"}, {"display": "CANARY^ZEBRA"}, {"reference": "Patient/8"}]
)
@pytest.mark.parametrize("status", ["revoked", "entered-in-error"])
def test_a_cancel_of_a_known_order_needs_no_patient(house: House, subject: dict[str, str], status: str) -> None:
    house.record.store(OTHER_PATIENT)
    house.put(a_service_request())
    house.put(a_service_request(status=status, subject=subject))
    assert house.standing() == [(CANCELLED, f"order.{status}")]


def test_an_order_of_hl7_v2_goes_on_without_its_request_that_was_deleted(house: House) -> None:
    house.hl7(an_order("1"))
    house.put(a_service_request())
    house.delete("ServiceRequest/9")
    house.hl7(an_order("1"))
    (job,) = house.jobs()
    assert (job.status, job.order.service_request) == (READY, "")


def test_a_request_that_comes_back_after_hl7_v2_ordered_anew_is_the_same_order(house: House) -> None:
    house.hl7(an_order("1"))
    house.put(a_service_request())
    house.delete("ServiceRequest/9")
    house.hl7(an_order("1"))
    house.put(a_service_request())
    assert [(job.status, job.order.service_request) for job in house.jobs()] == [(READY, "ServiceRequest/9")]


def test_a_release_counts_for_a_job_that_a_person_started_against_a_cancel(house: House) -> None:
    house.hl7(an_order("1"))
    house.hl7(an_order("1", control=CANCEL))
    with house.store.transaction() as ledger:
        ledger.happen(house.jobs()[0].id, Event.REPLAY, "operator.replay")
    house.hl7(an_order("1", control=HOLD))
    held = house.statuses()
    house.hl7(an_order("1", control=RELEASE))
    assert (held, house.statuses()) == ([ON_HOLD], [READY])


@pytest.mark.parametrize("first", ["request", "cancel"])
def test_a_cancel_that_overtook_its_order_counts_though_the_request_came_too(house: House, first: str) -> None:
    steps = [lambda: house.put(a_service_request()), lambda: house.hl7(an_order("1", control=CANCEL))]
    for step in steps if first == "request" else reversed(steps):
        step()
    house.hl7(an_order("1"))
    assert house.statuses() == [CANCELLED]


def test_the_same_version_told_again_does_not_undo_a_change_by_hl7_v2(house: House) -> None:
    house.put(a_service_request(), at=1)
    house.hl7(an_order("1", control=CHANGE, modality="CT"))
    house.put(a_service_request(orderDetail=[]), at=1)
    assert [job.order.modality for job in house.jobs()] == ["CT"]


def test_a_change_by_hl7_v2_while_the_server_has_revoked_the_order_counts_once_it_is_active(house: House) -> None:
    house.hl7(an_order("1"))
    house.put(a_service_request())
    house.put(a_service_request(status="revoked"))
    house.hl7(an_order("1", control=CHANGE, modality="CT"))
    house.put(a_service_request())
    assert [(job.status, job.order.modality) for job in house.jobs()] == [(READY, "CT")]


MERGED: dict[str, Any] = PATIENT | {
    "active": False,
    "link": [{"type": "replaced-by", "other": {"reference": "Patient/8"}}],
}


def test_a_study_of_a_patient_who_was_merged_on_the_server_is_of_the_order_of_the_survivor(house: House) -> None:
    house.record.store(MERGED, OTHER_PATIENT)
    house.record.store(a_service_request(subject={"reference": "Patient/8"}))
    house.put(an_imaging_study(basedOn=[{"reference": "ServiceRequest/9"}]))
    assert ([job.order.study_instance_uid for job in house.jobs()], house.settled()) == (["1.2.3"], ("done", ""))


def test_a_number_of_another_system_does_not_make_a_guess_certain(house: House) -> None:
    code, placed = {"coding": [{"system": "http://loinc.org", "code": "36643-5"}]}, "2026-03-01"
    house.record.store(a_service_request(code=code, authoredOn=placed, identifier=[typed("PLAC", "5", "urn:emr")]))
    house.record.store(a_service_request(code=code, authoredOn=placed, identifier=[], id="10"))
    uid = {"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"}
    numbers = [uid, {"system": "urn:pacs", "value": "5"}]
    house.put(an_imaging_study(identifier=numbers, started="2026-03-02T10:00:00Z", procedureCode=[code]))
    assert (house.jobs(), house.settled()) == ([], ("done", "study.order-ambiguous"))


# several orders by HL7 v2 under one accession number: nothing is guessed
def two_by_hl7(house: House, **changes: Any) -> list[str]:
    codes = (Code("XHAND", "urn:site:procedures"), Code("XCHEST", "urn:site:procedures"))
    orders = [an_order("1", placer=an_order(str(n)).placer, procedure=code) for n, code in enumerate(codes, 1)]
    return [house.hl7(replace(order, **changes)).job for order in orders]


@pytest.mark.parametrize("status", ["active", "revoked"])
@pytest.mark.parametrize("code", [{}, {"code": a_code("36643-5")}], ids=["no code", "another code system"])
def test_a_request_that_could_be_each_of_several_orders_is_none_of_them(
    house: House, status: str, code: dict[str, Any]
) -> None:
    two_by_hl7(house)
    house.put(a_service_request(status=status, **code))
    assert ([job.order.service_request for job in house.jobs()], house.statuses()) == (["", ""], [READY, READY])
    assert house.settled() == ("quarantined", "order.ambiguous")


def test_of_several_orders_the_one_of_its_very_procedure_goes_before_one_that_says_none(house: House) -> None:
    house.hl7(an_order("1", procedure=None))
    taken = house.hl7(an_order("1", placer=an_order("2").placer))
    house.put(a_service_request(code=a_code("XCHEST", "urn:site:procedures")))
    assert [job.id for job in house.jobs() if job.order.service_request] == [taken.job]


def test_what_hl7_v2_orders_anew_runs_anew_though_its_cancel_came_too_late(house: House) -> None:
    house.hl7(an_order("1"))
    claim = house.queue.claim("w")
    assert claim is not None
    house.store.begin_delivery(claim, "fhir")
    late = house.hl7(an_order("1", control=CANCEL)).warning
    house.hl7(an_order("1"))
    assert (late, house.standing()) == ("order.cancel-too-late", [(READY, "order.ordered-anew")])


def test_an_order_of_another_kind_that_fits_a_study_does_not_hide_the_one_for_imaging(house: House) -> None:
    code = {"coding": [{"system": "http://loinc.org", "code": "36643-5"}]}
    fits: dict[str, Any] = {"code": code, "authoredOn": "2026-03-01", "identifier": []}
    house.record.store(a_service_request(**fits), a_service_request(**fits, id="10", category=a_category("108252007")))
    house.put(an_imaging_study(started="2026-03-02T10:00:00Z", procedureCode=[code]))
    assert [job.order.service_request for job in house.jobs()] == ["ServiceRequest/9"]


def test_a_task_says_nothing_of_the_order_that_it_was_about_before(house: House) -> None:
    house.put(a_task(status="on-hold"))
    house.record.store(a_service_request(id="10", identifier=[typed("ACSN", "CANARY-A2")]))
    house.put(a_task(status="on-hold", focus={"reference": "ServiceRequest/10"}))
    moved = house.statuses()
    house.delete("Task/12")
    assert (moved, house.statuses()) == ([READY, ON_HOLD], [READY, READY])
