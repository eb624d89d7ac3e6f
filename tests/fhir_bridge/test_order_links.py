"""Orders that belong together: one replaces another, one is the other's child, several stand under one number (items 26, 27)."""

import pytest

from fhir_bridge.job import Status
from mappings.authority import Authorities, Authority
from mappings.hl7v2_order import SenderPolicy
from mappings.refusal import MappingRefused
from tests.support.frozen_clock import FrozenClock
from tests.support.order_desk import OrderDesk, message, segments

RIS = SenderPolicy(Authorities([Authority("RIS", system="urn:ris")]))


@pytest.fixture
def desk(clock: FrozenClock) -> OrderDesk:
    return OrderDesk(clock)


def procedures(desk: OrderDesk) -> list[str]:
    return [job.order.procedure.code if job.order.procedure else "" for job in desk.jobs()]


# order control: RP, RQ, RU with RO
@pytest.mark.parametrize(("control", "answer"), [("RP", "RQ"), ("RQ", "OK"), ("RU", "OK")])
@pytest.mark.parametrize("status", [Status.READY, Status.RUNNING, Status.WAITING, Status.ON_HOLD, Status.HELD])
def test_a_replaced_order_is_cancelled_and_linked_with_the_one_that_replaces_it(
    desk: OrderDesk, control: str, answer: str, status: Status
) -> None:
    old = desk.bring_to(status)
    replacing = segments("RO", placer="CANARY-P2^RIS", accession="CANARY-A2")
    taken = desk.take(message(segments(control), replacing))
    _, new = desk.jobs()
    assert [(job.status, job.reason) for job in desk.jobs()] == [
        (Status.CANCELLED, "order.replaced"),
        (Status.READY, ""),
    ]
    assert ([t.answer for t in taken], desk.timeline(0)[-1], desk.timeline(1)[-1]) == (
        [answer, "OK"],
        ("replaced-by", new.id),
        ("replaces", old.id),
    )


# order control: RP with RO
def test_two_orders_may_be_replaced_by_one(desk: OrderDesk) -> None:
    desk.order("NW")
    desk.order("NW", placer="CANARY-P2^RIS", accession="CANARY-A2")
    replaced = [segments("RP"), segments("RP", placer="CANARY-P2^RIS", accession="CANARY-A2")]
    desk.take(message(*replaced, segments("RO", placer="CANARY-P3^RIS", accession="CANARY-A3")))
    events = [event for event, _ in desk.timeline(2)]
    assert (events.count("replaces"), desk.statuses()[:2]) == (2, [Status.CANCELLED] * 2)


# order control: RP with RO
def test_a_replacement_that_comes_again_changes_nothing(desk: OrderDesk) -> None:
    desk.order("NW")
    text = message(segments("RP"), segments("RO", placer="CANARY-P2^RIS", accession="CANARY-A2"))
    for _ in range(2):
        desk.take(text)
    assert desk.statuses() == [Status.CANCELLED, Status.READY]


# order control: RP
def test_a_finished_order_that_is_replaced_stays_finished(desk: OrderDesk) -> None:
    desk.bring_to(Status.DONE)
    taken = desk.order("RP")
    assert (taken.answer, taken.warning, desk.statuses()) == ("UM", "order.cancel-too-late", [Status.DONE])


# order control: CH, PA: ORC-8
def test_a_child_order_and_its_parent_name_each_other(desk: OrderDesk) -> None:
    desk.order("NW")
    desk.order("NW", placer="CANARY-P2^RIS", accession="CANARY-A2")
    desk.order("CH", placer="CANARY-P2^RIS", accession="CANARY-A2", parent="CANARY-P1&RIS^")
    parent, child = desk.jobs()
    assert ("parent-of", child.id) in desk.timeline(0)
    assert ("child-of", parent.id) in desk.timeline(1)


# order control: CH
def test_a_child_order_that_we_do_not_know_is_noted_with_its_parent_and_makes_no_job(desk: OrderDesk) -> None:
    desk.order("NW")
    taken = desk.order("CH", placer="CANARY-P2^RIS", accession="CANARY-A2", parent="CANARY-P1&RIS^")
    assert (taken.job, len(desk.jobs()), desk.timeline()[-1]) == ("", 1, ("parent-of", "order.unknown-child"))


