"""The twin of a destination of results: the reports, by job."""

import threading
from dataclasses import dataclass, field

from fhir_bridge.errors import BridgeError
from fhir_bridge.ports import Receipt
from mappings.finding import Report


@dataclass(slots=True)
class InMemoryDelivery:
    """The port `ReportDelivery`; `versions` holds every report of a job that was not as the one before, nor older. Every delivery raises `outage` while it is set."""

    destination: str = "memory"
    outage: BridgeError | None = None
    versions: dict[str, list[Report]] = field(default_factory=dict, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def deliver(self, report: Report) -> Receipt:
        if self.outage is not None:
            raise self.outage
        with self._lock:
            versions = self.versions.setdefault(report.job, [])
            detail = "updated" if versions else "created"
            if versions and versions[-1] == report:
                detail = "unchanged"
            elif versions and report.issued < versions[-1].issued:
                detail = "superseded"
            else:
                versions.append(report)
        return Receipt(f"DiagnosticReport/{report.job}", detail)
