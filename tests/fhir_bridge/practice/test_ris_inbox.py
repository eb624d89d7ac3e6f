"""The RIS's port for results, sent to by our client, and the messages read there by hl7apy."""

from dataclasses import replace

import pytest

from fhir_bridge.practice.ris_inbox import ResultSeen, RisInbox
from hl7_listener.client import MllpClient
from mappings.finding import Report
from mappings.hl7v2_report import Receiver, oru_from
from tests.support.builders import a_patient
from tests.support.mllp_peer import TIMEOUT_SECONDS
from tests.support.mllp_receiver import control_id
from tests.support.reports import a_refused_report, a_report


def message(report: Report) -> bytes:
    return oru_from(replace(report, patient_identity=a_patient()), Receiver("ris"))


@pytest.mark.parametrize(
    ("report", "findings"), [(a_report(), ("52101004",)), (a_report(0.1), ("2667000",)), (a_refused_report(), ())]
)
def test_a_result_is_seen_as_it_was_sent(report: Report, findings: tuple[str, ...]) -> None:
    sent = message(report)
    with RisInbox() as inbox, MllpClient(inbox.host, inbox.port, TIMEOUT_SECONDS) as sender:
        code = sender.send(sent).code
        (seen,) = inbox.results()
    orders = frozenset(("CANARY-P1", "CANARY-A1"))
    assert (code, seen) == ("AA", ResultSeen(control_id(sent).decode(), "CANARY-1", orders, "P", findings))


def test_a_result_that_comes_twice_is_seen_twice() -> None:
    with RisInbox() as inbox, MllpClient(inbox.host, inbox.port, TIMEOUT_SECONDS) as sender:
        for _ in range(2):
            sender.send(message(a_report()))
        assert len(inbox.results()) == 2
