"""The types of the boundary. `RawStudy` and `DeidentifiedStudy` are unrelated, and only `deid.crossing` makes the second."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Resource = dict[str, Any]  # a FHIR resource as parsed JSON


@dataclass(frozen=True, slots=True)
class InstanceRef:
    """One instance as the archive lists it (QIDO-RS instance level, or a file's header)."""

    sop_instance_uid: str = field(repr=False)
    sop_class_uid: str = ""
    series_instance_uid: str = field(default="", repr=False)
    modality: str = ""


@dataclass(frozen=True, slots=True)
class StudyQuery:
    """How an order names its study: by UID, else by accession number."""

    study_instance_uid: str = field(default="", repr=False)
    accession: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class RawStudy:
    """A retrieved study of a patient, on the hospital side. The files lie in `folder` under `phi/`."""

    folder: Path
    study_instance_uid: str = field(repr=False)
    files: tuple[Path, ...] = field(repr=False)
    fingerprint: str = ""  # SHA-256 of the sorted SOP Instance UIDs of the source instances


@dataclass(frozen=True, slots=True)
class ContextSource:
    """How one resource type of the context was had.

    `how`: `search`; `everything` ($everything); `reference` (the order named it); `not-offered`: the server has no way to ask for it;
    `refused`: it would not show all of it, `code` says why. `is_truncated`: there may be more than we took. `newest`: the date of the newest
    resource, as given.
    """

    how: str
    count: int = 0
    is_truncated: bool = False
    newest: str = field(default="", repr=False)
    code: str = ""


@dataclass(frozen=True, slots=True)
class ClinicalContext:
    """What the FHIR server knows of the patient, as it sent it.

    `others` maps a resource type to its resources, newest first. What is not there is not known, which is not the same as normal:
    `sources` says for every type that was asked for whether it was answered.
    """

    patient: Resource = field(repr=False)
    others: Mapping[str, tuple[Resource, ...]] = field(default_factory=dict, repr=False)
    sources: Mapping[str, ContextSource] = field(default_factory=dict)


_CROSSED = object()  # only deid.crossing holds it


class _Deidentified:
    """Made only by `deid.crossing`; cannot be pickled or copied into being."""

    __slots__ = ()

    def __new__(cls, token: object, *_: object, **__: object) -> "_Deidentified":
        if token is not _CROSSED:
            raise TypeError(f"{cls.__name__} is made by deid.crossing only")
        return super().__new__(cls)

    def __reduce__(self) -> str:
        raise TypeError("a de-identified study does not travel by pickle")


class DeidentifiedStudy(_Deidentified):
    """Files of a study without identity. `study_instance_uid` is a pseudonym; nothing here leads back but the vault."""

    __slots__ = ("files", "folder", "study_instance_uid")

    def __init__(self, _token: object, folder: Path, study_instance_uid: str, files: tuple[Path, ...]) -> None:
        self.folder = folder
        self.study_instance_uid = study_instance_uid
        self.files = files


class DeidentifiedContext(_Deidentified):
    """The clinical context without identity: resource type -> resources, plus age in years and sex."""

    __slots__ = ("age_years", "resources", "sex")

    def __init__(
        self, _token: object, age_years: float | None, sex: str, resources: Mapping[str, tuple[Resource, ...]]
    ) -> None:
        self.age_years = age_years
        self.sex = sex
        self.resources = resources
