"""We as a FHIR server: what is published, in which format, and how every error is said."""

from typing import Any
from xml.etree import ElementTree

import pytest
from fhir.resources.R4B import get_fhir_model_class
from flask.testing import FlaskClient

from fhir_bridge.api.capability import uses
from fhir_bridge.api.fhir_api import fhir_api
from fhir_bridge.web.app import make_app

BASE = "http://bridge.example/fhir"
CLIENT = uses(
    read=("Patient", "ServiceRequest"), searched=("Patient",), written=("DiagnosticReport",), updated=("Task",)
)


@pytest.fixture
def client() -> FlaskClient:
    return make_app([fhir_api("1.2.3", BASE, CLIENT)]).test_client()


def validated(resource: dict[str, Any]) -> dict[str, Any]:
    get_fhir_model_class(resource["resourceType"]).model_validate(resource)
    return resource


def get(client: FlaskClient, path: str, **headers: str) -> dict[str, Any]:
    answer = client.get(path, headers=headers)
    assert answer.status_code == 200
    assert answer.json is not None
    return validated(answer.json)


def outcome(client: FlaskClient, path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
    answer = client.open(path, method=method, headers=headers)
    assert answer.mimetype == "application/fhir+json"
    assert answer.json is not None
    assert validated(answer.json)["resourceType"] == "OperationOutcome"
    return answer.status_code, answer.json["issue"][0]["code"]


def test_the_capability_statement_is_valid_and_says_fhir_version_and_formats(client: FlaskClient) -> None:
    statement = get(client, "/fhir/metadata")
    assert statement["fhirVersion"] == "4.0.1"
    assert statement["format"] == ["application/fhir+json", "application/fhir+xml"]
    assert statement["software"] == {"name": "fhir-bridge", "version": "1.2.3"}


def test_without_a_public_address_it_is_the_one_by_which_we_were_asked() -> None:
    client = make_app([fhir_api("1.2.3", "", CLIENT)]).test_client()
    statement = client.get("/fhir/metadata", base_url="http://localhost:4711").json
    assert statement is not None
    assert statement["implementation"]["url"] == "http://localhost:4711/fhir"


def test_it_says_what_we_do_on_the_hospitals_server(client: FlaskClient) -> None:
    (mode,) = (rest for rest in get(client, "/fhir/metadata")["rest"] if rest["mode"] == "client")
    asked = {one["type"]: [i["code"] for i in one["interaction"]] for one in mode["resource"]}
    assert asked == {
        "DiagnosticReport": ["create", "update"],
        "Patient": ["read", "search-type"],
        "ServiceRequest": ["read"],
        "Task": ["update"],
    }


def test_everything_that_the_statement_promises_answers(client: FlaskClient) -> None:
    (mode,) = (rest for rest in get(client, "/fhir/metadata")["rest"] if rest["mode"] == "server")
    for resource in mode["resource"]:
        bundle = get(client, f"/fhir/{resource['type']}")
        assert bundle["total"] == len(bundle["entry"]) > 0
        first = bundle["entry"][0]["resource"]
        assert get(client, f"/fhir/{resource['type']}/{first['id']}") == first
        for parameter in resource["searchParam"]:
            value = {"_id": first["id"], "url": first["url"]}.get(parameter["name"], "http://nobody.example")
            found = get(client, f"/fhir/{resource['type']}?{parameter['name']}={value}")
            assert found["total"] == (0 if value.endswith("nobody.example") else 1)


def test_the_maps_from_a_system_are_found_by_it(client: FlaskClient) -> None:
    found = get(client, "/fhir/ConceptMap?source-system=http://hl7.org/fhir/request-status")
    assert [entry["resource"]["id"] for entry in found["entry"]] == ["request-status"]


XML = ["application/fhir+xml", "application/xml;q=0.9, application/json;q=0.5", "text/xml"]


@pytest.mark.parametrize("accept", XML)
def test_xml_comes_for_whoever_prefers_it(client: FlaskClient, accept: str) -> None:
    answer = client.get("/fhir/ConceptMap/modalities", headers={"Accept": accept})
    assert answer.mimetype == "application/fhir+xml"
    root = ElementTree.fromstring(answer.data)
    assert root.tag == "{http://hl7.org/fhir}ConceptMap"


@pytest.mark.parametrize("asked", ["xml", "application/fhir%2Bxml", "application/fhir+xml", "text/xml"])
def test_the_format_parameter_counts_before_the_header(client: FlaskClient, asked: str) -> None:
    answer = client.get(f"/fhir/metadata?_format={asked}", headers={"Accept": "application/fhir+json"})
    assert answer.mimetype == "application/fhir+xml"


@pytest.mark.parametrize("accept", ["", "*/*", "text/html,application/xhtml+xml,*/*;q=0.8", "application/json"])
def test_json_comes_for_whoever_takes_anything(client: FlaskClient, accept: str) -> None:
    answer = client.get("/fhir/metadata", headers={"Accept": accept} if accept else {})
    assert (answer.status_code, answer.mimetype) == (200, "application/fhir+json")


ERRORS = [
    ("GET", "/fhir/ConceptMap/nosuch", 404, "not-found"),
    ("GET", "/fhir/Patient", 404, "not-found"),
    ("GET", "/fhir/Patient/1/_history", 404, "not-found"),
    ("GET", "/fhir/", 404, "not-found"),
    ("POST", "/fhir/ConceptMap", 405, "not-supported"),
    ("DELETE", "/fhir/ConceptMap/modalities", 405, "not-supported"),
    ("PUT", "/fhir/metadata", 405, "not-supported"),
    ("GET", "/fhir/metadata?_format=text/turtle", 406, "not-supported"),
]


@pytest.mark.parametrize(("method", "path", "status", "code"), ERRORS)
def test_every_error_is_an_operation_outcome(
    client: FlaskClient, method: str, path: str, status: int, code: str
) -> None:
    assert outcome(client, path, method) == (status, code)


def test_a_format_that_we_do_not_have_is_refused_in_json(client: FlaskClient) -> None:
    assert outcome(client, "/fhir/metadata", Accept="text/turtle") == (406, "not-supported")


def test_an_unknown_search_parameter_is_ignored_and_the_self_link_says_so(client: FlaskClient) -> None:
    bundle = get(client, "/fhir/CodeSystem?nosuch=1&url=urn:fhir-bridge:codes")
    assert bundle["link"] == [{"relation": "self", "url": f"{BASE}/CodeSystem?url=urn%3Afhir-bridge%3Acodes"}]


def test_an_unknown_search_parameter_is_refused_where_strictness_is_wanted(client: FlaskClient) -> None:
    assert outcome(client, "/fhir/CodeSystem?nosuch=1", Prefer="handling=strict") == (400, "invalid")
