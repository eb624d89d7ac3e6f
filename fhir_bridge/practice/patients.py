"""What the hospital's FHIR server knows beforehand of the invented patients, and how an order looks there. Pure; FHIR R4.

Client-chosen ids, so that loading again changes nothing. They hold no underscore and are not digits only: HAPI refuses both.
"""

from datetime import datetime
from typing import Any

from fhir_bridge.practice.story import (
    FILLER_SYSTEM,
    PATIENT_SYSTEM,
    PLACER_SYSTEM,
    PROCEDURE_SYSTEM,
    STUDY_DATE,
    Story,
)

Resource = dict[str, Any]

_LOINC, _SNOMED, _UCUM = "http://loinc.org", "http://snomed.info/sct", "http://unitsofmeasure.org"
_TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"
_GENDERS = {"F": "female", "M": "male"}
IMAGING_CATEGORY = ("363679005", "Imaging")


def _concept(system: str, code: str, display: str) -> Resource:
    return {"coding": [{"system": system, "code": code, "display": display}]}


def _typed(code: str) -> Resource:
    return {"coding": [{"system": f"{_TERMINOLOGY}/v2-0203", "code": code}]}


def _id(story: Story, suffix: str = "") -> str:
    return f"practice-{story.name}{suffix}"


def patient_reference(story: Story) -> str:
    """Where the story's patient stands on the server."""
    return f"Patient/{_id(story)}"


def service_request_reference(story: Story) -> str:
    """Where the story's order stands on the server, once it is placed there."""
    return f"ServiceRequest/{_id(story)}"


def history(story: Story) -> list[Resource]:
    """The patient and what was known of them before this order."""
    return [
        _patient(story),
        _condition(story),
        _allergy(story),
        _laboratory(story, "-crp", "1988-5", "C reactive protein [Mass/volume] in Serum or Plasma", 48.0, "mg/L"),
        _laboratory(story, "-wbc", "6690-2", "Leukocytes [#/volume] in Blood by Automated count", 15.2, "10*3/uL"),
        _medication(story),
        _prior_report(story),
    ]


def _patient(story: Story) -> Resource:
    return {
        "resourceType": "Patient",
        "id": _id(story),
        "identifier": [{"type": _typed("MR"), "system": PATIENT_SYSTEM, "value": story.patient.mrn}],
        "active": True,
        "name": [{"family": "CANARY", "given": ["ZEBRA"]}],
        "gender": _GENDERS[story.sex],
        "birthDate": story.birth_date.isoformat(),
    }


def _condition(story: Story) -> Resource:
    return {
        "resourceType": "Condition",
        "id": _id(story, "-asthma"),
        "clinicalStatus": _concept(f"{_TERMINOLOGY}/condition-clinical", "active", "Active"),
        "verificationStatus": _concept(f"{_TERMINOLOGY}/condition-ver-status", "confirmed", "Confirmed"),
        "category": [_concept(f"{_TERMINOLOGY}/condition-category", "problem-list-item", "Problem List Item")],
        "code": _concept(_SNOMED, "195967001", "Asthma"),
        "subject": {"reference": patient_reference(story)},
        "recordedDate": f"{STUDY_DATE.replace(year=STUDY_DATE.year - 1)}",
    }


def _allergy(story: Story) -> Resource:
    return {
        "resourceType": "AllergyIntolerance",
        "id": _id(story, "-penicillin"),
        "clinicalStatus": _concept(f"{_TERMINOLOGY}/allergyintolerance-clinical", "active", "Active"),
        "code": _concept(_SNOMED, "91936005", "Allergy to penicillin"),
        "patient": {"reference": patient_reference(story)},
    }


def _laboratory(story: Story, suffix: str, code: str, display: str, value: float, unit: str) -> Resource:
    return {
        "resourceType": "Observation",
        "id": _id(story, suffix),
        "status": "final",
        "category": [_concept(f"{_TERMINOLOGY}/observation-category", "laboratory", "Laboratory")],
        "code": _concept(_LOINC, code, display),
        "subject": {"reference": patient_reference(story)},
        "effectiveDateTime": f"{STUDY_DATE}T08:00:00Z",
        "valueQuantity": {"value": value, "unit": unit, "system": _UCUM, "code": unit},
    }


def _medication(story: Story) -> Resource:
    return {
        "resourceType": "MedicationRequest",
        "id": _id(story, "-salbutamol"),
        "status": "active",
        "intent": "order",
        "medicationCodeableConcept": _concept(_SNOMED, "372897005", "Salbutamol"),
        "subject": {"reference": patient_reference(story)},
        "authoredOn": f"{STUDY_DATE.replace(month=1)}",
    }


def _prior_report(story: Story) -> Resource:
    return {
        "resourceType": "DiagnosticReport",
        "id": _id(story, "-prior"),
        "identifier": [{"system": f"{FILLER_SYSTEM}.1", "value": f"CANARY-PRIOR{story.number:02d}"}],
        "status": "final",
        "category": [_concept(_LOINC, "LP29684-5", "Radiology")],
        "code": _concept(_LOINC, "36554-4", "XR Chest Single view"),
        "subject": {"reference": patient_reference(story)},
        "effectiveDateTime": f"{STUDY_DATE.replace(month=3)}T10:00:00Z",
        "conclusion": "No acute finding.",
    }


def service_request(story: Story, at: datetime) -> Resource:
    """The same order as the RIS would send, as the FHIR server holds it."""
    return {
        "resourceType": "ServiceRequest",
        "id": _id(story),
        "identifier": [
            {"type": _typed("PLAC"), "system": PLACER_SYSTEM, "value": story.placer},
            {"type": _typed("FILL"), "system": FILLER_SYSTEM, "value": story.filler},
            {"type": _typed("ACSN"), "value": story.accession},
        ],
        "status": "active",
        "intent": "order",
        "category": [_concept(_SNOMED, *IMAGING_CATEGORY)],
        "priority": "routine",
        "code": {
            "coding": [
                {"system": PROCEDURE_SYSTEM, "code": "XRCHEST1", "display": "Chest radiograph, single view"},
            ]
        },
        "subject": {"reference": patient_reference(story)},
        "authoredOn": at.isoformat(timespec="seconds"),
        "reasonCode": [{"text": "Cough and fever"}],
    }
