"""What an ADT message changes about the patients of the orders we hold (HL7 v2.5.1 §3.3, §3.6.2)."""

from dataclasses import dataclass

from fhir_bridge.ports import Ledger
from mappings.hl7v2_patient import PatientChange
from mappings.order import Order


@dataclass(frozen=True, slots=True)
class PatientTaken:
    """The jobs that a change touched, and what somebody should look at (slugs)."""

    jobs: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def apply_patient_change(ledger: Ledger, change: PatientChange) -> PatientTaken:
    """Inside one transaction of the store."""
    return PatientTaken()


def with_survivors(ledger: Ledger, order: Order) -> Order:
    """The order of the patient who survived the merges of the one it names."""
    return order
