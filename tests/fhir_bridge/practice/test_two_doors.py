"""One practice order, as the RIS sends it and as the FHIR server holds it, is one order to the bridge."""

from datetime import UTC, datetime

import pytest

from fhir_bridge.practice import patients
from fhir_bridge.practice.ris import order_message
from fhir_bridge.practice.story import FILLER_SYSTEM, PATIENT_SYSTEM, PLACER_SYSTEM, STORIES, Step, Structure
from fhir_bridge.rendezvous.same_order import contradicts, same_patient
from hl7_listener.message import Message
from mappings.authority import Authorities, Authority
from mappings.fhir_order import order_from
from mappings.hl7v2_order import SenderPolicy, orders_from
from mappings.order import Order, OrderControl

AT = datetime(2026, 11, 2, 9, 15, tzinfo=UTC)
AUTHORITIES = Authorities(
    Authority(name, system=system)
    for name, system in (("HOSP", PATIENT_SYSTEM), ("CPOE", PLACER_SYSTEM), ("RIS", FILLER_SYSTEM))
)
SENT = [story for story in STORIES if Step.SEND_NEW in story.steps]


def by_hl7(story, control: str = "NW") -> Order:
    message = Message(order_message(story, control, "PRACTICE0001", AT))
    (order,) = orders_from(message, SenderPolicy(authorities=AUTHORITIES))
    return order


def by_fhir(story) -> Order:
    return order_from(patients.service_request(story, AT), patients.history(story)[0], AUTHORITIES)


@pytest.mark.parametrize("story", SENT, ids=lambda story: story.name)
def test_both_doors_lead_to_one_order_of_one_patient(story) -> None:
    sent, placed = by_hl7(story), by_fhir(story)
    assert same_patient(sent.patient, placed.patient)
    assert not contradicts(sent, placed)
    assert set(sent.keys()) & set(placed.keys())
    for one, other in ((sent.placer, placed.placer), (sent.filler, placed.filler)):
        assert (one.system, one.value) == (other.system, other.value)
    assert (sent.patient.birth_date, sent.patient.sex) == (placed.patient.birth_date, placed.patient.sex)


@pytest.mark.parametrize("story", SENT, ids=lambda story: story.name)
def test_the_study_is_named_but_by_omg(story) -> None:
    named = "" if story.structure is Structure.OMG else story.study_instance_uid
    assert by_hl7(story).study_instance_uid == named


@pytest.mark.parametrize("story", SENT, ids=lambda story: story.name)
def test_a_cancel_is_understood(story) -> None:
    cancel = by_hl7(story, "CA")
    assert cancel.control is OrderControl.CANCEL
    assert cancel.keys() == by_hl7(story).keys()
