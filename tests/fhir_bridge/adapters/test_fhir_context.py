"""The clinical context from servers that offer less, show less, answer late, or answer with what nobody asked for."""

import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from fhir_bridge.adapters import fhir_client
from fhir_bridge.adapters.fhir_client import FhirClient
from fhir_bridge.adapters.fhir_context import ContextReader
from fhir_bridge.adapters.record_context import MAX_CONTEXT_RESOURCES
from fhir_bridge.errors import Refused, Unavailable
from fhir_bridge.study import ClinicalContext
from mappings.order import Order, OrderControl, PatientIdentity
from tests.support.scripted_http import Asked, Scripted, ScriptedServer, fhir

Serve = Callable[..., FhirClient]
PATIENT = {"resourceType": "Patient", "id": "1"}
ORDER = Order(OrderControl.NEW, PatientIdentity())
FORBIDDEN = fhir({"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "forbidden"}]}, 403)


def bundle(*resources: dict[str, Any]) -> Scripted:
    return fhir({"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": r} for r in resources]})


def about(kind: str, name: str, of: str = "1", **elements: Any) -> dict[str, Any]:
    return {"resourceType": kind, "id": name, "subject": {"reference": f"Patient/{of}"}, **elements}


def capable_of(*operations: str, **types: str) -> Scripted:
    """Each type with its search parameters; `operations` are those of Patient."""
    resources: list[dict[str, Any]] = [
        {"type": kind, "searchParam": [{"name": name} for name in names.split()]} for kind, names in types.items()
    ]
    patient = {"type": "Patient", "operation": [{"name": name, "definition": "x"} for name in operations]}
    return fhir(
        {"resourceType": "CapabilityStatement", "rest": [{"mode": "server", "resource": [patient, *resources]}]}
    )


@pytest.fixture
def ask(serve: Serve, servers: list[ScriptedServer]) -> Callable[..., ClinicalContext]:
    """The context from a server of these capabilities that gives `answers` by path; else an empty Bundle."""

    def context(capabilities: Scripted, answers: dict[str, Scripted], seconds: float = 30) -> ClinicalContext:
        client = serve(capabilities)

        def answer(asked: Asked) -> Scripted:
            path = urlsplit(asked.path).path.removeprefix("/fhir/")
            return capabilities if path == "metadata" else answers.get(path, bundle())

        servers[0].answer = answer
        return ContextReader(client, seconds).context_of(PATIENT, ORDER)

    return context


def asked_for(servers: list[ScriptedServer]) -> dict[str, dict[str, list[str]]]:
    """Path -> parameters, of all but the CapabilityStatement."""
    urls = (urlsplit(asked.path) for asked in servers[0].asked)
    return {u.path.removeprefix("/fhir/"): parse_qs(u.query) for u in urls if u.path != "/fhir/metadata"}


def test_only_what_the_server_offers_is_asked_for(
    ask: Callable[..., ClinicalContext], servers: list[ScriptedServer]
) -> None:
    ask(capable_of(Condition="patient", Procedure="subject date", Observation="patient"), {})
    assert asked_for(servers) == {
        "Condition": {"patient": ["Patient/1"], "_count": ["50"]},
        "Procedure": {"subject": ["Patient/1"], "_sort": ["-date"], "_count": ["50"]},
        "Observation": {"patient": ["Patient/1"], "_count": ["50"]},
    }


def test_a_type_that_the_server_does_not_offer_is_missing_and_said_to_be(ask: Callable[..., ClinicalContext]) -> None:
    context = ask(capable_of(Condition="patient", Immunization="date"), {})
    assert dict(context.others) == {"Condition": ()}
    hows = {kind: source.how for kind, source in context.sources.items()}
    assert hows.pop("Condition") == "search"
    assert "Immunization" in hows
    assert set(hows.values()) == {"not-offered"}


