"""Order control, keys, priority, modality: field by field."""

import pytest

from hl7_listener.message import Message
from mappings.code import Code
from mappings.hl7v2_order import SenderPolicy, orders_from
from mappings.order import Order, OrderControl, Priority
from mappings.refusal import MappingRefused

MSH = "MSH|^~\\&|RIS|HOSP|BRIDGE|AI|20260115080000||ORM^O01^ORM_O01|M1|P|2.5.1"
PID = "PID|1||CANARY-1^^^HOSP^MR"


def read(*segments: str, policy: SenderPolicy | None = None) -> tuple[Order, ...]:
    return orders_from(Message("\r".join([MSH, *segments, ""]).encode()), policy or SenderPolicy())


def traced(order: Order, element: str) -> list[str]:
    return [source for name, source in order.trace if name == element]


def obr(**fields: str) -> str:
    """An OBR segment; `f24="CT"` is OBR-24."""
    numbered = {int(name[1:]): value for name, value in fields.items()}
    return "OBR" + "".join("|" + numbered.get(position, "") for position in range(1, max(numbered) + 1))


EFFECTS = {  # table 0119 as the order-control table of the requirements has it; table 0038 below
    OrderControl.NEW: "NW SN PR RO nw",
    OrderControl.CHANGE: "XO XX",
    OrderControl.CHANGE_CONFIRMED: "XR",
    OrderControl.CANCEL: "CA OC CR DC OD DR",
    OrderControl.REPLACED: "RP RQ RU",
    OrderControl.HOLD: "HD OH",
    OrderControl.HOLD_CONFIRMED: "HR",
    OrderControl.RELEASE: "RL OE OR",
    OrderControl.NUMBER: "NA",
    OrderControl.LINK: "CH PA",
    OrderControl.TROUBLE: "UA UC UD UF UH UM UR UX DE",
    OrderControl.NONE: "SR SS RE OK UN LI AF CN CP DF FU MC OF OP PY RF RR",
}


# order control: every code of table 0119
@pytest.mark.parametrize(("code", "effect"), [(code, effect) for effect in EFFECTS for code in EFFECTS[effect].split()])
def test_order_control_decides_what_happens_to_the_job(code: str, effect: OrderControl) -> None:
    (order,) = read(PID, f"ORC|{code}|P1")

    assert (order.control, order.control_code) == (effect, code.upper())


@pytest.mark.parametrize(
    ("status", "effect"),
    [
        ("A", OrderControl.PROGRESS),
        ("IP", OrderControl.PROGRESS),
        ("SC", OrderControl.PROGRESS),
        ("CM", OrderControl.COMPLETED),
        ("CA", OrderControl.CANCEL),
        ("DC", OrderControl.CANCEL),
        ("RP", OrderControl.REPLACED),
        ("HD", OrderControl.HOLD),
        ("ER", OrderControl.TROUBLE),
        ("", OrderControl.NONE),
        ("??", OrderControl.NONE),
    ],
)
def test_a_status_change_acts_by_its_status(status: str, effect: OrderControl) -> None:
    (order,) = read(PID, f"ORC|SC|P1|||{status}")

    assert order.control is effect


@pytest.mark.parametrize(
    ("status", "effect"),
    [("CM", OrderControl.COMPLETED), ("SC", OrderControl.CHANGE), ("", OrderControl.CHANGE)],
)
@pytest.mark.parametrize("code", ["XO", "XX"])
def test_a_change_is_a_change_whatever_its_status_unless_it_says_completed(
    code: str, status: str, effect: OrderControl
) -> None:
    """Empty ORC-5 beside XO: dcm4chee-arc #2849."""
    (order,) = read(PID, f"ORC|{code}|P1|||{status}")

    assert order.control is effect


