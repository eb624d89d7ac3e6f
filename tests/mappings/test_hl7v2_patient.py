"""ADT messages as changes of patients, event by event (HL7 v2.5.1 §3.3). Expected values are written by hand from the standard."""

from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from hl7_listener.message import Message
from mappings.authority import Authorities, Authority
from mappings.hl7v2_order_keys import SenderPolicy
from mappings.hl7v2_patient import PATIENT_EVENTS, PatientChange, PatientEvent, patient_changes_from
from mappings.order import EventTime, Identifier
from mappings.refusal import MappingRefused

POLICY = SenderPolicy(Authorities([Authority("HOSP", oid="1.2.3")]), time_zone="Europe/Berlin")
PID = "PID|1||CANARY-2^^^HOSP^MR||CANARY^ZEBRA||20210704|F||||||||||CANARY-K2^^^BILL^AN"
MRG = "MRG|CANARY-1^^^HOSP^MR||CANARY-K1^^^BILL^AN||CANARY-V1^^^VISITS^VN"
PV1 = "PV1|1|O|||||||||||||||||CANARY-V2^^^VISITS^VN"


def adt(trigger: str, *segments: str, message_type: str = "", evn: str = "EVN||20260302091500") -> Message:
    header = rf"MSH|^~\&|EMR|HOSP|BRIDGE||20260302093000||{message_type or f'ADT^{trigger}'}|M1|P|2.5.1"
    return Message("\r".join((header, evn, *segments, "")).encode())


def changes(trigger: str, *segments: str, **header: str) -> tuple[PatientChange, ...]:
    return patient_changes_from(adt(trigger, *segments, **header), POLICY)


def refusal(trigger: str, *segments: str, **header: str) -> tuple[str, str]:
    with pytest.raises(MappingRefused) as caught:
        changes(trigger, *segments, **header)
    assert "CANARY" not in str(caught.value)
    return caught.value.code, caught.value.where


def hosp(value: str) -> Identifier:
    return Identifier(value, "urn:oid:1.2.3", "MR", "HOSP")


E = PatientEvent


# item 32: A01 A04 A05 A08 A11 A13 A18 A24 A28 A30 A31 A34 A35 A36 A37 A39 A40 A41 A42 A43 A44 A45 A46 A47 A49 A50
@pytest.mark.parametrize(
    ("trigger", "event"),
    [
        ("A01", E.REGISTER), ("A04", E.REGISTER), ("A05", E.REGISTER), ("A28", E.REGISTER), ("A08", E.UPDATE),
        ("A31", E.UPDATE), ("A11", E.CANCEL_VISIT), ("A13", E.REOPEN_VISIT), ("A18", E.MERGE), ("A30", E.MERGE),
        ("A34", E.MERGE), ("A36", E.MERGE), ("A39", E.MERGE), ("A40", E.MERGE), ("A35", E.MERGE_ACCOUNT),
        ("A41", E.MERGE_ACCOUNT), ("A49", E.MERGE_ACCOUNT), ("A42", E.MERGE_VISIT), ("A50", E.MERGE_VISIT),
        ("A43", E.MOVE_PATIENT), ("A44", E.MOVE_ACCOUNT), ("A45", E.MOVE_VISIT), ("A46", E.CHANGE_IDENTIFIER),
        ("A47", E.CHANGE_IDENTIFIER),
    ],
)  # fmt: skip
def test_what_an_event_means(trigger: str, event: PatientEvent) -> None:
    (change,) = changes(trigger, PID, MRG, PV1)
    assert (change.event, change.trigger, change.patient.identifiers) == (event, trigger, (hosp("CANARY-2"),))


# item 32: what does not concern an order is accepted, with or without a PID
@pytest.mark.parametrize(
    "trigger", ["A02", "A03", "A06", "A07", "A09", "A17", "A20", "A23", "A29", "A38", "A60", "A62"]
)
def test_every_other_event_is_understood_and_has_no_effect(trigger: str) -> None:
    (change,) = changes(trigger)
    assert (change.event, dict(change.trace)["patient.event"]) == (E.NONE, f"{trigger}: no effect on orders")


