"""Any sequence of decisions, runs, merges and failures leaves the report with the status of the last act."""

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fhir_bridge.adapters.in_memory.delivery import InMemoryDelivery
from fhir_bridge.errors import Refused, Uncertain
from fhir_bridge.job import Event, Stage, Status
from fhir_bridge.ports import Receipt
from mappings.finding import Report
from tests.support.bridge_in_memory import BridgeInMemory
from tests.support.decided_jobs import AMENDED, FINAL, a_bridge, done, retract, run, sign, statuses
from tests.support.frozen_clock import FrozenClock


class Faltering(InMemoryDelivery):
    """Whether the next deliveries fail, and whether they were done all the same."""

    def __init__(self) -> None:
        super().__init__()
        self.faults: list[str] = []

    def deliver(self, report: Report) -> Receipt:
        fault = self.faults.pop(0) if self.faults else ""
        if fault != "lost":
            receipt = super().deliver(report)
        if fault:
            raise Uncertain("test.uncertain", "peer", "cut off")
        return receipt


ACTS = st.sampled_from(["run", "sign", "amend", "retract", "replay", "replay-delivery", "lost", "cut-off", "merge"])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ACTS, max_size=8))
@example(["retract", "run", "replay", "merge"])
@example(["sign", "merge", "run", "merge"])
@example(["sign", "retract", "run", "replay"])  # what is taken back is not the signature: that never got there
def test_whatever_happens_the_report_has_the_status_of_the_last_act(
    tmp_path_factory: pytest.TempPathFactory, acts: list[str]
) -> None:
    bridge = a_bridge(tmp_path_factory.mktemp("bridge"), FrozenClock())
    bridge.destination = Faltering()
    bridge.with_deliveries(bridge.destination)
    bridge.worker = bridge.a_worker(max_attempts=50)
    job = done(bridge)
    expected = "preliminary"
    for act in acts:
        expected = play(bridge, job, act, expected)
        bridge.clock.advance(60)
    for _ in range(12):
        run(bridge)
    holds = [entry.reason for entry in bridge.store.history(job) if entry.event == Event.HOLD]
    waits_for_a_person = (bridge.job(job).status, holds[-1:]) == (Status.HELD, ["report.decision-needed"])
    assert waits_for_a_person or bridge.job(job).status is Status.DONE
    assert statuses(bridge, job)[-1] == expected
    bridge.vault.close()


def play(bridge: BridgeInMemory, job: str, act: str, expected: str) -> str:
    """The act, and the status that the report is to have in the end."""
    assert isinstance(bridge.destination, Faltering)
    if act == "run":
        bridge.run()
    elif act in ("lost", "cut-off"):
        bridge.destination.faults.append(act)
    elif act in ("sign", "amend"):
        try:
            return str(sign(bridge, job, FINAL if act == "sign" else AMENDED).status)
        except Refused:
            return expected
    elif act == "retract":
        try:
            return str(retract(bridge, job).status)
        except Refused:
            return expected
    elif act == "replay-delivery":
        bridge.happen(job, Event.REPLAY, Stage.DELIVER)
    elif bridge.happen(job, Event.REPLAY if act == "replay" else Event.PATIENT, Stage.REPORT):
        # the report is made anew: after a retraction it goes out, and a signature that did not get there yet is asked for again
        there = statuses(bridge, job)[-1]
        return "preliminary" if "entered-in-error" in (expected, there) else there
    return expected
