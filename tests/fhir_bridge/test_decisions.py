"""A person signs or takes back a report: the job goes through the normal flow again, once for each act."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fhir_bridge.adapters.in_memory.delivery import InMemoryDelivery
from fhir_bridge.errors import Refused, Unavailable
from fhir_bridge.job import Event, Stage, Status
from inference.prediction import Prediction
from mappings.finding import ReportStatus
from tests.support.bridge_in_memory import MODEL, BridgeInMemory
from tests.support.decided_jobs import (
    AMENDED,
    BY,
    CORRECTED,
    FINAL,
    ROLE,
    a_bridge,
    a_role,
    decisions,
    done,
    retract,
    run,
    sign,
    statuses,
)
from tests.support.frozen_clock import FrozenClock


@pytest.fixture
def bridge(tmp_path: Path, clock: FrozenClock) -> Iterator[BridgeInMemory]:
    bridge = a_bridge(tmp_path, clock)
    yield bridge
    bridge.vault.close()


@pytest.mark.parametrize("by", [BY, ROLE])
def test_a_signed_report_goes_out_again_without_a_new_analysis(bridge: BridgeInMemory, by: str) -> None:
    job = done(bridge)
    sign(bridge, job, by=by)
    stale = [delivery.status for delivery in bridge.store.deliveries(job)]
    run(bridge)
    last = bridge.destination.versions[job][-1]
    assert (stale, statuses(bridge, job), len(bridge.predictor.analysed)) == (["stale"], ["preliminary", "final"], 1)
    assert last.decision is not None
    assert (last.decision.by, bridge.job(job).status) == (by, Status.DONE)


def test_the_timeline_says_what_was_decided(bridge: BridgeInMemory) -> None:
    job = done(bridge)
    sign(bridge, job)
    run(bridge)
    retract(bridge, job)
    run(bridge)
    said = [(entry.event, entry.reason) for entry in bridge.store.history(job) if entry.event in ("sign", "retract")]
    assert said == [("sign", "report.final"), ("retract", "report.retracted-wrong-patient")]
    assert bridge.job(job).reason == "report.retracted"


@pytest.mark.parametrize("status", [AMENDED, CORRECTED])
def test_what_is_final_can_be_amended_or_corrected_and_not_be_made_final_again(
    bridge: BridgeInMemory, status: ReportStatus
) -> None:
    job = done(bridge)
    sign(bridge, job)
    run(bridge)
    with pytest.raises(Refused) as caught:
        sign(bridge, job)
    sign(bridge, job, status)
    run(bridge)
    assert (caught.value.code, statuses(bridge, job)) == ("report.status-unfit", ["preliminary", "final", status])


def test_what_was_not_signed_cannot_be_amended(bridge: BridgeInMemory) -> None:
    job = done(bridge)
    with pytest.raises(Refused) as caught:
        sign(bridge, job, AMENDED)
    assert caught.value.code == "report.status-unfit"


def test_a_run_after_the_signature_waits_for_a_person(bridge: BridgeInMemory) -> None:
    job = done(bridge)
    sign(bridge, job)
    run(bridge)
    bridge.happen(job, Event.REPLAY, Stage.ANALYSE)
    run(bridge)
    held = bridge.job(job)
    sign(bridge, job, CORRECTED)
    run(bridge)
    assert (held.status, held.reason) == (Status.HELD, "report.decision-needed")
    assert (statuses(bridge, job), bridge.job(job).status) == (["preliminary", "final", "corrected"], Status.DONE)


@pytest.mark.parametrize(
    ("person", "by"),
    [
        (None, "Practitioner/99"),
        ({"resourceType": "Practitioner", "id": "99", "active": False}, "Practitioner/99"),
        ({"resourceType": "Patient", "id": "99"}, "Patient/99"),
        (None, "Dr. CANARY"),
        (None, f"https://elsewhere.example/{BY}"),
        (None, f"{BY}/_history/1"),
        (a_role("99", active=False), "PractitionerRole/99"),
        (a_role("99", practitioner={}), "PractitionerRole/99"),
        (a_role("99", practitioner={"reference": "Practitioner/unknown"}), "PractitionerRole/99"),
        (a_role("99", practitioner={"reference": "Patient/7"}), "PractitionerRole/99"),
        (a_role("99", period={"end": "2026-02-28"}), "PractitionerRole/99"),
        (a_role("99", period={"start": "2027"}), "PractitionerRole/99"),
    ],
    ids=[
        *("unknown", "inactive", "patient", "no reference", "another server's", "a version", "inactive role"),
        *("nobody's role", "a role of somebody unknown", "a role of no practitioner", "past role", "role to come"),
    ],
)
def test_only_a_person_whom_the_server_knows_decides(bridge: BridgeInMemory, person: Any, by: str) -> None:
    job = done(bridge)
    if person:
        bridge.record.store(person)
    with pytest.raises(Refused) as caught:
        sign(bridge, job, by=by)
    assert (caught.value.code, bridge.job(job).status) == ("report.person-unfit", Status.DONE)


def test_a_study_that_was_not_analysed_is_not_signed(bridge: BridgeInMemory) -> None:
    bridge.predictor.script = {MODEL: Prediction(MODEL, "1.0.0", "ab" * 32, "refused", reason="scope.age")}
    job = done(bridge)
    with pytest.raises(Refused) as caught:
        sign(bridge, job)
    assert caught.value.code == "report.not-signable"


def test_a_job_under_way_is_not_signed(bridge: BridgeInMemory) -> None:
    job = bridge.order()
    with pytest.raises(Refused) as caught:
        sign(bridge, job)
    assert caught.value.code == "report.not-signable"


def test_what_never_went_out_is_not_taken_back(bridge: BridgeInMemory) -> None:
    job = bridge.order()
    with pytest.raises(Refused) as caught:
        retract(bridge, job)
    assert caught.value.code == "report.not-out"


@pytest.mark.parametrize("signs", [True, False])
def test_what_is_out_is_taken_back_and_only_once(bridge: BridgeInMemory, signs: bool) -> None:
    job = done(bridge)
    if signs:
        sign(bridge, job)
        run(bridge)
    retract(bridge, job)
    run(bridge)
    with pytest.raises(Refused) as caught:
        retract(bridge, job)
    assert (statuses(bridge, job)[-1], caught.value.code) == ("entered-in-error", "report.not-out")
    assert bridge.destination.versions[job][-1].issued == bridge.destination.versions[job][-2].issued


@pytest.mark.parametrize("event", [Event.PATIENT, Event.CHANGE, Event.CANCEL, Event.SUSPEND, Event.HOLD])
@pytest.mark.parametrize("delivered", [True, False])
def test_no_message_of_a_sender_undoes_a_retraction(bridge: BridgeInMemory, event: Event, delivered: bool) -> None:
    job = done(bridge)
    retract(bridge, job)
    if delivered:
        run(bridge)
    bridge.happen(job, event, Stage.REPORT)
    run(bridge)
    assert (statuses(bridge, job)[-1], bridge.job(job).status) == ("entered-in-error", Status.DONE)


def test_a_replay_after_a_retraction_publishes_anew_and_may_be_signed(bridge: BridgeInMemory) -> None:
    job = done(bridge)
    sign(bridge, job)
    run(bridge)
    retract(bridge, job)
    run(bridge)
    bridge.happen(job, Event.REPLAY, Stage.CONTEXT)
    bridge.run_until_quiet()
    bridge.clock.advance(60)
    sign(bridge, job)
    run(bridge)
    assert statuses(bridge, job) == ["preliminary", "final", "entered-in-error", "preliminary", "final"]


def test_a_replay_of_the_delivery_alone_goes_on_with_the_retraction(bridge: BridgeInMemory) -> None:
    job = done(bridge)
    bridge.destination.outage = Refused("test.refused", "peer")
    retract(bridge, job)
    run(bridge)
    held = bridge.job(job).status
    bridge.destination.outage = None
    bridge.happen(job, Event.REPLAY, Stage.DELIVER)
    run(bridge)
    bridge.happen(job, Event.PATIENT, Stage.REPORT)
    run(bridge)
    assert (held, statuses(bridge, job)) == (Status.HELD, ["preliminary", "entered-in-error"])


def test_a_report_whose_job_came_to_a_halt_since_can_be_taken_back(bridge: BridgeInMemory) -> None:
    """The order turned out to be another person's: the new run is held, and the old patient's report must not stand."""
    job = done(bridge)
    bridge.record.store({**bridge.record.read("Patient/7"), "birthDate": "2010-01-01"})
    bridge.happen(job, Event.PATIENT, Stage.CONTEXT)
    run(bridge)
    held = bridge.job(job).status
    retract(bridge, job)
    run(bridge)
    last = bridge.destination.versions[job][-1]
    assert (held, last.status, last.patient, bridge.job(job).status) == (
        Status.HELD, "entered-in-error", "Patient/7", Status.DONE,
    )  # fmt: skip


def test_a_retraction_goes_to_those_who_got_the_result_and_says_what_each_got(bridge: BridgeInMemory) -> None:
    """facts hl7v2 §4: a correction or retraction goes to every destination that got the first result."""
    never = InMemoryDelivery("never", outage=Unavailable("test.away", "peer"))
    slow = InMemoryDelivery("slow")
    bridge.with_deliveries(bridge.destination, slow, never)
    job = bridge.order()
    bridge.run_until_quiet()
    bridge.clock.advance(60)
    retract(bridge, job)
    never.outage = None
    run(bridge)
    assert (statuses(bridge, job), never.versions) == (["preliminary", "entered-in-error"], {})
    assert [str(v.status) for v in slow.versions[job]] == ["preliminary", "entered-in-error"]
    assert bridge.job(job).status is Status.DONE


def test_a_signature_that_one_destination_cannot_take_now_reaches_it_later(bridge: BridgeInMemory) -> None:
    late = InMemoryDelivery("late")
    bridge.with_deliveries(bridge.destination, late)
    job = done(bridge)
    late.outage = Unavailable("test.away", "peer")
    sign(bridge, job)
    bridge.run()
    waiting = bridge.job(job).status
    late.outage = None
    run(bridge)
    assert (waiting, [str(v.status) for v in late.versions[job]]) == (Status.WAITING, ["preliminary", "final"])
    assert statuses(bridge, job) == ["preliminary", "final"]


def test_a_signature_over_what_a_person_signed_on_the_server_is_for_a_person_to_see(bridge: BridgeInMemory) -> None:
    job = done(bridge)
    bridge.destination.outage = Refused("fhir.report-signed", "DiagnosticReport.status", "signed there")
    sign(bridge, job)
    run(bridge)
    assert (bridge.job(job).status, bridge.job(job).reason) == (Status.HELD, "fhir.report-signed")


def test_two_decisions_at_the_same_time_make_one_version(bridge: BridgeInMemory) -> None:
    job = done(bridge)
    seen = bridge.job(job)
    sign(bridge, job)
    with pytest.raises(Refused) as caught:
        decisions(bridge).sign(seen, BY, FINAL)
    run(bridge)
    assert statuses(bridge, job) == ["preliminary", "final"]
    assert caught.value.code in ("report.status-unfit", "report.changed-meanwhile")


def test_what_a_server_keeps_otherwise_than_sent_can_be_taken_back_and_not_be_cancelled(bridge: BridgeInMemory) -> None:
    """It refused, or keeps another: the result stands there all the same."""
    bridge.destination.outage = Refused("fhir.not-kept", "DiagnosticReport.subject")
    bridge.destination.outage.may_be_done = True
    job = bridge.order()
    bridge.run_until_quiet()
    held, cancelled = bridge.job(job).status, bridge.happen(job, Event.CANCEL)
    bridge.destination.outage = None
    retract(bridge, job)
    run(bridge)
    assert (held, cancelled, statuses(bridge, job)) == (Status.HELD, False, ["entered-in-error"])


def test_an_edition_that_was_refused_does_not_hide_the_one_that_stands_there(bridge: BridgeInMemory) -> None:
    job = done(bridge)
    bridge.destination.outage = Refused("test.refused", "peer")
    bridge.happen(job, Event.PATIENT, Stage.REPORT)
    run(bridge)
    cancelled = bridge.happen(job, Event.CANCEL)
    bridge.destination.outage = None
    retract(bridge, job)
    run(bridge)
    assert (cancelled, statuses(bridge, job)) == (False, ["preliminary", "entered-in-error"])


@pytest.mark.parametrize("takes_back", [True, False])
def test_what_the_destination_does_not_take_for_a_later_one_is_not_done(
    bridge: BridgeInMemory, takes_back: bool
) -> None:
    """Somebody else's report of a later time is there, or our clock went back: what was decided did not get there."""
    job = done(bridge)
    there = bridge.destination.versions[job]
    there[-1] = replace(there[-1], issued=bridge.clock.now() + timedelta(days=1))
    if takes_back:
        retract(bridge, job)
    else:
        sign(bridge, job)
    run(bridge)
    assert (bridge.job(job).status, bridge.job(job).reason) == (Status.HELD, "report.superseded")
    assert (statuses(bridge, job), bridge.happen(job, Event.CANCEL)) == (["preliminary"], False)


