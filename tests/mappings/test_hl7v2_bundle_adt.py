"""ADT as transactions: what is replaced, merged, linked, moved, and what stays."""

import pytest

from tests.support.bundles import PATIENT, PID, Bundle, adt, entries, only, order, segment

PRESENT = {
    "resourceType": "Patient",
    "id": "7",
    "meta": {"versionId": "3"},
    "identifier": [{"system": "urn:oid:1.2.3", "value": "CANARY-1"}, {"system": "urn:x", "value": "9"}],
    "birthDate": "1990-01-01",
    "telecom": [{"system": "phone", "value": "1"}],
    "deceasedBoolean": False,
    "generalPractitioner": [{"display": "GP"}],
}


def test_empty_leaves_and_a_null_deletes_what_the_server_has() -> None:
    """item 23; and a stated value replaces, and a list of identifiers only grows."""
    pid = segment("PID", f3="CANARY-1^^^HOSP", f5="CANARY^NEW", f7='""', f29="20260101")
    (entry,) = entries(adt("A08", pid, known={PATIENT: PRESENT}), "Patient")

    assert entry["resource"] == {
        "resourceType": "Patient",
        "id": "7",
        "meta": {"versionId": "3"},
        "identifier": PRESENT["identifier"],
        "name": [{"family": "CANARY", "given": ["NEW"]}],
        "telecom": PRESENT["telecom"],
        "deceasedDateTime": "2026-01-01",
        "generalPractitioner": PRESENT["generalPractitioner"],
    }
    assert entry["request"] == {"method": "PUT", "url": "Patient/7", "ifMatch": 'W/"3"'}


def test_an_order_leaves_a_known_patient_alone() -> None:
    """item 31: only ADT overwrites demographics."""
    bundle = order(PID, "ORC|NW|P1", known={PATIENT: PRESENT})

    assert entries(bundle, "Patient") == []
    assert only(bundle, "ServiceRequest")["subject"] == {"reference": "Patient/7"}


@pytest.mark.parametrize(
    ("event", "pv1", "status"),
    [
        ("A01", {"f2": "I"}, "in-progress"),
        ("A05", {"f2": "P"}, "planned"),
        ("A04", {"f2": "O"}, "in-progress"),
        ("A04", {"f2": "P"}, "planned"),
        ("A08", {"f2": "I", "f45": "20260115"}, "finished"),
        ("A03", {"f2": "I"}, "finished"),
        ("A11", {"f2": "I"}, "cancelled"),
        ("A13", {"f2": "I", "f45": "20260115"}, "in-progress"),
        ("A02", {"f2": "I"}, "in-progress"),
        ("A08", {"f2": "?"}, "unknown"),
    ],
)
def test_the_status_of_a_visit(event: str, pv1: dict[str, str], status: str) -> None:
    """item 32"""
    visit = only(adt(event, PID, segment("PV1", f19="V1^^^HOSP", **pv1)), "Encounter")

    assert visit["status"] == status


def test_a_cancelled_discharge_opens_the_visit_again() -> None:
    search = "Encounter?identifier=urn%3Aoid%3A1.2.3%7CV1"
    present = {
        "resourceType": "Encounter",
        "id": "4",
        "status": "finished",
        "period": {"start": "2026-01-01", "end": "2026-01-02"},
    }

    visit = only(adt("A13", PID, segment("PV1", f2="I", f19="V1^^^HOSP"), known={search: present}), "Encounter")

    assert (visit["status"], visit["period"]) == ("in-progress", {"start": "2026-01-01"})


def test_a_visit_does_not_end_before_it_starts() -> None:
    """R4 per-1"""
    visit = only(adt("A08", PID, segment("PV1", f2="I", f19="V1", f44="20260102", f45="20260101")), "Encounter")

    assert visit["period"] == {"start": "2026-01-02"}


def test_only_events_about_the_person_replace_the_patient() -> None:
    methods = {
        event: entries(adt(event, PID), "Patient")[0]["request"]["method"] for event in ("A01", "A31", "A02", "A11")
    }

    assert methods == {"A01": "PUT", "A31": "PUT", "A02": "POST", "A11": "POST"}


def links(bundle: Bundle) -> dict[str, list[tuple[str, str]]]:
    """Each patient's links: (type, the other's number)."""
    numbers = {entry["fullUrl"]: entry["resource"]["identifier"][0]["value"] for entry in entries(bundle, "Patient")}
    return {
        entry["resource"]["identifier"][0]["value"]: [
            (link["type"], numbers[link["other"]["reference"]]) for link in entry["resource"].get("link", ())
        ]
        for entry in entries(bundle, "Patient")
    }


