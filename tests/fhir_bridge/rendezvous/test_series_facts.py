"""What headers say of a series: kinds, orientation and spacing of real files, and the table of bad stacks (facts of 4.2)."""

import io
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file

from fhir_bridge.rendezvous.planes import Plane, judge_stack
from fhir_bridge.rendezvous.series_facts import ImageFacts, disagreements, read_facts, summary_of
from tests.support.studies import an_instance

AXIAL, SAGITTAL, CORONAL = (1, 0, 0, 0, 1, 0), (0, 1, 0, 0, 0, -1), (1, 0, 0, 0, 0, -1)


def stack(count: int = 20, step: float = 1.0, orientation: tuple[float, ...] = AXIAL) -> list[Plane]:
    return [Plane(orientation, (0.0, 0.0, step * number)) for number in range(count)]


def moved(plane: Plane, *by: float) -> Plane:
    return Plane(plane.orientation, tuple(a + b for a, b in zip(plane.position, by, strict=True)))


def test_equal_gaps_make_a_regular_volume_in_whatever_order_they_come() -> None:
    assert judge_stack(stack(step=1.25)[::-1]) == ((), 1.25)


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("missing-slices", lambda planes: planes[:7] + planes[8:]),
        ("uneven-spacing", lambda planes: [*planes[:7], moved(planes[7], 0, 0, 0.2), *planes[8:]]),
        ("duplicate-positions", lambda planes: [*planes, planes[3]]),
        ("several-orientations", lambda planes: [*planes, Plane(SAGITTAL, (0, 0, 0))]),
        (
            "tilted",
            lambda planes: [moved(plane, 0, plane.position[2] * math.tan(math.radians(15)), 0) for plane in planes],
        ),
        ("one-slice", lambda planes: planes[:1]),
        ("no-geometry", lambda planes: []),
        ("duplicate-positions", lambda planes: [planes[0]] * 5),
    ],
)
def test_what_is_wrong_with_a_stack_is_named(name: str, spoil: Callable[[list[Plane]], list[Plane]]) -> None:
    assert name in judge_stack(spoil(stack()))[0]


def test_two_phases_between_one_another_are_uneven() -> None:
    second = [moved(plane, 0, 0, 0.282) for plane in stack()]
    assert judge_stack([*stack(), *second])[0] == ("uneven-spacing",)


def test_a_hundredth_of_the_distance_is_tolerated() -> None:
    assert judge_stack([moved(plane, 0, 0, 0.004 * (number % 2)) for number, plane in enumerate(stack())])[0] == ()


@pytest.mark.parametrize(
    ("orientation", "direction"),
    [
        (AXIAL, "axial"),
        (SAGITTAL, "sagittal"),
        (CORONAL, "coronal"),
        ((0.6, 0.8, 0, 0, 0, -1), "oblique"),
        ((0.98, 0.2, 0, -0.2, 0.98, 0), "axial"),
    ],
)
def test_the_direction_is_that_of_the_normal(orientation: tuple[float, ...], direction: str) -> None:
    assert Plane(orientation, (0, 0, 0)).direction == direction


def facts_of(name: str) -> ImageFacts:
    with Path(get_testdata_file(name, download=False)).open("rb") as file:
        return read_facts(file)


def test_a_plain_slice_is_read_as_its_header_says() -> None:
    facts = facts_of("CT_small.dcm")
    assert (facts.rows, facts.columns, facts.frames, facts.series_number) == (128, 128, 1, "1")
    assert (facts.spacing, facts.thickness) == ((0.661468, 0.661468), (5.0,))
    assert facts.planes == (Plane((1, 0, 0, 0, 1, 0), (-158.135803, -179.035797, -75.699997)),)
    assert facts.image_type == ("ORIGINAL", "PRIMARY", "AXIAL")


@pytest.mark.parametrize("name", ["MR_small_implicit.dcm", "MR_small_bigendian.dcm", "MR_small_RLE.dcm"])
def test_the_encoding_changes_nothing(name: str) -> None:
    plain, other = facts_of("MR_small.dcm"), facts_of(name)
    assert (other.rows, other.columns, other.spacing, other.planes) == (
        plain.rows,
        plain.columns,
        plain.spacing,
        plain.planes,
    )


