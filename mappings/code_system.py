"""The code systems and identifier systems that we read and write, by their FHIR URIs (R4 §4.3.0, terminologies-systems)."""

import re
from collections.abc import Mapping

LOINC = "http://loinc.org"
SNOMED_CT = "http://snomed.info/sct"
RADLEX = "http://radlex.org"
DCM = "http://dicom.nema.org/resources/ontology/DCM"
UCUM = "http://unitsofmeasure.org"
IDENTIFIER_TYPE = "http://terminology.hl7.org/CodeSystem/v2-0203"
ORDER_CONTROL = "http://terminology.hl7.org/CodeSystem/v2-0119"
ORDER_STATUS = "http://terminology.hl7.org/CodeSystem/v2-0038"
EXTENDED_PRIORITY = "http://terminology.hl7.org/CodeSystem/v2-0485"
ADMINISTRATIVE_SEX = "http://terminology.hl7.org/CodeSystem/v2-0001"
SERVICE_SECTION = "http://terminology.hl7.org/CodeSystem/v2-0074"
CODING_SYSTEM = "http://terminology.hl7.org/CodeSystem/v2-0396"
REQUEST_PRIORITY = "http://hl7.org/fhir/request-priority"
REQUEST_STATUS = "http://hl7.org/fhir/request-status"
TASK_STATUS = "http://hl7.org/fhir/task-status"
SERVICE_CATEGORY = "http://terminology.hl7.org/CodeSystem/service-category"
GENDER = "http://hl7.org/fhir/administrative-gender"
INTERPRETATION = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation"
OBSERVATION_CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"
DATA_ABSENT_REASON = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
OBSERVATION_VALUE = "http://terminology.hl7.org/CodeSystem/v3-ObservationValue"  # AIAST
PROVENANCE_AGENT = "http://terminology.hl7.org/CodeSystem/provenance-participant-type"
DOCUMENT_COMPLETION = "http://terminology.hl7.org/CodeSystem/v3-DocumentCompletion"
DATA_OPERATION = "http://terminology.hl7.org/CodeSystem/v3-DataOperation"
ACT_CODE = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
PARTICIPATION = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType"
MARITAL_STATUS_V3 = "http://terminology.hl7.org/CodeSystem/v3-MaritalStatus"
NULL_FLAVOR = "http://terminology.hl7.org/CodeSystem/v3-NullFlavor"
NAME_USE = "http://hl7.org/fhir/name-use"
ADDRESS_USE = "http://hl7.org/fhir/address-use"
CONTACT_POINT_USE = "http://hl7.org/fhir/contact-point-use"
CONTACT_POINT_SYSTEM = "http://hl7.org/fhir/contact-point-system"
ENCOUNTER_STATUS = "http://hl7.org/fhir/encounter-status"
OBSERVATION_STATUS = "http://hl7.org/fhir/observation-status"
ALLERGY_CATEGORY = "http://hl7.org/fhir/allergy-intolerance-category"
ALLERGY_CRITICALITY = "http://hl7.org/fhir/allergy-intolerance-criticality"
ALLERGY_CLINICAL = "http://terminology.hl7.org/CodeSystem/allergyintolerance-clinical"
CONDITION_CATEGORY = "http://terminology.hl7.org/CodeSystem/condition-category"
CONDITION_VERIFICATION = "http://terminology.hl7.org/CodeSystem/condition-ver-status"
MARITAL_STATUS = "http://terminology.hl7.org/CodeSystem/v2-0002"
EVENT_TYPE = "http://terminology.hl7.org/CodeSystem/v2-0003"
PATIENT_CLASS = "http://terminology.hl7.org/CodeSystem/v2-0004"
ABNORMAL_FLAGS = "http://terminology.hl7.org/CodeSystem/v2-0078"
RESULT_STATUS = "http://terminology.hl7.org/CodeSystem/v2-0085"
ALLERGEN_TYPE = "http://terminology.hl7.org/CodeSystem/v2-0127"
ALLERGY_SEVERITY = "http://terminology.hl7.org/CodeSystem/v2-0128"
ADDRESS_TYPE = "http://terminology.hl7.org/CodeSystem/v2-0190"
NAME_TYPE = "http://terminology.hl7.org/CodeSystem/v2-0200"
TELECOM_USE = "http://terminology.hl7.org/CodeSystem/v2-0201"
TELECOM_EQUIPMENT = "http://terminology.hl7.org/CodeSystem/v2-0202"

FHIR_URI = "urn:ietf:rfc:3986"  # of a code that is itself the URI of a code system
DICOM_UID = "urn:dicom:uid"  # identifier system; the value is urn:oid:<UID> (R4 ImagingStudy.identifier)