def test_all_adt_events_of_table_0003_are_taken() -> None:
    assert {("ADT", f"A{number:02}") for number in range(1, 63)} <= PATIENT_EVENTS


# item 32: A40
def test_a_merge_names_the_survivor_and_the_prior_patient() -> None:
    (change,) = changes("A40", PID, "PD1", MRG)
    assert change.prior is not None
    assert (change.patient.identifiers, change.prior.identifiers) == ((hosp("CANARY-2"),), (hosp("CANARY-1"),))
    assert (change.patient.birth_date, change.patient.sex) == (date(2021, 7, 4), "female")


# item 32: A40
def test_one_message_may_merge_several_patients() -> None:
    second = (PID.replace("CANARY-2", "CANARY-4"), MRG.replace("CANARY-1", "CANARY-3"))
    pairs = [
        (change.patient.identifiers[0].value, change.prior.identifiers[0].value)
        for change in changes("A40", PID, MRG, *second)
        if change.prior
    ]
    assert pairs == [("CANARY-2", "CANARY-1"), ("CANARY-4", "CANARY-3")]


# item 32: A40
def test_several_prior_patients_may_follow_one_pid() -> None:
    found = changes("A40", PID, MRG, MRG.replace("CANARY-1", "CANARY-3"))
    assert [c.prior and c.prior.identifiers for c in found] == [(hosp("CANARY-1"),), (hosp("CANARY-3"),)]


# item 32: A40
def test_all_repetitions_of_the_prior_numbers_are_kept_with_their_authorities() -> None:
    (change,) = changes("A40", PID, "MRG|CANARY-1^^^HOSP&1.2.3&ISO^MR~CANARY-1^^^CLINIC^MR")
    assert change.prior is not None
    assert [(i.value, i.system, i.namespace) for i in change.prior.identifiers] == [
        ("CANARY-1", "urn:oid:1.2.3", "HOSP"),
        ("CANARY-1", "", "CLINIC"),
    ]


# item 32: A34, A39 of old senders: the number of PID-2 survives that of MRG-4
@pytest.mark.parametrize("trigger", ["A34", "A39"])
def test_an_old_merge_is_of_the_numbers_in_pid_2_and_mrg_4(trigger: str) -> None:
    (change,) = changes(trigger, "PID|1|CANARY-E2|CANARY-2^^^HOSP^MR||CANARY^ZEBRA", "MRG||||CANARY-E1")
    assert change.prior is not None
    assert (change.patient.identifiers[0].value, change.prior.identifiers[0].value) == ("CANARY-E2", "CANARY-E1")


# item 32: A36, A18: patient and account in one event
@pytest.mark.parametrize("trigger", ["A18", "A36"])
def test_a_merge_of_patient_and_account_names_both(trigger: str) -> None:
    (change,) = changes(trigger, PID, MRG)
    assert change.account is not None
    assert change.prior_account is not None
    assert (change.account.value, change.prior_account.value) == ("CANARY-K2", "CANARY-K1")


# item 32: A41, A42, A44, A45
def test_account_and_visit_are_not_mistaken_for_the_patient() -> None:
    (change,) = changes("A42", PID, MRG, PV1)
    assert change.visit is not None
    assert change.prior_visit is not None
    assert (change.visit.value, change.prior_visit.value) == ("CANARY-V2", "CANARY-V1")
    assert "CANARY-V2" not in [i.value for i in change.patient.identifiers]


# item 32: A24, A37
@pytest.mark.parametrize(("trigger", "event"), [("A24", E.LINK), ("A37", E.UNLINK)])
def test_a_link_names_two_patients(trigger: str, event: PatientEvent) -> None:
    (change,) = changes(trigger, PID, PV1, PID.replace("CANARY-2", "CANARY-3"))
    assert change.prior is not None
    assert (change.event, change.prior.identifiers) == (event, (hosp("CANARY-3"),))


