"""The whole flow on in-memory adapters, with the real de-identification between them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from fhir_bridge.adapters.in_memory.archive import InMemoryArchive
from fhir_bridge.adapters.in_memory.artifacts import InMemoryArtifacts
from fhir_bridge.adapters.in_memory.delivery import InMemoryDelivery
from fhir_bridge.adapters.in_memory.predictor import InMemoryPredictor
from fhir_bridge.adapters.in_memory.queue import InMemoryQueue
from fhir_bridge.adapters.in_memory.record import InMemoryRecord
from fhir_bridge.adapters.in_memory.store import InMemoryStore
from fhir_bridge.deid.pseudonym import ProjectKeys
from fhir_bridge.deid.vault import Vault
from fhir_bridge.flow import Kit, Patience
from fhir_bridge.job import Event, Job, Stage
from fhir_bridge.ports import ReportDelivery
from fhir_bridge.worker import Retry, Worker
from inference.prediction import Prediction
from mappings.order import Order
from tests.support.builders import MRN_SYSTEM, an_order
from tests.support.films import STUDY, a_chest, a_film
from tests.support.frozen_clock import FrozenClock

QUIET_SECONDS = 5.0
MODEL = "xray_pneumonia"
PATIENT = {
    "resourceType": "Patient",
    "id": "7",
    "identifier": [{"system": MRN_SYSTEM, "value": "CANARY-1"}],
    "name": [{"family": "CANARY", "given": ["ZEBRA"]}],
    "birthDate": "2022-03-04",
    "gender": "female",
}
ANALYSED = Prediction(
    MODEL,
    "1.0.0",
    "ab" * 32,
    "analysed",
    outputs={"pneumonia": 0.97},
    thresholds={"pneumonia": 0.31},
    quality_score=0.9,
)


class BridgeInMemory:
    """One worker, driven by the test: `run` works until nothing is to be done now."""

    def __init__(self, folder: Path, clock: FrozenClock) -> None:
        self.folder, self.clock = folder, clock
        self.store = InMemoryStore(clock)
        self.queue = InMemoryQueue(self.store, clock)
        self.record, self.archive = InMemoryRecord(), InMemoryArchive()
        self.record.store(PATIENT)
        self.predictor = InMemoryPredictor({MODEL: ANALYSED})
        self.destination = InMemoryDelivery()
        self.vault = Vault(folder / "vault.db", bytes(32))
        self.kit = Kit(
            record=self.record,
            archive=self.archive,
            predictor=self.predictor,
            deliveries=(self.destination,),
            store=self.store,
            artifacts=InMemoryArtifacts(folder),
            keys=ProjectKeys(bytes(range(32))),
            vault=self.vault,
            clock=clock,
            models=(MODEL,),
            patience=Patience(QUIET_SECONDS, poll_seconds=1, deadline_seconds=100),
        )
        self.worker = self.a_worker()

    def a_worker(self, max_attempts: int = 3) -> Worker:
        retry = Retry(max_attempts, backoff_seconds=1, backoff_cap_seconds=60)
        return Worker(self.queue, self.kit, retry, threads=1, loops={}, lease_seconds=300)

    def with_deliveries(self, *destinations: ReportDelivery) -> None:
        self.kit = replace(self.kit, deliveries=destinations)
        self.worker = self.a_worker()

    def order(self, **changes: Any) -> str:
        with self.store.transaction() as ledger:
            return ledger.add_order(an_order(study_instance_uid=STUDY, **changes), "hl7v2")

    def film(self, **changes: Any) -> None:
        values: dict[str, Any] = {
            "age": "",
            "deidentified": False,
            "PatientName": "CANARY^ZEBRA",
            "PatientID": "CANARY-1",
            "PatientBirthDate": "20220304",
            "PatientSex": "F",
            "StudyDate": "20260302",
            "AccessionNumber": "CANARY-A1",
            "ImageType": ["ORIGINAL", "PRIMARY"],
            "BurnedInAnnotation": "NO",
        }
        path = a_film(self.folder / "film.dcm", pixels=a_chest(), **(values | changes))
        self.archive.store(path.read_bytes())

    def run(self) -> None:
        while self.worker.run_once("w"):
            pass

    def run_until_quiet(self) -> None:
        """A first look, the quiet time, and the rest."""
        self.run()
        self.clock.advance(QUIET_SECONDS)
        self.run()

    def job(self, job: str) -> Job:
        known = self.store.job(job)
        assert known is not None
        return known

    def happen(self, job: str, event: Event, stage: Stage | None = None, order: Order | None = None) -> bool:
        with self.store.transaction() as ledger:
            if order is not None:
                ledger.update_order(job, order)
            return ledger.happen(job, event, "test", stage)
