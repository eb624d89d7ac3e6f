"""Orders and ADT as transactions: what is written, what stays, what is refused."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hl7_listener.message import Message
from mappings.authority import Authorities, Authority
from mappings.fhir_transaction import searches
from mappings.fhir_validation import validate
from mappings.hl7v2_bundle import bundle_from, convert
from mappings.hl7v2_order_keys import SenderPolicy
from mappings.refusal import MappingRefused

Bundle = dict[str, Any]
SITE = SenderPolicy(Authorities([Authority("HOSP", oid="1.2.3")]), time_zone="Europe/Berlin")
PID = "PID|1||CANARY-1^^^HOSP^MR||CANARY^ZEBRA||20210704|F"
PATIENT = "Patient?identifier=urn%3Aoid%3A1.2.3%7CCANARY-1"


def message(kind: str, *segments: str, sent: str = "20260115080000", control: str = "M1") -> Message:
    header = f"MSH|^~\\&|RIS|HOSP|BRIDGE|AI|{sent}||{kind}|{control}|P|2.5.1"
    return Message("\r".join([header, *segments, ""]).encode())


def order(*segments: str, policy: SenderPolicy = SITE, known: dict[str, Any] | None = None, **header: str) -> Bundle:
    return bundle_from(message("ORM^O01", *segments, **header), policy, known)


def adt(event: str, *segments: str, policy: SenderPolicy = SITE, known: dict[str, Any] | None = None) -> Bundle:
    return bundle_from(message(f"ADT^{event}", *segments), policy, known)


def segment(name: str, **fields: str) -> str:
    """A segment by its fields: `segment("PV1", f2="I")`."""
    numbered = {int(key[1:]): value for key, value in fields.items()}
    return name + "".join("|" + numbered.get(position, "") for position in range(1, max(numbered) + 1))


def entries(bundle: Bundle, kind: str) -> list[dict[str, Any]]:
    return [entry for entry in bundle["entry"] if entry["resource"]["resourceType"] == kind]


def only(bundle: Bundle, kind: str) -> dict[str, Any]:
    (entry,) = entries(bundle, kind)
    resource: dict[str, Any] = entry["resource"]
    return resource


def values(bundle: Bundle, kind: str) -> list[str]:
    return [entry["resource"]["identifier"][0]["value"] for entry in entries(bundle, kind)]


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


def test_the_same_message_makes_the_same_bytes() -> None:
    segments = (PID, "ORC|NW|P1||||||20260115075500", "OBR|1|P1", "AL1|1|DA|^Latex", "OBX|1|ST|1^A^L||x||||||F")

    assert json.dumps(order(*segments)) == json.dumps(order(*segments))


def test_a_message_that_is_sent_again_with_a_new_time_is_the_same() -> None:
    """MSH-7 is in no identifier, and in no element where the event's own time is there (item 9)."""
    segments = (PID, segment("ORC", f1="NW", f2="P1", f9="20260115075500+0100"), "OBR|1|P1")

    assert order(*segments, sent="20260115080000+0100") == order(*segments, sent="20260115093000+0100")


@pytest.mark.parametrize("policy", [SITE, SenderPolicy()], ids=["one has a rule", "no rules"])
def test_one_number_of_two_authorities_is_two_patients(policy: SenderPolicy) -> None:
    """item 28"""
    searched = {
        searches(order(f"PID|1||CANARY-1^^^{authority}", "ORC|NW|P1", policy=policy))[0]
        for authority in ("HOSP", "OTHER")
    }

    assert len(searched) == 2


def test_a_number_without_an_authority_is_the_sending_facilitys() -> None:
    patient = only(order("PID|1||CANARY-1", "ORC|NW|P1"), "Patient")

    assert patient["identifier"] == [{"system": "urn:fhir-bridge:hl7v2:patient:HOSP", "value": "CANARY-1"}]


def test_a_number_with_search_characters_finds_only_itself() -> None:
    """R4 §3.1.1.4.0.1: `,` and `|` in a value are escaped, or the search would ask for several."""
    (patient, *_) = searches(order("PID|1||CANARY,1\\F\\2^^^HOSP^MR", "ORC|NW|P1"))

    assert patient == "Patient?identifier=urn%3Aoid%3A1.2.3%7CCANARY%5C%2C1%5C%7C2"


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


