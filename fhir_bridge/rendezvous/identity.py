"""Is it the right patient? The headers of the retrieved files against the order and the FHIR Patient, before anything is analysed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from fhir_bridge.errors import Refused
from fhir_bridge.rendezvous.dicom_header import UnreadableInstance, read_header
from fhir_bridge.study import Resource
from mappings.order import Order

_SEX = {"M": "male", "F": "female", "O": "other"}  # PS3.3 §C.7.1.1 -> FHIR AdministrativeGender
_KEYWORDS = ("PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID")


@dataclass(frozen=True, slots=True)
class ImageIdentity:
    """Who a file says it shows (PS3.3 §C.7.1.1); empty or None where it does not say."""

    patient_id: str = field(repr=False)  # (0010,0020)
    birth_date: date | None = field(default=None, repr=False)  # (0010,0030)
    sex: str = field(default="", repr=False)  # (0010,0040) as FHIR AdministrativeGender
    study_instance_uid: str = field(default="", repr=False)  # (0020,000D)


def read_identity(files: Iterable[Path]) -> tuple[ImageIdentity, ...]:
    """The distinct identities among the files: one, if they agree. Raises Refused `archive.corrupt`."""
    return tuple(dict.fromkeys(_read(path) for path in files))


def _read(path: Path) -> ImageIdentity:
    patient_id, birth_date, sex, study = _values(path, _KEYWORDS)
    return ImageIdentity(patient_id, _date(birth_date), _SEX.get(sex.upper(), ""), study)


def _values(path: Path, keywords: Sequence[str]) -> list[str]:
    try:
        values = read_header(path, keywords)
    except (UnreadableInstance, FileNotFoundError):
        raise Refused("archive.corrupt", "phi folder", "a retrieved file is not a whole DICOM file") from None
    return [values[keyword] for keyword in keywords]


def _date(text: str) -> date | None:
    """A DA value; None for what is no date, such as a placeholder."""
    try:
        return date.fromisoformat(text) if len(text) == 8 and text.isdecimal() else None
    except ValueError:
        return None


def study_date(files: Iterable[Path]) -> str:
    """When the images were taken, to the day: StudyDate (0008,0020) as an R4 date, which needs no zone; empty where the files say none,
    or several. Raises Refused `archive.corrupt`."""
    dates = {_date(_values(path, ("StudyDate",))[0]) for path in files}
    (only,) = dates if len(dates) == 1 else (None,)
    return only.isoformat() if only else ""


def mismatches(
    images: Sequence[ImageIdentity], order: Order, patient: Resource, study_instance_uid: str
) -> tuple[str, ...]:
    """The DICOM keywords of the fields that do not fit, never their values; empty if all is well.

    PatientID is one of the patient's identifiers, or one that he had before a merge; birth date and sex contradict neither source where both have them; the study is
    the one that was asked for; all files agree.
    """
    identifiers = {number.value.strip() for number in (*order.patient.identifiers, *order.patient.former)}
    identifiers |= {str(identifier.get("value") or "").strip() for identifier in patient.get("identifier") or ()}
    birth_date = order.patient.birth_date
    known_births = {birth_date.isoformat() if birth_date else "", str(patient.get("birthDate") or "")}
    known_sexes = {order.patient.sex, str(patient.get("gender") or "")} - {"", "unknown"}
    patient_ids = {image.patient_id for image in images}
    births = {image.birth_date.isoformat() for image in images if image.birth_date}
    sexes = {image.sex for image in images if image.sex}
    fits = {
        "PatientID": len(patient_ids) == 1 and "" not in patient_ids and patient_ids <= identifiers,
        # a FHIR date may be a year, or a year and a month
        "PatientBirthDate": len(births) <= 1
        and all(birth.startswith(known) for birth in births for known in known_births),
        "PatientSex": len(sexes) <= 1 and all(sex == known for sex in sexes for known in known_sexes),
        "StudyInstanceUID": all(image.study_instance_uid == study_instance_uid for image in images),
    }
    return tuple(name for name, fit in fits.items() if not fit)


def require_match(images: Sequence[ImageIdentity], order: Order, patient: Resource, study_instance_uid: str) -> None:
    """Raises Refused `identity.patient-id-missing`, `identity.mismatch`; `where` names the fields."""
    if any(not image.patient_id for image in images):
        raise Refused("identity.patient-id-missing", "PatientID", "an image does not say whose it is")
    fields = mismatches(images, order, patient, study_instance_uid)
    if fields:
        explanation = "the images do not fit the order and the FHIR patient, or one another"
        raise Refused("identity.mismatch", ", ".join(fields), explanation)
