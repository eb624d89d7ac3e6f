"""Items 25 to 31 of the checklist (facts of real messages): Z segments, groups, keys, patients, times, priorities of orders."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from hl7_listener.message import Message
from mappings.authority import Authorities, Authority
from mappings.hl7v2_order import SenderPolicy, orders_from
from mappings.order import EventTime, Order, OrderControl, OrderKey
from mappings.refusal import MappingRefused

MSH = "MSH|^~\\&|RIS|HOSP|BRIDGE|AI|20260115080000||ORM^O01^ORM_O01|M1|P|2.5.1"
PID = "PID|1||CANARY-1^^^HOSP^MR"
BERLIN = SenderPolicy(time_zone="Europe/Berlin")


def read(*segments: str, policy: SenderPolicy | None = None) -> tuple[Order, ...]:
    return orders_from(Message("\r".join([MSH, *segments, ""]).encode()), policy or SenderPolicy())


def traced(order: Order, element: str) -> list[str]:
    return [source for name, source in order.trace if name == element]


def field(name: str, position: int, value: str) -> str:
    """A segment with this one field."""
    return name + "|" * position + value


# item 25
@pytest.mark.parametrize(
    ("sources", "uid", "trace"),
    [
        (("IPC-3", "ZDS-1"), "1.2.3", ["IPC^1^3", "ZDS^1^1 contradicts IPC^1^3: not used"]),
        (("ZDS-1", "IPC-3"), "1.2.4", ["ZDS^1^1", "IPC^1^3 contradicts ZDS^1^1: not used"]),
        (("ZST-2.1", "ZDS-1"), "1.2.5", ["ZST^1^2", "ZDS^1^1 contradicts ZST^1^2: not used"]),
        (("ZNO-1",), "", []),
    ],
)
def test_the_study_uid_stands_where_the_sender_puts_it(sources: tuple[str, ...], uid: str, trace: list[str]) -> None:
    segments = (PID, "ORC|NW|P1", "IPC|A1||1.2.3", "ZDS|1.2.4^^Application^DICOM", "ZST|x|1.2.5^y")

    (order,) = read(*segments, policy=SenderPolicy(study_uid_sources=sources))

    assert (order.study_instance_uid, traced(order, "study_instance_uid")) == (uid, trace)


# item 25
@pytest.mark.parametrize("source", ["ZDS", "zds-1", "ZDS-1-1", ""])
def test_a_malformed_study_uid_source_is_a_configuration_error(source: str) -> None:
    with pytest.raises(ValueError, match="study UID source"):
        SenderPolicy(study_uid_sources=(source,))


# item 25
@pytest.mark.parametrize("version", ["2.1", "2.3.1", "2.5", "2.9"])
def test_segments_unknown_to_the_version_are_read_anywhere_in_the_group(version: str) -> None:
    header = MSH.replace("2.5.1", version)
    text = "\r".join([header, PID, "ZDS|9.9.9", "ORC|NW|P1", "ZDS|1.2.3", "TQ1|1||||||||S", "OBR|1|P1", "ZXX|1", ""])

    (order,) = orders_from(Message(text.encode()), SenderPolicy())

    assert (order.study_instance_uid, order.priority) == ("1.2.3", "stat")  # the ZDS before the order is nobody's


# item 26
@pytest.mark.parametrize("policy", ["new", "refuse"])
def test_orders_without_orc_are_new_or_refused_as_the_sender_is_known(policy: str) -> None:
    rules = SenderPolicy(orders_without_orc=policy)  # type: ignore[arg-type]
    if policy == "new":
        (order,) = read(PID, "OBR|1|P1", policy=rules)
        assert (order.control, traced(order, "control")) == (OrderControl.NEW, ["no ORC: taken as NW"])
        return
    with pytest.raises(MappingRefused) as caught:
        read(PID, "OBR|1|P1", policy=rules)
    assert (caught.value.code, caught.value.where) == ("order.orc-missing", "ORC^1")


# item 26
@pytest.mark.parametrize(
    ("first", "second", "parts"),
    [
        ("OBR|1||", "OBR|2||", ["1", "2"]),
        ("OBR|1|P1", "OBR|2|P1", ["1", "2"]),
        ("OBR|1|P1", "OBR|2|P2", ["", ""]),  # their own numbers tell them apart
        (field("OBR", 20, "SPS1"), field("OBR", 20, "SPS2"), ["SPS1", "SPS2"]),
        (field("OBR", 20, "SPS1"), field("OBR", 20, "SPS1"), ["1", "2"]),
        (field("OBR", 20, "SPS1"), "OBR|2", ["1", "2"]),
        ("OBR|1|||XHAND^Hand^L", "OBR|2|||XFOOT^Foot^L", ["XHAND.1", "XFOOT.1"]),
        ("OBR|1|||XHAND^Hand^L", "OBR|2|||XHAND^Hand^L", ["XHAND.1", "XHAND.2"]),
    ],
)
def test_several_obr_under_one_orc_are_several_orders(first: str, second: str, parts: list[str]) -> None:
    orders = read(PID, "ORC|NW|P1^RIS", first, second)

    assert [order.part for order in orders] == parts
    assert len({order.keys() for order in orders}) == 2


# item 26
def test_details_belong_to_the_last_obr() -> None:
    orders = read(PID, "ORC|NW|P1", "OBR|1|P1", "IPC|A1||1.2.3", "OBR|2|P2", "NTE|1", "IPC|A2||1.2.4", "ORC|NW|P3")

    assert [(o.placer and o.placer.value, o.study_instance_uid) for o in orders] == [
        ("P1", "1.2.3"),
        ("P2", "1.2.4"),
        ("P3", ""),
    ]


# item 27
@pytest.mark.parametrize(
    ("segments", "keys"),
    [
        (["ORC|NW|P1"], "placer"),
        (["ORC|NW||F1^PACS"], "filler"),
        (["ORC|NW", field("OBR", 3, "F1^^1.2.3^ISO")], "filler"),
        (["ORC|NW", field("OBR", 18, "A1")], "accession"),
        (["ORC|NW", "ZDS|1.2.3"], "study"),
        (["ORC|NW|P1|F1^PACS", "IPC|A1||1.2.3"], "study, accession, placer, filler"),
    ],
)
def test_one_usable_key_is_enough_and_is_recorded(segments: list[str], keys: str) -> None:
    (order,) = read(PID, *segments)

    assert traced(order, "keys") == [keys]


# item 27
def test_a_filler_number_is_a_key_with_its_authority_only() -> None:
    with pytest.raises(MappingRefused) as caught:
        read(PID, "ORC|NW||F1")

    assert caught.value.code == "order.key-missing"


# item 27
def test_a_filler_number_is_known_by_the_system_of_its_authority() -> None:
    (order,) = read(PID, "ORC|NW||F1^PACS", policy=SenderPolicy(Authorities([Authority("PACS", system="urn:pacs")])))

    assert order.keys() == (OrderKey("filler", "urn:pacs", "F1"),)


# item 27
@pytest.mark.parametrize(("number", "noted"), [("A" * 16, []), ("A" * 17, ["IPC^1^1: longer than 16 characters"])])
def test_an_accession_number_that_is_too_long_is_taken_and_noted(number: str, noted: list[str]) -> None:
    (order,) = read(PID, "ORC|NW|P1", f"IPC|{number}")

    assert order.accession is not None
    assert (order.accession.value, traced(order, "accession")) == (number, ["IPC^1^1", *noted])


# item 27
@pytest.mark.parametrize(
    ("segments", "expected", "where"),
    [
        (["IPC|A1|RP1||SPS1|||||CT_1"], ("RP1", "SPS1", "CT_1"), ["IPC^1^2", "IPC^1^4", "IPC^1^9"]),
        (["OBR|1" + "|" * 18 + "RP2|SPS2"], ("RP2", "SPS2", ""), ["OBR^1^19", "OBR^1^20"]),
        (["OBR|1" + "|" * 18 + "RP2|SPS2", "IPC|A1|RP1"], ("RP1", "SPS2", ""), ["IPC^1^2", "OBR^1^20"]),
    ],
)
def test_procedure_and_step_have_their_numbers(
    segments: list[str], expected: tuple[str, str, str], where: list[str]
) -> None:
    (order,) = read(PID, "ORC|NW|P1", *segments)

    found = order.requested_procedure_id, order.scheduled_step_id, order.station_ae_title
    elements = ("requested_procedure_id", "scheduled_step_id", "station_ae_title")
    assert (found, [line for element in elements for line in traced(order, element)]) == (expected, where)


# item 27
def test_the_group_number_is_kept_and_is_no_key() -> None:
    orders = read(PID, "ORC|NW|P1||G1^RIS", "ORC|NW|P2||G1^RIS")

    assert [order.group and order.group.value for order in orders] == ["G1", "G1"]
    assert [key.value for order in orders for key in order.keys()] == ["P1", "P2"]  # noqa: SIM118 - a method of Order


# item 28
@pytest.mark.parametrize(
    ("pid_3", "rule"),
    [
        ("CANARY-A^^^A^PI~CANARY-B^^^B&1.2.3&ISO^PI~CANARY-C^^^C^MR", "PID^1^3: the configured authority first"),
        ("CANARY-A^^^A^PI~CANARY-B^^^B^MR", "PID^1^3: type MR first"),
        ("CANARY-B^^^B~CANARY-A^^^A^PI", "PID^1^3: as sent"),
    ],
)
def test_the_trace_says_by_which_rule_the_patients_number_was_chosen(pid_3: str, rule: str) -> None:
    policy = SenderPolicy(Authorities([Authority("HOSP", oid="1.2.3")]), patient_authority="HOSP")

    (order,) = read(f"PID|1||{pid_3}", "ORC|NW|P1", policy=policy)

    assert (order.patient.identifiers[0].value, traced(order, "patient.identifiers")) == ("CANARY-B", [rule])


# item 28
def test_account_and_visit_are_kept_apart_from_the_patients_numbers() -> None:
    pid, visit = PID + "|" * 15 + "CANARY-ACCOUNT", "PV1|1|O" + "|" * 17 + "CANARY-VISIT^^^VISITS^VN"

    (order,) = read(pid, visit, "ORC|NW|P1")

    numbers = order.account and order.account.value, order.visit and order.visit.value
    assert numbers == ("CANARY-ACCOUNT", "CANARY-VISIT")
    assert [identifier.value for identifier in order.patient.identifiers] == ["CANARY-1"]


# item 28
def test_the_same_number_of_two_authorities_is_kept_with_each() -> None:
    (order,) = read("PID|1||CANARY-1^^^A^MR~CANARY-1^^^B^MR", "ORC|NW|P1")

    assert [identifier.namespace for identifier in order.patient.identifiers] == ["A", "B"]


# item 29
@pytest.mark.parametrize(
    ("orc_9", "expected", "how"),
    [
        ("20260115075900", datetime(2026, 1, 15, 6, 59, tzinfo=UTC), "in the sender's zone"),
        ("20260115075900-0500", datetime(2026, 1, 15, 12, 59, tzinfo=UTC), "its own offset"),
        ("202601152400", datetime(2026, 1, 15, 23, 0, tzinfo=UTC), "in the sender's zone"),
        ("202610250230", datetime(2026, 10, 25, 0, 30, tzinfo=UTC), "in the sender's zone"),  # repeated hour: the first
        (
            "202603290230",
            datetime(2026, 3, 29, 1, 30, tzinfo=UTC),
            "in the sender's zone",
        ),  # skipped: the offset before
        ("14:5", None, "not a time, left out"),
        ("00000000", None, "not a time, left out"),
        ('""', None, None),
    ],
)
def test_times_are_read_by_a_rule_that_the_trace_names(orc_9: str, expected: datetime | None, how: str | None) -> None:
    (order,) = read(PID, f"ORC|NW|P1|||||||{orc_9}", policy=BERLIN)

    assert (order.requested_at and order.requested_at.astimezone(UTC)) == expected
    assert traced(order, "requested_at") == ([f"ORC^1^9: {how}"] if how else [])


# item 30
@pytest.mark.parametrize(
    ("tq1_7", "orc_7_4", "obr_27_4", "obr_36", "obr_6", "minute", "where"),
    [
        ("202601150801", "202601150802", "202601150803", "202601150804", "202601150805", 1, "TQ1^1^7"),
        ("", "202601150802", "202601150803", "202601150804", "202601150805", 2, "ORC^1^7"),
        ("", "", "202601150803", "202601150804", "202601150805", 3, "OBR^1^27"),
        ("", "", "", "202601150804", "202601150805", 4, "OBR^1^36"),
        ("", "", "", "", "202601150805", 5, "OBR^1^6"),
        ("x", "202601150802", "", "", "", 2, "ORC^1^7"),  # what is no time is passed over
    ],
)
def test_the_start_time_has_an_order_of_sources(
    tq1_7: str, orc_7_4: str, obr_27_4: str, obr_36: str, obr_6: str, minute: int, where: str
) -> None:
    obr = "OBR|1|||||" + obr_6 + "|" * 21 + f"^^^{obr_27_4}" + "|" * 9 + obr_36
    segments = (f"ORC|NW|P1|||||^^^{orc_7_4}", f"TQ1|1||||||{tq1_7}", obr)

    (order,) = read(PID, *segments)

    assert order.scheduled_at == datetime(2026, 1, 15, 8, minute, tzinfo=UTC)
    assert traced(order, "scheduled_at")[-1] == f"{where}: in the sender's zone"


# item 31
@pytest.mark.parametrize(
    ("orc_9", "expected"),
    [
        (
            "20260115075900+0100",
            EventTime(datetime(2026, 1, 15, 7, 59, tzinfo=timezone(timedelta(hours=1))), "ORC-9 RIS|HOSP"),
        ),
        ("", EventTime(datetime(2026, 1, 15, 8, 0, tzinfo=UTC), "MSH-7 RIS|HOSP")),
    ],
)
def test_an_event_has_its_time_by_the_senders_clock(orc_9: str, expected: EventTime) -> None:
    (order,) = read(PID, f"ORC|XO|P1|||||||{orc_9}")

    assert order.event == expected


# item 31
def test_times_of_two_clocks_do_not_compare() -> None:
    early, late = datetime(2026, 1, 15, 8, tzinfo=UTC), datetime(2026, 1, 15, 9, tzinfo=UTC)

    assert EventTime(early, "ORC-9 RIS|H").is_before(EventTime(late, "ORC-9 RIS|H"))
    assert not EventTime(early, "ORC-9 RIS|H").is_before(EventTime(late, "ORC-9 EMR|H"))
    assert not EventTime(early, "MSH-7 RIS|H").is_before(None)


# order control: CH
@pytest.mark.parametrize(
    ("orc_8", "related"),
    [
        ("P9&RIS^F9&PACS", (OrderKey("placer", "RIS", "P9"), OrderKey("filler", "PACS", "F9"))),
        ("P9", (OrderKey("placer", "", "P9"),)),
        ("", ()),
    ],
)
def test_a_child_order_names_its_parent(orc_8: str, related: tuple[OrderKey, ...]) -> None:
    (order,) = read(PID, f"ORC|CH|P1||||||{orc_8}")

    assert order.related == related


# order control: RP, RQ, RU, RO
def test_a_replacing_order_names_all_that_it_replaces_and_no_other() -> None:
    segments = ["ORC|RP|P1", "ORC|RP|P2", "ORC|RO|P3", "ORC|RU|P4", "ORC|RO|P5", "ORC|NW|P6", "ORC|RO|P7"]

    orders = read(PID, *segments)

    named = [[key.value for key in order.related] for order in orders]
    assert named == [[], [], ["P1", "P2"], [], ["P4"], [], []]
