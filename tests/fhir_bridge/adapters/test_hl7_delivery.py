"""Results by MLLP against scripted receivers, with every misbehaviour of facts §4 item 34 and §5."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from fhir_bridge import encoding
from fhir_bridge.adapters.hl7_delivery import Hl7Delivery
from fhir_bridge.adapters.mllp_destination import MllpDestination
from fhir_bridge.errors import BridgeError, Refused, Unavailable, Uncertain
from fhir_bridge.ports import Receipt
from hl7_listener.client import MllpClient
from mappings.code import Code
from mappings.finding import Report
from mappings.hl7v2_report import Receiver, oru_from
from mappings.order import PatientIdentity
from tests.support.builders import a_patient
from tests.support.mllp_peer import TIMEOUT_SECONDS, ScriptedReceiver, block
from tests.support.mllp_receiver import MllpReceiver, acknowledgement, control_id
from tests.support.reports import a_refused_report, a_report

RECEIVER = Receiver("ris", application="RIS", facility="HOSP")
REPORT = a_report(patient_identity=a_patient())
MESSAGE = oru_from(REPORT, RECEIVER)
OTHER = replace(REPORT, job="job-2")
ID = control_id(MESSAGE).decode()


@contextmanager
def delivery(
    address: tuple[str, int], timeout_seconds: float = TIMEOUT_SECONDS, *, skip_refused: bool = False
) -> Iterator[Hl7Delivery]:
    """Time stands an hour further whenever it is asked for: nothing rests."""
    hours = iter(range(0, 3600 * 1000, 3600))
    client = MllpClient(*address, timeout_seconds)
    destination = MllpDestination("ris", client, lambda: float(next(hours)))
    yield Hl7Delivery(destination, RECEIVER, skip_refused=skip_refused)
    destination.close()


def failure(to: Hl7Delivery, report: Report = REPORT) -> BridgeError:
    with pytest.raises(BridgeError) as caught:
        to.deliver(report)
    return caught.value


@pytest.mark.parametrize("code", ["AA", "CA"])
def test_an_acceptance_is_kept_as_the_receiver_gave_it(code: str) -> None:
    """facts §5: keep proof of which destination accepted. CA: it is in the receiver's safe storage."""
    with ScriptedReceiver([acknowledgement(MESSAGE, code)]) as ris, delivery(ris.address) as to:
        assert to.deliver(REPORT) == Receipt(f"MSA|{code}|{ID}", "accepted")
    assert ris.received == [MESSAGE]


def test_the_same_report_three_times_is_one_message() -> None:
    """item 34: the same control ID, and the same bytes, on resend."""
    with MllpReceiver() as ris, delivery(ris.address) as to:
        receipts = {to.deliver(REPORT) for _ in range(3)}
    assert (len(receipts), ris.received, len(ris.results())) == (1, [MESSAGE] * 3, 1)


def test_after_a_restart_it_is_still_the_same_message() -> None:
    """item 34: killed between the answer and our note of it, we send again what the receiver knows by its control ID."""
    procedure = Code("XR1", "", "Röntgen Thorax", "99RIS")
    report = replace(REPORT, procedure=procedure)
    stored = encoding.load(Report, encoding.dump(report))
    assert oru_from(stored, RECEIVER) == oru_from(report, RECEIVER)


def test_two_jobs_have_two_results() -> None:
    with MllpReceiver() as ris, delivery(ris.address) as to:
        assert to.deliver(REPORT).reference != to.deliver(OTHER).reference
    assert (len(ris.results()), ris.connections) == (2, 1)


def test_a_run_again_is_another_message() -> None:
    again = replace(REPORT, issued=REPORT.issued.replace(hour=9), caveats=("Another.",))
    with MllpReceiver() as ris, delivery(ris.address) as to:
        assert to.deliver(REPORT).reference != to.deliver(again).reference


def test_a_study_that_was_not_analysed_is_reported_as_such() -> None:
    with MllpReceiver() as ris, delivery(ris.address) as to:
        to.deliver(a_refused_report(patient_identity=a_patient()))
    assert b"Not analysed because the patient is 41 years old" in ris.received[0]


@pytest.mark.parametrize("code", ["AR", "CE"])
def test_a_receiver_that_cannot_now_is_tried_again(code: str) -> None:
    """item 34: retry AR and CE."""
    script = [acknowledgement(MESSAGE, code), acknowledgement(MESSAGE)]
    with ScriptedReceiver(script) as ris, delivery(ris.address) as to:
        error = failure(to)
        to.deliver(REPORT)
    assert (type(error), error.code, error.where) == (Unavailable, "hl7.not-now", "ris")
    assert ris.received == [MESSAGE] * 2


@pytest.mark.parametrize("code", ["AE", "CR"])
def test_a_message_that_the_receiver_will_not_take_is_held_for_a_person(code: str) -> None:
    """item 34: stop on AE by policy. facts §5: an AE is no success."""
    with ScriptedReceiver([acknowledgement(MESSAGE, code)]) as ris, delivery(ris.address) as to:
        error = failure(to)
    assert (type(error), error.code) == (Refused, "hl7.refused")


