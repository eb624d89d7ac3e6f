from dataclasses import replace
from datetime import date

import pytest

from fhir_bridge.rendezvous.same_order import (
    changed,
    clashes,
    contradicts,
    enriched,
    needs_restart,
    restated,
    same_patient,
)
from mappings.code import Code
from mappings.order import Identifier, PatientIdentity, Priority
from tests.support.builders import an_order


def patient(*identifiers: tuple[str, str], reference: str = "") -> PatientIdentity:
    return PatientIdentity(tuple(Identifier(value, system) for value, system in identifiers), reference=reference)


def of(namespace: str, universal_id: str = "") -> PatientIdentity:
    return PatientIdentity((Identifier("CANARY-1", namespace=namespace, universal_id=universal_id),))


@pytest.mark.parametrize(
    ("known", "arrived", "expected"),
    [
        (patient(("CANARY-1", "urn:a")), patient(("CANARY-1", "urn:a")), True),
        (patient(("CANARY-1", "urn:a")), patient(("CANARY-1", "")), True),  # unknown on one side
        (
            patient(("CANARY-1", "urn:a")),
            patient(("CANARY-1", "urn:b")),
            False,
        ),  # same MRN, two authorities: two patients
        (of("HOSP"), of("CLINIC"), False),  # of two authorities without a rule, too
        (of("HOSP"), of("HOSP"), True),
        (of("HOSP"), patient(("CANARY-1", "urn:a")), True),  # a rule that is missing says nothing
        (of("", "a.example"), of("", "b.example"), False),
        (patient(("CANARY-1", "urn:a")), patient(("CANARY-2", "urn:a")), False),
        (patient(("CANARY-1", "urn:a"), ("X", "urn:b")), patient(("X", "urn:b")), True),
        (patient(reference="Patient/1"), patient(reference="Patient/1"), True),
        (patient(), patient(), False),  # nothing known is no agreement
        # the same insurance number, but two numbers in one hospital's system: two patients
        (patient(("CANARY-1", "urn:a"), ("I", "urn:i")), patient(("CANARY-2", "urn:a"), ("I", "urn:i")), False),
        (
            patient(("CANARY-1", "urn:a"), reference="Patient/1"),
            patient(("CANARY-2", "urn:a"), reference="Patient/1"),
            False,
        ),
    ],
)
def test_whether_two_arrivals_name_the_same_patient(
    known: PatientIdentity, arrived: PatientIdentity, expected: bool
) -> None:
    assert same_patient(known, arrived) is expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, False),
        ({"accession": Identifier("CANARY-OTHER")}, True),
        ({"accession": None}, False),
        ({"placer": Identifier("CANARY-OTHER", "urn:oid:1.2.3.5")}, True),
        ({"placer": Identifier("CANARY-OTHER", "urn:other")}, False),  # another system's number says nothing
        ({"study_instance_uid": "1.2.3"}, False),  # the known order has none
    ],
)
def test_whether_two_arrivals_contradict_each_other(changes: dict[str, object], expected: bool) -> None:
    assert contradicts(an_order(), an_order(**changes)) is expected  # type: ignore[arg-type]


def test_enrichment_adds_and_never_overwrites() -> None:
    known = an_order(modality="DX")
    arrived = an_order(
        modality="CR", service_request="ServiceRequest/9", study_instance_uid="1.2.3", priority=Priority.STAT
    )
    result = enriched(known, arrived)
    assert (result.modality, result.service_request, result.study_instance_uid) == ("DX", "ServiceRequest/9", "1.2.3")
    assert result.priority is Priority.ROUTINE


def test_a_change_overwrites_what_it_says_and_keeps_the_rest() -> None:
    arrived = an_order(modality="CR", accession=None, priority=Priority.STAT, trace=(("priority", "TQ1^1^9"),))
    result = changed(an_order(modality="DX"), arrived)
    assert (result.modality, result.accession, result.priority) == ("CR", an_order().accession, Priority.STAT)