# item 26
def test_two_obr_without_numbers_of_their_own_under_one_orc_are_two_jobs(desk: OrderDesk) -> None:
    text = message("ORC|NW|CANARY-P1^RIS\rOBR|1|||XCHEST^Chest^L\rOBR|2|||XHAND^Hand^L")
    first, second = (desk.take(text) for _ in range(2))
    assert ([t.job for t in first], procedures(desk)) == ([t.job for t in second], ["XCHEST", "XHAND"])


# item 26
def test_a_cancel_of_the_number_cancels_all_orders_under_it(desk: OrderDesk) -> None:
    desk.take(message("ORC|NW|CANARY-P1^RIS\rOBR|1|||XCHEST^Chest^L\rOBR|2|||XHAND^Hand^L"))
    (taken,) = desk.take(message("ORC|CA|CANARY-P1^RIS"))
    assert (desk.statuses(), list(taken.jobs)) == ([Status.CANCELLED] * 2, [job.id for job in desk.jobs()])


# item 26
def test_a_cancel_of_one_procedure_under_the_number_cancels_that_one(desk: OrderDesk) -> None:
    desk.take(message("ORC|NW|CANARY-P1^RIS\rOBR|1|||XCHEST^Chest^L\rOBR|2|||XHAND^Hand^L"))
    desk.take(message("ORC|CA|CANARY-P1^RIS\rOBR|1|||XHAND^Hand^L"))
    assert desk.statuses() == [Status.READY, Status.CANCELLED]


THREE = "ORC|NW|CANARY-P1^RIS\rOBR|1|||XCHEST^Chest^L\rOBR|2|||XHAND^Hand^L\rOBR|3|||XFOOT^Foot^L"


# item 26: the place of an OBR in a message is its place in no other message
def test_a_cancel_of_two_procedures_under_the_number_spares_the_third(desk: OrderDesk) -> None:
    desk.take(message(THREE))
    desk.take(message("ORC|CA|CANARY-P1^RIS\rOBR|1|||XHAND^Hand^L\rOBR|2|||XFOOT^Foot^L"))
    assert desk.statuses() == [Status.READY, Status.CANCELLED, Status.CANCELLED]


# item 26
def test_further_procedures_under_a_known_number_are_further_orders(desk: OrderDesk) -> None:
    desk.take(message(THREE))
    desk.take(message("ORC|NW|CANARY-P1^RIS\rOBR|1|||XKNEE^Knee^L\rOBR|2|||XHAND^Hand^L"))
    assert procedures(desk) == ["XCHEST", "XHAND", "XFOOT", "XKNEE"]


# item 27: one accession number for several orders
@pytest.mark.parametrize(
    ("procedure", "expected"),
    [
        ("", [Status.CANCELLED] * 2),
        ("XHAND^Hand^L", [Status.READY, Status.CANCELLED]),
        ("XFOOT^Foot^L", [Status.READY, Status.READY, Status.CANCELLED]),  # of none that we know
    ],
)
def test_a_cancel_of_an_accession_number_cancels_what_it_names_under_it(
    desk: OrderDesk, procedure: str, expected: list[Status]
) -> None:
    desk.order("NW")
    desk.order("NW", placer="CANARY-P2^RIS", procedure="XHAND^Hand^L")
    desk.order("CA", placer="", procedure=procedure)
    assert desk.statuses() == expected


# item 27
def test_a_change_of_an_accession_number_that_does_not_say_of_which_order_is_refused(desk: OrderDesk) -> None:
    desk.order("NW")
    desk.order("NW", placer="CANARY-P2^RIS", procedure="XHAND^Hand^L")
    with pytest.raises(MappingRefused, match=r"order\.ambiguous"):
        desk.order("XO", placer="", procedure="XFOOT^Foot^L")
    desk.order("XO", placer="", procedure="XHAND^Hand^L", priority="S")
    assert [job.priority for job in desk.jobs()] == ["routine", "stat"]


# item 27
def test_a_cancel_of_an_accession_number_spares_orders_under_the_same_filler_number(desk: OrderDesk) -> None:
    desk.order("NW")
    desk.order("NW", placer="CANARY-P2^RIS", accession="", filler="0")
    desk.order("CA", placer="", filler="0")
    assert desk.statuses() == [Status.CANCELLED, Status.READY]


