"""Results to real receivers: Camel as an engine that answers well, badly or not at all, HAPI as one that checks what it gets.

`8a` names a row of what was measured of them as receivers; item 34 of the checklist is the rule: one in flight, MSA-2 must match, a late
answer never counts, the same control ID when sent again.
"""

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from fhir_bridge.adapters.hl7_delivery import Hl7Delivery
from fhir_bridge.adapters.mllp_destination import MllpDestination
from fhir_bridge.errors import BridgeError
from hl7_listener.client import MllpClient
from mappings.finding import Report
from mappings.hl7v2_report import Receiver
from mappings.order import Identifier, PatientIdentity
from tests.support.hl7_engine import Address, Engine, HapiReceiver, running_engine, running_hapi_receiver
from tests.support.mllp_relay import MllpRelay
from tests.support.reports import a_refused_report, a_report

pytestmark = pytest.mark.real_parts

ACCEPTED = "accepted"
PATIENT_SECONDS, HASTY_SECONDS = 20.0, 0.7
VERSIONS = ("2.3.1", "2.4", "2.5", "2.5.1", "2.6", "2.7", "2.8")
PATIENT = PatientIdentity((Identifier("CANARY-1", "", "MR", "HOSP"),), date(2022, 3, 4), "female")
NUMBERS = (Identifier("CANARY-P1", "", "PLAC", "CPOE"), Identifier("CANARY-F1", "", "FILL", "RIS"))


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with running_engine(tmp_path_factory.mktemp("engine") / "camel") as engine:
        yield engine


@pytest.fixture(scope="module")
def checking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HapiReceiver]:
    with running_hapi_receiver(tmp_path_factory.mktemp("hapi") / "receiver", "--strict") as receiver:
        yield receiver


Delivering = Callable[..., Hl7Delivery]


@pytest.fixture
def delivery() -> Iterator[Delivering]:
    """Deliveries to an address; their clock makes such steps that no rest after a failure lasts."""
    with ExitStack() as stack:

        def make(
            to: Address, *, version: str = "2.5.1", skip_refused: bool = False, seconds: float = PATIENT_SECONDS
        ) -> Hl7Delivery:
            hours = itertools.count(step=3600)
            destination = MllpDestination("ris", MllpClient(*to, seconds), lambda: float(next(hours)))
            stack.callback(destination.close)
            return Hl7Delivery(destination, Receiver("ris", version, application="RIS"), skip_refused=skip_refused)

        yield make


def report(job: str) -> Report:
    return replace(a_report(job=job), patient_identity=PATIENT, order_identifiers=NUMBERS)


def attempted(to: Hl7Delivery, result: Report) -> str:
    """Accepted, or noted as refused, or the kind of error with its code."""
    try:
        return ACCEPTED if to.deliver(result).is_accepted else "noted"
    except BridgeError as error:
        return f"{type(error).__name__} {error.code}"


AGAIN_LATER = {
    "AR busy": "Unavailable hl7.not-now",
    "CE busy": "Unavailable hl7.not-now",
    "none": "Uncertain mllp.timeout",
    "late 1500": "Uncertain mllp.timeout",
    "close": "Uncertain mllp.closed",
    "reset": "Uncertain mllp.closed",
    "wrong-id": "Uncertain mllp.timeout",
    "no-msa": "Uncertain mllp.timeout",
    "garbage": "Uncertain mllp.timeout",
    "bad-code": "Uncertain hl7.unknown-answer",
}


@pytest.mark.parametrize("mode", ["AA", "CA", "lf", "AA-close"])
def test_a_positive_answer_is_a_receipt(engine: Engine, delivery: Delivering, mode: str) -> None:
    """8a: receivers of our ORU: Camel's ACK; with LF segments; closed after it."""
    engine.answer_with(mode)
    receipt = delivery(engine.inbound).deliver(report(f"positive-{mode}"))
    (event,) = engine.await_received(receipt.reference.split("|")[2])
    assert (receipt.is_accepted, event["again"]) == (True, False)


@pytest.mark.parametrize(("mode", "expected"), AGAIN_LATER.items(), ids=AGAIN_LATER)
def test_what_is_no_answer_to_this_message_is_no_success_and_the_same_bytes_come_again(
    engine: Engine, delivery: Delivering, mode: str, expected: str
) -> None:
    """Item 34; 8a: no answer in time, closed without one, wrong MSA-2, no MSA, not HL7: a success for Camel itself, never for us."""
    engine.answer_with(mode, "AA")
    result, before = report(f"again-{mode}"), len(engine.received())
    first = attempted(
        delivery(engine.inbound, seconds=HASTY_SECONDS if "timeout" in expected else PATIENT_SECONDS), result
    )
    second = delivery(engine.inbound).deliver(result)  # as after a restart: the message is made anew
    events = engine.await_received(second.reference.split("|")[2], times=2)
    assert (first, second.is_accepted) == (expected, True)
    assert [event["again"] for event in events] == [False, True]
    assert len(engine.received()) == before + 2
    assert len({engine.content(event) for event in events}) == 1


