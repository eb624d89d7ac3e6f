import copy
import json
import pickle
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from pydicom.data import get_testdata_file

from fhir_bridge.deid.crossing import cross, reopen
from fhir_bridge.deid.pseudonym import ProjectKeys
from fhir_bridge.errors import Refused, Unavailable
from fhir_bridge.study import ClinicalContext, DeidentifiedStudy
from tests.support import raw_film
from tests.support.crossings import CONTEXT, KEYS, PATIENT, Hospital, everything_released, image, read
from tests.support.planted_films import planted_films
from tests.support.raw_film import DX, STUDY, Film, Raw, text


def test_a_study_crosses_with_its_context(hospital: Hospital) -> None:
    crossing = hospital.cross(image(1).to_bytes(), image(2, DX).to_bytes())
    assert isinstance(crossing.study, DeidentifiedStudy)
    assert len(crossing.study.files) == 2
    assert {read(path).StudyInstanceUID for path in crossing.study.files} == {crossing.study.study_instance_uid}
    assert (crossing.context.age_years, crossing.context.sex) == (3.0, "female")
    assert read(crossing.study.files[0]).PatientAge == "003Y"
    assert crossing.context.resources["Condition"][0]["code"]["coding"][0]["code"] == "233604007"


def test_nothing_that_is_released_names_the_patient(hospital: Hospital) -> None:
    released = everything_released(hospital.cross(image(1).to_bytes(), image(2).to_bytes())).upper()
    for identifier in (
        b"CANARY",
        b"ZEBRA",
        STUDY.encode() + b"\0",
        b"1.2.3.30",
        b"20200304",
        b"2020-03-04",
        b"20230308",
    ):
        assert identifier not in released


def test_dicom_and_context_move_by_the_same_days(hospital: Hospital) -> None:
    crossing = hospital.cross(image(1).to_bytes())
    onset = crossing.context.resources["Condition"][0]["onsetDateTime"].replace("-", "")
    study = read(crossing.study.files[0]).StudyDate
    assert int(pydicom.valuerep.DA(study).toordinal()) - int(pydicom.valuerep.DA(onset).toordinal()) == 7


def test_crossing_again_gives_the_same_bytes(hospital: Hospital) -> None:
    once = hospital.cross(image(1).to_bytes(), image(2).to_bytes())
    files = {path.name: path.read_bytes() for path in once.study.files}
    again = hospital.cross(image(1).to_bytes(), image(2).to_bytes())
    assert again.manifest == once.manifest
    assert {path.name: path.read_bytes() for path in again.study.files} == files


def test_a_smaller_study_leaves_nothing_of_the_larger_one(hospital: Hospital) -> None:
    hospital.cross(image(1).to_bytes(), image(2).to_bytes())
    crossing = hospital.cross(image(1).to_bytes())
    assert list(crossing.study.folder.iterdir()) == list(crossing.study.files)


def test_reopening_makes_the_same_study_and_context(hospital: Hospital) -> None:
    crossing = hospital.cross(image(1).to_bytes())
    found = reopen(crossing.manifest, hospital.released)
    assert found.manifest == crossing.manifest
    assert found.study.files == crossing.study.files
    assert found.study.study_instance_uid == crossing.study.study_instance_uid
    assert found.context.resources == crossing.context.resources
    assert (found.context.age_years, found.context.sex) == (3.0, "female")