# order control: XO of an order number whose authority has no rule
def test_a_change_corrects_the_accession_number_of_the_order_that_bears_its_number(desk: OrderDesk) -> None:
    desk.order("NW")
    desk.order("XO", accession="CANARY-A2")
    assert [job.order.accession and job.order.accession.value for job in desk.jobs()] == ["CANARY-A2"]


# item 26
def test_a_change_that_does_not_say_which_order_under_the_number_is_refused(desk: OrderDesk) -> None:
    desk.take(message("ORC|NW|CANARY-P1^RIS\rOBR|1|||XCHEST^Chest^L\rOBR|2|||XHAND^Hand^L"), policy=RIS)
    with pytest.raises(MappingRefused) as caught:
        desk.take(message("ORC|XO|CANARY-P1^RIS\rOBR|1|||XFOOT^Foot^L"), policy=RIS)
    assert (caught.value.code, caught.value.where) == ("order.ambiguous", "OBR^1^4")


# item 26
def test_several_patients_of_one_message_keep_their_orders(desk: OrderDesk) -> None:
    other = "PID|2||CANARY-2^^^HOSP^MR\r" + segments(placer="CANARY-P2^RIS", accession="CANARY-A2")
    desk.take(message(segments(), other))
    assert [job.order.patient.identifiers[0].value for job in desk.jobs()] == ["CANARY-1", "CANARY-2"]


# item 27
def test_a_filler_number_with_its_authority_is_key_enough(desk: OrderDesk) -> None:
    first, second = (desk.order("NW", placer="", accession="", filler="CANARY-F1^PACS") for _ in range(2))
    assert (first.job == second.job, len(desk.jobs())) == (True, 1)


# item 27
def test_a_shared_filler_number_of_two_patients_is_no_conflict_where_other_keys_differ(desk: OrderDesk) -> None:
    desk.order("NW", filler="0^PACS")
    desk.order("NW", mrn="CANARY-2", placer="CANARY-P2^RIS", accession="CANARY-A2", filler="0^PACS")
    assert desk.statuses() == [Status.READY, Status.READY]


# item 27
def test_a_conflict_of_patients_is_pointed_out(desk: OrderDesk) -> None:
    desk.order("NW")
    warnings = [desk.order("NW", mrn="CANARY-2", placer="CANARY-P2^RIS").warning for _ in range(2)]
    assert warnings == ["order.patient-conflict", "order.patient-conflict"]


# item 28: the same number of two authorities is two patients, whether or not the site has rules for them
@pytest.mark.parametrize("keys", [{"accession": ""}, {"placer": ""}], ids=["placer", "accession"])
def test_a_cancel_for_the_same_number_of_another_authority_is_refused(desk: OrderDesk, keys: dict[str, str]) -> None:
    desk.order("NW", **keys)
    with pytest.raises(MappingRefused, match=r"order\.patient-conflict"):
        desk.take(message(segments("CA", **keys)).replace("^^^HOSP", "^^^CLINIC"))
    assert desk.statuses() == [Status.READY]


# item 27
def test_two_orders_of_a_disputed_patient_under_one_accession_number_stay_two(desk: OrderDesk) -> None:
    desk.order("NW")
    for placer in ("CANARY-P2^RIS", "CANARY-P3^RIS"):
        desk.order("NW", mrn="CANARY-2", placer=placer)
    desk.order("CA", mrn="CANARY-2", placer="CANARY-P3^RIS")
    assert desk.statuses() == [Status.READY, Status.HELD, Status.CANCELLED]


# item 28
def test_disputes_of_two_patients_with_the_same_number_stay_two(desk: OrderDesk) -> None:
    desk.order("NW", mrn="CANARY-9")
    for authority in ("HOSP", "CLINIC"):
        desk.take(message(segments()).replace("^^^HOSP", f"^^^{authority}"))
    assert desk.statuses() == [Status.READY, Status.HELD, Status.HELD]


# order control: XO of an order whose patient is disputed
def test_a_change_does_not_settle_whose_order_it_is(desk: OrderDesk) -> None:
    desk.order("NW")
    for control, procedure in (("NW", "XCHEST^Chest^L"), ("XO", "XHAND^Hand^L")):
        desk.order(control, mrn="CANARY-2", placer="CANARY-P2^RIS", procedure=procedure)
    assert desk.statuses() == [Status.READY, Status.HELD]
