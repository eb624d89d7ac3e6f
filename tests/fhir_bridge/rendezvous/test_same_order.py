import pytest

from fhir_bridge.rendezvous.same_order import changed, contradicts, enriched, same_patient
from mappings.order import Identifier, PatientIdentity, Priority
from tests.support.builders import an_order


def patient(*identifiers: tuple[str, str], reference: str = "") -> PatientIdentity:
    return PatientIdentity(tuple(Identifier(value, system) for value, system in identifiers), reference=reference)


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
    result = changed(an_order(modality="DX"), an_order(modality="CR", accession=None, priority=Priority.STAT))
    assert (result.modality, result.accession, result.priority) == ("CR", an_order().accession, Priority.STAT)


def test_a_bare_number_in_common_brings_no_identity_along() -> None:
    known = an_order(patient=patient(("CANARY-1", "urn:a")))
    arrived = an_order(patient=patient(("CANARY-1", ""), ("CANARY-99", "urn:other"), reference="Patient/B"))
    assert enriched(known, arrived).patient == known.patient


def test_a_proven_patient_brings_the_reference_along() -> None:
    known = an_order(patient=patient(("CANARY-1", "urn:a")))
    arrived = an_order(patient=patient(("CANARY-1", "urn:a"), reference="Patient/1"))
    assert enriched(known, arrived).patient.reference == "Patient/1"
