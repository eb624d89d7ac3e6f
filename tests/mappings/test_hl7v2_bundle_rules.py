"""What holds for every bundle: the same bytes, whose numbers, refusals, trace, validity."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mappings.fhir_transaction import searches
from mappings.fhir_validation import validate
from mappings.hl7v2_bundle import bundle_from, convert
from mappings.hl7v2_order_keys import SenderPolicy
from mappings.refusal import MappingRefused
from tests.support.bundles import PID, SITE, message, only, order, segment


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