@pytest.mark.parametrize("code", ["AE", "CR"])
def test_or_passed_over_where_the_site_wants_that(code: str) -> None:
    """item 34: stop on AE by policy."""
    script = [acknowledgement(MESSAGE, code)]
    with ScriptedReceiver(script) as ris, delivery(ris.address, skip_refused=True) as to:
        assert to.deliver(REPORT) == Receipt(f"MSA|{code}|{ID}", "hl7.refused", is_accepted=False)


@pytest.mark.parametrize(
    ("error_segment", "said"),
    [
        (
            b"ERR||PID^1^3|101^Required field missing^HL70357|E||||CANARY^ZEBRA\r",
            "the answer is AE, error 101 at PID^1^3",
        ),
        (b"ERR|PID^1^3^101&Required&HL70357\r", "the answer is AE, error 101 at PID^1^3"),
        (b"ERR||CANARY-1|CANARY|E||||born 1970\r", "the answer is AE"),
    ],
)
def test_the_reason_is_told_without_the_words_of_the_receiver(error_segment: bytes, said: str) -> None:
    script = [acknowledgement(MESSAGE, "AE", more=error_segment)]
    with ScriptedReceiver(script) as ris, delivery(ris.address) as to:
        assert failure(to).explanation == said


@pytest.mark.parametrize("code", ["OK", "aa", ""])
def test_an_answer_that_is_no_answer_is_not_taken_for_one(code: str) -> None:
    script = [acknowledgement(MESSAGE, code), acknowledgement(MESSAGE)]
    with ScriptedReceiver(script) as ris, delivery(ris.address) as to:
        error = failure(to)
        to.deliver(REPORT)
    assert (type(error), error.code) == (Uncertain, "hl7.unknown-answer")


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(lambda m: b"", id="no answer"),
        pytest.param(lambda m: acknowledgement(m, of=b"OTHER"), id="the answer to another message"),
        pytest.param(lambda m: acknowledgement(m, of=b""), id="an answer without MSA-2"),
        pytest.param(lambda m: block(b"MSH|^~\\&|RIS||||2026||ACK|9|P|2.5\r"), id="no MSA"),
        pytest.param(lambda m: block(b"not HL7"), id="not HL7"),
        pytest.param(lambda m: acknowledgement(m)[:-2], id="half an answer"),
    ],
)
def test_without_its_own_answer_a_message_counts_as_perhaps_arrived(script: Callable[[bytes], bytes]) -> None:
    """item 34: MSA-2 must match; after the timeout a new connection and the same bytes."""
    with ScriptedReceiver([script(MESSAGE), acknowledgement(MESSAGE)]) as ris, delivery(ris.address, 0.3) as to:
        error = failure(to)
        to.deliver(REPORT)
    assert (type(error), error.code, error.where) == (Uncertain, "mllp.timeout", "ris")
    assert (ris.received, ris.connections) == ([MESSAGE] * 2, 2)


def test_a_late_answer_is_not_taken_for_that_of_the_next_message() -> None:
    """item 34, Mirth #1441 and #2070: the answer to the first message comes when the second waits for its own."""
    second = oru_from(OTHER, RECEIVER)
    late = acknowledgement(MESSAGE, "AE") + acknowledgement(second)
    with ScriptedReceiver([b"", late]) as ris, delivery(ris.address, 0.3) as to:
        failure(to)
        assert to.deliver(OTHER).reference == f"MSA|AA|{control_id(second).decode()}"


def test_a_second_answer_is_not_taken_for_that_of_the_next_message() -> None:
    """facts §8a: CA, then AA on the same connection."""
    second = oru_from(OTHER, RECEIVER)
    script = [acknowledgement(MESSAGE, "CA") + acknowledgement(MESSAGE, "AE"), acknowledgement(second)]
    with ScriptedReceiver(script) as ris, delivery(ris.address) as to:
        codes = [to.deliver(report).reference[:6] for report in (REPORT, OTHER)]
    assert (codes, ris.connections) == (["MSA|CA", "MSA|AA"], 1)


def test_a_connection_that_ends_without_an_answer_is_opened_again() -> None:
    with ScriptedReceiver([None, acknowledgement(MESSAGE)]) as ris, delivery(ris.address) as to:
        error = failure(to)
        to.deliver(REPORT)
    assert (type(error), error.code, ris.received) == (Uncertain, "mllp.closed", [MESSAGE] * 2)


def test_where_nobody_listens_nothing_has_arrived() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        address = unused.getsockname()[:2]
    with delivery(address) as to:
        error = failure(to)
    assert (type(error), error.code) == (Unavailable, "mllp.unreachable")


def test_a_report_that_cannot_be_written_is_refused_before_anything_is_sent() -> None:
    with MllpReceiver() as ris, delivery(ris.address) as to:
        error = failure(to, replace(REPORT, patient_identity=PatientIdentity()))
    assert (type(error), error.code, ris.received) == (Refused, "report.patient-identifier-missing", [])


def test_its_name_is_that_of_the_destination() -> None:
    with MllpReceiver() as ris, delivery(ris.address) as to:
        assert to.destination == "hl7:ris"