def _change(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")


def _add(path: Path) -> None:
    path.with_name("2.25.1.dcm").write_bytes(b"")


def _link(path: Path) -> None:
    path.rename(path.parents[1] / "elsewhere.dcm")
    path.symlink_to(path.parents[1] / "elsewhere.dcm")


@pytest.mark.parametrize("tamper", [_change, _add, _link, Path.unlink], ids=["changed", "added", "linked", "missing"])
def test_a_folder_that_is_not_as_released_is_refused(hospital: Hospital, tamper: Any) -> None:
    crossing = hospital.cross(image(1).to_bytes())
    tamper(crossing.study.files[0])
    with pytest.raises(Refused) as refusal:
        reopen(crossing.manifest, hospital.released)
    assert refusal.value.code == "deid.tampered"


@pytest.mark.parametrize("manifest", [b"", b"{}", b"CANARY", b'{"format":"x"}', b"[1]"])
def test_what_is_no_manifest_is_refused(hospital: Hospital, manifest: bytes) -> None:
    with pytest.raises(Refused, match=r"deid\.tampered at manifest"):
        reopen(manifest, hospital.released)


def test_the_manifest_says_what_was_done_by_which_rules(hospital: Hospital) -> None:
    manifest = json.loads(hospital.cross(image(1).put(Raw(0x00091001, "UN", b"x")).to_bytes()).manifest)
    assert manifest["table"] == "PS3.15 Table E.1-1 2026c"
    assert manifest["policy"].startswith("basic")
    assert ["0010,0010", "replaced", 1] in manifest["actions"]
    assert ["private", "removed", 1] in manifest["actions"]
    assert ["Condition.onsetDateTime", "shifted", 1] in manifest["actions"]


def test_objects_beside_the_images_are_counted_and_left(hospital: Hospital) -> None:
    report = Film("1.2.840.10008.5.1.4.1.1.88.22").to_bytes()
    crossing = hospital.cross(image(1).to_bytes(), report, report)
    assert len(crossing.study.files) == 1
    assert json.loads(crossing.manifest)["skipped"] == {"Enhanced SR Storage": 2}


OTHER_STUDY = image(2).put(text(0x0020000D, "UI", "1.2.9"))
OTHER_PATIENT = image(2).put(text(0x00100020, "LO", "CANARY-2"))
REFUSALS = [
    ([image(1), OTHER_STUDY], "deid.mixed-studies"),
    ([OTHER_STUDY], "deid.mixed-studies"),
    ([image(1), OTHER_PATIENT], "deid.mixed-patients"),
    ([image(1), image(1)], "deid.duplicate-instance"),
    ([Film("1.2.840.10008.5.1.4.1.1.88.22")], "deid.nothing-to-cross"),
    ([image(1), Film("1.2.840.10008.5.1.4.1.1.2")], "deid.sop-class-unsupported"),
    ([image(1), image(2).put(text(0x00280301, "CS", "YES"))], "deid.burned-in-annotation"),
    ([image(1), image(2).put(text(0x00080008, "CS", "DERIVED\\PRIMARY"))], "deid.pixels-unverified"),
]


@pytest.mark.parametrize(("films", "code"), REFUSALS)
def test_a_study_that_may_not_cross_leaves_nothing_behind(hospital: Hospital, films: list[Film], code: str) -> None:
    with pytest.raises(Refused) as refusal:
        hospital.cross(*(film.to_bytes() for film in films))
    assert refusal.value.code == code
    assert "CANARY" not in str(refusal.value)
    assert list(hospital.released.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"CANARY", image(1).to_bytes()[:300], b"\0" * 128 + b"DICM"])
def test_a_corrupt_file_is_refused(hospital: Hospital, content: bytes) -> None:
    with pytest.raises(Refused) as refusal:
        hospital.cross(image(1).to_bytes(), content)
    assert refusal.value.code == "deid.dicom-unreadable"


def test_a_name_hidden_in_the_pixels_holds_the_study(hospital: Hospital) -> None:
    with pytest.raises(Refused) as refusal:
        hospital.cross(Film(pixels=b"ZEBRA^CANARY".ljust(32, b"\0")).to_bytes())
    assert (refusal.value.code, refusal.value.where) == ("deid.residual-identifier", "7FE0,0010")
    assert list(hospital.released.iterdir()) == []


def test_a_word_of_the_vocabulary_that_is_the_patients_name_does_not_stay(hospital: Hospital) -> None:
    patient = PATIENT | {"name": [{"family": "Hand", "given": ["ZEBRA"]}]}
    film = image(1).put(text(0x00081030, "LO", "LEFT HAND"), text(0x00100010, "PN", "HAND^ZEBRA"))
    crossing = hospital.cross(film.to_bytes(), context=ClinicalContext(patient))
    assert read(crossing.study.files[0]).StudyDescription == "LEFT"


def test_nothing_is_released_when_the_vault_fails(hospital: Hospital) -> None:
    hospital.vault.close()
    with pytest.raises(Unavailable) as failure:
        hospital.cross(image(1).to_bytes())
    assert failure.value.code == "deid.vault-unavailable"
    assert list(hospital.released.iterdir()) == []


def test_a_file_that_is_gone_is_a_matter_of_the_storage(hospital: Hospital) -> None:
    study = replace(hospital.study(image(1).to_bytes()), files=(Path("CANARY-9.dcm"),))
    with pytest.raises(Unavailable) as failure:
        cross(study, CONTEXT, job="job-1", into=hospital.released, keys=KEYS, vault=hospital.vault)
    assert (failure.value.code, failure.value.where) == ("deid.storage-unavailable", "ENOENT")
    assert "CANARY" not in str(failure.value)


def test_a_room_called_like_a_body_part_does_not_take_the_body_part_away(hospital: Hospital) -> None:
    film = image(1).put(text(0x00081010, "SH", "CHEST"), text(0x00180015, "CS", "CHEST"))
    assert read(hospital.cross(film.to_bytes()).study.files[0]).BodyPartExamined == "CHEST"


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(planted_films())
def test_no_planted_identity_is_released_by_the_whole_crossing(hospital: Hospital, film: Film) -> None:
    keyed = film.put(text(0x00100020, "LO", "CANARY-1"), text(0x00080018, "UI", "1.2.3.301"))
    try:
        released = everything_released(hospital.cross(keyed.to_bytes()))
    except Refused as refusal:
        released = str(refusal).encode()
    assert b"CANARY" not in released.upper()
    assert b"ZEBRA" not in released.upper()


AGES = [
    ("20200304", "1999-01-01", "080Y", 3.0),  # the header's birth date first
    ("", "2018-03-09", "080Y", 4.0),  # then FHIR's
    ("", "2018", "007Y", 7.0),  # of a year alone no age can be told
    ("", "", "018M", 1.5),
    ("", "", "", None),
    ("20290101", "2018-03-09", "", 4.0),  # born after the study: not believed
    ("19200101", "", "", 90.0),
]


