"""Any sequence of runs, decisions, failures and late copies leaves one report on the server, whose status is that of the last act."""

from collections.abc import Callable, Sequence
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fhir_bridge.errors import Refused, Uncertain
from fhir_bridge.server_traits import ServerTraits
from mappings.finding import Report, ReportStatus
from tests.support.breaking_client import Breaking
from tests.support.edition_contract import new_run, signed, taken_back
from tests.support.scripted_fhir import Traits, scripted_fhir
from tests.support.scripted_place import ScriptedPlace

KINDS = {
    "at once": (Traits(), ServerTraits()),
    "one by one": (Traits(transactions=False), ServerTraits(transactions=False)),
    "epic": (
        Traits(transactions=False, conditional_create=False, answers="location"),
        ServerTraits(transactions=False, conditional_create=False, version_guard=False),
    ),
}


def decided(report: Report) -> Report:
    """As the bridge lets it be: final once, then amended; what was taken back is run again first."""
    if report.is_retracted:
        return new_run(report)
    return signed(report, ReportStatus.AMENDED if report.decision else ReportStatus.FINAL)


ACTS: dict[str, Callable[[Report], Report]] = {
    "sign": decided,
    "retract": lambda report: report if report.is_retracted else taken_back(report),
    "run again": lambda report: new_run(report) if report.is_retracted or not report.decision else report,
    "nothing": lambda report: report,
}
STEPS = st.tuples(st.sampled_from(list(ACTS)), st.integers(0, 6), st.booleans(), st.booleans())


def play(place: ScriptedPlace, steps: Sequence[tuple[str, int, bool, bool]]) -> Report:
    """Each act is delivered, cut off at a write or not, and perhaps followed by a late copy of what was before."""
    report = before = place.report()
    for act, fails_at, done, late in steps:
        before, report = report, ACTS[act](report)
        with Breaking(place, fails_at, done=done) as client, suppress(Uncertain):
            place.delivery_by(client).deliver(report)
        if late:
            with suppress(Refused):
                place.delivery.deliver(before)
    return report


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, max_size=6))
def test_one_report_is_left_with_the_status_of_the_last_act(
    kind: str, steps: list[tuple[str, int, bool, bool]]
) -> None:
    with scripted_fhir(KINDS[kind][0]) as server:
        place = ScriptedPlace(server, KINDS[kind][1])
        with place.client:
            report = play(place, steps)
            place.delivery.deliver(report)
            assert place.delivery.deliver(report).detail == "unchanged"
        assert [one["status"] for one in server.all_of("DiagnosticReport")] == [report.status]
        assert {one["status"] for one in server.all_of("Observation")} == {report.status}
