"""Orders as transactions: status, numbers, studies, times, details."""

import pytest

from mappings.fhir_transaction import searches
from tests.support.bundles import PID, entries, only, order, segment


@pytest.mark.parametrize(
    ("control", "state", "status"),
    [
        ("NW", "", "active"),
        ("NW", "SC", "active"),
        ("NW", "CM", "completed"),
        ("CA", "", "revoked"),  # the guide: active
        ("CA", "IP", "revoked"),  # the guide: active, by ORC-5
        ("DC", "", "revoked"),
        ("OC", "CA", "revoked"),
        ("RP", "", "revoked"),  # the guide: no target
        ("HD", "", "on-hold"),  # the guide: active
        ("OH", "IP", "on-hold"),
        ("RL", "HD", "active"),
        ("XO", "", "active"),  # the guide: no target
        ("XO", "HD", "on-hold"),
        ("SC", "CM", "completed"),
        ("SC", "ER", "entered-in-error"),
        ("SC", "", "unknown"),
        ("SN", "", "active"),
        ("OK", "", "active"),
        ("RE", "", "unknown"),
        ("RE", "CM", "completed"),
        ("UA", "??", "unknown"),
    ],
)
def test_the_status_of_a_request(control: str, state: str, status: str) -> None:
    bundle = order(PID, f"ORC|{control}|P1|||{state}", "OBR|1|P1")

    assert only(bundle, "ServiceRequest")["status"] == status


@pytest.mark.parametrize(
    ("control", "method"),
    [
        *((code, "POST") for code in ("NW", "SN", "RO", "OK", "RE")),
        *((code, "PUT") for code in ("XO", "XX", "CA", "SC")),
    ],
)
def test_a_new_order_is_created_once_and_a_changed_one_replaced(control: str, method: str) -> None:
    (request,) = [entry["request"] for entry in entries(order(PID, f"ORC|{control}|P1", "OBR|1|P1"), "ServiceRequest")]

    assert request["method"] == method


def test_a_status_change_that_says_nothing_writes_no_order() -> None:
    bundle = order(PID, "ORC|SC|P1")

    assert [entry["resource"]["resourceType"] for entry in bundle["entry"]] == ["Patient", "Provenance"]


@pytest.mark.parametrize(
    ("orc_2", "orc_3", "obr_18", "found_by"),
    [
        ("P1^HOSP", "F1^HOSP", "A1", "identifier=urn%3Aoid%3A1.2.3%7CP1,urn%3Aoid%3A1.2.3%7CF1"),
        ("P1^HOSP", "", "A1", "identifier=urn%3Aoid%3A1.2.3%7CP1"),
        ("", "F1^HOSP", "", "identifier=urn%3Aoid%3A1.2.3%7CF1"),
        ("", "", "A1^HOSP", "identifier=urn%3Aoid%3A1.2.3%7CA1"),
    ],
)
def test_an_order_is_found_by_its_strongest_numbers(orc_2: str, orc_3: str, obr_18: str, found_by: str) -> None:
    """item 27"""
    (request,) = [
        entry["request"]
        for entry in entries(order(PID, f"ORC|NW|{orc_2}|{orc_3}", segment("OBR", f18=obr_18)), "ServiceRequest")
    ]

    assert request["ifNoneExist"] == found_by


def test_a_study_is_shared_by_its_orders() -> None:
    bundle = order(PID, "ORC|NW|P1", "OBR|1", "ZDS|1.2.3.4", "ORC|NW|P2", "OBR|1", "ZDS|1.2.3.4")

    references = [entry["fullUrl"] for entry in entries(bundle, "ServiceRequest")]
    assert only(bundle, "ImagingStudy")["basedOn"] == [{"reference": reference} for reference in references]


def test_a_cancelled_order_makes_no_study() -> None:
    assert entries(order(PID, "ORC|CA|P1", "OBR|1", "ZDS|1.2.3.4"), "ImagingStudy") == []


def test_several_patients_keep_their_orders() -> None:
    bundle = order("PID|1||CANARY-1^^^HOSP", "ORC|NW|P1", "PID|2||CANARY-2^^^HOSP", "ORC|NW|P2", "OBR|1")

    patients = {entry["fullUrl"]: entry["resource"]["identifier"][0]["value"] for entry in entries(bundle, "Patient")}
    subjects = [patients[entry["resource"]["subject"]["reference"]] for entry in entries(bundle, "ServiceRequest")]
    assert subjects == ["CANARY-1", "CANARY-2"]


