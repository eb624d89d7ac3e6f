"""Delivery to a FHIR server that fails, races, forgets or contradicts."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from fhir_bridge.adapters.fhir_client import FhirClient
from fhir_bridge.adapters.fhir_delivery import FhirDelivery
from fhir_bridge.errors import Refused, Unavailable, Uncertain
from fhir_bridge.ports import Receipt
from mappings.code import Code
from mappings.fhir_report import bundle_of
from mappings.finding import Measurement, Report
from tests.support.delivery_contract import PUBLISHER
from tests.support.report_server import CONFLICT, ReportServer
from tests.support.scripted_http import Scripted, ScriptedServer, fhir
from tests.support.shown_jobs import a_report
from tests.support.waiting_time import WaitingTime

REPORT = a_report()
CUT_OFF = Scripted(200, b"{", {"Content-Type": "application/fhir+json"}, length=900)


@pytest.fixture
def server() -> ReportServer:
    return ReportServer()


@pytest.fixture
def delivery(
    serve: Callable[..., FhirClient], servers: list[ScriptedServer], server: ReportServer, waiting: WaitingTime
) -> FhirDelivery:
    client = serve(Scripted())
    servers[0].answer = server
    return FhirDelivery(client, PUBLISHER, timing=waiting.timing())


def test_a_report_is_written_once_and_read_back(delivery: FhirDelivery, server: ReportServer) -> None:
    assert delivery.deliver(REPORT) == Receipt("DiagnosticReport/7", "created")
    assert delivery.deliver(REPORT) == Receipt("DiagnosticReport/7", "unchanged")
    assert len(server.posted) == 1


def test_no_order_is_ever_made(delivery: FhirDelivery, server: ReportServer) -> None:
    delivery.deliver(a_report(service_request=""))
    assert "ServiceRequest" not in {entry["resource"]["resourceType"] for entry in server.posted[0]["entry"]}


def test_a_cut_off_answer_is_no_loss_if_the_report_is_there(delivery: FhirDelivery, server: ReportServer) -> None:
    server.posts, server.keeps_what_fails = [CUT_OFF], True
    assert delivery.deliver(REPORT) == Receipt("DiagnosticReport/7", "unchanged")
    assert len(server.posted) == 1


def test_a_cut_off_answer_is_uncertain_if_the_report_is_not_there(delivery: FhirDelivery, server: ReportServer) -> None:
    server.posts = [CUT_OFF]
    with pytest.raises(Uncertain) as caught:
        delivery.deliver(REPORT)
    assert caught.value.code == "fhir.uncertain"
    assert len(server.posted) == 1


def test_the_loser_of_a_race_finds_the_winners_report(delivery: FhirDelivery, server: ReportServer) -> None:
    server.posts, server.keeps_what_fails = [CONFLICT], True
    assert delivery.deliver(REPORT).reference == "DiagnosticReport/7"
    assert len(server.posted) == 1


def test_a_conflict_is_tried_again_later(delivery: FhirDelivery, server: ReportServer, waiting: WaitingTime) -> None:
    server.posts = [CONFLICT, CONFLICT]
    assert delivery.deliver(REPORT).detail == "created"
    assert waiting.slept == [0.1, 0.2]


def test_an_endless_conflict_is_given_up_after_five_attempts(delivery: FhirDelivery, server: ReportServer) -> None:
    server.posts = [CONFLICT] * 9
    with pytest.raises(Unavailable) as caught:
        delivery.deliver(REPORT)
    assert caught.value.code == "fhir.conflict"
    assert caught.value.explanation == "status 409 HAPI-2745"
    assert len(server.posted) == 5


@pytest.mark.parametrize("status", ["final", "amended", "cancelled", "entered-in-error"])
def test_what_a_person_signed_or_withdrew_is_not_written_over(
    delivery: FhirDelivery, server: ReportServer, status: str
) -> None:
    delivery.deliver(REPORT)
    server.of("DiagnosticReport")["status"] = status
    with pytest.raises(Refused) as caught:
        delivery.deliver(a_report(caveats=("Another.",)))
    assert caught.value.code == "fhir.report-signed"
    assert len(server.posted) == 1


def test_two_reports_of_one_job_are_for_a_person_to_sort_out(delivery: FhirDelivery, server: ReportServer) -> None:
    delivery.deliver(REPORT)
    server.kept["DiagnosticReport/8"] = {**server.of("DiagnosticReport"), "id": "8"}
    with pytest.raises(Refused) as caught:
        delivery.deliver(REPORT)
    assert caught.value.code == "fhir.report-doubled"


def test_reports_of_other_jobs_are_not_ours(delivery: FhirDelivery, server: ReportServer) -> None:
    stranger = {"resourceType": "DiagnosticReport", "id": "9", "status": "final"}
    server.strangers = [stranger]  # by a server that ignores the search
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
    delivery: FhirDelivery, server: ReportServer, element: str, value: object
) -> None:
    server.change = lambda report: report.update({element: value})
    with pytest.raises(Refused) as caught:
        delivery.deliver(REPORT)
    assert (caught.value.code, caught.value.where) == ("fhir.not-kept", f"DiagnosticReport.{element}")
    assert "CANARY" not in str(caught.value)


def test_absolute_references_and_other_zones_say_the_same(delivery: FhirDelivery, server: ReportServer) -> None:
    elsewhere = {
        "subject": {"reference": f"http://fhir.example/r4/{REPORT.patient}"},
        "issued": "2026-03-02T10:30:00+01:00",
    }
    server.change = lambda report: report.update(elsewhere)
    assert delivery.deliver(REPORT).detail == "created"


def test_an_answer_with_fewer_entries_is_found_out(delivery: FhirDelivery, server: ReportServer) -> None:
    server.answered_entries = 1
    with pytest.raises(Refused) as caught:
        delivery.deliver(REPORT)
    assert (caught.value.code, caught.value.where) == ("fhir.not-kept", "Bundle.entry")


def test_a_report_that_the_server_rejects_is_refused_without_its_words(
    delivery: FhirDelivery, server: ReportServer
) -> None:
    issue = [{"diagnostics": "HAPI-1094: Resource Patient/CANARY-P not found"}]
    server.posts = [fhir({"resourceType": "OperationOutcome", "issue": issue}, 400)]
    with pytest.raises(Refused) as caught:
        delivery.deliver(REPORT)
    assert str(caught.value) == "fhir.rejected at POST Bundle: status 400 HAPI-1094"


def test_two_deliveries_send_the_same_bytes(delivery: FhirDelivery, server: ReportServer) -> None:
    delivery.deliver(REPORT)
    server.kept = {}
    delivery.deliver(REPORT)
    one, two = (json.dumps(bundle) for bundle in server.posted)
    assert one == two


def a_run_again(**changes: Any) -> Report:
    return replace(REPORT, issued=REPORT.issued + timedelta(hours=1), caveats=("Another.",), **changes)


def requests_of(bundle: dict[str, Any]) -> dict[str, dict[str, str]]:
    return {entry["resource"]["resourceType"]: entry["request"] for entry in bundle["entry"]}


def test_what_is_not_there_is_made_unless_it_is_there_by_then(delivery: FhirDelivery, server: ReportServer) -> None:
    delivery.deliver(REPORT)
    requests = requests_of(server.posted[0])
    assert requests["DiagnosticReport"] == {
        "method": "POST",
        "url": "DiagnosticReport",
        "ifNoneExist": "identifier=urn%3Afhir-bridge%3Ajob%7Cjob-1",
    }
    assert requests["Observation"]["ifNoneExist"].startswith("identifier=urn%3Afhir-bridge%3Aobservation%7Cjob-1")


def test_what_is_there_is_changed_by_id_and_version(delivery: FhirDelivery, server: ReportServer) -> None:
    delivery.deliver(REPORT)
    delivery.deliver(a_run_again())
    delivery.deliver(replace(a_run_again(), caveats=()))
    requests = requests_of(server.posted[2])
    assert requests["DiagnosticReport"] == {"method": "PUT", "url": "DiagnosticReport/7", "ifMatch": 'W/"2"'}
    result = server.of("Observation")["id"]
    assert requests["Observation"] == {"method": "PUT", "url": f"Observation/{result}", "ifMatch": 'W/"2"'}


def test_a_result_without_its_report_is_changed_by_id_and_version(delivery: FhirDelivery, server: ReportServer) -> None:
    delivery.deliver(REPORT)
    del server.kept["DiagnosticReport/7"]
    assert delivery.deliver(a_run_again()).detail == "created"
    assert requests_of(server.posted[1])["Observation"]["ifMatch"] == 'W/"1"'


def test_a_report_that_the_server_made_of_another_delivery_is_no_creation_of_ours(
    delivery: FhirDelivery, server: ReportServer
) -> None:
    server.is_blind = True
    server.keep(bundle_of(a_run_again(), PUBLISHER)["entry"])
    assert delivery.deliver(REPORT) == Receipt("DiagnosticReport/7", "superseded")
    assert server.of("DiagnosticReport")["meta"]["versionId"] == "1"


def test_a_signature_is_seen_before_the_age(delivery: FhirDelivery, server: ReportServer) -> None:
    delivery.deliver(a_run_again())
    server.of("DiagnosticReport")["status"] = "final"
    with pytest.raises(Refused) as caught:
        delivery.deliver(REPORT)
    assert caught.value.code == "fhir.report-signed"


@pytest.mark.parametrize("issued", ["", "2027", "2027-03-02T10:30:00"])
def test_a_report_of_no_certain_time_supersedes_nothing(
    delivery: FhirDelivery, server: ReportServer, issued: str
) -> None:
    delivery.deliver(REPORT)
    server.of("DiagnosticReport")["issued"] = issued
    assert delivery.deliver(REPORT).detail == "updated"


def test_a_server_without_versions_is_not_written_to_again(delivery: FhirDelivery, server: ReportServer) -> None:
    delivery.deliver(REPORT)
    del server.of("Observation")["meta"]["versionId"]
    with pytest.raises(Refused) as caught:
        delivery.deliver(a_run_again())
    assert (caught.value.code, caught.value.where) == ("fhir.unversioned", "Observation")
    assert len(server.posted) == 1


def test_a_result_that_is_there_twice_is_for_a_person_to_sort_out(delivery: FhirDelivery, server: ReportServer) -> None:
    delivery.deliver(REPORT)
    server.kept["Observation/x"] = server.of("Observation") | {"id": "x"}
    with pytest.raises(Refused) as caught:
        delivery.deliver(a_run_again())
    assert (caught.value.code, caught.value.where) == ("fhir.report-doubled", "Observation")


def test_a_persons_own_result_in_our_report_is_left_alone(delivery: FhirDelivery, server: ReportServer) -> None:
    delivery.deliver(REPORT)
    theirs = {"resourceType": "Observation", "id": "theirs", "status": "final", "meta": {"versionId": "1"}}
    server.kept["Observation/theirs"] = dict(theirs)
    server.of("DiagnosticReport")["result"].append({"reference": "Observation/theirs"})
    delivery.deliver(a_run_again())
    assert server.kept["Observation/theirs"] == theirs


def test_many_results_are_looked_for_in_several_searches(
    delivery: FhirDelivery, server: ReportServer, servers: list[ScriptedServer]
) -> None:
    volumes = tuple(
        Measurement(Code("118565006", "http://snomed.info/sct", "Volume"), float(n), "mL", f"volume-{n}")
        for n in range(45)
    )
    delivery.deliver(replace(REPORT, measurements=volumes))
    searches = [asked.path for asked in servers[0].asked if asked.path.startswith("/fhir/Observation?")]
    assert [path.count("observation%7Cjob-1") for path in searches] == [20, 20, 6]


@pytest.mark.parametrize(
    ("changes", "code", "where"),
    [
        ({"job": "job 1"}, "report.job-malformed", "Report.job"),
        ({"findings": REPORT.findings * 2}, "report.output-repeated", "Report.findings"),
        ({"service_request": "ServiceRequest?identifier=1"}, "report.reference-malformed", "Report.service_request"),
    ],
)
def test_a_report_that_cannot_be_mapped_is_refused_before_anything_is_sent(
    delivery: FhirDelivery, servers: list[ScriptedServer], changes: dict[str, Any], code: str, where: str
) -> None:
    with pytest.raises(Refused) as caught:
        delivery.deliver(replace(REPORT, **changes))
    assert (caught.value.code, caught.value.where) == (code, where)
    assert servers[0].asked == []


def test_a_transaction_that_is_not_valid_is_refused_before_it_is_sent(
    delivery: FhirDelivery, server: ReportServer
) -> None:
    with pytest.raises(Refused) as caught:
        delivery.deliver(a_report(procedure=Code(" ", "urn:test:procedures", "x")))
    assert caught.value.code == "report.fhir-invalid"
    assert caught.value.explanation.startswith("not valid R4B: ")
    assert server.posted == []
