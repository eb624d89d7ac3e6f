"""What every `ports.ReportDelivery` does. Subclasses give a `place`; the names of the tests are the contract."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any, Protocol
from uuid import uuid4

import pytest

from fhir_bridge.adapters.fhir_client import FhirClient, token
from fhir_bridge.adapters.fhir_credentials import NOBODY, Credentials
from fhir_bridge.adapters.fhir_delivery import FhirDelivery
from fhir_bridge.adapters.in_memory.delivery import InMemoryDelivery
from fhir_bridge.errors import Refused
from fhir_bridge.ports import Receipt, ReportDelivery
from fhir_bridge.server_traits import ServerTraits
from mappings.fhir_provenance import provenance_id
from mappings.fhir_publisher import Publisher
from mappings.finding import Report, ReportOutcome
from mappings.order import Identifier
from tests.support.hospitals import Resource, Resources, ServerHospital
from tests.support.shown_jobs import a_report

PUBLISHER = Publisher("Practice Hospital", Identifier("radiology", "urn:test:organizations"))
PERSON = {"resourceType": "Practitioner", "id": "fhir-bridge-test-radiologist", "active": True}


class Place(Protocol):
    """A destination, and what a person there sees of a job's results."""

    delivery: ReportDelivery

    def report(self) -> Report:
        """A new job's report of a patient who is known there."""

    def kept(self, report: Report) -> list[tuple[str, str]]:
        """(reference, version) of every resource that was made of the report, and nothing of other jobs."""

    def statuses(self, report: Report) -> list[str]:
        """Of every DiagnosticReport of the job."""


class TwinPlace:
    def __init__(self) -> None:
        self.delivery = InMemoryDelivery()

    def report(self) -> Report:
        return a_report(f"job-{uuid4()}")

    def kept(self, report: Report) -> list[tuple[str, str]]:
        versions = self.delivery.versions.get(report.job, [])
        return [(f"DiagnosticReport/{report.job}", str(len(versions)))] if versions else []

    def statuses(self, report: Report) -> list[str]:
        return [str(version.status) for version in self.delivery.versions.get(report.job, [])[-1:]]


