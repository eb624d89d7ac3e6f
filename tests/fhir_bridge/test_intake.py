"""Messages into orders and jobs, on the in-memory store. The answers are those of the table in docs/architecture.md."""

from dataclasses import replace

import pytest

from fhir_bridge.adapters.in_memory.journal import InMemoryJournal
from fhir_bridge.adapters.in_memory.store import InMemoryStore
from fhir_bridge.intake import Intake, IntakePolicy
from fhir_bridge.job import Status
from fhir_bridge.judgement import take
from fhir_bridge.senders import SenderRules, Senders
from hl7_listener.acknowledgement import Outcome
from hl7_listener.connection import Received
from hl7_listener.header import read_header
from hl7_listener.refusal import MessageRefused
from mappings.authority import Authorities, Authority
from mappings.hl7v2_order import SenderPolicy
from tests.support.frozen_clock import FrozenClock

RULES = SenderRules(mapping=SenderPolicy(Authorities(()), time_zone="UTC"))


class Door:
    """One listener, its journal, and intake behind it."""

    def __init__(self, clock: FrozenClock) -> None:
        self.clock, self.store, self.journal = clock, InMemoryStore(clock), InMemoryJournal(clock)

    def take(self, text: str | bytes, *, oversize: bool = False, rules: SenderRules = RULES) -> Outcome:
        """Judge, write down, apply; the answer that leaves."""
        payload = text if isinstance(text, bytes) else text.encode()
        try:
            header, refusal = read_header(payload), None
        except MessageRefused as refused:
            header, refusal = None, refused
        received = Received("mllp", "127.0.0.1", payload, header, refusal, (), oversize)
        senders = Senders(rules)
        with self.journal.transaction() as page:
            taken = take(received, page, senders)
        Intake(self.journal, self.store, IntakePolicy(senders), self.clock, lambda _: None).apply_next()
        return taken.outcome

    def effects(self) -> list[str]:
        """The application-level answers of intake, in the order of the messages."""
        kept = self.store.effects([message.id for message in self.journal.messages()])
        return [kept[number].outcome.application_code or kept[number].outcome.code for number in sorted(kept)]

    def statuses(self) -> list[Status]:
        return [job.status for job in reversed(self.store.jobs())]

    def reasons(self) -> list[str]:
        return [job.reason for job in reversed(self.store.jobs())]


@pytest.fixture
def door(clock: FrozenClock) -> Door:
    return Door(clock)


def an_orm(
    control_id: str = "M1",
    control: str = "NW",
    *,
    placer: str = "CANARY-P1",
    accession: str = "CANARY-A1",
    mrn: str = "CANARY-1",
    sent: str = "20260302093000",
    priority: str = "",
    version: str = "2.5.1",
    processing: str = "P",
    message_type: str = "ORM^O01^ORM_O01",
) -> str:
    return "\r".join(
        (
            rf"MSH|^~\&|RIS|HOSP|BRIDGE||{sent}||{message_type}|{control_id}|{processing}|{version}",
            f"PID|1||{mrn}^^^HOSP^MR||CANARY^ZEBRA||20220304|F",
            f"ORC|{control}|{placer}^RIS",
            f"OBR|1|{placer}^RIS||XCHEST^Chest^L|{priority}|||||||||||||{accession}",
            "",
        )
    )


def test_a_new_order_is_acknowledged_and_makes_one_job(door: Door) -> None:
    assert (door.take(an_orm()), door.statuses()) == (Outcome("AA"), [Status.READY])


def test_the_same_message_again_gets_the_same_answer_and_no_second_job(door: Door) -> None:
    answers = [door.take(an_orm()) for _ in range(2)]
    assert (answers, len(door.store.jobs())) == ([Outcome("AA"), Outcome("AA")], 1)


def test_a_resender_may_stamp_the_message_anew(door: Door) -> None:
    door.take(an_orm(sent="20260302093000"))
    door.take(an_orm(sent="20260302094500"))
    assert len(door.journal.messages()) == 1  # known by its content without MSH-7: not even stored again


def test_a_control_id_used_again_for_another_order_is_another_message(door: Door) -> None:
    door.take(an_orm())
    door.take(an_orm(placer="CANARY-P2", accession="CANARY-A2"))
    assert len(door.store.jobs()) == 2


def test_the_same_order_in_another_message_touches_the_same_job(door: Door) -> None:
    door.take(an_orm("M1"))
    assert (door.take(an_orm("M2")).code, len(door.store.jobs())) == ("AA", 1)