def test_what_cannot_be_searched_comes_with_everything_of_the_patient(
    ask: Callable[..., ClinicalContext], servers: list[ScriptedServer]
) -> None:
    answers = {
        "Condition": bundle(about("Condition", "c")),
        "Patient/1/$everything": bundle(
            PATIENT,
            about("Procedure", "p"),
            about(
                "Observation", "lab", category=[{"coding": [{"code": "laboratory"}]}], effectiveDateTime="2026-01-01"
            ),
            about("Observation", "smokes", category=[{"coding": [{"code": "social-history"}]}]),
            {"resourceType": "Coverage", "id": "x", "beneficiary": {"reference": "Patient/1"}},
            {"resourceType": "Account", "id": "x"},
        ),
    }
    context = ask(capable_of("everything", Condition="patient", Observation="code"), answers)
    assert {kind: [r["id"] for r in found] for kind, found in context.others.items() if found} == {
        "Condition": ["c"], "Procedure": ["p"], "Observation": ["lab"],
    }  # fmt: skip
    assert context.sources["Condition"].how == "search"
    assert context.sources["Observation"].how == context.sources["Immunization"].how == "everything"
    asked = asked_for(servers)["Patient/1/$everything"]
    assert "Condition" not in asked["_type"][0].split(",")
    assert {"Observation", "Procedure"} < set(asked["_type"][0].split(","))
    assert asked["_count"] == ["50"]


def test_everything_of_the_patient_is_read_page_by_page(
    ask: Callable[..., ClinicalContext], servers: list[ScriptedServer]
) -> None:
    page = {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": about("Condition", "c")}]}
    first = {**page, "link": [{"relation": "next", "url": "page-2"}]}
    answers = {"Patient/1/$everything": fhir(first), "page-2": bundle(about("Condition", "d"))}
    context = ask(capable_of("everything"), answers)
    assert sorted(r["id"] for r in context.others["Condition"]) == ["c", "d"]


def test_a_type_outside_our_scopes_is_refused_and_not_empty(ask: Callable[..., ClinicalContext]) -> None:
    context = ask(capable_of(Condition="patient", Procedure="patient"), {"Procedure": FORBIDDEN})
    assert "Procedure" not in context.others
    assert context.others["Condition"] == ()
    source = context.sources["Procedure"]
    assert (source.how, source.count, source.code) == ("refused", 0, "fhir.unauthorized")


def test_a_search_that_the_server_rejects_is_refused_and_not_empty(ask: Callable[..., ClinicalContext]) -> None:
    outcome = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "processing"}]}
    context = ask(capable_of(Condition="patient", Procedure="patient"), {"Procedure": fhir(outcome, 400)})
    assert (context.sources["Procedure"].how, context.sources["Procedure"].code) == ("refused", "fhir.rejected")


def test_a_category_outside_our_scopes_leaves_the_other_one_and_says_so(
    serve: Serve, servers: list[ScriptedServer]
) -> None:
    capabilities = capable_of(Observation="patient category")
    lab = about("Observation", "lab", category=[{"coding": [{"code": "laboratory"}]}])

    def answer(asked: Asked) -> Scripted:
        if "metadata" in asked.path:
            return capabilities
        return FORBIDDEN if "vital-signs" in asked.path else bundle(lab)

    client = serve(capabilities)
    servers[0].answer = answer
    source = ContextReader(client).context_of(PATIENT, ORDER).sources["Observation"]
    assert (source.how, source.count) == ("refused", 1)


def test_a_server_that_shows_us_nothing_at_all_does_not_take_our_credentials(
    ask: Callable[..., ClinicalContext],
) -> None:
    with pytest.raises(Unavailable) as caught:
        ask(capable_of(Condition="patient", Procedure="patient"), {"Condition": FORBIDDEN, "Procedure": FORBIDDEN})
    assert caught.value.code == "fhir.unauthorized"


def test_a_type_that_cannot_be_had_now_fails_the_whole(ask: Callable[..., ClinicalContext]) -> None:
    with pytest.raises(Unavailable) as caught:
        ask(capable_of(Condition="patient", ImagingStudy="patient"), {"ImagingStudy": Scripted(500, b"")})
    assert (caught.value.code, caught.value.where) == ("fhir.unavailable", "GET ImagingStudy")


@pytest.mark.parametrize("of", ["Patient/2", "http://elsewhere.example/fhir/Patient/1"])
@pytest.mark.parametrize("path", ["Condition", "Patient/1/$everything"])
def test_a_resource_of_another_patient_is_a_mismatch(ask: Callable[..., ClinicalContext], path: str, of: str) -> None:
    offered = {"Condition": "patient"} if path == "Condition" else {}
    theirs = about("Condition", "c", subject={"reference": of})
    with pytest.raises(Refused) as caught:
        ask(capable_of("everything", **offered), {path: bundle(theirs)})
    assert caught.value.code == "patient.mismatch"