@pytest.mark.parametrize("mode", ["AE wrong", "CR wrong"])
def test_a_refusal_holds_the_result_for_a_person(engine: Engine, delivery: Delivering, mode: str) -> None:
    """Item 34: AE stops; nothing is sent again by itself."""
    engine.answer_with(mode, "AA")
    assert attempted(delivery(engine.inbound), report(f"refused-{mode}")) == "Refused hl7.refused"


def test_a_site_may_note_a_refusal_and_go_on(engine: Engine, delivery: Delivering) -> None:
    engine.answer_with("AE wrong", "AA")
    receipt = delivery(engine.inbound, skip_refused=True).deliver(report("skipped"))
    assert (receipt.is_accepted, receipt.detail) == (False, "hl7.refused")


def test_a_late_answer_is_not_taken_for_the_next_message(engine: Engine, delivery: Delivering) -> None:
    """Item 34; 8a: a late ACK is taken as the answer to the next message, and so on from there: by Camel, not by us."""
    engine.answer_with("late 2000", "AE wrong", "AA")
    to = delivery(engine.inbound, seconds=1.5)
    first = attempted(to, report("late-first"))
    second = attempted(to, report("late-second"))  # while the AA for the first is on its way
    assert (first, second) == ("Uncertain mllp.timeout", "Refused hl7.refused")


def test_only_one_message_is_in_flight_however_many_threads_deliver(engine: Engine, delivery: Delivering) -> None:
    """Item 34; 8a: Camel keeps only the first of several frames in one read, the rest vanish unanswered."""
    engine.answer_with("late 30")
    with MllpRelay(engine.inbound) as relay:
        to, reports = delivery(relay.address), [report(f"flight-{number}") for number in range(12)]
        with ThreadPoolExecutor(len(reports)) as threads:
            assert list(threads.map(lambda each: attempted(to, each), reports)) == [ACCEPTED] * len(reports)
        assert [relayed.in_flight for relayed in relay.connections] == [1]


def test_camel_gets_one_block_and_nothing_around_it(engine: Engine, delivery: Delivering) -> None:
    engine.answer_with("AA")
    with MllpRelay(engine.inbound) as relay:
        to = delivery(relay.address)
        for job in ("first", "second"):
            to.deliver(report(f"block-{job}"))
        (relayed,) = relay.connections
        blocks = bytes(relayed.sent).split(b"\x1c\r")
    assert [block[:4] for block in blocks] == [b"\x0bMSH", b"\x0bMSH", b""]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("outcome", ["analysed", "not analysed"])
def test_hapi_finds_nothing_wrong_with_a_result(
    checking: HapiReceiver, delivery: Delivering, version: str, outcome: str
) -> None:
    """8a: HAPI answers AE where its parse fails: OBX-2 empty, NM with text, a version beyond 2.8; strict: segments out of place."""
    result = report(f"checked-{version}-{outcome}")
    if outcome == "not analysed":
        result = replace(a_refused_report(job=result.job), patient_identity=PATIENT, order_identifiers=NUMBERS)
    receipt = delivery(checking.address, version=version).deliver(result)
    control_id = receipt.reference.split("|")[2]
    event = checking.wait_for(lambda e: e.get("msh10") == control_id)
    assert receipt.is_accepted
    assert (event["event"], event["version"], event["problems"]) == ("received", version, [])
    assert event["class"].endswith("ORU_R01")


def test_hapi_sees_one_connection_for_all_results(checking: HapiReceiver, delivery: Delivering) -> None:
    """8a: HAPI closes on any byte between frames."""
    to, before = delivery(checking.address), len(checking.received())
    for job in ("first", "second", "third"):
        to.deliver(report(f"connection-{job}"))
    events = checking.await_received(before + 3)[before:]
    assert len({event["peer"] for event in events}) == 1


def test_a_receiver_that_cannot_take_it_is_no_success(tmp_path: Path, delivery: Delivering) -> None:
    with running_hapi_receiver(tmp_path / "receiver", "--answer", "AR") as receiver:
        assert attempted(delivery(receiver.address), report("hapi-busy")) == "Unavailable hl7.not-now"
