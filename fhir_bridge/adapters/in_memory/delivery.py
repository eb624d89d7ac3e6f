"""The twin of a destination of results: the reports, by job."""

import threading
from dataclasses import dataclass, field, replace

from fhir_bridge.errors import BridgeError, Refused
from fhir_bridge.ports import Receipt
from mappings.fhir_edition import edition_of
from mappings.finding import Report


@dataclass(slots=True)
class InMemoryDelivery:
    """The port `ReportDelivery`; `versions` holds every report of a job that was not as the one before, nor older. Every delivery raises `outage` while it is set."""

    destination: str = "memory"
    outage: BridgeError | None = None
    versions: dict[str, list[Report]] = field(default_factory=dict, init=False, repr=False)
    _shown: dict[str, Report] = field(default_factory=dict, init=False, repr=False)  # by job
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def deliver(self, report: Report) -> Receipt:
        if self.outage is not None:
            raise self.outage
        with self._lock:
            versions = self.versions.setdefault(report.job, [])
            detail = _outcome(report, versions[-1], self._shown[report.job]) if versions else "created"
            if detail in ("created", "updated"):
                if not (report.is_retracted and versions):  # that changes nothing but the status of what is there
                    self._shown[report.job] = report
                versions.append(report)
        return Receipt(f"DiagnosticReport/{report.job}", detail)


def _outcome(report: Report, last: Report, shown: Report) -> str:
    if report == last or (report.is_retracted and last.is_retracted):
        return "unchanged"
    if report.is_retracted:
        return "superseded" if last.issued > report.act_at else "updated"
    if last.decision and replace(edition_of(shown), status=last.status) not in report.earlier:
        raise Refused("fhir.report-signed", "DiagnosticReport.status", "a person has decided otherwise since")
    return "superseded" if report.issued < last.issued else "updated"
