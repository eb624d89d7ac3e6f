"""Orders placed by a Task (R4 §12.8): `Task.focus` is the ServiceRequest; one job, whichever of the two is told, and when."""

from itertools import permutations
from typing import Any

import pytest

from fhir_bridge.job import Status
from tests.support.builders import an_order
from tests.support.fhir_house import OTHER_PATIENT, House, a_category, a_code, a_service_request, a_task
from tests.support.frozen_clock import FrozenClock

READY, ON_HOLD, CANCELLED = Status.READY, Status.ON_HOLD, Status.CANCELLED


@pytest.fixture
def house(clock: FrozenClock) -> House:
    return House(clock, task_orders=True)


def test_a_task_orders_what_it_is_about(house: House) -> None:
    house.put(a_task())
    (job,) = house.jobs()
    assert (job.order.service_request, job.order.task, job.source) == ("ServiceRequest/9", "Task/12", "fhir")


@pytest.mark.parametrize("order", list(permutations(["task", "request", "hl7"])))
def test_one_order_by_request_task_and_hl7_v2_is_one_job(house: House, order: tuple[str, ...]) -> None:
    told = {
        "task": lambda: house.put(a_task()),
        "request": lambda: house.put(a_service_request()),
        "hl7": lambda: house.hl7(an_order("1")),
    }
    for door in order:
        told[door]()
    (job,) = house.jobs()
    assert (job.status, job.order.service_request, job.order.task) == (READY, "ServiceRequest/9", "Task/12")


# task_status.csv, on a job that runs
@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("draft", READY),
        ("requested", READY),
        ("received", READY),
        ("accepted", READY),
        ("ready", READY),
        ("in-progress", READY),
        ("completed", READY),
        ("on-hold", ON_HOLD),
        ("cancelled", CANCELLED),
        ("rejected", CANCELLED),
        ("failed", CANCELLED),
        ("entered-in-error", CANCELLED),
    ],
)
@pytest.mark.parametrize("first", ["request", "task"])
def test_the_status_of_the_task_counts_whichever_was_told_first(
    house: House, status: str, expected: Status, first: str
) -> None:
    for told in (a_service_request(), a_task(status=status))[:: 1 if first == "request" else -1]:
        house.put(told)
    assert house.statuses() == [expected]


def test_the_reason_of_a_cancel_by_a_task_is_its_own(house: House) -> None:
    house.put(a_service_request())
    house.put(a_task(status="rejected"))
    assert house.standing() == [(CANCELLED, "order.task-ended")]


def test_a_request_that_merely_is_active_does_not_undo_the_end_of_its_task(house: House) -> None:
    house.put(a_task(status="cancelled"))
    house.put(a_service_request(priority="stat"))
    assert house.statuses() == [CANCELLED]


def test_another_task_for_the_same_request_orders_anew(house: House) -> None:
    house.put(a_task(status="rejected"))
    house.put(a_task(id="13"))
    (job,) = house.jobs()
    assert (job.status, job.order.task) == (READY, "Task/13")


def test_the_end_of_one_of_two_tasks_leaves_the_other_its_job(house: House) -> None:
    house.put(a_task())
    house.put(a_task(id="13"))
    house.put(a_task(status="cancelled"))
    assert [(job.status, job.order.task) for job in house.jobs()] == [(READY, "Task/13")]


def test_a_task_for_a_revoked_request_does_not_run(house: House) -> None:
    house.record.store(a_service_request(status="revoked"))
    house.put(a_task())
    assert house.standing() == [(CANCELLED, "order.revoked")]


def test_a_task_for_a_draft_makes_no_job(house: House) -> None:
    house.record.store(a_service_request(status="draft"))
    house.put(a_task())
    assert house.jobs() == []


def test_a_task_whose_hold_ends_releases_the_job(house: House) -> None:
    house.put(a_task(status="on-hold"))
    house.put(a_task(status="in-progress"))
    assert house.statuses() == [READY]