def test_a_role_of_a_practitioner_who_left_signs_nothing(bridge: BridgeInMemory) -> None:
    job = done(bridge)
    bridge.record.store({"resourceType": "Practitioner", "id": "12", "active": False})
    with pytest.raises(Refused) as caught:
        sign(bridge, job, by=ROLE)
    assert caught.value.code == "report.person-unfit"


@pytest.mark.parametrize("period", [{"start": "2026"}, {"end": "2026-03"}, {"end": "2026-03-02"}])
def test_a_role_is_held_to_the_end_of_its_last_day(bridge: BridgeInMemory, period: dict[str, str]) -> None:
    bridge.record.store(a_role(period=period))
    assert sign(bridge, done(bridge), by=ROLE).status is FINAL


def test_a_run_again_knows_what_the_one_before_may_have_left(bridge: BridgeInMemory) -> None:
    job = done(bridge)
    bridge.happen(job, Event.REPLAY, Stage.ANALYSE)
    run(bridge)
    first, second = bridge.destination.versions[job]
    assert [(edition.issued, edition.results) for edition in second.earlier] == [
        (first.issued, ("pneumonia", "quality_score"))
    ]


def test_a_signature_lifts_no_hold_that_came_while_the_person_was_looked_up(bridge: BridgeInMemory) -> None:
    job = done(bridge)
    sign(bridge, job)
    run(bridge)
    bridge.happen(job, Event.REPLAY, Stage.ANALYSE)
    run(bridge)
    seen = bridge.job(job)
    with bridge.store.transaction() as ledger:
        ledger.happen(job, Event.HOLD, "order.move-uncertain")
    with pytest.raises(Refused) as caught:
        decisions(bridge).sign(seen, BY, CORRECTED)
    assert (caught.value.code, bridge.job(job).status) == ("report.changed-meanwhile", Status.HELD)
    assert statuses(bridge, job) == ["preliminary", "final"]
