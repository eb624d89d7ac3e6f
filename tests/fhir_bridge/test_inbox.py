"""Notifications into orders, on the in-memory store and record."""

import pytest
from structlog.testing import capture_logs

from fhir_bridge.errors import Refused, Unavailable
from fhir_bridge.job import Status
from fhir_bridge.order_intake import accept_order
from mappings.order import OrderControl
from tests.support.builders import an_order
from tests.support.fhir_house import House, a_category, a_service_request, an_imaging_study
from tests.support.frozen_clock import FrozenClock


@pytest.fixture
def house(clock: FrozenClock) -> House:
    return House(clock)


def test_a_service_request_becomes_one_job(house: House) -> None:
    house.notify()
    job = house.store.jobs()[0]
    assert (job.source, job.order.service_request, house.last().status) == ("fhir", "ServiceRequest/9", "done")


def test_versions_of_one_service_request_make_one_job(house: House) -> None:
    for version in ("1", "2", "3"):
        house.notify(version=version)
    assert len(house.store.jobs()) == 1


def test_the_same_order_by_both_doors_is_one_job(house: House) -> None:
    with house.store.transaction() as ledger:
        job = accept_order(ledger, an_order("1"), "hl7v2").job
    house.notify()
    known = house.store.jobs()
    assert ([j.id for j in known], known[0].order.service_request) == ([job], "ServiceRequest/9")


@pytest.mark.parametrize("status", ["revoked", "entered-in-error"])
def test_a_revoked_service_request_cancels_its_job(house: House, status: str) -> None:
    house.notify()
    house.record.store(a_service_request(status=status))
    house.notify(version="2")
    assert house.statuses() == [Status.CANCELLED]


def test_a_notification_that_cannot_be_settled_does_not_hold_up_the_others(house: House) -> None:
    with house.store.transaction() as ledger:
        accept_order(
            ledger, an_order("1", mrn="CANARY-2"), "hl7v2"
        )  # the accession number of ServiceRequest/9, another patient
    house.record.store(a_service_request(status="revoked"), a_service_request(id="10", identifier=[]))
    house.notify(identity="9")
    house.notify(identity="10")
    first = house.store.state.notifications[1]
    assert (first.status, first.reason, house.last().status) == ("quarantined", "order.patient-conflict", "done")


def test_a_changed_service_request_changes_its_job(house: House) -> None:
    house.notify()
    house.record.store(a_service_request(priority="stat", code={"text": "CT"}))
    house.notify(version="2")
    assert [(job.priority, job.reason) for job in house.store.jobs()] == [("stat", "order.changed")]


@pytest.mark.parametrize("again", ["on-hold", "active"])
def test_a_service_request_on_hold_holds_its_job_until_it_is_active_again(house: House, again: str) -> None:
    house.notify()
    for version, status in (("2", "on-hold"), ("3", again)):
        house.record.store(a_service_request(status=status))
        house.notify(version=version)
    assert house.statuses() == [Status.ON_HOLD if again == "on-hold" else Status.READY]


def test_a_service_request_that_starts_on_hold_waits_for_its_release(house: House) -> None:
    house.record.store(a_service_request(status="on-hold"))
    house.notify()
    assert [(job.status, job.reason) for job in house.store.jobs()] == [(Status.ON_HOLD, "order.on-hold")]


def test_a_service_request_that_is_revoked_while_on_hold_is_cancelled(house: House) -> None:
    for version, status in (("1", "active"), ("2", "on-hold"), ("3", "revoked")):
        house.record.store(a_service_request(status=status))
        house.notify(version=version)
    assert house.statuses() == [Status.CANCELLED]


def test_a_service_request_that_merely_is_active_does_not_release_what_hl7_v2_holds(house: House) -> None:
    with house.store.transaction() as ledger:
        accept_order(ledger, an_order("1"), "hl7v2")
        accept_order(ledger, an_order("1", control=OrderControl.HOLD), "hl7v2")
    house.notify()
    assert house.statuses() == [Status.ON_HOLD]


def test_a_changed_service_request_does_not_change_what_hl7_v2_ordered(house: House) -> None:
    with house.store.transaction() as ledger:
        accept_order(ledger, an_order("1"), "hl7v2")
    house.record.store(a_service_request(priority="stat"))
    for version in ("1", "2"):
        house.notify(version=version)
    assert [job.priority for job in house.store.jobs()] == ["routine"]


