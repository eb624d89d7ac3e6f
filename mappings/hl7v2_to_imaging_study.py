"""The Study Instance UID of an order as ImagingStudy (IPC-3, ZDS-1, OBX 110180): ours, the v2-to-FHIR guide has no target for it."""

from collections.abc import Sequence

from mappings import code_system
from mappings.code import Code
from mappings.fhir_elements import coding, dicom_uid
from mappings.fhir_transaction import Draft
from mappings.hl7v2_conversion import Conversion
from mappings.hl7v2_identity import identifier_element
from mappings.hl7v2_order_identity import Numbers
from mappings.hl7v2_to_patient import WrittenPatient
from mappings.order import Identifier


def add_study(
    conversion: Conversion,
    numbers: Numbers,
    modalities: Sequence[Code],
    patient: WrittenPatient,
    encounter: str,
    order: str,
) -> None:
    """The study that the order is to fill: registered, no images yet. Orders of one study share it."""
    uid = Identifier(f"urn:oid:{numbers.study_instance_uid}", system=code_system.DICOM_UID)
    if conversion.transaction.amend("ImagingStudy", uid, {"basedOn": {"reference": order}}):
        return
    draft = Draft("ImagingStudy", conversion.trace)
    accessions = [identifier_element(numbers.accession)] if numbers.accession else []
    draft.put("identifier", [dicom_uid(numbers.study_instance_uid), *accessions])
    draft.put("status", "registered", "ordered: no images yet")
    draft.put("modality", [coding(code) for code in modalities])
    draft.put("subject", {"reference": patient.reference})
    draft.put("encounter", {"reference": encounter} if encounter else {})
    draft.put("basedOn", [{"reference": order}])
    conversion.transaction.ensured(draft, [uid])
