"""What a page reads of the store and of the artifacts, filled by hand. Every identifier is a canary: no page may show one."""

import struct
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import cache

from fhir_bridge import encoding
from fhir_bridge.errors import Refused, Unavailable
from fhir_bridge.job import Job, Stage, Status
from fhir_bridge.ports import Delivery, HistoryEntry
from fhir_bridge.study import ClinicalContext
from mappings.code import Code
from mappings.finding import Finding, ModelStatement, Report, ReportOutcome
from mappings.order import Identifier, Order, OrderControl, PatientIdentity, Priority

AT = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


def a_job(job: str = "job-1", **changes: object) -> Job:
    """A job of a chest film, done by default."""
    order = Order(
        control=OrderControl.NEW,
        patient=PatientIdentity((Identifier("CANARY-1", "urn:oid:1.2.3", "MR"),), date(2022, 1, 31), "female"),
        placer=Identifier("CANARY-PLACER", namespace="HIS"),
        accession=Identifier("CANARY-ACC"),
        study_instance_uid="1.2.826.0.1.3680043.8.498.CANARY",
        procedure=Code("XR-CHEST-PA", "", "CANARY^ZEBRA chest"),
        modality="DX",
        reason="CANARY^ZEBRA coughs",
    )
    plain = Job(
        job,
        order,
        "hl7v2",
        Stage.DELIVER,
        Status.DONE,
        "",
        0,
        3,
        AT - timedelta(minutes=4),
        AT,
        models=("xray_pneumonia",),
    )
    priority = changes.pop("priority", None)
    if isinstance(priority, Priority):
        plain = replace(plain, order=replace(order, priority=priority))
    return replace(plain, **changes)  # type: ignore[arg-type]


def a_report(job: str = "job-1", **changes: object) -> Report:
    plain = Report(
        job=job,
        outcome=ReportOutcome.ANALYSED,
        patient="Patient/CANARY-P",
        service_request="ServiceRequest/CANARY-S",
        order_identifiers=(Identifier("CANARY-ACC", type="ACSN"),),
        study_instance_uid="1.2.826.0.1.3680043.8.498.CANARY",
        modality="DX",
        procedure=None,
        issued=AT,
        model=ModelStatement("xray_pneumonia", "1.0.0", "ab" * 32, "Paediatric pneumonia on chest films"),
        findings=(
            Finding(
                Code("233604007", "http://snomed.info/sct", "Pneumonia"),
                Code("52101004", "http://snomed.info/sct", "Present"),
                0.934,
                0.412,
            ),
        ),
        caveats=("Trained on films of children of one hospital.",),
        quality_score=0.87,
        explanation_png=a_picture(),
        explanation_method="Grad-CAM",
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


@cache
def a_picture(side: int = 240) -> bytes:
    """A PNG: a grey disc with a warm spot."""

    def pixel(x: int, y: int) -> bytes:
        body = max(0, 190 - ((x - side / 2) ** 2 + (y - side / 2) ** 2) / 70)
        warm = max(0, 150 - ((x - 0.65 * side) ** 2 + (y - 0.6 * side) ** 2) / 8)
        return bytes((min(255, int(body + warm)), int(body + warm / 3) & 255, int(body)))

    rows = b"".join(b"\0" + b"".join(pixel(x, y) for x in range(side)) for y in range(side))
    chunks = (
        (b"IHDR", struct.pack(">2I5B", side, side, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


class ShownJobs:
    """The reading half of `JobStore`, and `ArtifactStore.get`."""

    def __init__(self, *jobs: Job) -> None:
        self._jobs = jobs
        self.reports: dict[str, Report] = {}
        self.contexts: dict[str, ClinicalContext] = {}
        self.down = False
        self.damaged = False

    def jobs(self, statuses: Iterable[str] = (), limit: int = 1000) -> tuple[Job, ...]:
        self._ask()
        wanted = set(statuses)
        return tuple(job for job in self._jobs if not wanted or job.status in wanted)[:limit]

    def job_counts(self) -> dict[str, int]:
        self._ask()
        return dict(Counter(job.status for job in self._jobs))

    def job(self, job: str) -> Job | None:
        self._ask()
        return next((found for found in self._jobs if found.id == job), None)

    def history(self, job: str) -> tuple[HistoryEntry, ...]:
        return (
            HistoryEntry(AT - timedelta(minutes=4), "accepted", "context", "ready"),
            HistoryEntry(AT - timedelta(minutes=4), "replaces", "context", "ready", "job-2"),
            HistoryEntry(AT - timedelta(minutes=3), "wait", "study", "waiting", "study.not-there-yet"),
            HistoryEntry(AT, "finish", "deliver", "done"),
        )

    def deliveries(self, job: str) -> tuple[Delivery, ...]:
        return (Delivery(job, "fhir", "delivered", 1, "", "DiagnosticReport/17", AT),)

    def latest_artifact(self, job: str, stage: Stage) -> str | None:
        kept = self.reports if stage is Stage.REPORT else self.contexts if stage is Stage.CONTEXT else {}
        return "digest" if job in kept else None

    def get(self, job: str, stage: Stage, digest: str) -> bytes:
        if self.damaged:
            raise Refused("store.artifact-damaged", stage, "a stored result of this step has changed")
        return encoding.dump(self.contexts[job] if stage is Stage.CONTEXT else self.reports[job])

    def _ask(self) -> None:
        if self.down:
            raise Unavailable("store.unavailable", "store", "the disk is full")
