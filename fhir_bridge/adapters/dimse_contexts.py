"""What we offer to take by C-GET: pairs of a SOP class and a transfer syntax, as presentation contexts (PS3.8 §9.3.2.2)."""

import re
from collections.abc import Collection

from pydicom import uid
from pydicom.uid import UID
from pynetdicom.presentation import PresentationContext, build_context

from fhir_bridge.study import InstanceRef

_MAX_CONTEXTS = 128  # odd numbers of one byte
# the likeliest first: where classes and syntaxes are more than there are contexts, the last ones go
_SYNTAXES = (
    uid.ExplicitVRLittleEndian,
    uid.ImplicitVRLittleEndian,
    uid.JPEGLosslessSV1,
    uid.JPEG2000Lossless,
    uid.JPEGLSLossless,
    uid.RLELossless,
    uid.JPEGBaseline8Bit,
    uid.JPEG2000,
    uid.JPEGExtended12Bit,
    uid.JPEGLossless,
    uid.JPEGLSNearLossless,
    uid.DeflatedExplicitVRLittleEndian,
    uid.HTJ2KLossless,
    uid.HTJ2KLosslessRPCL,
    uid.HTJ2K,
    uid.ExplicitVRBigEndian,
)
_PLAIN = (
    uid.ExplicitVRLittleEndian,
    uid.ImplicitVRLittleEndian,
    uid.DeflatedExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
)
# Where C-FIND does not say the class, which it need not (PS3.4 table C.6-4), the modality says which ones are usual.
_CAPTURE = uid.SecondaryCaptureImageStorage
_USUAL: dict[str, tuple[UID, ...]] = {
    "CT": (uid.CTImageStorage, uid.EnhancedCTImageStorage, _CAPTURE),
    "MR": (uid.MRImageStorage, uid.EnhancedMRImageStorage, _CAPTURE),
    "PT": (uid.PositronEmissionTomographyImageStorage, uid.EnhancedPETImageStorage, _CAPTURE),
    "NM": (uid.NuclearMedicineImageStorage, _CAPTURE),
    "CR": (uid.ComputedRadiographyImageStorage, _CAPTURE),
    "DX": (uid.DigitalXRayImageStorageForPresentation, uid.DigitalXRayImageStorageForProcessing, _CAPTURE),
    "MG": (
        uid.DigitalMammographyXRayImageStorageForPresentation,
        uid.DigitalMammographyXRayImageStorageForProcessing,
        uid.BreastTomosynthesisImageStorage,
        _CAPTURE,
    ),
    "US": (uid.UltrasoundImageStorage, uid.UltrasoundMultiFrameImageStorage, _CAPTURE),
    "XA": (uid.XRayAngiographicImageStorage, uid.EnhancedXAImageStorage, _CAPTURE),
    "RF": (uid.XRayRadiofluoroscopicImageStorage, uid.EnhancedXRFImageStorage, _CAPTURE),
    "SR": (
        uid.BasicTextSRStorage,
        uid.EnhancedSRStorage,
        uid.ComprehensiveSRStorage,
        uid.Comprehensive3DSRStorage,
        uid.XRayRadiationDoseSRStorage,
    ),
    "SEG": (uid.SegmentationStorage,),
    "KO": (uid.KeyObjectSelectionDocumentStorage,),
    "PR": (uid.GrayscaleSoftcopyPresentationStateStorage, uid.ColorSoftcopyPresentationStateStorage),
    "DOC": (uid.EncapsulatedPDFStorage,),
    "REG": (uid.SpatialRegistrationStorage,),
}


def storage_contexts(listed: Collection[InstanceRef]) -> list[PresentationContext]:
    """One context for each SOP class and each transfer syntax: of several in one context the archive takes one, and fails on the rest."""
    classes = sorted({name for instance in listed for name in _classes_of(instance)})
    pairs = ((name, syntax) for syntax in _SYNTAXES for name in classes if _has_syntax(name, syntax))
    return [build_context(name, syntax) for name, syntax in pairs][: _MAX_CONTEXTS - 1]  # one is C-GET's own


def _classes_of(instance: InstanceRef) -> tuple[str, ...]:
    if re.fullmatch(uid.RE_VALID_UID, instance.sop_class_uid):  # pydicom's own check prints the value
        return (instance.sop_class_uid,)
    return _USUAL.get(instance.modality, (_CAPTURE,))


def _has_syntax(sop_class: str, syntax: UID) -> bool:
    """Reports, segmentations and the like are never compressed; a class without a name may be."""
    name = UID(sop_class).name
    return syntax in _PLAIN or name == sop_class or "Image Storage" in name