def test_a_service_request_that_merely_is_active_does_not_undo_a_cancel_by_hl7_v2(house: House) -> None:
    with house.store.transaction() as ledger:
        accept_order(ledger, an_order("1"), "hl7v2")
        accept_order(ledger, an_order("1", control=OrderControl.CANCEL), "hl7v2")
    house.notify()
    assert house.statuses() == [Status.CANCELLED]


def test_a_deletion_is_not_believed_while_the_resource_is_there(house: House) -> None:
    house.notify()
    house.notify(version="", method="DELETE")
    assert house.statuses() == [Status.READY]


def test_an_absolute_reference_to_the_patient_is_followed(house: House) -> None:
    house.record.store(a_service_request(subject={"reference": "http://server/fhir/Patient/7"}))
    house.notify()
    assert (house.last().status, len(house.store.jobs())) == ("done", 1)


def test_what_is_not_found_yet_is_looked_for_again_before_it_is_quarantined(house: House) -> None:
    house.record.remove("ServiceRequest/9")
    house.notify()
    early = house.last()
    house.record.store(a_service_request())
    house.clock.advance(60)
    house.inbox.settle_due()
    assert (early.status, house.last().status, len(house.store.jobs())) == ("ready", "done", 1)


def test_a_deleted_service_request_cancels_its_job(house: House) -> None:
    house.notify()
    house.record.remove("ServiceRequest/9")
    house.notify(version="", method="DELETE")
    assert house.statuses() == [Status.CANCELLED]


def test_our_own_imaging_study_starts_nothing(house: House) -> None:
    tag = [{"system": "urn:fhir-bridge:tag", "code": "ai-result"}]
    house.record.store(an_imaging_study(meta={"tag": tag}, basedOn=[{"reference": "ServiceRequest/9"}]))
    house.notify("ImagingStudy", "5")
    assert (house.store.jobs(), house.last().reason) == ((), "notification.no-order")


@pytest.mark.parametrize(("code", "jobs"), [("363679005", 1), ("108252007", 0)])  # imaging; laboratory procedure
def test_only_orders_of_an_imaging_category_count(house: House, code: str, jobs: int) -> None:
    house.record.store(a_service_request(category=a_category(code)))
    house.notify()
    assert len(house.store.jobs()) == jobs


def test_an_order_whose_server_does_not_answer_is_put_off(house: House) -> None:
    house.record.outage = Unavailable("fhir.unavailable", "GET ServiceRequest", "no answer")
    house.notify()
    first = house.last()
    house.record.outage = None
    house.clock.advance(60)
    house.inbox.settle_due()
    assert ((first.status, first.reason), house.last().status) == (("ready", "fhir.unavailable"), "done")


@pytest.mark.parametrize(
    ("kind", "identity", "reason"),
    [("Claim", "1", "notification.type"), ("Task", "1", "notification.type"), ("", "", "notification.type")],
)
def test_what_cannot_be_used_is_quarantined_with_its_reason(
    house: House, kind: str, identity: str, reason: str
) -> None:
    house.notify(kind, identity)
    for _ in range(3):
        house.clock.advance(60)
        house.inbox.settle_due()
    assert (house.last().status, house.last().reason, house.store.jobs()) == ("quarantined", reason, ())


def test_a_service_request_without_a_patient_is_quarantined(house: House) -> None:
    house.record.store(a_service_request(subject={"display": "CANARY^ZEBRA"}))
    house.notify()
    assert (house.last().status, house.last().reason) == ("quarantined", "order.patient-identifier-missing")


def test_one_reading_settles_all_that_was_told_of_a_resource(house: House) -> None:
    for version in ("1", "2", "3"):
        house.tell(version=version)
    house.inbox.settle_due()
    settled = [row.status for row in house.store.state.notifications.values()]
    assert (settled, house.record.reads.count("ServiceRequest/9")) == (["done"] * 3, 1)


def test_what_is_told_while_a_resource_is_read_is_read_again(house: House) -> None:
    house.tell(version="1")
    house.record.during = lambda: house.tell(version="2")
    house.inbox.settle_due()
    first, second = house.store.state.notifications.values()
    assert (first.status, second.status) == ("done", "ready")


def test_what_waits_in_an_outage_is_said_once_and_not_with_every_try(house: House) -> None:
    house.record.outage = Unavailable("fhir.unavailable", "GET ServiceRequest", "no answer")
    with capture_logs() as logged:
        house.notify()
        house.retry(20)
    assert [entry["event"] for entry in logged] == ["notification.not-settled"]


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_an_older_version_than_was_told_is_read_again(house: House, method: str) -> None:
    """A replica or a cache answered: to take it for the answer would lose what was told."""
    house.record.store(a_service_request(meta={"versionId": "9"}))
    house.notify(version="10", method=method)
    assert house.settled() == ("ready", "fhir.older-version")
    house.record.store(a_service_request(meta={"versionId": "10"}, status="revoked"))
    house.retry(1)
    assert house.last().status == "done"


