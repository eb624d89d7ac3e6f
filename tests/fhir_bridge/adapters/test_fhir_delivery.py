"""Delivery to a FHIR server that fails, races, forgets or contradicts."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from fhir_bridge.adapters.fhir_client import FhirClient
from fhir_bridge.adapters.fhir_delivery import FhirDelivery
from fhir_bridge.errors import Refused, Unavailable, Uncertain
from fhir_bridge.ports import Receipt
from tests.support.delivery_contract import PUBLISHER
from tests.support.scripted_http import Asked, Scripted, ScriptedServer, fhir
from tests.support.shown_jobs import a_report
from tests.support.waiting_time import WaitingTime

REPORT = a_report()
CONFLICT = fhir({"resourceType": "OperationOutcome", "issue": [{"diagnostics": "HAPI-2745: CANARY"}]}, 409)
CUT_OFF = Scripted(200, b"{", {"Content-Type": "application/fhir+json"}, length=900)


class Reports:
    """A server that keeps DiagnosticReports; `posts` are played before it does its work, `change` spoils what it keeps."""

    def __init__(self) -> None:
        self.kept: list[dict[str, Any]] = []
        self.posted: list[dict[str, Any]] = []
        self.posts: list[Scripted] = []
        self.keeps_what_fails = False
        self.change: Callable[[dict[str, Any]], None] = lambda report: None
        self.answered_entries = 0

    def __call__(self, asked: Asked) -> Scripted:
        if asked.method == "GET":
            assert asked.path.startswith("/fhir/DiagnosticReport?identifier=urn%3Afhir-bridge%3Ajob%7Cjob-1")
            assert asked.headers["cache-control"] == "no-cache"
            entries = [{"resource": report} for report in self.kept]
            return fhir({"resourceType": "Bundle", "type": "searchset", "entry": entries})
        self.posted.append(asked.json)
        failure = self.posts.pop(0) if self.posts else None
        if failure is None or self.keeps_what_fails:
            self.keep(asked.json)
        entries = [{"response": {"status": "201 Created"}} for _ in asked.json["entry"]][self.answered_entries :]
        return failure or fhir({"resourceType": "Bundle", "type": "transaction-response", "entry": entries})

    def keep(self, bundle: dict[str, Any]) -> None:
        (report,) = (e["resource"] for e in bundle["entry"] if e["resource"]["resourceType"] == "DiagnosticReport")
        report = {**report, "id": "7"}
        self.change(report)
        self.kept = [report]


@pytest.fixture
def server() -> Reports:
    return Reports()


@pytest.fixture
def delivery(
    serve: Callable[..., FhirClient], servers: list[ScriptedServer], server: Reports, waiting: WaitingTime
) -> FhirDelivery:
    client = serve(Scripted())
    servers[0].answer = server
    return FhirDelivery(client, PUBLISHER, timing=waiting.timing())


def test_a_report_is_written_once_and_read_back(delivery: FhirDelivery, server: Reports) -> None:
    assert delivery.deliver(REPORT) == Receipt("DiagnosticReport/7", "created")
    assert delivery.deliver(REPORT) == Receipt("DiagnosticReport/7", "unchanged")
    assert len(server.posted) == 1


def test_no_order_is_ever_made(delivery: FhirDelivery, server: Reports) -> None:
    delivery.deliver(a_report(service_request=""))
    assert "ServiceRequest" not in {entry["resource"]["resourceType"] for entry in server.posted[0]["entry"]}


def test_a_cut_off_answer_is_no_loss_if_the_report_is_there(delivery: FhirDelivery, server: Reports) -> None:
    server.posts, server.keeps_what_fails = [CUT_OFF], True
    assert delivery.deliver(REPORT) == Receipt("DiagnosticReport/7", "unchanged")
    assert len(server.posted) == 1


def test_a_cut_off_answer_is_uncertain_if_the_report_is_not_there(delivery: FhirDelivery, server: Reports) -> None:
    server.posts = [CUT_OFF]
    with pytest.raises(Uncertain) as caught:
        delivery.deliver(REPORT)
    assert caught.value.code == "fhir.uncertain"
    assert len(server.posted) == 1


def test_the_loser_of_a_race_finds_the_winners_report(delivery: FhirDelivery, server: Reports) -> None:
    server.posts, server.keeps_what_fails = [CONFLICT], True
    assert delivery.deliver(REPORT).reference == "DiagnosticReport/7"
    assert len(server.posted) == 1


def test_a_conflict_is_tried_again_later(delivery: FhirDelivery, server: Reports, waiting: WaitingTime) -> None:
    server.posts = [CONFLICT, CONFLICT]
    assert delivery.deliver(REPORT).detail == "created"
    assert waiting.slept == [0.1, 0.2]


def test_an_endless_conflict_is_given_up_after_five_attempts(delivery: FhirDelivery, server: Reports) -> None:
    server.posts = [CONFLICT] * 9
    with pytest.raises(Unavailable) as caught:
        delivery.deliver(REPORT)
    assert caught.value.code == "fhir.conflict"
    assert caught.value.explanation == "status 409 HAPI-2745"
    assert len(server.posted) == 5


@pytest.mark.parametrize("status", ["final", "amended", "cancelled", "entered-in-error"])
def test_what_a_person_signed_or_withdrew_is_not_written_over(
    delivery: FhirDelivery, server: Reports, status: str
) -> None:
    delivery.deliver(REPORT)
    server.kept[0]["status"] = status
    with pytest.raises(Refused) as caught:
        delivery.deliver(a_report(caveats=("Another.",)))
    assert caught.value.code == "fhir.report-signed"
    assert len(server.posted) == 1


def test_two_reports_of_one_job_are_for_a_person_to_sort_out(delivery: FhirDelivery, server: Reports) -> None:
    delivery.deliver(REPORT)
    server.kept.append({**server.kept[0], "id": "8"})
    with pytest.raises(Refused) as caught:
        delivery.deliver(REPORT)
    assert caught.value.code == "fhir.report-doubled"


def test_reports_of_other_jobs_are_not_ours(delivery: FhirDelivery, server: Reports) -> None:
    server.kept = [
        {"resourceType": "DiagnosticReport", "id": "9", "status": "final"}
    ]  # a server that ignores the search
    assert delivery.deliver(REPORT).reference == "DiagnosticReport/7"


@pytest.mark.parametrize(
    ("element", "value"),
    [
        ("subject", {"reference": "Patient/2"}),
        ("status", "registered"),
        ("issued", "2026-03-02T09:30:01Z"),
        ("conclusion", None),
        ("conclusionCode", [{"coding": [{"code": "x"}]}]),
        ("result", []),
        ("presentedForm", []),
    ],
)
def test_a_server_that_keeps_something_else_is_found_out(
    delivery: FhirDelivery, server: Reports, element: str, value: object
) -> None:
    server.change = lambda report: report.update({element: value})
    with pytest.raises(Refused) as caught:
        delivery.deliver(REPORT)
    assert (caught.value.code, caught.value.where) == ("fhir.not-kept", f"DiagnosticReport.{element}")
    assert "CANARY" not in str(caught.value)


def test_absolute_references_and_other_zones_say_the_same(delivery: FhirDelivery, server: Reports) -> None:
    elsewhere = {
        "subject": {"reference": f"http://fhir.example/r4/{REPORT.patient}"},
        "issued": "2026-03-02T10:30:00+01:00",
    }
    server.change = lambda report: report.update(elsewhere)
    assert delivery.deliver(REPORT).detail == "created"


def test_an_answer_with_fewer_entries_is_found_out(delivery: FhirDelivery, server: Reports) -> None:
    server.answered_entries = 1
    with pytest.raises(Refused) as caught:
        delivery.deliver(REPORT)
    assert (caught.value.code, caught.value.where) == ("fhir.not-kept", "Bundle.entry")


def test_a_report_that_the_server_rejects_is_refused_without_its_words(delivery: FhirDelivery, server: Reports) -> None:
    issue = [{"diagnostics": "HAPI-1094: Resource Patient/CANARY-P not found"}]
    server.posts = [fhir({"resourceType": "OperationOutcome", "issue": issue}, 400)]
    with pytest.raises(Refused) as caught:
        delivery.deliver(REPORT)
    assert str(caught.value) == "fhir.rejected at POST Bundle: status 400 HAPI-1094"


def test_two_deliveries_send_the_same_bytes(delivery: FhirDelivery, server: Reports) -> None:
    delivery.deliver(REPORT)
    server.kept = []
    delivery.deliver(REPORT)
    one, two = (json.dumps(bundle) for bundle in server.posted)
    assert one == two