def test_an_enhanced_object_lies_as_its_functional_groups_say() -> None:
    """eCT_Supplemental: two frames, orientation and position per frame, spacing shared."""
    path = Path(get_testdata_file("eCT_Supplemental.dcm", download=False))
    dataset = pydicom.dcmread(path)
    facts = facts_of("eCT_Supplemental.dcm")
    groups = dataset.PerFrameFunctionalGroupsSequence
    assert [plane.position for plane in facts.planes] == [
        tuple(group.PlanePositionSequence[0].ImagePositionPatient) for group in groups
    ]
    shared = dataset.SharedFunctionalGroupsSequence[0]
    assert facts.spacing == tuple(shared.PixelMeasuresSequence[0].PixelSpacing)
    assert facts.frames == len(groups)


def facts_with(**changes: object) -> ImageFacts:
    dataset = pydicom.dcmread(io.BytesIO(an_instance()))
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    if "SOPClassUID" in changes:
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    file = io.BytesIO()
    dataset.save_as(file)
    file.seek(0)
    return read_facts(file)


@pytest.mark.parametrize(
    ("changes", "kinds"),
    [
        ({"ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"]}, ()),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, ("localizer",)),
        ({"ImageType": ["DERIVED", "SECONDARY", "MPR"]}, ("derived",)),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, ("secondary-capture",)),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7.4"}, ("secondary-capture",)),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.77.1.1"}, ()),  # visible light
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.66.4", "Modality": "SEG"}, ("not-a-source",)),
    ],
)
def test_what_an_image_is_besides_one_as_taken(changes: dict[str, object], kinds: tuple[str, ...]) -> None:
    assert facts_with(**changes).kinds == kinds


def test_a_localizer_among_the_slices_does_not_spoil_their_volume() -> None:
    slices = [facts_with(ImagePositionPatient=[0, 0, number]) for number in range(3)]
    across = facts_with(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], ImageOrientationPatient=list(SAGITTAL))
    summary = summary_of([across, *slices])
    assert (summary.volume, summary.slice_spacing, summary.kinds) == ((), 1.0, {"localizer": 1})


def test_slices_of_several_sizes_or_frames_of_reference_are_no_volume() -> None:
    one, other = facts_with(FrameOfReferenceUID="1.2.3"), facts_with(ImagePositionPatient=[0, 0, 9])
    assert summary_of([one, other]).volume == ("several-frames-of-reference",)
    assert summary_of([one, replace(other, frame_of_reference="1.2.3", rows=8)]).volume == ("several-sizes",)


def test_a_slice_that_does_not_say_where_it_lies_spoils_the_volume() -> None:
    nowhere = facts_with(ImagePositionPatient=None)
    assert summary_of([facts_with(), facts_with(ImagePositionPatient=[0, 0, 9]), nowhere]).volume == ("no-geometry",)


@pytest.mark.parametrize("text", ["1\\2\\nonsense", "1\\2", "nan\\0\\0", "1e999\\0\\0"])
def test_a_position_that_is_none_is_no_geometry(text: str) -> None:
    content = an_instance()
    position = content.index(b"\x20\x00\x32\x00DS") + 8
    length = content[position - 2]
    broken = content[: position - 2] + bytes([len(text) + len(text) % 2, 0]) + (text + " " * (len(text) % 2)).encode()
    assert read_facts(io.BytesIO(broken + content[position + length :])).planes == ()


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({}, ()),
        ({"PatientID": "CANARY-2"}, ("PatientID",)),
        ({"PatientID": ""}, ("PatientID",)),
        ({"PatientSex": "M", "PatientBirthDate": "19990101"}, ("PatientBirthDate", "PatientSex")),
        ({"PatientSex": "", "PatientBirthDate": ""}, ()),
    ],
)
def test_two_patients_in_one_study_are_told_by_the_fields_that_differ(
    change: dict[str, object], fields: tuple[str, ...]
) -> None:
    assert disagreements([facts_with(), facts_with(**change)]) == fields
