"""Notifications into orders, on the in-memory store and record."""

from typing import Any

import pytest

from fhir_bridge.adapters.in_memory.record import InMemoryRecord
from fhir_bridge.adapters.in_memory.store import InMemoryStore
from fhir_bridge.errors import Unavailable
from fhir_bridge.inbox import Inbox
from fhir_bridge.intake import IntakePolicy
from fhir_bridge.job import Status
from fhir_bridge.order_intake import accept_order
from fhir_bridge.ports import Notification
from fhir_bridge.senders import SenderRules, Senders
from mappings.authority import Authorities
from mappings.hl7v2_order import SenderPolicy
from mappings.order import OrderControl
from tests.support.builders import MRN_SYSTEM, an_order
from tests.support.frozen_clock import FrozenClock

POLICY = IntakePolicy(Senders(SenderRules(mapping=SenderPolicy(Authorities(())))), frozenset({"363679005"}))
V2_0203 = "http://terminology.hl7.org/CodeSystem/v2-0203"
PATIENT = {"resourceType": "Patient", "id": "7", "identifier": [{"system": MRN_SYSTEM, "value": "CANARY-1"}]}


def a_service_request(**changes: Any) -> dict[str, Any]:
    return {
        "resourceType": "ServiceRequest",
        "id": "9",
        "status": "active",
        "intent": "order",
        "subject": {"reference": "Patient/7"},
        "identifier": [{"type": {"coding": [{"system": V2_0203, "code": "ACSN"}]}, "value": "CANARY-A1"}],
    } | changes


def a_category(code: str) -> list[dict[str, Any]]:
    return [{"coding": [{"system": "http://snomed.info/sct", "code": code}]}]


class House:
    def __init__(self, clock: FrozenClock) -> None:
        self.clock = clock
        self.store = InMemoryStore(clock)
        self.record = InMemoryRecord()
        self.record.store(PATIENT, a_service_request())
        self.inbox = Inbox(self.store, self.record, POLICY, clock)

    def notify(
        self, kind: str = "ServiceRequest", identity: str = "9", version: str = "1", method: str = "PUT"
    ) -> None:
        with self.store.transaction() as ledger:
            ledger.add_notification(Notification(0, "orders", method, kind, identity, version, "ready"), b"{}")
        self.inbox.settle_due()

    def last(self) -> Notification:
        return self.store.state.notifications[len(self.store.state.notifications)]

    def statuses(self) -> list[Status]:
        return [job.status for job in self.store.jobs()]


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


def test_an_imaging_study_brings_the_order_it_is_based_on_and_its_uid(house: House) -> None:
    study = {
        "resourceType": "ImagingStudy",
        "id": "5",
        "status": "available",
        "subject": {"reference": "Patient/7"},
        "basedOn": [{"reference": "ServiceRequest/9"}],
        "identifier": [{"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"}],
    }
    house.record.store(study)
    house.notify("ImagingStudy", "5")
    assert house.store.jobs()[0].order.study_instance_uid == "1.2.3"


def test_our_own_imaging_study_starts_nothing(house: House) -> None:
    tag = [{"system": "urn:fhir-bridge:tag", "code": "ai-result"}]
    study = {
        "resourceType": "ImagingStudy",
        "id": "5",
        "meta": {"tag": tag},
        "basedOn": [{"reference": "ServiceRequest/9"}],
    }
    house.record.store(study)
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