# item 31: EVN-2 before MSH-7; item 29: in the zone of the sender, an offset of its own goes first
@pytest.mark.parametrize(
    ("evn", "at"),
    [
        ("EVN||20260302091500", datetime(2026, 3, 2, 8, 15, tzinfo=UTC)),
        ("EVN||20260302091500+0000", datetime(2026, 3, 2, 9, 15, tzinfo=UTC)),
        ("EVN||", datetime(2026, 3, 2, 8, 30, tzinfo=UTC)),
        ("EVN||00000000", datetime(2026, 3, 2, 9, 30, tzinfo=timezone(timedelta(hours=1)))),
    ],
)
def test_the_event_has_the_time_of_its_recording(evn: str, at: datetime) -> None:
    (change,) = changes("A08", PID, evn=evn)
    assert change.at == EventTime(at, "EMR|HOSP")
    assert change.patient.as_of == change.at


# item 18: ADT without an event in MSH-9, lower case, the wrong structure
@pytest.mark.parametrize(
    ("message_type", "evn"),
    [("ADT", "EVN|A40|20260302091500"), ("ADT^a40", "EVN"), ("ADT^A40^ADT_A01", "EVN|A08"), ("ADT^A40^ADT_A39", "")],
)
def test_the_event_is_that_of_the_header_else_of_evn_1(message_type: str, evn: str) -> None:
    assert changes("", PID, MRG, message_type=message_type, evn=evn)[0].trigger == "A40"


@pytest.mark.parametrize(
    ("evn", "expected"),
    [("EVN", ("patient.event-missing", "EVN^1^1")), ("EVN|A99", ("patient.event-unknown", "EVN^1^1"))],
)
def test_an_adt_message_without_an_event_is_refused(evn: str, expected: tuple[str, str]) -> None:
    assert refusal("", PID, message_type="ADT", evn=evn) == expected


# item 32: a merge that does not say whom it merges
@pytest.mark.parametrize(
    ("segments", "where"), [((PID,), "MRG^1^1"), ((PID, "MRG|"), "MRG^1^1"), ((PID, MRG, PID, "MRG||"), "MRG^2^1")]
)
@pytest.mark.parametrize("trigger", ["A18", "A34", "A36", "A40", "A44", "A47"])
def test_a_merge_without_a_prior_patient_is_refused(trigger: str, segments: tuple[str, ...], where: str) -> None:
    assert refusal(trigger, *segments) == ("patient.prior-identifier-missing", where)


# item 23: a null in a key
@pytest.mark.parametrize(
    ("segments", "where"),
    [
        (('PID|1||""^^^HOSP||CANARY^ZEBRA', MRG), "PID^1^3"),
        ((PID, 'MRG|""'), "MRG^1^1"),
        ((PID, 'MRG|CANARY-1^^^HOSP~""'), "MRG^1^1"),
    ],
)
def test_a_null_in_a_key_is_refused_with_its_place(segments: tuple[str, ...], where: str) -> None:
    assert refusal("A40", *segments) == ("patient.key-deleted", where)


# item 23
def test_a_null_for_what_is_no_key_is_as_good_as_nothing() -> None:
    (change,) = changes(
        "A08", 'PID|1||CANARY-2^^^HOSP^MR||CANARY^ZEBRA||""|""||||||||||""', 'PV1|1|O|||||||||||||||||""'
    )
    assert (change.patient.birth_date, change.patient.sex, change.account, change.visit) == (None, "", None, None)


@pytest.mark.parametrize("segments", [(), ("PID|1||||CANARY^ZEBRA",)])
def test_a_change_of_nobody_is_refused(segments: tuple[str, ...]) -> None:
    assert refusal("A08", *segments) == ("patient.identifier-missing", "PID^1^3")


@pytest.mark.parametrize("trigger", ["A24", "A37"])
def test_a_link_with_one_patient_is_refused(trigger: str) -> None:
    assert refusal(trigger, PID) == ("patient.linked-patient-missing", "PID^2^3")


def test_a_change_shows_no_value_in_its_trace_or_its_text() -> None:
    (change,) = changes("A40", PID, MRG, PV1)
    assert {"patient.event", "patient.at", "patient.identifiers", "patient.prior"} <= {name for name, _ in change.trace}
    assert "CANARY" not in f"{change!r}"
