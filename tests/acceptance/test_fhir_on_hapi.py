"""The hospital's record, the delivery of results and the subscriptions, on real HAPI FHIR."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from fhir_bridge.adapters.fhir_client import FhirClient
from fhir_bridge.adapters.fhir_delivery import FhirDelivery
from fhir_bridge.adapters.fhir_subscription import FhirSubscriptions, Hooks, WantedSubscription
from fhir_bridge.errors import Refused
from fhir_bridge.practice.fhir_peer import FhirPeer
from mappings.fhir_report import bundle_of
from mappings.finding import SIGNED, ReportOutcome, ReportStatus
from tests.support.delivery_contract import PUBLISHER, DeliveryContract, ServerDeliveryContract, ServerPlace
from tests.support.edition_contract import COMPLETE, ServerEditionContract, a_task, signed, taken_back
from tests.support.hapi import errors_in
from tests.support.hospitals import Hospital, ServerHospital
from tests.support.record_contract import RecordContract
from tests.support.subscription_contract import DeletionsAreTold, SubscriptionContract

pytestmark = pytest.mark.real_parts


@pytest.fixture
def client(hapi: FhirPeer) -> Iterator[FhirClient]:
    with FhirClient(hapi.base_url) as client:
        yield client


class TestRecord(RecordContract):
    @pytest.fixture
    def hospital(self, client: FhirClient) -> Hospital:
        return ServerHospital(client)


class TestDelivery(DeliveryContract, ServerDeliveryContract, ServerEditionContract):
    @pytest.fixture
    def place(self, client: FhirClient) -> ServerPlace:
        return ServerPlace(client)

    def test_the_transaction_itself_changes_nothing_when_repeated(self, client: FhirClient, place: ServerPlace) -> None:
        report = place.report()
        bundle = bundle_of(report, PUBLISHER)
        client.transaction(bundle)
        kept = place.kept(report)
        client.transaction(bundle)
        client.transaction(bundle)
        assert place.kept(report) == kept

    def test_a_report_of_a_patient_who_is_gone_is_refused_whole(self, client: FhirClient, place: ServerPlace) -> None:
        report = place.report()
        client.delete(report.service_request)
        client.delete(report.encounter)
        client.delete(report.patient)
        with pytest.raises(Refused) as caught:
            place.delivery.deliver(report)
        assert caught.value.code == "fhir.rejected"
        assert "HAPI-1096" in caught.value.explanation  # "Resource is deleted"
        assert place.kept(report) == []

    def test_no_service_request_is_made(self, client: FhirClient, place: ServerPlace) -> None:
        report = replace(place.report(), service_request="")
        place.delivery.deliver(report)
        assert (
            len([kept for kept, _ in place.kept(report) if kept.startswith("ServiceRequest/")]) == 1
        )  # the hospital's

    @pytest.mark.parametrize("outcome", ReportOutcome)
    @pytest.mark.parametrize("ai_label", [True, False])
    def test_the_servers_validator_finds_no_error_in_what_we_write(
        self, hapi: FhirPeer, place: ServerPlace, outcome: ReportOutcome, ai_label: bool
    ) -> None:
        report = replace(place.report(), outcome=outcome)
        entries = bundle_of(report, replace(COMPLETE, ai_label=ai_label))["entry"]
        place.delivery.deliver(report)
        assert [errors for entry in entries if (errors := errors_in(hapi, entry["resource"]))] == []
        types = {entry["resource"]["resourceType"] for entry in entries}
        assert types == {"DiagnosticReport", "Observation", "Device", "ImagingStudy", "Provenance", "Communication"}

    @pytest.mark.parametrize("status", [*SIGNED, ReportStatus.RETRACTED])
    def test_the_servers_validator_finds_no_error_in_what_a_person_decided(
        self, hapi: FhirPeer, place: ServerPlace, status: ReportStatus
    ) -> None:
        report = place.report()
        decided = taken_back(report) if status is ReportStatus.RETRACTED else signed(report, status)
        for edition in (report, decided):
            place.delivery.deliver(edition)
        entries = bundle_of(decided, COMPLETE)["entry"]
        there = [kept for kept in place.resources(decided) if kept["resourceType"] != "ServiceRequest"]
        written = [*there, *(entry["resource"] for entry in entries)]
        assert [errors for resource in written if (errors := errors_in(hapi, resource))] == []

    def test_tasks_and_communications_are_taken(self, client: FhirClient, place: ServerPlace) -> None:
        report = place.report()
        task = client.create_unless(a_task(report), f"focus={report.service_request}")
        wanting = FhirDelivery(client, COMPLETE, update_tasks=True)
        for edition in (report, signed(report), signed(report)):
            wanting.deliver(replace(edition, task=f"Task/{task['id']}"))
        done = client.read(f"Task/{task['id']}")
        told = client.search("Communication", (("subject", report.patient),), limit=10)
        assert (done["status"], done["meta"]["versionId"], len(told)) == ("completed", "2", 2)


def test_the_servers_validator_does_find_errors(hapi: FhirPeer) -> None:
    assert errors_in(hapi, {"resourceType": "ServiceRequest", "status": "active"})  # no intent, no subject


class TestSubscriptions(SubscriptionContract, DeletionsAreTold):
    def test_criteria_that_the_server_cannot_take_are_refused(self, client: FhirClient, hooks: Hooks) -> None:
        with pytest.raises(Refused) as caught:
            FhirSubscriptions(client, hooks, [WantedSubscription("orders", "ServiceRequest?nosuch=1")]).mend("orders")
        assert caught.value.code == "fhir.rejected"
        assert "HAPI-0009" in caught.value.explanation
