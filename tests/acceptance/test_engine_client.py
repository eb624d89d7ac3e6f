"""HAPI HL7v2, as a client of ours: what it encodes anew we take, and its parser takes every answer of ours.

`8a` names a row of what was measured of HAPI: it matches answers by MSA-2, waits its whole timeout for one that its parser refuses,
and closes the connection at any byte between two blocks.
"""

from pathlib import Path

import pytest

from tests.support.hl7_engine import hapi_sends
from tests.support.neighbour_orders import NeighbourOrder
from tests.support.neighbours import Neighbours

pytestmark = [pytest.mark.real_parts, pytest.mark.tensorflow]

OMG = "OMG^O19^OMG_O19"
VERSIONS = dict.fromkeys(("2.3", "2.3.1", "2.4", "2.5", "2.5.1", "2.6"), "ORM^O01") | {"2.7": OMG, "2.8": OMG}


def test_hapi_takes_our_answers_to_every_version_over_one_connection(neighbours: Neighbours, tmp_path: Path) -> None:
    """8a: an ACK that both take; our own answers are followed by nothing, so the connection lives."""
    orders = {f"{version}-{code}": (NeighbourOrder(version, kind, orc=orc), code)
              for version, kind in VERSIONS.items()
              for code, orc in (("AA", NeighbourOrder.orc), ("AE", "ORC|CA"))}  # fmt: skip
    messages = {name: content(order) for name, (order, _) in orders.items()}
    sent = hapi_sends(tmp_path / "hapi", neighbours.bridge.process.mllp, messages)
    assert {
        name: [(e["event"], e.get("msa1"), e.get("msa2_match"), e.get("ack_msh12")) for e in sent[name]]
        for name in orders
    } == {name: [("sent", code, True, order.version)] for name, (order, code) in orders.items()}
    assert {event["connections"] for events in sent.values() for event in events} == {1}


def test_hapi_takes_an_answer_whose_type_is_ack_alone(neighbours: Neighbours, tmp_path: Path) -> None:
    """8a: an ACK that both take: MSH-9 `ACK`, `ACK^O01`, `ACK^O01^ACK`."""
    messages = {"order": NeighbourOrder(application="SHORT").bytes()}
    (event,) = hapi_sends(tmp_path / "hapi", neighbours.bridge.process.mllp, messages)["order"]
    assert (event.get("msa1"), event.get("msa2_match"), event.get("ack_msh9")) == ("AA", True, "ACK")


def content(order: NeighbourOrder) -> bytes:
    """A cancel that names no order is what we answer with AE."""
    whole = order.bytes()
    return whole if "|NW|" in order.orc else whole.replace(f"{order.placer}^CPOE".encode(), b"")


@pytest.mark.parametrize("application", ["RIS", "RESPONSES"])
def test_answers_to_pipelined_orders_match(neighbours: Neighbours, tmp_path: Path, application: str) -> None:
    """8a: HAPI with threads on one Initiator pipelines on one socket."""
    order = NeighbourOrder(application=application)
    sent = hapi_sends(
        tmp_path / "hapi", neighbours.bridge.process.mllp, {"order": order.bytes()}, "--parallel", "8", "--repeat", "40"
    )
    assert {(e["event"], e.get("msa1"), e.get("msa2_match"), e["connections"]) for e in sent["order"]} == {
        ("sent", "AA", True, 1)
    }
    assert {event["msh10"] for event in sent["order"]} == {f"{order.id}-{number}" for number in range(1, 41)}
    assert neighbours.jobs_of(order) == 1  # one placer order number, however many messages


def test_what_hapi_changes_in_an_order_is_taken(neighbours: Neighbours, tmp_path: Path) -> None:
    """8a: HAPI re-encodes: an empty ODT before NTE, trailing separators gone."""
    order = NeighbourOrder("2.3.1", extra=("NTE|1||please read soon|||", "ZDS|2.25.4711^^Application^DICOM||"))
    sent = hapi_sends(tmp_path / "hapi", neighbours.bridge.process.mllp, {"order": order.bytes()})
    (event,) = sent["order"]
    assert (event["event"], event.get("msa1"), event.get("as_read")) == ("sent", "AA", False)
    assert neighbours.jobs_of(order) == 1