# Ours. No registry knows them; they are what a site sees in its FHIR server, so they never change.
OWN_CODES = "urn:fhir-bridge:codes"
OWN_TAGS = "urn:fhir-bridge:tag"
OWN_ORDER_EFFECT = "urn:fhir-bridge:order-effect"
OWN_REQUEST_WRITE = "urn:fhir-bridge:request-write"
OWN_HL7V2 = "urn:fhir-bridge:hl7v2"  # identifiers out of HL7 v2 messages whose authority the site has not named
OWN_PRIORITY_WORDS = "urn:fhir-bridge:priority-words"
OWN_ANSWERS = "urn:fhir-bridge:answer"
OWN_MODELS = "urn:fhir-bridge:models"
MODEL_OUTPUTS = "urn:fhir-bridge:model-outputs:"  # + model name
QUALITY_MEASURES = "urn:fhir-bridge:quality-measures"

OWN_DEFINITIONS: Mapping[str, tuple[str, str]] = {
    "probability": (
        "Probability",
        "Probability, 0 to 1, that the model gives to the finding; as calibrated as its model card says.",
    ),
    "decision-threshold": ("Decision threshold", "Probability from which on the model's answer is `present`."),
    "ai-image-analysis": (
        "Analysis of images by an AI model",
        "The images were read by software alone; no person has confirmed the result.",
    ),
    "image-quality-score": (
        "Image quality score",
        "0 (worst) to 1 (best): the quality gate's overall mark of the images.",
    ),
    "image-contrast": ("Image contrast", "Standard deviation of the grey values as a fraction of the shown range."),
    "image-sharpness": ("Image sharpness", "1 minus the blur effect (Crete et al. 2007): 0 wholly blurred, 1 sharp."),
    "image-saturation": ("Image saturation", "Share of pixels at or beyond the upper end of the shown range."),
    "requested-procedure-id": ("Requested Procedure ID", "DICOM (0040,1001): HL7 v2 IPC-2, OBR-19."),
    "scheduled-procedure-step-id": ("Scheduled Procedure Step ID", "DICOM (0040,0009): HL7 v2 IPC-4, OBR-20."),
    "ai-result": (
        "Result written by fhir-bridge",
        "Tag on every resource that fhir-bridge writes, so that subscriptions can leave them out.",
    ),
}
"""The codes of `OWN_CODES` and `OWN_TAGS`: display and definition."""

CODE_SHAPES: Mapping[str, re.Pattern[str]] = {
    LOINC: re.compile(r"(LP)?\d{1,7}-\d"),
    SNOMED_CT: re.compile(r"[1-9]\d{5,17}"),
    RADLEX: re.compile(r"R(P)?ID\d+"),
    DCM: re.compile(r"\d{6}|[A-Z]{2,16}"),
    UCUM: re.compile(r"[!-~]+"),
}
"""What a code of a system looks like; other systems: any token without blanks at its ends."""


_DICOM_UID = re.compile(r"[0-9]+(\.[0-9]+)+")


def is_dicom_uid(uid: str) -> bool:
    """Whether it can be a DICOM UID (PS3.5 §9.1); zeros before a component's number are taken."""
    return len(uid) <= 64 and bool(_DICOM_UID.fullmatch(uid))


def has_valid_shape(code: str, system: str) -> bool:
    """Whether `code` can be a code of `system`: its shape, and for SNOMED CT and LOINC the check digit."""
    shape = CODE_SHAPES.get(system)
    if shape is not None and not shape.fullmatch(code):
        return False
    if system == SNOMED_CT:
        return _verhoeff(code) == 0
    if system == LOINC:
        return _mod10(code)
    return bool(code) and code == code.strip()


def _mod10(code: str) -> bool:
    """LOINC Users' Guide: the digit after the hyphen is a mod 10 (Luhn) digit; of part codes (LP...) only the shape is known."""
    if code.startswith("LP"):
        return True
    number, check = code.split("-")
    doubled = [int(digit) * (2 if place % 2 == 0 else 1) for place, digit in enumerate(reversed(number))]
    total = sum(value // 10 + value % 10 for value in doubled)
    return (10 - total % 10) % 10 == int(check)


_PERMUTATION = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)


def _verhoeff(code: str) -> int:
    """SNOMED CT Release File Specification §6.1.2: 0 where the last digit is the Verhoeff check digit of the others."""
    check = 0
    for place, character in enumerate(reversed(code)):
        digit = int(character)
        for _ in range(place % 8):
            digit = _PERMUTATION[digit]
        check = _dihedral(check, digit)
    return check


def _dihedral(left: int, right: int) -> int:
    """The product in the dihedral group D5, whose elements are 0..4 (rotations) and 5..9 (reflections)."""
    turn = -right if left >= 5 else right
    mirrored = (left >= 5) != (right >= 5)
    return (left + turn) % 5 + (5 if mirrored else 0)