@pytest.mark.parametrize(("header", "fhir", "age_string", "expected"), AGES)
def test_the_age_comes_from_the_best_source(
    hospital: Hospital, header: str, fhir: str, age_string: str, expected: float | None
) -> None:
    film = image(1).put(text(0x00100030, "DA", header), text(0x00101010, "AS", age_string))
    crossing = hospital.cross(film.to_bytes(), context=ClinicalContext(PATIENT | {"birthDate": fhir}))
    assert crossing.context.age_years == expected


def test_without_a_fhir_patient_sex_and_identity_come_from_the_header(hospital: Hospital) -> None:
    crossing = hospital.cross(image(1).to_bytes(), context=ClinicalContext({}))
    assert crossing.context.sex == "female"
    assert read(crossing.study.files[0]).PatientID == KEYS.pseudonym("patient", "|CANARY-1")


def test_two_projects_share_no_pseudonym(hospital: Hospital) -> None:
    ours = hospital.cross(image(1).to_bytes())
    mine = {path.name for path in ours.study.files}
    study = hospital.study(image(1).to_bytes())
    theirs = cross(
        study, CONTEXT, job="job-1", into=hospital.released, keys=ProjectKeys(bytes(32)), vault=hospital.vault
    )
    assert mine.isdisjoint(path.name for path in theirs.study.files)
    assert ours.study.study_instance_uid != theirs.study.study_instance_uid


def test_only_the_crossing_makes_a_deidentified_study(hospital: Hospital) -> None:
    study = hospital.cross(image(1).to_bytes()).study
    with pytest.raises(TypeError):
        DeidentifiedStudy(object(), study.folder, "2.25.1", ())
    for duplicate in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            duplicate(study)


def test_a_real_film_crosses_whole(hospital: Hospital) -> None:
    content = Path(get_testdata_file("RG3_UNCR.dcm", download=False)).read_bytes()
    raw = replace(hospital.study(content), study_instance_uid="")
    crossing = cross(raw, CONTEXT, job="job-1", into=hospital.released, keys=KEYS, vault=hospital.vault)
    data_set = read(crossing.study.files[0])
    assert data_set.pixel_array.shape == (1760, 1760)
    assert data_set.PatientSex == "F"


@pytest.mark.parametrize("name", ["gdcm_CR-MONO1-10-chest.dcm", "WG04_RG1_J2KI.dcm", "WG04_RG2_J2KR.dcm"])
def test_shared_films_that_are_not_original_and_primary_wait(hospital: Hospital, name: str) -> None:
    path = Path(__file__).resolve().parents[4] / "shared" / "dicom" / "CR" / name
    if not path.exists():
        pytest.skip("the shared films are not here")
    raw = replace(hospital.study(path.read_bytes()), study_instance_uid="")
    with pytest.raises(Refused) as refusal:
        cross(raw, CONTEXT, job="job-1", into=hospital.released, keys=KEYS, vault=hospital.vault)
    assert refusal.value.code == "deid.pixels-unverified"


def test_the_same_patient_has_the_same_pseudonym_in_every_study(hospital: Hospital) -> None:
    one = read(hospital.cross(image(1).to_bytes(), job="job-1").study.files[0]).PatientID
    two = read(hospital.cross(image(2).to_bytes(), job="job-2").study.files[0]).PatientID
    assert one == two == KEYS.pseudonym("patient", "Patient/CANARY-77")
    assert raw_film.INSTANCE not in (one, two)


def test_what_is_known_of_a_merged_patient_crosses_as_the_one_patients(hospital: Hospital) -> None:
    former = "CANARY-FORMER-9"
    link = [{"type": "replaces", "other": {"reference": f"Patient/{former}"}}]
    coded = {"code": {"coding": [{"system": "http://snomed.info/sct", "code": "233604007"}]}}
    known = tuple(
        {**coded, "resourceType": "Condition", "id": name, "onsetDateTime": day, "subject": {"reference": subject}}
        for name, day, subject in (
            (f"{former}-1", "2023-03-01", f"Patient/{former}"),
            ("CANARY-C1", "2023-03-08", f"Patient/{PATIENT['id']}"),
        )
    )
    crossing = hospital.cross(
        image(1).to_bytes(), context=ClinicalContext({**PATIENT, "link": link}, {"Condition": known})
    )
    assert former.encode() not in everything_released(crossing)
    of_former, of_survivor = crossing.context.resources["Condition"]
    assert "subject" not in {*of_former, *of_survivor}
    assert of_former["id"] == KEYS.pseudonym("fhir", f"Condition/{former}-1")
    days = [date.fromisoformat(found["onsetDateTime"]) for found in (of_former, of_survivor)]
    assert days[1] - days[0] == timedelta(7)  # moved by the same days
    patients = {read(path).PatientID for path in crossing.study.files}
    assert patients == {KEYS.pseudonym("patient", "Patient/CANARY-77")}
    assert KEYS.pseudonym("patient", f"Patient/{former}").encode() not in everything_released(crossing)
