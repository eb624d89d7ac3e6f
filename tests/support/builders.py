"""Values that tests need, with sensible defaults."""

from dataclasses import replace
from datetime import date

from mappings.code import Code
from mappings.order import Identifier, Order, OrderControl, PatientIdentity

MRN_SYSTEM = "urn:oid:1.2.3.4"


def a_patient(mrn: str = "CANARY-1", *, system: str = MRN_SYSTEM) -> PatientIdentity:
    return PatientIdentity((Identifier(mrn, system, "MR"),), birth_date=date(2022, 3, 4), sex="female")


def an_order(number: str = "1", *, mrn: str = "CANARY-1", **changes: object) -> Order:
    """A new order for a chest film; `number` makes its keys."""
    order = Order(
        control=OrderControl.NEW,
        patient=a_patient(mrn),
        placer=Identifier(f"CANARY-P{number}", "urn:oid:1.2.3.5", "PLAC"),
        accession=Identifier(f"CANARY-A{number}", "", "ACSN"),
        procedure=Code("XCHEST", "urn:site:procedures", "Chest"),
        modality="DX",
    )
    return replace(order, **changes)  # type: ignore[arg-type]