@pytest.mark.parametrize(
    ("application", "declared", "options"),
    [
        ("RIS", "8859/1", ()),
        ("RIS", "UNICODE UTF-8", ()),
        ("RIS", "", ("--charset", "UTF-8")),
        ("RIS", "", ("--raw-charset",)),
        ("WESTERN", "", ("--charset", "ISO-8859-1")),  # the rules of this sender say cp1252
    ],
)
def test_names_beyond_ascii_are_taken_however_hapi_writes_them(
    neighbours: Neighbours, tmp_path: Path, application: str, declared: str, options: tuple[str, ...]
) -> None:
    """8a: bare HAPI writes US-ASCII."""
    order = NeighbourOrder(application=application, charset=declared, name="CANARY^ZEBRÄ")
    sent = hapi_sends(tmp_path / "hapi", neighbours.bridge.process.mllp, {"order": order.bytes("utf-8")}, *options)
    (event,) = sent["order"]
    assert (event["event"], event.get("msa1"), event.get("msa2_match")) == ("sent", "AA", True)


def test_undeclared_bytes_of_a_sender_without_a_charset_are_refused_with_their_reason(
    neighbours: Neighbours, tmp_path: Path
) -> None:
    order = NeighbourOrder(name="CANARY^ZEBRÄ")
    options = ("--charset", "ISO-8859-1")
    sent = hapi_sends(tmp_path / "hapi", neighbours.bridge.process.mllp, {"order": order.bytes("utf-8")}, *options)
    (event,) = sent["order"]
    assert (event.get("msa1"), event.get("msa2_match")) == ("AE", True)
    assert "charset" in str(event["err"])


def test_hapi_sends_by_tls(neighbours: Neighbours, tmp_path: Path) -> None:
    orders = {"first": NeighbourOrder(), "second": NeighbourOrder()}
    sent = hapi_sends(
        tmp_path / "hapi",
        neighbours.secure,
        {name: order.bytes() for name, order in orders.items()},
        "--tls",
        java_options=neighbours.tls.java_options,
    )
    assert [(e.get("msa1"), e.get("msa2_match"), e["connections"]) for events in sent.values() for e in events] == [
        ("AA", True, 1)
    ] * 2


def test_what_hapis_own_rules_refuse_is_taken_once_they_are_off(neighbours: Neighbours, tmp_path: Path) -> None:
    """8a: corpus: HAPI's parser refuses a telephone number that is not American; 0 without its validation rules."""
    order = NeighbourOrder("2.3.1", extra=("DG1|1||||not a time",))
    messages = {"order": order.bytes()}
    refused = hapi_sends(tmp_path / "strict", neighbours.bridge.process.mllp, messages)["order"]
    sent = hapi_sends(tmp_path / "free", neighbours.bridge.process.mllp, messages, "--no-validation")["order"]
    assert [event["event"] for event in refused] == ["refused"]
    assert [(event["event"], event.get("msa1")) for event in sent] == [("sent", "AA")]


def test_hapi_takes_order_level_answers(neighbours: Neighbours, tmp_path: Path) -> None:
    """8a: an ACK that both take: ORR, ORG, ORI."""
    kinds = {"ORR": ("2.5.1", "ORM^O01"), "ORG": ("2.5.1", OMG), "ORI": ("2.5.1", "OMI^O23^OMI_O23")}
    messages = {code: NeighbourOrder(*kind, application="RESPONSES").bytes() for code, kind in kinds.items()}
    sent = hapi_sends(tmp_path / "hapi", neighbours.bridge.process.mllp, messages)
    assert {
        code: [(e.get("msa1"), e.get("msa2_match"), e.get("ack_msh9", "")[:3]) for e in events]
        for code, events in sent.items()
    } == {code: [("AA", True, code)] for code in kinds}
