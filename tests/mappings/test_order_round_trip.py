"""Order -> HL7 v2 message -> the same order, whatever characters stand in it; and any message gives orders or a refusal."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hl7_listener.message import Message
from mappings.authority import Authorities, Authority
from mappings.code import Code
from mappings.hl7v2_order import SenderPolicy, orders_from
from mappings.order import Identifier, Order, OrderControl, PatientIdentity, Priority
from mappings.refusal import MappingRefused
from tests.support.order_messages import omi, orm

SITE = Authorities([Authority("HOSP", oid="1.2.3"), Authority("RIS", system="urn:ris")])
AUTHORITIES = {  # (namespace, universal id) -> identifier system, by hand from DESIGN §4a
    ("", ""): "",
    ("HOSP", ""): "urn:oid:1.2.3",
    ("HOSP", "1.2.3"): "urn:oid:1.2.3",
    ("RIS", ""): "urn:ris",
    ("ELSEWHERE", ""): "",
    ("ELSEWHERE", "1.2.840.7"): "urn:oid:1.2.840.7",
}

characters = st.characters(exclude_categories=("C", "Z"), include_characters="|^~&\\é ")
words = st.text(characters, min_size=1, max_size=20).map(str.strip).filter(lambda text: text and text != '""')


@st.composite
def identifiers(draw: st.DrawFn, kind: str) -> Identifier:
    (namespace, universal_id), system = draw(st.sampled_from(sorted(AUTHORITIES.items())))
    return Identifier("CANARY" + draw(words), system, kind, namespace, universal_id)


@st.composite
def patients(draw: st.DrawFn) -> PatientIdentity:
    others = draw(st.lists(identifiers("PI"), max_size=2))
    birth_date = draw(st.none() | st.dates(date(1900, 1, 1), date(2026, 12, 31)))
    sex = draw(st.sampled_from(["", "male", "female", "other", "unknown"]))
    return PatientIdentity((draw(identifiers("MR")), *others), birth_date, sex)


times = st.builds(
    lambda naive, minutes: naive.replace(microsecond=0, tzinfo=timezone(timedelta(minutes=minutes))),
    st.datetimes(datetime(1990, 1, 1), datetime(2050, 1, 1)),  # a zone follows
    st.integers(-14 * 60, 14 * 60),
)

orders = st.builds(
    Order,
    control=st.sampled_from([OrderControl.NEW, OrderControl.CHANGE, OrderControl.CANCEL]),
    patient=patients(),
    placer=identifiers("PLAC"),
    filler=st.none() | identifiers("FILL"),
    accession=st.none() | identifiers("ACSN"),
    study_instance_uid=st.sampled_from(["", "1.2.840.99.1", "2.25.329800735698586629295641978511506172918"]),
    procedure=st.none() | st.builds(Code, words, st.sampled_from(["", "http://loinc.org"]), words),
    modality=st.sampled_from(["", "CR", "DX", "CT", "MR", "MG", "US"]),
    priority=st.sampled_from(list(Priority)),
    reason=st.just("") | words,
    requested_at=st.none() | times,
)


@pytest.mark.parametrize("write", [orm, omi])
@given(order=orders)
def test_an_order_written_as_a_message_is_read_as_the_same_order(write: Callable[[Order], bytes], order: Order) -> None:
    (read,) = orders_from(Message(write(order)), SenderPolicy(SITE, time_zone="America/New_York"))

    assert replace(read, trace=()) == order


fields = st.sampled_from(
    ["", '""', "NW", "XO", "SC", "CANARY-1", "^^^HOSP&1.2.3&ISO^MR", "20260230", "A~B~", "CT", "1.2.3", "&^&"]
)
segments = st.builds(
    lambda name, values: "|".join([name, *values]),
    st.sampled_from(["PID", "PV1", "ORC", "OBR", "TQ1", "IPC", "ZDS", "OBX", "NTE", "RXO"]),
    st.lists(fields, max_size=35),
)


@given(lines=st.lists(segments, max_size=8))
def test_any_message_gives_orders_or_a_refusal(lines: list[str]) -> None:
    header = "MSH|^~\\&|RIS|HOSP|BRIDGE|AI|20261105101500||ORM^O01|M1|P|2.5"

    with suppress(MappingRefused):
        for order in orders_from(Message("\r".join([header, *lines, ""]).encode()), SenderPolicy(SITE)):
            assert order.keys() or order.control in (OrderControl.NONE, OrderControl.TROUBLE)