def test_a_change_without_a_priority_keeps_the_one_that_was() -> None:
    """Item 23: empty means no change."""
    assert changed(an_order(priority=Priority.STAT), an_order()).priority is Priority.STAT


def test_a_change_by_hl7_v2_keeps_birth_date_and_sex() -> None:
    """Item 31: only ADT overwrites demographics."""
    arrived = replace(an_order().patient, birth_date=date(1999, 9, 9), sex="male")
    assert changed(an_order(), an_order(patient=arrived)).patient == an_order().patient


def test_a_change_that_read_the_servers_patient_takes_birth_date_and_sex_from_there() -> None:
    arrived = replace(an_order().patient, birth_date=date(1999, 9, 9), sex="male", reference="Patient/1")
    result = changed(an_order(), an_order(patient=arrived)).patient
    assert (result.birth_date, result.sex) == (date(1999, 9, 9), "male")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, False),
        ({"priority": Priority.STAT}, False),
        ({"reason": "cough"}, False),
        ({"filler": Identifier("CANARY-F1", "urn:f")}, False),
        ({"procedure": Code("XCHEST", "urn:site:procedures", "CHEST, as they now spell it")}, False),
        ({"procedure": Code("XHAND", "urn:site:procedures", "Hand")}, True),
        ({"modality": "CT"}, True),
        ({"study_instance_uid": "1.2.3"}, True),
        ({"accession": Identifier("CANARY-A9", "", "ACSN")}, True),
        ({"patient": replace(an_order().patient, sex="male")}, True),
    ],
)
def test_what_of_a_change_makes_what_was_computed_worthless(changes: dict[str, object], expected: bool) -> None:
    assert needs_restart(an_order(), an_order(**changes)) is expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"part": "2"}, True),
        ({"part": ""}, False),
        ({"part": "", "procedure": Code("XHAND", "urn:site:procedures")}, True),
        ({"part": "", "procedure": Code("36643-5", "http://loinc.org")}, False),  # another code system says nothing
        ({"part": "", "procedure": None}, False),
    ],
)
def test_orders_under_one_number_are_told_apart(changes: dict[str, object], expected: bool) -> None:
    assert contradicts(an_order(part="1"), an_order(**changes)) is expected  # type: ignore[arg-type]


def test_a_shared_filler_number_is_no_clash_where_the_order_has_another_key() -> None:
    filler = Identifier("CANARY-F1", "urn:f", "FILL")
    known, arrived = an_order("1", filler=filler), an_order("2", filler=filler)
    assert (clashes(known, arrived), clashes(known, replace(arrived, placer=None, accession=None))) == (False, True)


def test_a_bare_number_in_common_brings_no_identity_along() -> None:
    known = an_order(patient=patient(("CANARY-1", "urn:a")))
    arrived = an_order(patient=patient(("CANARY-1", ""), ("CANARY-99", "urn:other"), reference="Patient/B"))
    assert enriched(known, arrived).patient == known.patient


def test_a_proven_patient_brings_the_reference_along() -> None:
    known = an_order(patient=patient(("CANARY-1", "urn:a")))
    arrived = an_order(patient=patient(("CANARY-1", "urn:a"), reference="Patient/1"))
    assert enriched(known, arrived).patient.reference == "Patient/1"


def test_two_service_requests_are_two_orders_and_one_is_one() -> None:
    nine = an_order("1", service_request="ServiceRequest/9")
    same = an_order("2", service_request="ServiceRequest/9")
    other = an_order("1", service_request="ServiceRequest/10")
    assert (contradicts(nine, same), contradicts(nine, other)) == (False, True)


def test_a_restated_order_keeps_only_what_its_request_never_said() -> None:
    said = (("reason", "ServiceRequest.reasonCode"), ("modality", "ServiceRequest.orderDetail"))
    known = an_order("1", reason="cough", trace=said, requested_procedure_id="7")
    again = restated(known, an_order("1", reason="", modality="", placer=None))
    assert (again.reason, again.modality, again.placer, again.requested_procedure_id) == ("", "", known.placer, "7")
