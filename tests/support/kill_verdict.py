"""Whether a kill run kept the promise. Pure: what was acknowledged, what the bridge's store says, what the FHIR server holds."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from tests.support.kill_hospital import KillOrder, ReportSeen


@dataclass(frozen=True, slots=True)
class JobSeen:
    """A job as the bridge's store has it after the run."""

    placer: str = field(repr=False)
    status: str


@dataclass(frozen=True, slots=True)
class KillVerdict:
    """Counts of what must not be; only `report_versions` and `observation_versions` may be more than none."""

    lost_messages: int  # acknowledged, but not in the store as acknowledged
    lost_jobs: int  # orders acknowledged that have no job
    lost_reports: int  # orders acknowledged that have no DiagnosticReport
    doubled_jobs: int
    doubled_reports: int
    doubled_observations: int  # more, or fewer, than an undisturbed report of the same film has
    stray_observations: int  # of a patient of the run, and of no report
    wrong_patient: int  # reports, or their Observations, that are on another patient than the order's
    unfinished_jobs: int  # not done
    report_versions: int  # reports that were written more than once

    @property
    def lost(self) -> int:
        return self.lost_messages + self.lost_jobs + self.lost_reports

    @property
    def doubled(self) -> int:
        return self.doubled_jobs + self.doubled_reports + self.doubled_observations + self.stray_observations

    @property
    def kept(self) -> bool:
        return not (self.lost or self.doubled or self.wrong_patient or self.unfinished_jobs)


def judge(
    orders: Mapping[str, KillOrder],
    sent: Collection[str],
    stored: Collection[str],
    jobs: Iterable[JobSeen],
    reports: Collection[ReportSeen],
    observations: Mapping[str, str],
    usual_observations: Mapping[str, int],
) -> KillVerdict:
    """`sent` and `stored` are control IDs answered AA, `observations` are those on the server with their subjects.

    `usual_observations` says for each sample how many Observations its undisturbed report has.
    """
    jobs = list(jobs)
    jobs_of, reports_of = Counter(job.placer for job in jobs), Counter(report.placer for report in reports)
    ours = [(report, orders[report.placer]) for report in reports if report.placer in orders]
    named = [observation for report, _ in ours for observation in report.observations]
    return KillVerdict(
        lost_messages=len(set(sent) - set(stored)),
        lost_jobs=len(orders.keys() - jobs_of.keys()),
        lost_reports=len(orders.keys() - reports_of.keys()),
        doubled_jobs=sum(count - 1 for count in jobs_of.values()),
        doubled_reports=sum(count - 1 for count in reports_of.values()) + len(reports) - len(ours),
        doubled_observations=sum(
            len(set(report.observations)) != usual_observations[order.sample] for report, order in ours
        ),
        stray_observations=len(observations.keys() - set(named)),
        wrong_patient=sum(_is_elsewhere(report, order, observations) for report, order in ours),
        unfinished_jobs=sum(job.status != "done" for job in jobs),
        report_versions=sum(report.version != "1" for report in reports),
    )


def _is_elsewhere(report: ReportSeen, order: KillOrder, observations: Mapping[str, str]) -> bool:
    subjects = {report.subject, *(observations.get(observation, "") for observation in report.observations)}
    return subjects != {order.patient_reference}
