"""A hospital's FHIR record as a test sets it up: the twin, or a real server. Everything a test stores bears its own mark."""

from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import uuid4

from fhir_bridge.adapters.fhir_client import FhirClient
from fhir_bridge.adapters.fhir_server import FhirServerRecord
from fhir_bridge.adapters.in_memory.record import InMemoryRecord
from fhir_bridge.ports import ClinicalRecord

Resource = dict[str, Any]
ACT_CODE = "http://terminology.hl7.org/CodeSystem/v3-ActCode"


class Hospital(Protocol):
    record: ClinicalRecord

    def store(self, *resources: Resource) -> None: ...

    def delete(self, reference: str) -> None: ...


class TwinHospital:
    def __init__(self) -> None:
        self.record = InMemoryRecord()

    def store(self, *resources: Resource) -> None:
        self.record.store(*resources)

    def delete(self, reference: str) -> None:
        self.record.remove(reference)


class ServerHospital:
    def __init__(self, client: FhirClient) -> None:
        self.client = client
        self.record = FhirServerRecord(client)

    def store(self, *resources: Resource) -> None:
        entries = [
            {"resource": resource, "request": {"method": "PUT", "url": f"{resource['resourceType']}/{resource['id']}"}}
            for resource in resources
        ]
        self.client.transaction({"resourceType": "Bundle", "type": "transaction", "entry": entries})

    def delete(self, reference: str) -> None:
        self.client.delete(reference)


@dataclass(frozen=True, slots=True)
class Resources:
    """Builds resources whose ids and identifier systems are of this test alone."""

    mark: str = field(default_factory=lambda: uuid4().hex[:12])

    @property
    def system(self) -> str:
        return f"urn:test:{self.mark}"

    def patient(self, name: str = "a", value: str = "CANARY-1", **elements: Any) -> Resource:
        return {
            "resourceType": "Patient",
            "id": f"{self.mark}-{name}",
            "identifier": [{"system": self.system, "value": value}],
            "name": [{"family": "CANARY", "given": ["ZEBRA"]}],
            "gender": "female",
            "birthDate": "2021-03-04",
            **elements,
        }

    def of(self, patient: Resource, resource_type: str, name: str, **elements: Any) -> Resource:
        """A resource about the patient."""
        about = "patient" if resource_type in ("AllergyIntolerance", "Immunization") else "subject"
        required: dict[str, Resource] = {
            "Condition": {},
            "AllergyIntolerance": {},
            "Observation": {"status": "final", "code": {"text": "CRP"}},
            "MedicationRequest": {"status": "active", "intent": "order", "medicationCodeableConcept": {"text": "x"}},
            "MedicationStatement": {"status": "active", "medicationCodeableConcept": {"text": "x"}},
            "DiagnosticReport": {"status": "final", "code": {"text": "chest film"}},
            "ImagingStudy": {"status": "available"},
            "ServiceRequest": {"status": "active", "intent": "order"},
            "Encounter": {"status": "in-progress", "class": {"system": ACT_CODE, "code": "IMP"}},
            "Procedure": {"status": "completed"},
            "Immunization": {"status": "completed", "vaccineCode": {"text": "x"}, "occurrenceDateTime": "2026-01-01"},
        }
        return {
            "resourceType": resource_type,
            "id": f"{self.mark}-{name}",
            about: {"reference": f"Patient/{patient['id']}"},
            **required[resource_type],
            **elements,
        }

    def laboratory(self, patient: Resource, name: str, **elements: Any) -> Resource:
        return self.measured(patient, name, "laboratory", **elements)

    def measured(self, patient: Resource, name: str, category: str, **elements: Any) -> Resource:
        """An Observation of a category of R4."""
        coding = {"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": category}
        return self.of(patient, "Observation", name, category=[{"coding": [coding]}], **elements)
