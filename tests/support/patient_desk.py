"""Orders as values and ADT as messages, straight into jobs, on the in-memory store."""

from dataclasses import replace
from datetime import date

from fhir_bridge.job import Event, Job, Stage
from fhir_bridge.order_intake import accept_order
from fhir_bridge.patient_intake import PatientTaken
from fhir_bridge.ports import Move
from mappings.order import Identifier, Order, PatientIdentity
from tests.support.adt_messages import take_adt
from tests.support.builders import MRN_SYSTEM
from tests.support.order_desk import OrderDesk


class PatientDesk(OrderDesk):
    """Takes orders and ADT messages; `claim` is a worker, whose steps end as the test says."""

    def accept(self, order: Order, source: str = "hl7v2") -> str:
        with self.store.transaction() as ledger:
            return accept_order(ledger, order, source).job

    def adt(self, message: str) -> PatientTaken:
        return take_adt(self.store, message)

    def job(self, job: str) -> Job:
        known = self.store.job(job)
        assert known is not None
        return known

    def patient(self, job: str) -> PatientIdentity:
        return self.job(job).order.patient

    def numbers(self, job: str) -> tuple[list[str], list[str]]:
        """Those that the patient has, and those that he had."""
        patient = self.patient(job)
        return [n.value[-1] for n in patient.identifiers], [n.value[-1] for n in patient.former]

    def events(self, job: str) -> list[tuple[str, str]]:
        return [(entry.event, entry.reason) for entry in self.store.history(job)]

    def end(self, event: Event, stage: Stage = Stage.CONTEXT, reason: str = "") -> None:
        """The running step ends so."""
        self.queue.record(self.claim(), Move(event, stage, reason))

    def deliver(self) -> None:
        claim = self.claim()
        begun = self.store.begin_delivery(claim, "fhir")
        self.store.end_delivery(claim, replace(begun, status="delivered", reference="DiagnosticReport/1"))
        self.queue.record(claim, Move(Event.FINISH, Stage.DELIVER))


def number(last: str, system: str = MRN_SYSTEM) -> Identifier:
    """A patient's number with its authority."""
    return Identifier(f"CANARY-{last}", system, "MR")


def bare(*values: str, birth: date | None = date(2022, 3, 4), sex: str = "female") -> PatientIdentity:
    """A patient of whom only numbers without their authority are known, and who he is."""
    return PatientIdentity(tuple(Identifier(value) for value in values), birth, sex)
