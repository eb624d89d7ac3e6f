"""The history under the numbers of before a merge, from servers that answer less, late, or with what nobody asked for."""

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from fhir_bridge.adapters.fhir_client import FhirClient
from fhir_bridge.adapters.fhir_context import ContextReader
from fhir_bridge.adapters.record_context import MAX_CONTEXT_RESOURCES
from fhir_bridge.errors import Refused, Unavailable
from fhir_bridge.study import ClinicalContext
from mappings.order import Order, OrderControl, PatientIdentity
from tests.support.scripted_http import Asked, Scripted, ScriptedServer, fhir

Ask = Callable[..., ClinicalContext]
ORDER = Order(OrderControl.NEW, PatientIdentity())


def bundle(*resources: dict[str, Any]) -> Scripted:
    return fhir({"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": r} for r in resources]})


def patient(name: str, **links: str) -> dict[str, Any]:
    link = [{"type": kind.replace("_", "-"), "other": {"reference": to}} for kind, to in links.items()]
    return {"resourceType": "Patient", "id": name, "link": link}


def ill(name: str, of: str, day: str = "2026-01-01") -> dict[str, Any]:
    subject = {"reference": f"Patient/{of}"}
    return {"resourceType": "Condition", "id": name, "subject": subject, "recordedDate": day}


SURVIVOR = patient("1", replaces="Patient/2")
FORMER = fhir(patient("2", replaced_by="Patient/1"))


@pytest.fixture
def ask(serve: Callable[..., FhirClient], servers: list[ScriptedServer]) -> Ask:
    """The context from a server that knows Conditions by patient, or by `$everything`; `answers` by path and patient."""

    def context(
        answers: dict[str, Scripted], survivor: dict[str, Any] = SURVIVOR, by: str = "patient"
    ) -> ClinicalContext:
        searchable = {"type": "Condition", "searchParam": [{"name": "patient"}] if by == "patient" else []}
        everything = {"type": "Patient", "operation": [{"name": by, "definition": "x"}]}
        resources = [searchable, everything]
        capabilities = fhir(
            {"resourceType": "CapabilityStatement", "rest": [{"mode": "server", "resource": resources}]}
        )
        client = serve(capabilities)

        def answer(asked: Asked) -> Scripted:
            path = asked_of(asked)
            return capabilities if path == "metadata" else answers.get(path, bundle())

        servers[0].answer = answer
        return ContextReader(client).context_of(survivor, ORDER)

    return context


def asked_of(asked: Asked) -> str:
    url = urlsplit(asked.path)
    path, about = url.path.removeprefix("/fhir/"), dict(parse_qsl(url.query)).get("patient", "")
    return f"{path} of {about}" if about else path


def all_asked(servers: list[ScriptedServer]) -> list[str]:
    return [path for path in map(asked_of, servers[0].asked) if path != "metadata"]


def test_each_is_searched_alone_for_a_server_may_not_know_several(ask: Ask, servers: list[ScriptedServer]) -> None:
    found = {"Patient/2": FORMER, "Condition of Patient/2": bundle(ill("c", "2"))}
    assert [condition["id"] for condition in ask(found).others["Condition"]] == ["c"]
    assert all_asked(servers) == ["Patient/2", "Condition of Patient/1", "Condition of Patient/2"]


@pytest.mark.parametrize("survivor", [patient("1"), patient("1", seealso="Patient/2", refer="Patient/3")])
def test_a_patient_who_replaces_nobody_costs_no_request_more(
    ask: Ask, servers: list[ScriptedServer], survivor: dict[str, Any]
) -> None:
    ask({}, survivor)
    assert all_asked(servers) == ["Condition of Patient/1"]


def test_a_resource_of_anyone_else_is_a_mismatch_still(ask: Ask) -> None:
    with pytest.raises(Refused) as caught:
        ask({"Patient/2": FORMER, "Condition of Patient/2": bundle(ill("c", "2"), ill("d", "3"))})
    assert caught.value.code == "patient.mismatch"


def test_a_patient_who_was_not_proven_to_be_merged_is_anyone_else(ask: Ask) -> None:
    with pytest.raises(Refused) as caught:
        ask({"Patient/2": fhir(patient("2")), "Condition of Patient/1": bundle(ill("c", "2"))})
    assert caught.value.code == "patient.mismatch"


def test_the_limit_is_that_of_all_together_and_the_newest_stay(ask: Ask) -> None:
    half = MAX_CONTEXT_RESOURCES // 2
    found = {
        "Patient/2": FORMER,
        "Condition of Patient/1": bundle(*(ill(f"a{n}", "1", f"2025-01-01T08:00:00.{n:03}Z") for n in range(half))),
        "Condition of Patient/2": bundle(*(ill(f"b{n}", "2", f"2026-01-01T08:00:00.{n:03}Z") for n in range(half + 1))),
    }
    context = ask(found)
    kept = [condition["id"] for condition in context.others["Condition"]]
    assert (kept[0], kept[half], kept[-1]) == (f"b{half}", "b0", "a1")
    source = context.sources["Condition"]
    assert (source.count, source.is_truncated) == (MAX_CONTEXT_RESOURCES, True)


def test_everything_is_asked_of_each(ask: Ask, servers: list[ScriptedServer]) -> None:
    found = {
        "Patient/2": FORMER,
        "Patient/1/$everything": bundle(SURVIVOR, ill("b", "1", "2026-01-02")),
        "Patient/2/$everything": bundle(ill("c", "2")),
    }
    context = ask(found, by="everything")
    assert [condition["id"] for condition in context.others["Condition"]] == ["b", "c"]
    assert all_asked(servers) == ["Patient/2", "Patient/1/$everything", "Patient/2/$everything"]


@pytest.mark.parametrize("status", [404, 410])
def test_a_merged_patient_who_is_gone_is_not_followed(ask: Ask, servers: list[ScriptedServer], status: int) -> None:
    outcome = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "not-found"}]}
    ask({"Patient/2": fhir(outcome, status)})
    assert all_asked(servers) == ["Patient/2", "Condition of Patient/1"]


def test_a_merged_patient_who_cannot_be_had_now_fails_the_whole(ask: Ask) -> None:
    with pytest.raises(Unavailable):
        ask({"Patient/2": Scripted(500, b"")})


@pytest.mark.parametrize(
    ("replaces", "replaced_by"),
    [
        ("http://elsewhere.example/fhir/Patient/2", "Patient/1"),
        ("Patient/2", "http://elsewhere.example/fhir/Patient/1"),
        ("RelatedPerson/2", "Patient/1"),
    ],
)
def test_a_link_to_elsewhere_proves_nothing(
    ask: Ask, servers: list[ScriptedServer], replaces: str, replaced_by: str
) -> None:
    ask({"Patient/2": fhir(patient("2", replaced_by=replaced_by))}, patient("1", replaces=replaces))
    assert "Condition of Patient/2" not in all_asked(servers)


@pytest.mark.parametrize("link", ["CANARY", {"type": "replaces"}, [None], [{"type": "replaces", "other": "CANARY"}]])
def test_a_link_that_is_none_is_not_followed(ask: Ask, servers: list[ScriptedServer], link: object) -> None:
    ask({}, {**patient("1"), "link": link})
    assert all_asked(servers) == ["Condition of Patient/1"]