@pytest.mark.parametrize(
    ("message", "error_code", "location"),
    [
        ("hello", 100, "MSH"),
        ("", 100, "MSH"),
        (an_orm(message_type="SIU^S12"), 200, "MSH^1^9"),
        (an_orm(message_type="ORM^O02"), 201, "MSH^1^9"),
        (an_orm(processing="T"), 202, "MSH^1^11"),
        (an_orm(version="3.0"), 203, "MSH^1^12"),
        (an_orm(control_id=""), 101, "MSH^1^10"),
    ],
    ids=["garbage", "empty", "type", "event", "processing", "version", "no-id"],
)
def test_what_cannot_be_taken_is_rejected_kept_and_makes_no_job(
    door: Door, message: str, error_code: int, location: str
) -> None:
    outcome = door.take(message)
    assert (outcome.code, outcome.error_code, outcome.location) == ("AR", error_code, location)
    assert ([m.entry.outcome.code for m in door.journal.messages()], door.store.jobs()) == (["AR"], ())


def test_an_oversize_message_is_rejected_with_207(door: Door) -> None:
    outcome = door.take(an_orm(), oversize=True)
    assert (outcome.code, outcome.error_code) == ("AR", 207)


@pytest.mark.parametrize(
    ("message", "error_code", "where"),
    [
        (an_orm(mrn=""), 101, "PID^1^3"),
        (an_orm(placer="", accession=""), 101, "ORC^1^2"),
        (an_orm(control="QQ"), 103, "ORC^1^1"),
    ],
    ids=["no-patient", "no-key", "unknown-control"],
)
def test_content_the_sender_must_mend_is_answered_ae_with_its_place(
    door: Door, message: str, error_code: int, where: str
) -> None:
    outcome = door.take(message)
    assert (outcome.code, outcome.error_code, outcome.location) == ("AE", error_code, where)


def test_a_message_that_would_hold_up_all_others_is_refused_at_the_door(door: Door) -> None:
    numbers = "~".join(f"CANARY-{n}^^^HOSP" for n in range(201))
    orders = "".join(f"ORC|NW|CANARY-P{n}^RIS\r" for n in range(200))
    answers = [door.take(an_orm("M1", mrn=numbers)), door.take(an_orm("M2") + orders)]
    assert [answer.application_code for answer in answers] == ["message.too-many-parts"] * 2


def test_a_merge_at_the_end_of_time_has_its_effect(door: Door) -> None:
    for number, recorded in enumerate(("00010101000000+1400", "99991231235959-1400")):
        header = rf"MSH|^~\&|EMR|HOSP|BRIDGE||20260302||ADT^A40|M{number}|P|2.5.1"
        door.take("\r".join((header, f"EVN||{recorded}", "PID|1||CANARY-2^^^HOSP", f"MRG|CANARY-1{number}^^^HOSP", "")))
    assert door.effects() == ["AA", "AA"]


def test_a_refused_message_is_judged_again_when_it_comes_again(door: Door) -> None:
    answers = [door.take(an_orm(mrn="")).code for _ in range(2)]
    assert (answers, len(door.journal.messages())) == (["AE", "AE"], 1)


def test_no_answer_holds_a_value_of_the_message(door: Door) -> None:
    outcomes = [door.take(an_orm(control="QQ")), door.take(an_orm(mrn=""))]
    assert "CANARY" not in repr(outcomes)


def test_an_acknowledgement_is_never_acknowledged(door: Door) -> None:
    assert door.take("MSH|^~\\&|RIS|HOSP|||20260302||ACK|M9|P|2.5.1\rMSA|AA|X\r") == Outcome("")


@pytest.mark.parametrize("control", ["CA", "DC"])
def test_a_cancel_ends_a_waiting_job(door: Door, control: str) -> None:
    door.take(an_orm("M1"))
    assert (door.take(an_orm("M2", control)).code, door.statuses()) == ("AA", [Status.CANCELLED])


def test_a_cancel_before_its_order_keeps_the_late_order_from_starting(door: Door) -> None:
    door.take(an_orm("M1", "CA"))
    door.take(an_orm("M2", "NW"))
    assert (door.statuses(), door.reasons()) == ([Status.CANCELLED], ["order.cancelled-before-it-came"])


def test_a_second_cancel_changes_nothing(door: Door) -> None:
    for number, control in enumerate(("NW", "CA", "CA")):
        outcome = door.take(an_orm(f"M{number}", control))
    assert (outcome.code, door.statuses()) == ("AA", [Status.CANCELLED])


def test_a_change_updates_the_order(door: Door) -> None:
    door.take(an_orm("M1"))
    door.take(an_orm("M2", "XO", priority="S"))
    assert [job.priority for job in door.store.jobs()] == ["stat"]


def test_a_change_before_its_order_creates_it(door: Door) -> None:
    door.take(an_orm("M1", "XO"))
    assert door.statuses() == [Status.READY]


def test_the_same_accession_number_for_another_patient_is_held_not_guessed(door: Door) -> None:
    door.take(an_orm("M1"))
    door.take(an_orm("M2", mrn="CANARY-2", placer="CANARY-P2"))
    assert (door.statuses(), door.reasons()[1]) == ([Status.READY, Status.HELD], "order.patient-conflict")