def test_an_older_version_of_a_task_is_ignored(house: House) -> None:
    house.put(a_service_request(), at=1)
    house.put(a_task(status="cancelled"), at=20)
    house.put(a_task(), at=10)
    assert house.statuses() == [CANCELLED]


def test_a_deleted_task_leaves_the_word_to_its_request(house: House) -> None:
    house.put(a_task(status="cancelled"))
    house.delete("Task/12")
    (job,) = house.jobs()
    assert (job.status, job.order.task) == (READY, "")


def test_a_request_without_a_task_is_an_order_all_the_same(house: House) -> None:
    house.put(a_service_request())
    assert house.statuses() == [READY]


@pytest.mark.parametrize(
    "elements",
    [
        {"focus": {"reference": "DiagnosticReport/1"}},
        {"focus": {"identifier": {"value": "CANARY-P1"}}},
        {"focus": None},
        {"intent": "proposal"},
        {"intent": "plan"},
    ],
)
def test_a_task_for_something_else_is_no_order(house: House, elements: dict[str, Any]) -> None:
    house.put(a_task(**elements))
    assert (house.jobs(), house.settled()) == ([], ("done", "notification.no-order"))


@pytest.mark.parametrize(
    ("code", "jobs"), [({"code": a_code("fulfill", "urn:t")}, 1), ({"code": a_code("abort", "urn:t")}, 0), ({}, 0)]
)
@pytest.mark.parametrize("wanted", ["fulfill", "urn:t|fulfill"])
def test_only_tasks_of_a_wanted_code_count(clock: FrozenClock, wanted: str, code: dict[str, Any], jobs: int) -> None:
    house = House(clock, task_orders=True, task_codes=frozenset({wanted}))
    house.put(a_task(**code))
    assert len(house.jobs()) == jobs


def test_a_task_that_is_ours_no_more_has_nothing_to_say(clock: FrozenClock) -> None:
    house = House(clock, task_orders=True, task_codes=frozenset({"fulfill"}))
    house.put(a_task(status="on-hold", code=a_code("fulfill")))
    house.put(a_task(status="on-hold", code=a_code("abort")))
    assert house.statuses() == [READY]


def test_a_task_for_a_request_of_another_kind_is_no_order(house: House) -> None:
    house.record.store(a_service_request(category=a_category("108252007")))
    house.put(a_task())
    assert (house.jobs(), house.settled()) == ([], ("done", "notification.no-order"))


# references to other patients: never joined
def test_a_task_for_another_patient_is_quarantined(house: House) -> None:
    house.record.store(OTHER_PATIENT)
    house.put(a_task(**{"for": {"reference": "Patient/8"}}))
    assert (house.jobs(), house.settled()) == ([], ("quarantined", "order.subject-mismatch"))


def test_a_task_that_says_for_nobody_is_for_the_patient_of_its_request(house: House) -> None:
    task = a_task()
    del task["for"]
    house.put(task)
    assert house.statuses() == [READY]


def test_a_task_whose_request_is_not_there_yet_waits_for_it(house: House) -> None:
    house.record.remove("ServiceRequest/9")
    house.put(a_task())
    early = house.settled()
    house.record.store(a_service_request())
    house.retry(1)
    assert (early, house.statuses()) == (("ready", "fhir.not-found"), [READY])


def test_a_task_whose_request_is_gone_cancels_its_job(house: House) -> None:
    house.put(a_task())
    house.record.remove("ServiceRequest/9")
    house.put(a_task(status="accepted"))
    house.retry()
    assert house.standing() == [(CANCELLED, "order.deleted")]


def test_a_status_that_no_standard_knows_is_quarantined(house: House) -> None:
    house.put(a_task(status="bogus"))
    assert house.settled() == ("quarantined", "order.status-unknown")


def test_tasks_mean_nothing_where_the_site_does_not_order_by_them(clock: FrozenClock) -> None:
    house = House(clock)
    house.put(a_task())
    assert (house.jobs(), house.settled()) == ([], ("quarantined", "notification.type"))
