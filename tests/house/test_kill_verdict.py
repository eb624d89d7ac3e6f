"""The judge of the kill runs is itself tested: whatever is lost or doubled, it sees."""

from dataclasses import replace

import pytest

from tests.support.kill_hospital import SAMPLES, KillOrder, ReportSeen
from tests.support.kill_verdict import JobSeen, KillVerdict, judge

ORDERS = {order.placer: order for order in (KillOrder(0), KillOrder(1))}
FIRST, SECOND = ORDERS
JOBS = [JobSeen(placer, "done") for placer in ORDERS]
REPORTS = [
    ReportSeen(
        f"DiagnosticReport/{n}", placer, order.patient_reference, "1", (f"Observation/{n}1", f"Observation/{n}2")
    )
    for n, (placer, order) in enumerate(ORDERS.items())
]
OBSERVATIONS = {seen: report.subject for report in REPORTS for seen in report.observations}
RIGHT = {
    "orders": ORDERS,
    "sent": {"C1", "C2"},
    "stored": {"C1", "C2"},
    "jobs": JOBS,
    "reports": REPORTS,
    "observations": OBSERVATIONS,
    "usual_observations": dict.fromkeys(SAMPLES, 2),
}


def verdict(**changes: object) -> KillVerdict:
    return judge(**(RIGHT | changes))  # type: ignore[arg-type]


def test_a_run_in_which_all_is_right_is_kept() -> None:
    assert verdict().kept
    assert verdict() == KillVerdict(0, 0, 0, 0, 0, 0, 0, 0, 0, 0)


OTHER = KillOrder(1).patient_reference


@pytest.mark.parametrize(
    ("count", "changes"),
    [
        ("lost_messages", {"stored": {"C1"}}),
        ("lost_jobs", {"jobs": JOBS[:1]}),
        ("lost_reports", {"reports": REPORTS[:1], "observations": dict(list(OBSERVATIONS.items())[:2])}),
        ("doubled_jobs", {"jobs": [*JOBS, JOBS[0]]}),
        ("doubled_reports", {"reports": [*REPORTS, replace(REPORTS[0], reference="DiagnosticReport/9")]}),
        ("doubled_reports", {"reports": [*REPORTS, replace(REPORTS[0], placer="CANARY-KP9")]}),
        ("doubled_observations", {"reports": [REPORTS[0], replace(REPORTS[1], observations=("Observation/11",) * 2)],
                                  "observations": dict(list(OBSERVATIONS.items())[:3])}),
        ("stray_observations", {"observations": OBSERVATIONS | {"Observation/9": OTHER}}),
        ("wrong_patient", {"reports": [replace(REPORTS[0], subject=OTHER), REPORTS[1]]}),
        ("wrong_patient", {"observations": OBSERVATIONS | {REPORTS[0].observations[0]: OTHER}}),
        ("unfinished_jobs", {"jobs": [JOBS[0], replace(JOBS[1], status="held")]}),
    ],
)  # fmt: skip
def test_what_must_not_be_is_counted(count: str, changes: dict[str, object]) -> None:
    found = verdict(**changes)
    assert found == replace(verdict(), **{count: 1})
    assert not found.kept


def test_a_second_version_is_counted_but_no_breach() -> None:
    found = verdict(reports=[REPORTS[0], replace(REPORTS[1], version="2")])
    assert (found.report_versions, found.kept) == (1, True)


def test_orders_of_different_patients_alternate() -> None:
    patients = [KillOrder(number).patient_number for number in range(24)]
    assert patients == [0, 1, 2, 3] * 3 + [4, 5, 6, 7] * 3