@pytest.mark.parametrize(
    ("segments", "code", "where"),
    [
        ([PID], "order.group-missing", "ORC^1"),
        ([PID, "ORC||P1"], "order.control-missing", "ORC^1^1"),
        ([PID, "ORC|ZZ|P1"], "order.control-unknown", "ORC^1^1"),
        (["ORC|NW|P1"], "order.patient-identifier-missing", "PID^1^3"),
        (["PID|1||^^^HOSP^MR", "ORC|NW|P1"], "order.patient-identifier-missing", "PID^1^3"),
        (['PID|1||""', "ORC|NW|P1"], "order.key-deleted", "PID^1^3"),
        ([PID, "ORC|NW|P1", "ORC|NW||F2"], "order.key-missing", "ORC^2^2"),
        ([PID, "OBR|1"], "order.key-missing", "OBR^1^2"),
        ([PID, 'ORC|NW|""'], "order.key-deleted", "ORC^1^2"),
        ([PID, "ORC|NW|P1", 'ZDS|""'], "order.key-deleted", "ZDS^1^1"),
        ([PID, "ORC|NW|P1", "ZDS|not-a-uid"], "order.study-uid-malformed", "ZDS^1^1"),
        ([PID, "ORC|NW|P1", "ZDS|" + "1." * 32 + "1"], "order.study-uid-malformed", "ZDS^1^1"),
        ([PID, "ORC|NW|P1", 'IPC|""'], "order.key-deleted", "IPC^1^1"),
    ],
)
def test_a_wrong_message_is_refused_with_its_place(segments: list[str], code: str, where: str) -> None:
    with pytest.raises(MappingRefused) as caught:
        read(*segments)

    assert (caught.value.code, caught.value.where) == (code, where)


@pytest.mark.parametrize(
    "orc", ["ORC|RE", "ORC|SC||F2", 'ORC|OK|""', "ORC|SC||F2||IP", "ORC|XR", "ORC|HR", "ORC|NA", "ORC|CH"]
)
def test_what_only_informs_is_not_refused_for_its_keys(orc: str) -> None:
    (order,) = read(PID, orc)

    assert order.control is OrderControl.NONE


def test_trouble_is_told_of_even_where_it_names_no_order() -> None:
    (order,) = read(PID, "ORC|UA")

    assert (order.control, order.keys()) == (OrderControl.TROUBLE, ())


@pytest.mark.parametrize("detail", ["RXO|1", "RQD|1", "ODS|D", "ODT|EARLY"])
def test_an_order_for_something_else_starts_no_job(detail: str) -> None:
    (order,) = read(PID, "ORC|NW|P1", detail)

    assert order.control is OrderControl.NONE


# item 26
def test_a_detail_segment_beside_obr_changes_nothing() -> None:
    (order,) = read(PID, "ORC|NW|P1", "ODT|", "OBR|1|P1")  # HAPI HL7v2 puts an empty ODT before NTE

    assert order.control is OrderControl.NEW


# item 27
@pytest.mark.parametrize(
    ("sources", "expected", "where"),
    [
        (("IPC-1", "OBR-18"), "IPC-ACC", ["IPC^1^1", "OBR^1^18 contradicts IPC^1^1: not used"]),
        (("OBR-18", "IPC-1"), "OBR-ACC", ["OBR^1^18", "IPC^1^1 contradicts OBR^1^18: not used"]),
        (("OBR-20", "OBR-18"), "OBR-ACC", ["OBR^1^18"]),  # OBR-20 is empty
        (("ORC-3",), "F1", ["ORC^1^3"]),
        (("ZAC-2.3",), "Z-ACC", ["ZAC^1^2"]),
        (("ZNO-1",), None, []),
    ],
)
def test_the_accession_number_stands_where_the_sender_puts_it(
    sources: tuple[str, ...], expected: str | None, where: list[str]
) -> None:
    segments = (PID, "ORC|NW|P1|F1^PACS", obr(f2="P1", f18="OBR-ACC^HOSP"), "IPC|IPC-ACC^HOSP", "ZAC|1|a^b^Z-ACC")

    (order,) = read(*segments, policy=SenderPolicy(accession_sources=sources))

    assert (order.accession.value if order.accession else None) == expected
    assert traced(order, "accession") == where


@pytest.mark.parametrize("source", ["OBR", "obr-18", "OBR-18-1", "OBR-1.2.3", ""])
def test_a_malformed_accession_source_is_a_configuration_error(source: str) -> None:
    with pytest.raises(ValueError, match="accession source"):
        SenderPolicy(accession_sources=(source,))


def test_an_unknown_time_zone_is_a_configuration_error() -> None:
    with pytest.raises(KeyError):
        SenderPolicy(time_zone="Europe/Nowhere")


# item 27
def test_order_numbers_come_from_obr_where_orc_has_none() -> None:
    (order,) = read(PID, "ORC|NW", obr(f2="P9^RIS", f3="F9^PACS"))

    assert (order.placer and order.placer.value, order.filler and order.filler.value) == ("P9", "F9")