def test_a_server_that_went_back_to_older_versions_is_believed_in_the_end(house: House) -> None:
    """It was restored from a backup."""
    house.record.store(a_service_request(meta={"versionId": "9"}))
    house.notify(version="10")
    house.retry(6)
    assert (house.last().status, len(house.store.jobs())) == ("done", 1)


def test_versions_that_are_no_numbers_are_not_compared(house: House) -> None:
    house.record.store(a_service_request(meta={"versionId": "a1"}))
    house.notify(version="b2")
    assert house.last().status == "done"


def test_a_row_that_was_put_off_is_settled_with_the_next_one_of_its_resource(house: House) -> None:
    house.record.outage = Unavailable("fhir.unavailable", "GET ServiceRequest", "no answer")
    house.notify(version="1")
    house.record.outage = None
    house.notify(version="2")
    assert [row.status for row in house.store.state.notifications.values()] == ["done", "done"]


def test_a_known_order_that_is_found_gone_is_cancelled_once_the_server_had_its_time(house: House) -> None:
    house.notify(version="1")
    house.record.remove("ServiceRequest/9")
    house.notify(version="2")
    early = house.statuses()
    house.retry()
    assert (early, house.standing(), house.settled()) == (
        [Status.READY],
        [(Status.CANCELLED, "order.deleted")],
        ("done", ""),
    )


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_an_order_that_we_never_knew_and_is_gone_is_no_news(house: House, method: str) -> None:
    house.notify(identity="404", method=method)
    house.retry()
    assert (house.settled(), house.jobs()) == (("done", "notification.gone"), [])


def test_an_order_whose_patient_is_not_there_is_not_taken_for_deleted(house: House) -> None:
    house.notify(version="1")
    house.record.store(a_service_request(subject={"reference": "Patient/404"}))
    house.notify(version="2")
    house.retry()
    assert (house.settled(), house.statuses()) == (("quarantined", "fhir.not-found"), [Status.READY])


def test_a_server_that_says_when_is_asked_then(house: House) -> None:
    house.record.outage = Unavailable("fhir.unavailable", "GET ServiceRequest", "status 429", retry_after=120)
    house.notify()
    house.record.outage = None
    house.clock.advance(119)
    assert house.inbox.settle_due() == 0
    house.clock.advance(1)
    assert (house.inbox.settle_due(), len(house.jobs())) == (1, 1)


def test_a_refusal_of_the_server_is_quarantined(house: House) -> None:
    house.record.outage = Refused("fhir.forbidden", "GET ServiceRequest", "status 403")
    house.notify()
    assert house.settled() == ("quarantined", "fhir.forbidden")


@pytest.mark.parametrize(
    ("wanted", "jobs"),
    [
        ({"363679005"}, 1),
        ({"http://snomed.info/sct|363679005"}, 1),
        ({"urn:other|363679005"}, 0),
        (set(), 1),
    ],
)
def test_a_category_is_wanted_by_code_or_by_system_and_code(clock: FrozenClock, wanted: set[str], jobs: int) -> None:
    house = House(clock, order_categories=frozenset(wanted))
    house.record.store(a_service_request(category=a_category("363679005")))
    house.notify()
    assert len(house.jobs()) == jobs


@pytest.mark.parametrize(
    ("code", "jobs"),
    [("24627-2", 1), ("36643-5", 0), ("", 0)],
)
def test_only_orders_of_a_wanted_code_count(clock: FrozenClock, code: str, jobs: int) -> None:
    house = House(clock, order_codes=frozenset({"http://loinc.org|24627-2"}))
    house.record.store(a_service_request(code={"coding": [{"system": "http://loinc.org", "code": code}]}))
    house.notify()
    assert len(house.jobs()) == jobs


def test_a_known_order_whose_category_changed_can_still_be_revoked(house: House) -> None:
    house.notify(version="1")
    house.record.store(a_service_request(status="revoked", category=a_category("108252007")))
    house.notify(version="2")
    assert house.statuses() == [Status.CANCELLED]


def test_the_patient_of_an_order_that_is_not_ours_is_not_read(house: House) -> None:
    house.record.store(a_service_request(category=a_category("108252007")))
    house.notify()
    assert house.record.reads == ["ServiceRequest/9"]
