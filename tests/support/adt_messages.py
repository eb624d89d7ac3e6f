"""ADT messages written by hand, and what they do to a store."""

from fhir_bridge.patient_intake import PatientTaken, apply_patient_change
from fhir_bridge.ports import JobStore
from hl7_listener.message import Message
from mappings.authority import Authorities, Authority
from mappings.hl7v2_order_keys import SenderPolicy
from mappings.hl7v2_patient import patient_changes_from
from tests.support.builders import MRN_SYSTEM

POLICY = SenderPolicy(Authorities([Authority("HOSP", system=MRN_SYSTEM), Authority("CLINIC", system="urn:clinic")]))
SENT = "20260302091500"


def cx(value: str, authority: str = "HOSP", kind: str = "MR") -> str:
    """A number as a CX; without authority, the bare number."""
    return f"{value}^^^{authority}^{kind}" if authority else value


def pid(*numbers: str, birth: str = "20220304", sex: str = "F", account: str = "") -> str:
    """PID-3, PID-7, PID-8 and PID-18."""
    return f"PID|1||{'~'.join(numbers)}||CANARY^ZEBRA||{birth}|{sex}||||||||||{account}"


def mrg(*numbers: str, account: str = "", visit: str = "") -> str:
    """MRG-1, MRG-3 and MRG-5."""
    return f"MRG|{'~'.join(numbers)}||{account}||{visit}"


def pv1(visit: str) -> str:
    """PV1-19."""
    return "PV1|1|O" + "|" * 17 + visit


def adt(trigger: str, *segments: str, at: str = SENT, sender: str = "EMR|HOSP", control_id: str = "A1") -> str:
    """One message; `at` is EVN-2."""
    header = rf"MSH|^~\&|{sender}|BRIDGE||{at}||ADT^{trigger}|{control_id}|P|2.5.1"
    return "\r".join((header, f"EVN||{at}", *segments, ""))


def merge(survivor: str, prior: str, *, trigger: str = "A40", at: str = SENT, **demographics: str) -> str:
    """One number of HOSP into another."""
    return adt(trigger, pid(cx(survivor), **demographics), mrg(cx(prior)), at=at)


def take_adt(store: JobStore, message: str) -> PatientTaken:
    """All changes of a message, in one transaction, as intake applies them."""
    changes = patient_changes_from(Message(message.encode()), POLICY)
    with store.transaction() as ledger:
        taken = [apply_patient_change(ledger, change) for change in changes]
    jobs = tuple(dict.fromkeys(job for each in taken for job in each.jobs))
    return PatientTaken(jobs, tuple(dict.fromkeys(slug for each in taken for slug in each.warnings)))
