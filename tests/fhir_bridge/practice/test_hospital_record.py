"""What the practice FHIR server is given and how it is read back."""

import json
import re
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from fhir.resources.R4B import get_fhir_model_class

from fhir_bridge.errors import BridgeError
from fhir_bridge.practice import patients
from fhir_bridge.practice.fhir_peer import start_fhir_peer
from fhir_bridge.practice.record import HospitalRecord
from fhir_bridge.practice.story import STORIES, Step

AT = datetime(2026, 11, 2, 9, 15, tzinfo=UTC)
PLACED = next(story for story in STORIES if Step.PLACE in story.steps)
RESOURCES = [*patients.history(PLACED), patients.service_request(PLACED, AT)]


@pytest.fixture
def server():
    """A loopback server: path -> (status, body); what it was sent is in `received`."""

    class Handler(BaseHTTPRequestHandler):
        def respond(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            self.server.received.append((self.command, self.path, self.rfile.read(length)))
            status, body = self.server.pages.get(self.path, (404, b"{}"))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = respond  # noqa: N815 - the names that http.server calls

        def log_message(self, *_) -> None:
            pass

    peer = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    peer.pages, peer.received = {}, []
    thread = threading.Thread(target=peer.serve_forever, args=(0.01,))
    thread.start()
    yield peer
    peer.shutdown()
    peer.server_close()
    thread.join()


def base(server) -> str:
    return f"http://127.0.0.1:{server.server_port}/fhir"


def page(server, path, resources, following="") -> None:
    bundle = {
        "resourceType": "Bundle",
        "entry": [{"resource": resource} for resource in resources],
        "link": [{"relation": "next", "url": following}] if following else [],
    }
    server.pages[path] = (200, json.dumps(bundle).encode())


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: resource["id"])
def test_every_resource_is_valid_r4(resource) -> None:
    get_fhir_model_class(resource["resourceType"]).model_validate(resource)


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: resource["id"])
def test_hapi_accepts_the_ids(resource) -> None:
    assert re.fullmatch(r"[A-Za-z0-9.-]{1,64}", resource["id"])
    assert not resource["id"].isdigit()


def test_a_patient_has_every_kind_of_context_that_the_bridge_reads() -> None:
    assert {resource["resourceType"] for resource in patients.history(PLACED)} == {
        "Patient", "Condition", "AllergyIntolerance", "Observation", "MedicationRequest", "DiagnosticReport",
    }  # fmt: skip


def test_unknown_patients_are_not_loaded(server) -> None:
    server.pages["/fhir"] = (200, b"{}")
    HospitalRecord(base(server)).load(STORIES)
    entries = json.loads(server.received[0][2])["entry"]
    loaded = {entry["resource"]["id"] for entry in entries if entry["resource"]["resourceType"] == "Patient"}
    assert loaded == {f"practice-{story.name}" for story in STORIES if story.name not in {"garbage", "unknown-patient"}}


def test_every_page_of_a_search_is_read(server) -> None:
    page(
        server, "/fhir/ServiceRequest?_count=50", [{"resourceType": "ServiceRequest", "id": "1"}], f"{base(server)}?p=2"
    )
    page(server, "/fhir?p=2", [{"resourceType": "ServiceRequest", "id": "2"}])
    assert HospitalRecord(base(server)).count_service_requests() == 2


def test_a_next_page_on_another_server_is_not_fetched(server) -> None:
    page(server, "/fhir/ServiceRequest?_count=50", [], "http://192.0.2.1/fhir?p=2")
    with pytest.raises(BridgeError) as caught:
        HospitalRecord(base(server)).count_service_requests()
    assert caught.value.code == "practice.fhir-failed"


@pytest.mark.parametrize(
    ("status", "body"), [(500, b"{}"), (200, b"<html>CANARY"), (404, b'{"resourceType":"CANARY"}')]
)
def test_an_answer_that_is_no_result_is_a_coded_error_without_its_text(server, status, body) -> None:
    server.pages["/fhir/ServiceRequest?_count=50"] = (status, body)
    with pytest.raises(BridgeError) as caught:
        HospitalRecord(base(server)).count_service_requests()
    assert caught.value.code == "practice.fhir-failed"
    assert "CANARY" not in str(caught.value)


def report_page(server, report) -> None:
    order = patients.service_request(PLACED, AT)
    observation = {
        "resourceType": "Observation",
        "id": "9",
        "code": {"coding": [{"code": "233604007"}]},
        "valueCodeableConcept": {"coding": [{"code": "52101004"}]},
    }
    sharpness = {"resourceType": "Observation", "id": "10", "code": {"coding": [{"code": "sharpness"}]}}
    page(server, "/fhir/ServiceRequest?_count=50", [order])
    page(server, "/fhir/Observation?_count=50", [observation, sharpness])
    page(server, "/fhir/DiagnosticReport?_count=50", [report])


REPORT = {
    "resourceType": "DiagnosticReport",
    "id": "7",
    "status": "preliminary",
    "subject": {"reference": "Patient/practice-pneumonia"},
    "conclusionCode": [{"coding": [{"code": "233604007"}]}],
    "result": [{"reference": "Observation/9"}, {"reference": "Observation/10"}],
}


def test_a_report_is_found_by_the_identifiers_of_its_order(server) -> None:
    report_page(server, {**REPORT, "basedOn": [{"identifier": {"value": "CANARY-P01"}}]})
    (seen,) = HospitalRecord(base(server)).reports()
    assert (seen.orders, seen.linked) == ({"CANARY-P01"}, False)
    assert (seen.status, seen.conclusions, seen.findings) == ("preliminary", ("233604007",), ("52101004",))


def test_a_report_is_found_by_the_order_that_it_refers_to_even_absolutely(server) -> None:
    reference = f"{base(server)}/{patients.service_request_reference(PLACED)}/_history/2"
    report_page(server, {**REPORT, "basedOn": [{"reference": reference}]})
    (seen,) = HospitalRecord(base(server)).reports()
    assert seen.orders == {PLACED.placer, PLACED.filler, PLACED.accession}
    assert seen.linked


def test_a_prior_report_is_not_taken_for_a_result(server) -> None:
    report_page(server, patients.history(PLACED)[-1])
    assert HospitalRecord(base(server)).reports() == ()


@pytest.mark.real_parts
def test_a_real_server_takes_the_patients_and_an_order(tmp_path) -> None:
    with start_fhir_peer("sekmet", tmp_path) as peer:
        record = HospitalRecord(peer.base_url)
        record.load(STORIES)
        record.load(STORIES)  # again: nothing doubles
        record.place(PLACED, AT)
        assert record.count_service_requests() == 1
        assert record.reports() == ()
        assert len(list(record._search("Patient"))) == len([story for story in STORIES if story.known])