def test_what_is_read_at_once_has_one_time_limit(ask: Callable[..., ClinicalContext]) -> None:
    never = threading.Event()
    late = Scripted(200, bundle().body, bundle().headers, hold=never)
    try:
        with pytest.raises(Unavailable) as caught:
            ask(capable_of(Condition="patient", Procedure="patient"), {"Procedure": late}, seconds=0.2)
        assert (caught.value.code, caught.value.where) == ("fhir.unavailable", "context")
    finally:
        never.set()


@pytest.mark.parametrize("path", ["Condition", "Patient/1/$everything"])
def test_pages_without_end_are_left_once_nobody_waits_for_them(
    serve: Serve, servers: list[ScriptedServer], monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(fhir_client, "MAX_PAGES", 1_000_000)
    capabilities = capable_of("everything", **({"Condition": "patient"} if path == "Condition" else {}))
    endless = {"path": path}

    def answer(asked: Asked) -> Scripted:
        if "metadata" in asked.path:
            return capabilities
        if endless["path"] not in asked.path and "?page=" not in asked.path:
            return bundle()
        link = {"relation": "next", "url": f"{path}?page={len(servers[0].asked)}"}
        return fhir({"resourceType": "Bundle", "type": "searchset", "link": [link]})

    client = serve(capabilities)
    servers[0].answer = answer
    reader = ContextReader(client, 0.5, parallel=1)
    with pytest.raises(Unavailable) as caught:
        reader.context_of(PATIENT, ORDER)
    assert (caught.value.code, caught.value.where) == ("fhir.unavailable", "context")
    endless["path"] = "none"
    assert reader.context_of(PATIENT, ORDER).others["Condition"] == ()


def test_independent_searches_are_under_way_at_once(serve: Serve, servers: list[ScriptedServer]) -> None:
    capabilities = capable_of(Condition="patient", Procedure="patient", Immunization="patient")
    together = threading.Barrier(3, timeout=10)

    def answer(asked: Asked) -> Scripted:
        if "metadata" not in asked.path:
            together.wait()  # breaks, and the answer with it, unless all three have come
        return capabilities if "metadata" in asked.path else bundle()

    client = serve(capabilities)
    servers[0].answer = answer
    assert len(ContextReader(client).context_of(PATIENT, ORDER).others) == 3


def test_more_than_we_take_is_said_to_be_cut(ask: Callable[..., ClinicalContext]) -> None:
    many = bundle(*(about("Condition", f"c{n}") for n in range(MAX_CONTEXT_RESOURCES + 1)))
    source = ask(capable_of(Condition="patient"), {"Condition": many}).sources["Condition"]
    assert (source.count, source.is_truncated) == (MAX_CONTEXT_RESOURCES, True)


def test_documents_of_prior_reports_are_not_asked_for(
    ask: Callable[..., ClinicalContext], servers: list[ScriptedServer]
) -> None:
    ask(capable_of(DiagnosticReport="patient date"), {})
    elements = asked_for(servers)["DiagnosticReport"]["_elements"][0].split(",")
    assert "presentedForm" not in elements
    assert {"subject", "basedOn", "status", "code", "conclusionCode", "effective"} < set(elements)


def test_a_bundle_of_everything_that_is_none_is_not_fhir(ask: Callable[..., ClinicalContext]) -> None:
    broken = fhir({"resourceType": "Bundle", "type": "searchset", "entry": ["CANARY"]})
    with pytest.raises(Unavailable) as caught:
        ask(capable_of("everything"), {"Patient/1/$everything": broken})
    assert caught.value.code == "fhir.not-fhir"


@pytest.mark.parametrize("elements", [{"category": "CANARY"}, {"code": ["CANARY"]}, {"verificationStatus": "CANARY"}])
def test_a_resource_of_wrong_types_is_not_fhir(ask: Callable[..., ClinicalContext], elements: dict[str, Any]) -> None:
    laboratory = {"category": [{"coding": [{"code": "laboratory"}]}]}
    odd = about("Observation", "o", **{**laboratory, **elements})
    with pytest.raises(Unavailable) as caught:
        ask(capable_of(Observation="patient"), {"Observation": bundle(odd)})
    assert caught.value.code == "fhir.not-fhir"