def test_a_cancel_for_another_patient_is_refused(door: Door) -> None:
    door.take(an_orm("M1"))
    door.take(an_orm("M2", "CA", mrn="CANARY-2"))
    assert (door.effects(), door.statuses()) == (["AA", "order.patient-conflict"], [Status.READY])


def test_one_placer_number_with_two_accession_numbers_is_two_orders(door: Door) -> None:
    door.take(an_orm("M1", accession="CANARY-A1"))
    door.take(an_orm("M2", accession="CANARY-A2"))
    assert door.statuses() == [Status.READY, Status.READY]


def test_an_order_without_effect_is_acknowledged_and_noted(door: Door) -> None:
    door.take(an_orm("M1"))
    door.take(an_orm("M2", "SC"))
    events = [entry.event for entry in door.store.history(door.store.jobs()[0].id)]
    assert (events, door.statuses()) == (["received", "received"], [Status.READY])


def test_the_trace_says_which_field_an_element_came_from(door: Door) -> None:
    door.take(an_orm("M1"))
    assert ("accession", "OBR^1^18") in door.store.effects([1])[1].trace


def test_one_bad_order_of_a_message_leaves_none_of_it(door: Door) -> None:
    two = an_orm() + "ORC|QQ|CANARY-P2^RIS\rOBR|1|CANARY-P2^RIS||XCHEST^Chest^L\r"
    assert (door.take(two).code, door.store.jobs()) == ("AE", ())


@pytest.mark.parametrize(("charset", "answer"), [("", "AE"), ("cp1252", "AA")])
def test_bytes_of_an_undeclared_charset_are_read_only_where_the_site_says_how(
    door: Door, charset: str, answer: str
) -> None:
    message = an_orm().replace("^ZEBRA", "^ZÉBRA").encode("cp1252")
    assert door.take(message, rules=replace(RULES, charset_default=charset)).code == answer


def test_a_cancel_that_overtakes_is_seen_as_a_job(door: Door) -> None:
    door.take(an_orm("M1", "CA"))
    assert (door.statuses(), door.reasons()) == ([Status.CANCELLED], ["order.cancelled-early"])


def test_an_early_cancel_is_not_the_cancel_of_another_order_under_the_same_accession_number(door: Door) -> None:
    door.take(an_orm("M1", "CA", placer="CANARY-P2"))
    door.take(an_orm("M2", "NW", placer="CANARY-P1"))
    assert door.statuses() == [Status.CANCELLED, Status.READY]


def test_an_early_cancel_is_not_the_cancel_of_another_patients_order(door: Door) -> None:
    door.take(an_orm("M1", "CA", mrn="CANARY-1"))
    door.take(an_orm("M2", "NW", mrn="CANARY-2"))
    assert door.reasons() == ["order.cancelled-early", "order.patient-conflict"]


def test_an_order_that_comes_again_after_its_cancel_is_ordered_anew(door: Door) -> None:
    for number, control in enumerate(("NW", "CA", "NW")):
        door.take(an_orm(f"M{number}", control))
    assert (door.statuses(), door.reasons()) == ([Status.READY], ["order.ordered-anew"])


def test_an_early_cancel_counts_once(door: Door) -> None:
    for number, control in enumerate(("CA", "NW", "NW")):
        door.take(an_orm(f"M{number}", control))
    assert door.statuses() == [Status.READY]


def test_a_change_of_a_cancelled_order_does_not_bring_it_back(door: Door) -> None:
    for number, control in enumerate(("NW", "CA", "XO")):
        door.take(an_orm(f"M{number}", control, priority="S" if control == "XO" else ""))
    assert door.statuses() == [Status.CANCELLED]


def test_a_change_may_correct_the_accession_number(door: Door) -> None:
    rules = replace(RULES, mapping=SenderPolicy(Authorities((Authority("RIS", system="urn:ris"),))))
    door.take(an_orm("M1", accession="CANARY-A1"), rules=rules)
    door.take(an_orm("M2", "XO", accession="CANARY-A2"), rules=rules)
    (job,) = door.store.jobs()
    assert job.order.accession is not None
    assert job.order.accession.value == "CANARY-A2"


def test_a_conflict_is_held_once_however_often_it_comes(door: Door) -> None:
    door.take(an_orm("M1"))
    for number in (2, 3):
        door.take(an_orm(f"M{number}", mrn="CANARY-2", placer="CANARY-P2"))
    assert door.statuses() == [Status.READY, Status.HELD]


def test_a_held_conflict_can_be_cancelled(door: Door) -> None:
    door.take(an_orm("M1"))
    door.take(an_orm("M2", mrn="CANARY-2", placer="CANARY-P2"))
    door.take(an_orm("M3", "CA", mrn="CANARY-2", placer="CANARY-P2"))
    assert door.statuses() == [Status.READY, Status.CANCELLED]
