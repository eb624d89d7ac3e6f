"""What the headers of a series say of it: what it is, how large, how it lies, and whether its frames form one regular volume.

Nothing is decoded. What is said of the patient is compared and never handed on.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, TypeVar

import pydicom

from fhir_bridge.rendezvous.completeness import source_instances
from fhir_bridge.rendezvous.dicom_header import attempt_to_read, raw_number, raw_text, read_dataset_from
from fhir_bridge.rendezvous.planes import Plane, Vector, judge_stack
from fhir_bridge.study import InstanceRef

T = TypeVar("T")

_IDENTITY = ("PatientID", "PatientBirthDate", "PatientSex")
_TEXTS = ("Modality", "SeriesNumber", "PhotometricInterpretation", "FrameOfReferenceUID")
_UIDS = ("StudyInstanceUID", "SOPInstanceUID", "SOPClassUID", "SeriesInstanceUID")
_GEOMETRY = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "ImagerPixelSpacing")
_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
_KEYWORDS = (*_IDENTITY, *_TEXTS, *_UIDS, *_GEOMETRY, *_GROUPS, "ImageType", "Columns", "NumberOfFrames")

_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"  # and the multi-frame ones below it (PS3.4 Table B.5-1)
_LOCALIZERS = {"LOCALIZER", "SCOUT", "TOPOGRAM"}


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """One instance. `spacing`: between rows and between columns in mm; `planes`: one a frame, none where the header has no geometry."""

    identity: tuple[str, ...] = field(repr=False)  # as in `_IDENTITY`
    study: str = field(repr=False)
    instance: InstanceRef
    series_number: str
    media_class: str  # Media Storage SOP Class UID: that of the file
    transfer_syntax: str
    rows: int
    columns: int
    frames: int
    image_type: tuple[str, ...]
    photometric: str
    frame_of_reference: str = field(repr=False)
    spacing: Vector
    thickness: Vector
    planes: tuple[Plane, ...] = field(repr=False)

    @property
    def kinds(self) -> tuple[str, ...]:
        """What it is besides an image as it was taken: `not-a-source` (a result or document, see
        `completeness`), `localizer`, `derived`, `secondary-capture`."""
        sop_class = self.instance.sop_class_uid
        marks = {
            "not-a-source": not source_instances([self.instance]),
            "localizer": bool(_LOCALIZERS & set(self.image_type)),
            "derived": self.image_type[:1] == ("DERIVED",),
            "secondary-capture": f"{sop_class}.".startswith(f"{_SECONDARY_CAPTURE}."),
        }
        return tuple(name for name, holds in marks.items() if holds)


def read_facts(file: BinaryIO) -> ImageFacts:
    """Of one whole file. Raises UnreadableInstance, OSError."""
    dataset = read_dataset_from(file, _KEYWORDS)
    return attempt_to_read(lambda: _facts(dataset))


def _facts(dataset: pydicom.Dataset) -> ImageFacts:
    modality, number, photometric, reference = (raw_text(dataset, keyword) for keyword in _TEXTS)
    study, instance, sop_class, series = (raw_text(dataset, keyword) for keyword in _UIDS)
    groups = [item for keyword in _GROUPS[:1] for item in _items(dataset, keyword)]
    frames = list(_items(dataset, _GROUPS[1]))
    measures = _first([*groups, *frames[:1]], "PixelMeasuresSequence")
    return ImageFacts(
        identity=tuple(raw_text(dataset, keyword) for keyword in _IDENTITY),
        study=study,
        instance=InstanceRef(instance, sop_class, series, modality),
        series_number=number,
        media_class=str(dataset.file_meta.get("MediaStorageSOPClassUID", "")),
        transfer_syntax=str(dataset.file_meta.TransferSyntaxUID),
        rows=raw_number(dataset, "Rows"),
        columns=raw_number(dataset, "Columns"),
        frames=_frames_of(dataset),
        image_type=tuple(raw_text(dataset, "ImageType").upper().split("\\")),
        photometric=photometric,
        frame_of_reference=reference,
        spacing=_numbers([dataset, *measures], "PixelSpacing") or _numbers([dataset], "ImagerPixelSpacing"),
        thickness=_numbers([dataset, *measures], "SliceThickness"),
        planes=tuple(_planes(dataset, groups, frames)),
    )


def _frames_of(dataset: pydicom.Dataset) -> int:
    """0 where there is no image."""
    text = raw_text(dataset, "NumberOfFrames")
    frames = int(text) if text.isdecimal() else 1
    return frames if raw_number(dataset, "Rows") else 0


def _planes(dataset: pydicom.Dataset, shared: list[pydicom.Dataset], frames: list[pydicom.Dataset]) -> Iterator[Plane]:
    """Of an image that says how it lies itself, else of each frame by its functional groups (PS3.3 §C.7.6.16)."""
    for frame in frames or [None]:
        groups = [*([frame] if frame is not None else []), *shared]
        orientation = _numbers([dataset, *_first(groups, "PlaneOrientationSequence")], "ImageOrientationPatient")
        position = _numbers([dataset, *_first(groups, "PlanePositionSequence")], "ImagePositionPatient")
        if len(orientation) == 6 and len(position) == 3:
            yield Plane(orientation, position)


def _items(dataset: pydicom.Dataset, keyword: str) -> Sequence[pydicom.Dataset]:
    return dataset[keyword].value or () if keyword in dataset else ()


def _first(groups: Iterable[pydicom.Dataset], keyword: str) -> Sequence[pydicom.Dataset]:
    return next((items[:1] for group in groups if (items := _items(group, keyword))), ())


def _numbers(datasets: Iterable[pydicom.Dataset], keyword: str) -> Vector:
    """Of the first of them that has it; empty where none has, or where one of them is no number."""
    text = next((text for dataset in datasets if (text := raw_text(dataset, keyword))), "")
    try:
        numbers = tuple(float(part) for part in text.split("\\")) if text else ()
    except ValueError:
        return ()
    return numbers if all(map(math.isfinite, numbers)) else ()


def disagreements(facts: Iterable[ImageFacts]) -> tuple[str, ...]:
    """The DICOM keywords in which instances name different patients; what one leaves empty contradicts nothing, but for PatientID."""
    columns = list(zip(*{one.identity for one in facts}, strict=True))
    said = zip(_IDENTITY, columns, strict=False)
    return tuple(name for name, values in said if len({v for v in values if v or name == "PatientID"}) > 1)


@dataclass(frozen=True, slots=True)
class SeriesSummary:
    """One series. `volume`: why its frames form none, in words of `judge_volume`; empty where they form a regular one.

    Of what may differ within a series all values are there, most frequent first. `slice_spacing` in mm, 0 where there is none.
    """

    number: str
    modality: tuple[str, ...]
    sop_classes: tuple[str, ...]
    transfer_syntaxes: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]  # rows x columns
    photometric: tuple[str, ...]
    instances: int
    frames: int
    kinds: dict[str, int]
    orientations: tuple[str, ...]
    spacings: tuple[Vector, ...]
    thicknesses: tuple[Vector, ...]
    slice_spacing: float
    volume: tuple[str, ...]


def summary_of(series: Sequence[ImageFacts]) -> SeriesSummary:
    """Of the instances of one series."""
    volume, slice_spacing = judge_volume([one for one in series if "localizer" not in one.kinds] or series)
    return SeriesSummary(
        number=series[0].series_number,
        modality=_ranked(one.instance.modality for one in series),
        sop_classes=_ranked(one.instance.sop_class_uid for one in series),
        transfer_syntaxes=_ranked(one.transfer_syntax for one in series),
        sizes=_ranked((one.rows, one.columns) for one in series if one.frames),
        photometric=_ranked(one.photometric for one in series if one.frames),
        instances=len(series),
        frames=sum(one.frames for one in series),
        kinds=dict(Counter(kind for one in series for kind in one.kinds)),
        orientations=_ranked(plane.direction for one in series for plane in one.planes),
        spacings=_ranked(one.spacing for one in series if one.spacing),
        thicknesses=_ranked(one.thickness for one in series if one.thickness),
        slice_spacing=slice_spacing,
        volume=volume,
    )


def judge_volume(series: Sequence[ImageFacts]) -> tuple[tuple[str, ...], float]:
    """`planes.judge_stack`, and before it `no-image`, `several-sizes`, `several-frames-of-reference`."""
    images = [one for one in series if one.frames]
    if not images:
        return ("no-image",), 0.0
    planes = [plane for one in images for plane in one.planes]
    is_said = len(planes) == sum(one.frames for one in images)
    findings, slice_spacing = judge_stack(planes if is_said else ())
    sizes = {(one.rows, one.columns) for one in images}
    references = {one.frame_of_reference for one in images}
    more = (("several-sizes", len(sizes) > 1), ("several-frames-of-reference", len(references) > 1))
    return (*(name for name, holds in more if holds), *findings), slice_spacing


def _ranked(values: Iterable[T]) -> tuple[T, ...]:
    return tuple(value for value, _ in Counter(values).most_common())
