import subprocess
import sys
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_bridge.deid.pseudonym import ProjectKeys, shifted
from fhir_bridge.deid.subject import Age, Subject, age_between, age_from_string

KEYS = ProjectKeys(bytes(range(32)))
OTHER = ProjectKeys(bytes(range(1, 33)))
uids = st.from_regex(r"1\.2\.[1-9][0-9]{0,20}", fullmatch=True)


@given(uids)
def test_a_uid_pseudonym_is_a_valid_uid_of_its_project(uid: str) -> None:
    pseudonym = KEYS.uid(uid)
    assert pseudonym.startswith("2.25.")
    assert len(pseudonym) <= 44
    assert pseudonym.removeprefix("2.25.").isdecimal()
    assert not pseudonym.startswith("2.25.0")
    assert pseudonym == KEYS.uid(uid) != OTHER.uid(uid)


def test_pseudonyms_of_many_uids_are_all_different() -> None:
    assert len({KEYS.uid(f"1.2.{number}") for number in range(20_000)}) == 20_000


def test_another_process_gives_the_same_pseudonyms() -> None:
    program = (
        "from fhir_bridge.deid.pseudonym import ProjectKeys; k = ProjectKeys(bytes(range(32)));"
        "print(k.uid('1.2.3'), k.pseudonym('patient', 'x'), k.shift('x').days)"
    )
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert printed == [KEYS.uid("1.2.3"), KEYS.pseudonym("patient", "x"), str(KEYS.shift("x").days)]


def test_equal_values_of_different_kinds_get_different_pseudonyms() -> None:
    assert KEYS.pseudonym("accession", "1") != KEYS.pseudonym("study-id", "1")


@given(st.text(max_size=30))
def test_an_identifier_pseudonym_is_sixteen_base32_characters(value: str) -> None:
    pseudonym = KEYS.pseudonym("patient", value)
    assert len(pseudonym) == 16
    assert set(pseudonym) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")


@given(st.text(max_size=30))
def test_the_shift_is_whole_weeks_between_one_and_ten_years_back(patient: str) -> None:
    days = KEYS.shift(patient).days
    assert days % 7 == 0
    assert -3653 < days < -365


def test_patients_get_different_shifts_and_projects_too() -> None:
    assert len({KEYS.shift(str(number)).days for number in range(1000)}) > 300
    assert [KEYS.shift(str(n)) for n in range(5)] != [OTHER.shift(str(n)) for n in range(5)]


def test_a_date_before_the_calendar_is_no_date() -> None:
    assert shifted(date(1, 1, 8), KEYS.shift("x")) is None


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_project_key_has_32_bytes(length: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        ProjectKeys(bytes(length))


def test_keys_and_subject_do_not_show_themselves() -> None:
    subject = Subject(KEYS, "CANARY-1", None, ())
    assert "CANARY" not in repr(subject)
    assert repr(KEYS) == f"ProjectKeys(project={KEYS.project!r})"


def test_a_uid_met_as_instance_stays_an_instance_when_it_is_met_as_reference() -> None:
    subject = Subject(KEYS, "x", None, ())
    pseudonym = subject.uid("1.2.3")
    subject.uid("1.2.3", "instance")
    subject.uid("1.2.3")
    assert [entry.kind for entry in subject.mapped if entry.pseudonym == pseudonym] == ["instance"]


AGES = [
    (date(2020, 3, 4), date(2023, 3, 3), "002Y", 2),
    (date(2020, 3, 4), date(2023, 3, 4), "003Y", 3),
    (date(2021, 9, 4), date(2023, 3, 8), "018M", 1.5),
    (date(2023, 3, 1), date(2023, 3, 8), "000M", 0),
    (date(2021, 3, 9), date(2023, 3, 8), "023M", 23 / 12),
    (date(2021, 3, 8), date(2023, 3, 8), "002Y", 2),
    (date(1934, 1, 1), date(2023, 3, 8), "089Y", 89),
    (date(1933, 1, 1), date(2023, 3, 8), "090Y", 90),
    (date(1920, 1, 1), date(2023, 3, 8), "090Y", 90),
]


@pytest.mark.parametrize(("birth", "day", "age_string", "years"), AGES)
def test_age_on_the_day_of_the_study(birth: date, day: date, age_string: str, years: float) -> None:
    age = age_between(birth, day)
    assert age is not None
    assert (age.age_string, age.years) == (age_string, years)


@pytest.mark.parametrize(("birth", "day"), [(date(2024, 1, 1), date(2023, 1, 1)), (date(1850, 1, 1), date(2023, 1, 1))])
def test_dates_that_contradict_life_give_no_age(birth: date, day: date) -> None:
    assert age_between(birth, day) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("004Y", "004Y"),
        ("018M", "018M"),
        ("081", "081Y"),
        ("091Y", "090Y"),
        ("003W", "000M"),
        ("400D", "013M"),
        ("030M", "002Y"),
    ],
)
def test_an_age_string_is_read(text: str, expected: str) -> None:
    age = age_from_string(text)
    assert age is not None
    assert age.age_string == expected


@pytest.mark.parametrize("text", ["", "4 Y", "CANARY", "200Y", "0044Y"])
def test_what_is_no_age_string_gives_no_age(text: str) -> None:
    assert age_from_string(text) is None


def test_the_age_is_no_finer_than_its_string() -> None:
    assert Age(35).years == 2.0