def a_visit(patient: Resource, name: str) -> Resource:
    """An Encounter of the patient."""
    kind = {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"}
    subject = {"reference": f"Patient/{patient['id']}"}
    return {"resourceType": "Encounter", "id": name, "status": "finished", "class": kind, "subject": subject}


class ServerPlace:
    def __init__(
        self, client: FhirClient, traits: ServerTraits | None = None, credentials: Credentials = NOBODY
    ) -> None:
        self.client, self.traits, self.credentials = client, traits, credentials
        self.delivery = self.delivery_by(client)

    def delivery_by(self, client: FhirClient) -> FhirDelivery:
        return FhirDelivery(client, PUBLISHER, traits=self.traits)

    def meanwhile(self, happens: Callable[[], object]) -> "Meanwhile":
        return Meanwhile(self.client.base_url, self.credentials, happens)

    def report(self) -> Report:
        make = Resources()
        patient = make.patient()
        number = [{"system": make.system, "value": "CANARY-P"}]
        visit = a_visit(patient, f"{make.mark}-e")
        self.store(patient, make.of(patient, "ServiceRequest", "r", identifier=number), visit, PERSON)
        return a_report(
            f"job-{uuid4()}",
            patient=f"Patient/{patient['id']}",
            service_request=f"ServiceRequest/{make.mark}-r",
            study_instance_uid=f"2.25.{int(make.mark, 16)}",
            encounter=f"Encounter/{visit['id']}",
            started="2026-03-02T08:15:00+01:00",
            requester=f"Practitioner/{PERSON['id']}",
        )

    def resources(self, report: Report) -> list[dict[str, Any]]:
        """Everything of the report, of its patient and of its study."""
        outputs = [finding.output for finding in report.findings] or ["not-analysed"]
        searches = [
            ("DiagnosticReport", ("identifier", token(report.job, PUBLISHER.job_system))),
            *(
                ("Observation", ("identifier", token(f"{report.job}/{o}", PUBLISHER.observation_system)))
                for o in outputs
            ),
            ("ImagingStudy", ("identifier", token(f"urn:oid:{report.study_instance_uid}", "urn:dicom:uid"))),
            ("Provenance", ("_id", provenance_id(report))),
            ("ServiceRequest", ("subject", report.patient)),
        ]
        return [found for kind, param in searches for found in self.client.search(kind, (param,), limit=100)]

    def store(self, *resources: Resource) -> None:
        """The hospital's own doing."""
        ServerHospital(self.client).store(*resources)

    def statuses(self, report: Report) -> list[str]:
        return [r["status"] for r in self.resources(report) if r["resourceType"] == "DiagnosticReport"]

    def kept(self, report: Report) -> list[tuple[str, str]]:
        return [(f"{r['resourceType']}/{r['id']}", r["meta"]["versionId"]) for r in self.resources(report)]


NOT_ANALYSED: dict[str, Any] = {
    "outcome": ReportOutcome.NOT_ANALYSED,
    "findings": (),
    "reason": "scope.age",
    "reason_text": "Too old.",
}


def run_again(report: Report, **changes: Any) -> Report:
    """The same job's report of an hour later."""
    return replace(report, issued=report.issued + timedelta(hours=1), **{"caveats": ("Another.",), **changes})


class Meanwhile(FhirClient):
    """Lets something happen on the server just before our first write of a report or result gets there."""

    def __init__(self, base_url: str, credentials: Credentials, happens: Callable[[], object]) -> None:
        super().__init__(base_url, credentials)
        self._happens: list[Callable[[], object]] = [happens]

    def transaction(self, bundle: Resource) -> Resource:
        self._let_happen()
        return super().transaction(bundle)

    def create_unless(self, resource: Resource, condition: str) -> Resource:
        if resource["resourceType"] in ("DiagnosticReport", "Observation"):
            self._let_happen()
        return super().create_unless(resource, condition)

    def update(self, reference: str, resource: Resource, *, if_match: str = "") -> Resource:
        self._let_happen()
        return super().update(reference, resource, if_match=if_match)

    def _let_happen(self) -> None:
        while self._happens:
            self._happens.pop()()


class ServerDeliveryContract:
    """What only a server with Observations and versions can show."""

    def sign(self, place: ServerPlace, report: Report, kind: str, status: str = "final") -> None:
        """A person takes what we wrote as theirs."""
        for kept in place.resources(report):
            if kept["resourceType"] == kind:
                place.client.update(f"{kind}/{kept['id']}", kept | {"status": status})

    @pytest.mark.parametrize("kind", ["DiagnosticReport", "Observation"])
    def test_what_is_signed_between_our_look_and_our_transaction_stays(self, place: ServerPlace, kind: str) -> None:
        report = place.report()
        place.delivery.deliver(report)
        with (
            place.meanwhile(lambda: self.sign(place, report, kind)) as client,
            pytest.raises(Refused) as caught,
        ):
            place.delivery_by(client).deliver(run_again(report))
        assert (caught.value.code, caught.value.where) == ("fhir.report-signed", f"{kind}.status")
        signed = [r for r in place.resources(report) if r["resourceType"] == kind]
        assert {(r["status"], r["meta"]["versionId"]) for r in signed} == {("final", "2")}

    def test_what_is_made_and_signed_between_our_look_and_our_first_transaction_stays(self, place: ServerPlace) -> None:
        report = place.report()

        def overtaken() -> None:
            place.delivery.deliver(run_again(report))
            self.sign(place, report, "DiagnosticReport")

        with place.meanwhile(overtaken) as client, pytest.raises(Refused) as caught:
            place.delivery_by(client).deliver(report)
        assert caught.value.code == "fhir.report-signed"
        (kept,) = [r for r in place.resources(report) if r["resourceType"] == "DiagnosticReport"]
        assert (kept["status"], kept["meta"]["versionId"]) == ("final", "2")

    @pytest.mark.parametrize("first", [True, False])
    def test_a_run_that_is_overtaken_on_its_way_is_superseded(self, place: ServerPlace, first: bool) -> None:
        report = place.report()
        if not first:
            place.delivery.deliver(replace(report, issued=report.issued - timedelta(hours=1)))
        newer = run_again(report)
        with place.meanwhile(lambda: place.delivery.deliver(newer)) as client:
            assert place.delivery_by(client).deliver(report).detail == "superseded"
        assert place.delivery.deliver(newer).detail == "unchanged"

    @pytest.mark.parametrize("status", ["final", "amended", "corrected"])
    @pytest.mark.parametrize("changes", [{}, NOT_ANALYSED], ids=["written again", "withdrawn"])
    def test_a_signed_result_is_neither_written_over_nor_withdrawn(
        self, place: ServerPlace, changes: dict[str, Any], status: str
    ) -> None:
        report = place.report()
        place.delivery.deliver(report)
        self.sign(place, report, "Observation", status)
        kept = place.kept(report)
        with pytest.raises(Refused) as caught:
            place.delivery.deliver(run_again(report, **changes))
        assert (caught.value.code, caught.value.where) == ("fhir.report-signed", "Observation.status")
        assert place.kept(report) == kept

    def test_an_update_points_to_the_same_resources(self, place: ServerPlace) -> None:
        report = place.report()
        place.delivery.deliver(report)
        links = [kept.get("result") for kept in place.resources(report)]
        place.delivery.deliver(run_again(report))
        assert [kept.get("result") for kept in place.resources(report)] == links

    def test_a_result_that_a_run_again_no_longer_has_is_withdrawn(self, place: ServerPlace) -> None:
        report = place.report()
        place.delivery.deliver(report)
        place.delivery.deliver(replace(report, **NOT_ANALYSED))
        statuses = {r["status"] for r in place.resources(report) if r["resourceType"] == "Observation"}
        assert statuses == {"entered-in-error"}

    def test_a_withdrawn_result_comes_back_when_a_later_run_has_it_again(self, place: ServerPlace) -> None:
        report = place.report()
        for version in (report, replace(report, **NOT_ANALYSED), report):
            place.delivery.deliver(version)
        statuses = {r["status"] for r in place.resources(report) if r["resourceType"] == "Observation"}
        assert statuses == {"preliminary"}


class DeliveryContract:
    def test_a_receipt_names_what_was_made(self, place: Place) -> None:
        report = place.report()
        receipt = place.delivery.deliver(report)
        assert receipt.reference.startswith("DiagnosticReport/")
        assert receipt.detail == "created"
        assert receipt.reference in dict(place.kept(report))

    def test_the_same_report_three_times_changes_nothing(self, place: Place) -> None:
        report = place.report()
        first = place.delivery.deliver(report)
        kept = place.kept(report)
        assert [place.delivery.deliver(report) for _ in range(2)] == [Receipt(first.reference, "unchanged")] * 2
        assert place.kept(report) == kept

    def test_a_run_again_before_sign_off_takes_the_place_of_the_first(self, place: Place) -> None:
        report = place.report()
        first = place.delivery.deliver(report)
        version = dict(place.kept(report))[first.reference]
        again = run_again(report)
        second = place.delivery.deliver(again)
        assert second == Receipt(first.reference, "updated")
        kept = dict(place.kept(again))
        assert kept[second.reference] != version
        assert len(kept) == len(place.kept(report))

    def test_a_late_report_of_an_earlier_run_is_superseded(self, place: Place) -> None:
        report = place.report()
        newer = run_again(report)
        first = place.delivery.deliver(newer)
        kept = place.kept(newer)
        assert place.delivery.deliver(report) == Receipt(first.reference, "superseded")
        assert place.kept(newer) == kept

    def test_two_jobs_have_two_results(self, place: Place) -> None:
        one, two = place.report(), place.report()
        assert place.delivery.deliver(one).reference != place.delivery.deliver(two).reference

    def test_a_study_that_was_not_analysed_is_reported_as_such(self, place: Place) -> None:
        report = replace(place.report(), **NOT_ANALYSED)
        assert place.delivery.deliver(report).reference in dict(place.kept(report))

    def test_deliveries_at_the_same_time_make_one_result(self, place: Place) -> None:
        report = place.report()
        with ThreadPoolExecutor(8) as pool:
            receipts = list(pool.map(lambda _: place.delivery.deliver(report), range(8)))
        assert len({receipt.reference for receipt in receipts}) == 1
        references = [reference for reference, _ in place.kept(report)]
        assert len(set(references)) == len(references)
        assert sum(reference.startswith("DiagnosticReport/") for reference in references) == 1