TWO = ("PID|1||CANARY-1^^^HOSP", "PID|2||CANARY-2^^^HOSP")


@pytest.mark.parametrize("event", ["A18", "A30", "A34", "A36", "A39", "A40"])
def test_a_merged_patient_is_replaced_by_the_surviving_one(event: str) -> None:
    """item 32"""
    bundle = adt(event, "PID|1||CANARY-1^^^HOSP", "MRG|CANARY-2^^^HOSP")

    assert links(bundle) == {"CANARY-1": [("replaces", "CANARY-2")], "CANARY-2": [("replaced-by", "CANARY-1")]}
    assert [entry["resource"].get("active") for entry in entries(bundle, "Patient")] == [None, False]


def test_merges_of_one_message_add_up() -> None:
    """Two into one, and a chain."""
    first, second = "PID|1||CANARY-1^^^HOSP", "PID|2||CANARY-4^^^HOSP"

    bundle = adt("A40", first, "MRG|CANARY-2^^^HOSP", first, "MRG|CANARY-3^^^HOSP", second, "MRG|CANARY-1^^^HOSP")

    assert links(bundle) == {
        "CANARY-1": [("replaces", "CANARY-2"), ("replaces", "CANARY-3"), ("replaced-by", "CANARY-4")],
        "CANARY-2": [("replaced-by", "CANARY-1")],
        "CANARY-3": [("replaced-by", "CANARY-1")],
        "CANARY-4": [("replaces", "CANARY-1")],
    }


def test_a_link_goes_both_ways() -> None:
    assert links(adt("A24", *TWO)) == {"CANARY-1": [("seealso", "CANARY-2")], "CANARY-2": [("seealso", "CANARY-1")]}


def test_an_unlink_takes_away_that_link_only() -> None:
    others = [
        {"other": {"reference": "Patient/9"}, "type": "seealso"},
        {"other": {"reference": "Patient/8"}, "type": "refer"},
    ]
    known = {
        f"Patient?identifier=urn%3Aoid%3A1.2.3%7CCANARY-{number}": {
            "resourceType": "Patient",
            "id": str(other),
            "link": others,
        }
        for number, other in ((1, 7), (2, 9))
    }

    (first, _) = entries(adt("A37", *TWO, known=known), "Patient")

    assert first["resource"]["link"] == others[1:]


def test_a_changed_identifier_stays_findable() -> None:
    bundle = adt("A47", "PID|1||CANARY-2^^^HOSP^MR", "MRG|CANARY-1^^^HOSP^MR")

    (entry,) = entries(bundle, "Patient")
    assert entry["request"]["url"] == PATIENT
    assert [(found["value"], found.get("use")) for found in entry["resource"]["identifier"]] == [
        ("CANARY-2", None),
        ("CANARY-1", "old"),
    ]


@pytest.mark.parametrize(
    ("event", "merge", "kind", "number", "status"),
    [
        ("A41", "MRG|||AC1^^^HOSP", "Account", "AC1", "inactive"),
        ("A44", "MRG|CANARY-9^^^HOSP||AC1^^^HOSP", "Account", "AC1", "unknown"),
        ("A45", "MRG|CANARY-9^^^HOSP||||V1^^^HOSP", "Encounter", "V1", "in-progress"),
    ],
)
def test_an_account_or_visit_follows_its_event(event: str, merge: str, kind: str, number: str, status: str) -> None:
    bundle = adt(event, PID, merge, segment("PV1", f2="I"))

    resource = only(bundle, kind)
    (patient,) = entries(bundle, "Patient")
    subject = resource["subject"][0] if kind == "Account" else resource["subject"]
    assert (resource["identifier"][0]["value"], resource["status"]) == (number, status)
    assert subject == {"reference": patient["fullUrl"]}


def test_a_merged_visit_was_recorded_in_error() -> None:
    bundle = adt("A42", PID, "MRG|||||V1^^^HOSP", segment("PV1", f2="I", f19="V2^^^HOSP"))

    statuses = {
        entry["resource"]["identifier"][0]["value"]: entry["resource"]["status"]
        for entry in entries(bundle, "Encounter")
    }
    assert statuses == {"V2": "in-progress", "V1": "entered-in-error"}
