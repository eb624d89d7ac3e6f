"""Images that are not the order's patient's never pass, and no value is named in saying so."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_bridge.errors import Refused
from fhir_bridge.rendezvous.identity import ImageIdentity, mismatches, read_identity, require_match, study_date
from fhir_bridge.study import Resource
from mappings.order import Identifier, Order, OrderControl, PatientIdentity
from tests.support.studies import A_STUDY, a_study, an_instance

BORN = date(2019, 4, 12)
IMAGE = ImageIdentity("CANARY-1", BORN, "female", A_STUDY)
PATIENT: Resource = {"identifier": [{"value": "CANARY-1"}], "birthDate": "2019-04-12", "gender": "female"}


def an_order(*identifiers: str, born: date | None = BORN, sex: str = "female") -> Order:
    patient = PatientIdentity(tuple(Identifier(value) for value in identifiers), born, sex)
    return Order(OrderControl.NEW, patient)


def wrong(
    images: Sequence[ImageIdentity] = (IMAGE,), order: Order | None = None, patient: Resource = PATIENT
) -> tuple[str, ...]:
    return mismatches(images, order or an_order("CANARY-1"), patient, A_STUDY)


def test_files_of_one_patient_have_one_identity(tmp_path: Path) -> None:
    assert read_identity(a_study(tmp_path / "study")) == (IMAGE,)


def test_files_of_two_patients_have_two(tmp_path: Path) -> None:
    one, other = a_study(tmp_path / "one", instances=1), a_study(tmp_path / "two", instances=1, patient_id="CANARY-2")
    assert len(read_identity([*one, *other])) == 2


@pytest.mark.parametrize("born", ["", "UNKNOWN", "00000000", "2019", "20191341"])
def test_a_birth_date_that_is_no_date_is_none(tmp_path: Path, born: str, recwarn: pytest.WarningsRecorder) -> None:
    path = tmp_path / "image"
    content = an_instance(birth_date="20190412")
    path.write_bytes(content.replace(b"20190412", born.ljust(8).encode()))
    (identity,) = read_identity([path])
    assert identity.birth_date is None
    assert len(recwarn) == 0


def test_a_broken_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(an_instance()[:-1])
    with pytest.raises(Refused) as refusal:
        read_identity([tmp_path / "image"])
    assert refusal.value.code == "archive.corrupt"


def test_the_images_say_on_which_day_they_were_taken(tmp_path: Path) -> None:
    assert study_date(a_study(tmp_path / "study")) == "2026-03-02"


@pytest.mark.parametrize("said", [b"        ", b"20260303"])
def test_images_without_a_date_or_with_several_say_none(tmp_path: Path, said: bytes) -> None:
    one, *others = a_study(tmp_path / "study")
    one.write_bytes(one.read_bytes().replace(b"20260302", said))
    assert study_date([one, *others]) == ""


def test_images_of_the_patient_fit() -> None:
    assert wrong() == ()


@pytest.mark.parametrize(
    ("order", "patient"),
    [
        (an_order("CANARY-9"), PATIENT),
        (an_order("CANARY-1"), {"identifier": [{"value": "CANARY-9"}]}),
        (an_order("CANARY-9", " CANARY-1 "), {}),
    ],
    ids=["FHIR Patient", "order", "one of several"],
)
def test_the_patient_id_may_come_from_either_source(order: Order, patient: Resource) -> None:
    assert wrong(order=order, patient=patient) == ()


# item 32: the PACS still has the number of before the merge; birth date and sex must agree all the same
@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (IMAGE, ()),
        (replace(IMAGE, patient_id="CANARY-3"), ("PatientID",)),
        (replace(IMAGE, birth_date=date(2018, 1, 1)), ("PatientBirthDate",)),
        (replace(IMAGE, sex="male"), ("PatientSex",)),
    ],
)
def test_images_may_bear_a_former_number_of_the_patient(image: ImageIdentity, expected: tuple[str, ...]) -> None:
    order = an_order("CANARY-2")
    merged = replace(order, patient=replace(order.patient, former=(Identifier("CANARY-1"),)))
    assert wrong([image], merged, PATIENT | {"identifier": [{"value": "CANARY-2"}]}) == expected


@pytest.mark.parametrize("patient", [{}, {"identifier": [{"system": "urn:x"}]}, {"identifier": [{"value": ""}]}])
def test_an_image_without_patient_id_fits_nobody(patient: Resource) -> None:
    assert wrong([replace(IMAGE, patient_id="")], an_order(""), patient) == ("PatientID",)


@pytest.mark.parametrize("patient_id", ["CANARY-2", "CANARY", "canary-1", "CANARY-10"])
def test_another_patient_id_is_named_as_the_field(patient_id: str) -> None:
    assert wrong([replace(IMAGE, patient_id=patient_id)]) == ("PatientID",)


def test_files_of_two_patient_ids_do_not_fit_though_both_are_the_patients() -> None:
    images = [IMAGE, replace(IMAGE, patient_id="CANARY-2")]
    assert wrong(images, an_order("CANARY-1", "CANARY-2")) == ("PatientID",)


@pytest.mark.parametrize(
    ("image", "order_born", "fhir_born", "fits"),
    [
        (BORN, BORN, "2019-04-12", True),
        (BORN, None, "", True),
        (None, BORN, "2019-04-12", True),
        (BORN, None, "2019", True),
        (BORN, None, "2019-04", True),
        (BORN, None, "2018", False),
        (BORN, None, "2019-04-13", False),
        (BORN, date(2019, 12, 4), "", False),
        (BORN, date(2019, 12, 4), "2019-04-12", False),
    ],
)
def test_birth_dates_must_not_contradict(
    image: date | None, order_born: date | None, fhir_born: str, fits: bool
) -> None:
    found = wrong(
        [replace(IMAGE, birth_date=image)], an_order("CANARY-1", born=order_born), PATIENT | {"birthDate": fhir_born}
    )
    assert found == (() if fits else ("PatientBirthDate",))


@pytest.mark.parametrize(
    ("image", "order_sex", "fhir_sex", "fits"),
    [
        ("female", "female", "female", True),
        ("", "male", "male", True),
        ("female", "", "unknown", True),
        ("female", "male", "female", False),
        ("female", "", "male", False),
        ("other", "", "male", False),
    ],
)
def test_sexes_must_not_contradict(image: str, order_sex: str, fhir_sex: str, fits: bool) -> None:
    found = wrong([replace(IMAGE, sex=image)], an_order("CANARY-1", sex=order_sex), PATIENT | {"gender": fhir_sex})
    assert found == (() if fits else ("PatientSex",))


@pytest.mark.parametrize(
    ("change", "field"),
    [({"birth_date": date(2018, 1, 1)}, "PatientBirthDate"), ({"sex": "male"}, "PatientSex")],
)
def test_files_that_contradict_one_another_do_not_fit(change: dict[str, object], field: str) -> None:
    order = an_order("CANARY-1", born=None, sex="")
    assert wrong([IMAGE, replace(IMAGE, **change)], order, {}) == (field,)  # type: ignore[arg-type]


def test_another_study_does_not_fit() -> None:
    assert wrong([replace(IMAGE, study_instance_uid="1.2.3")]) == ("StudyInstanceUID",)


def test_no_image_at_all_fits_nobody() -> None:
    assert "PatientID" in wrong([])


IDENTITIES = st.builds(
    ImageIdentity,
    st.sampled_from(["CANARY-1", "CANARY-2", ""]),
    st.sampled_from([BORN, date(2018, 1, 1), None]),
    st.sampled_from(["female", "male", ""]),
    st.sampled_from([A_STUDY, "1.2.3"]),
)


@given(st.lists(IDENTITIES, min_size=1, max_size=4))
def test_more_files_never_heal_a_mismatch(images: list[ImageIdentity]) -> None:
    assert set(wrong(images[:-1] or images)) <= set(wrong(images))


@pytest.mark.parametrize(
    ("image", "code", "where"),
    [
        (replace(IMAGE, patient_id=""), "identity.patient-id-missing", "PatientID"),
        (replace(IMAGE, patient_id="CANARY-2", sex="male"), "identity.mismatch", "PatientID, PatientSex"),
    ],
)
def test_a_mismatch_is_refused_by_its_fields_without_a_value(image: ImageIdentity, code: str, where: str) -> None:
    with pytest.raises(Refused) as refusal:
        require_match([image], an_order("CANARY-1"), PATIENT, A_STUDY)
    assert (refusal.value.code, refusal.value.where) == (code, where)
    assert "CANARY" not in str(refusal.value)


def test_an_identity_shows_nothing_of_itself() -> None:
    assert repr(IMAGE) == "ImageIdentity()"