@pytest.mark.parametrize(
    ("kind", "segments", "code", "where"),
    [
        ("ORU^R01", [PID], "bundle.type-unsupported", "MSH^1^9"),
        ("ADT^A43", [PID], "bundle.type-unsupported", "MSH^1^9"),
        ("ORM^O01", [PID], "order.group-missing", "ORC^1"),
        ("ORM^O01", ["ORC|NW|P1"], "order.patient-identifier-missing", "PID^1^3"),
        ("ORM^O01", [PID, "ORC||P1"], "order.control-missing", "ORC^1^1"),
        ("ORM^O01", [PID, "ORC|ZZ|P1"], "order.control-unknown", "ORC^1^1"),
        ("ORM^O01", [PID, "ORC|NW"], "order.key-missing", "ORC^1^2"),
        ("ORM^O01", [PID, 'ORC|NW|""'], "order.key-deleted", "ORC^1^2"),
        ("ORM^O01", [PID, "ORC|NW|P1", "ZDS|x"], "order.study-uid-malformed", "ZDS^1^1"),
        ("ADT^A08", [], "patient.identifier-missing", "PID^1^3"),
        ("ADT^A08", ["PID|1||^^^HOSP"], "patient.identifier-missing", "PID^1^3"),
        ("ADT^A08", ['PID|1||""'], "patient.key-deleted", "PID^1^3"),
        ("ADT^A40", [PID], "patient.prior-identifier-missing", "MRG^1^1"),
        ("ADT^A40", [PID, "MRG|"], "patient.prior-identifier-missing", "MRG^1^1"),
        ("ADT^A40", [PID, "MRG|CANARY-1^^^HOSP"], "bundle.merge-with-itself", "MRG^1^1"),
        ("ADT^A24", [PID], "patient.linked-patient-missing", "PID^2^3"),
        ("ADT^A41", [PID, "MRG|1"], "bundle.account-missing", "MRG^1^3"),
        ("ADT^A45", [PID, "MRG|1"], "bundle.visit-missing", "PV1^1"),
    ],
)
def test_what_cannot_be_mapped_is_refused_with_its_place(kind: str, segments: list[str], code: str, where: str) -> None:
    with pytest.raises(MappingRefused) as caught:
        convert(message(kind, *segments), SITE)

    assert (caught.value.code, caught.value.where) == (code, where)


def test_the_trace_names_fields_and_rules_and_no_values() -> None:
    found = convert(
        message("ORM^O01", PID, "ORC|CA|SECRET-1", segment("OBR", f4="SECRET-4", f31="^SECRET")), SITE
    ).trace

    assert ("Patient[1].gender", "PID^1^8: administrative_sex.csv") in found
    assert ("ServiceRequest[1].status", "ORC^1^1: order_control_status.csv, an event") in found
    assert not any(value in str(found) for value in ("SECRET", "CANARY", "2021"))


def test_a_code_without_a_row_is_left_out_and_noted() -> None:
    found = convert(message("ADT^A08", "PID|1||CANARY-1^^^HOSP|||||SECRET", "AL1|1|SECRET|^Latex|SECRET"), SITE)

    assert "gender" not in only(found.bundle, "Patient")
    assert only(found.bundle, "AllergyIntolerance").keys().isdisjoint({"category", "criticality"})
    assert ("Patient[1].gender", "PID^1^8: not in table 0001: left out") in found.trace


ANY_FIELD = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\x00|"), max_size=12)
ANY_SEGMENT = st.builds(
    lambda name, fields: "|".join([name, *fields]),
    st.sampled_from(["PID", "PV1", "ORC", "OBR", "OBX", "NTE", "AL1", "DG1", "IPC", "TQ1", "MRG"]),
    st.lists(
        st.one_of(st.just(""), st.sampled_from(["NW", "CA", "1", "P1^HOSP", "20260115", '""', "1.2.3"]), ANY_FIELD),
        max_size=20,
    ),
)


@settings(deadline=None)  # the first validation imports for seconds
@given(st.sampled_from(["ORM^O01", "ADT^A08", "ADT^A40"]), st.lists(ANY_SEGMENT, max_size=6))
def test_whatever_stands_in_the_fields_a_bundle_is_valid_or_refused(kind: str, segments: list[str]) -> None:
    try:
        bundle = bundle_from(message(kind, "PID|1||CANARY-1^^^HOSP", *segments), SITE)
    except MappingRefused:
        return
    validate(bundle)