def test_a_child_order_names_its_parent() -> None:
    request = only(order(PID, segment("ORC", f1="NW", f2="P2", f8="P1&HOSP^F1")), "ServiceRequest")

    assert request["basedOn"][0]["identifier"]["value"] == "P1"


def test_a_replacement_names_all_that_it_replaces() -> None:
    bundle = order(PID, "ORC|RP|P1", "OBR|1", "ORC|RP|P2", "OBR|1", "ORC|RO|P3", "OBR|1", "ORC|NW|P4", "OBR|1")

    old_1, old_2, new, other = entries(bundle, "ServiceRequest")
    assert new["resource"]["replaces"] == [{"reference": old_1["fullUrl"]}, {"reference": old_2["fullUrl"]}]
    assert "replaces" not in other["resource"]


def test_a_pharmacy_order_is_left_out() -> None:
    assert entries(order(PID, "ORC|NW|P1", "RXO|1"), "ServiceRequest") == []


@pytest.mark.parametrize(
    ("sources", "moment"),
    [
        ({"f6": "20260116"}, "2026-01-16"),
        ({"f6": "20260116", "f36": "202601170830"}, "2026-01-17T08:30:00+01:00"),
        ({"f36": "202601170830", "f27": "^^^20260718083000"}, "2026-07-18T08:30:00+02:00"),
        ({"f6": "soon"}, None),
    ],
)
def test_when_an_order_is_wanted(sources: dict[str, str], moment: str | None) -> None:
    """item 30; item 29 for the zone: Berlin's, summer and winter."""
    request = only(order(PID, "ORC|NW|P1", segment("OBR", **sources)), "ServiceRequest")

    assert request.get("occurrenceDateTime") == moment


def test_details_need_a_code_beside_them() -> None:
    """R4 prr-1: orderDetail SHALL only be present if code is present."""
    request = only(order(PID, "ORC|NW|P1", segment("OBR", f24="CT")), "ServiceRequest")

    assert "orderDetail" not in request


def test_a_change_without_a_status_keeps_the_servers() -> None:
    (search,) = [found for found in searches(order(PID, "ORC|XO|P1", "OBR|1")) if found.startswith("ServiceRequest")]
    present = {
        "resourceType": "ServiceRequest",
        "id": "5",
        "status": "revoked",
        "intent": "order",
        "note": [{"text": "x"}],
    }

    request = only(order(PID, "ORC|XO|P1", "OBR|1", known={search: present}), "ServiceRequest")

    assert (request["status"], request["note"]) == ("revoked", [{"text": "x"}])


@pytest.mark.parametrize(
    ("kind", "stated", "element", "value"),
    [
        ("NM", "5.1", "valueQuantity", {"value": 5.1, "unit": "mmol/L"}),
        ("SN", "<^28", "valueQuantity", {"value": 28, "unit": "mmol/L", "comparator": "<"}),
        ("SN", "^1^:^128", "valueString", "^1^:^128"),
        ("NM", "many", "valueString", "many"),
        ("CE", "N^No^L", "valueCodeableConcept", {"coding": [{"code": "N", "display": "No"}]}),
        ("DT", "20260102", "valueDateTime", "2026-01-02"),
        ("TX", "a^b&c~d", "valueString", "a^b&c\nd"),
    ],
)
def test_an_observation_of_an_order_keeps_its_value(kind: str, stated: str, element: str, value: object) -> None:
    """item 22: separators that are part of a text do not cut it."""
    found = only(order(PID, "ORC|NW|P1", "OBR|1", f"OBX|1|{kind}|1^A^L||{stated}|mmol/L|||||F"), "Observation")

    assert found[element] == value


def test_where_on_the_body() -> None:
    request = only(order(PID, "ORC|NW|P1", segment("OBR", f4="X^Y^L", f15="^^^CHEST&Thorax")), "ServiceRequest")

    assert request["bodySite"] == [{"text": "Thorax"}]


def test_a_patient_s_number_may_stand_behind_an_empty_repetition() -> None:
    pid = "PID|1||~CANARY-1^^^HOSP^MR||CANARY^ZEBRA"

    patient = only(order(pid, "ORC|NW|P1^RIS"), "Patient")

    assert [identifier["value"] for identifier in patient["identifier"]] == ["CANARY-1"]