# item 28
@pytest.mark.parametrize(
    ("pid", "authority", "first"),
    [
        ("PID|1||CANARY-A^^^A^PI~CANARY-B^^^B^MR~CANARY-C^^^C^PI", "", "CANARY-B"),
        ("PID|1||CANARY-A^^^A^PI~CANARY-B^^^B^MR~CANARY-C^^^C^PI", "C", "CANARY-C"),
        ("PID|1||CANARY-A^^^A^PI~CANARY-C^^^C^PI", "B", "CANARY-A"),
        ("PID|1|CANARY-2||CANARY-4", "", "CANARY-2"),
        ("PID|1|||CANARY-4", "", "CANARY-4"),
    ],
)
def test_the_patients_own_identifier_comes_first(pid: str, authority: str, first: str) -> None:
    (order,) = read(pid, "ORC|NW|P1", policy=SenderPolicy(patient_authority=authority))

    assert order.patient.identifiers[0].value == first


# item 26
def test_several_patients_in_one_message_keep_their_orders() -> None:
    orders = read("PID|1||CANARY-1", "ORC|NW|P1", "PID|2||CANARY-2", "ORC|NW|P2", "OBR|1")

    assert [order.patient.identifiers[0].value for order in orders] == ["CANARY-1", "CANARY-2"]


# item 30
@pytest.mark.parametrize(
    ("tq1", "orc_7", "obr_27", "obr_5", "expected"),
    [
        ("S", "^^^^^R", "^^^^^R", "R", Priority.STAT),
        ("R~S", "", "", "", Priority.STAT),
        ("", "^^^^^A", "^^^^^S", "S", Priority.ASAP),
        ("", "^^^^^R~^^^^^A", "", "", Priority.ASAP),
        ("", "", "^^^^^S", "R", Priority.STAT),
        ("", "", "", "urgent", Priority.URGENT),
        ("", "", "", "STAT", Priority.STAT),
        ("TM30", "", "", "", Priority.URGENT),
        ("P", "", "", "A", Priority.ASAP),  # preoperative says nothing about urgency: the next source is asked
        ("C", "", "", "", Priority.ROUTINE),
        ("", "", "", "", Priority.ROUTINE),
    ],
)
def test_priority_has_an_order_of_sources(tq1: str, orc_7: str, obr_27: str, obr_5: str, expected: Priority) -> None:
    segments = (PID, f"ORC|NW|P1|||||{orc_7}", f"TQ1|1||||||||{tq1}", obr(f2="P1", f5=obr_5, f27=obr_27))

    (order,) = read(*segments)

    assert order.priority is expected


@pytest.mark.parametrize(
    ("obr_24", "ipc_5", "expected"),
    [
        ("CT", "", "CT"),
        ("NMR", "", "MR"),
        ("RUS", "", "US"),
        ("DX", "", "DX"),
        ("PT", "", ""),  # table 0074: physical therapy
        ("", "PT", "PT"),  # DICOM: positron emission tomography
        ("RAD", "", ""),
        ("RAD", "cr", "CR"),
        ("LAB", "", ""),
    ],
)
def test_modality(obr_24: str, ipc_5: str, expected: str) -> None:
    (order,) = read(PID, "ORC|NW|P1", obr(f2="P1", f24=obr_24), f"IPC|A1||||{ipc_5}")

    assert order.modality == expected


@pytest.mark.parametrize(
    ("obr_4", "expected"),
    [
        ("36643-5^XR Chest^LN", Code("36643-5", "http://loinc.org", "XR Chest")),
        ("XCH^Chest^L", Code("XCH", "", "Chest")),
        ("^^^36643-5^XR Chest^LN", Code("36643-5", "http://loinc.org", "XR Chest")),
        ("^Chest film", Code("", "", "Chest film")),
        ("", None),
    ],
)
def test_procedure_codes_pass_unchanged(obr_4: str, expected: Code | None) -> None:
    (order,) = read(PID, "ORC|NW|P1", obr(f2="P1", f4=obr_4))

    assert order.procedure == expected


# item 25
def test_the_study_uid_may_stand_in_an_obx() -> None:
    (order,) = read(PID, "ORC|NW|P1", "OBR|1", "OBX|1|ST|110180^Study Instance UID^DCM||1.2.840.99.5")

    assert (order.study_instance_uid, dict(order.trace)["study_instance_uid"]) == ("1.2.840.99.5", "OBX^1^5")


def test_the_trace_holds_places_and_no_values() -> None:
    (order,) = read(
        "PID|1||CANARY-1||CANARY^ZEBRA||20210704|F", "ORC|NW|SECRET-1|SECRET-2", obr(f18="SECRET-3", f31="^SECRET")
    )

    written = str(order.trace)
    assert {"placer", "filler", "accession", "reason", "patient.birth_date"} <= {element for element, _ in order.trace}
    assert not any(value in written for value in ("SECRET", "CANARY", "2021"))
