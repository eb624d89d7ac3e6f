"""Who took the place of a Patient that was merged on the FHIR server (R4 §8.1.3)."""

from collections.abc import Callable

from fhir_bridge.errors import Refused
from fhir_bridge.study import Resource
from mappings.fhir_reading import objects_of, pointed_to, reference_to

Read = Callable[[str], Resource]

MAX_MERGES = 5  # of one patient into another, and that one into a third


def survivor_of(patient: Resource, read: Read) -> Resource:
    """Follow `Patient.link` replaced-by to its end (R4 §8.1.3). Raises Refused `patient.ambiguous` where that is nobody, or two."""
    seen = {reference_to(patient, "Patient")}
    while successor := _successor(patient):
        if successor in seen:
            raise Refused("patient.ambiguous", "Patient.link", "the merges of the patient go round in a circle")
        if len(seen) > MAX_MERGES:
            raise Refused("patient.ambiguous", "Patient.link", f"the patient was merged more than {MAX_MERGES} times")
        seen.add(successor)
        patient = read(successor)
        if patient["resourceType"] != "Patient":
            raise Refused("patient.ambiguous", "Patient.link", "the patient was replaced by what is no Patient")
    return patient


def _successor(patient: Resource) -> str:
    """`Type/id`; empty where the patient was not replaced."""
    links = [link for link in objects_of(patient, "link") if link.get("type") == "replaced-by"]
    successors = {pointed_to(link.get("other")) for link in links}
    if len(successors) > 1 or "" in successors:
        raise Refused("patient.ambiguous", "Patient.link", "the patient was replaced by several, or by one unnamed")
    return successors.pop() if successors else ""
