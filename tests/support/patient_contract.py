"""What every `ports.ClinicalRecord` does to find the patient. Subclasses give a `hospital`; the names of the tests are the contract."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from itertools import pairwise
from typing import Any

import pytest

from fhir_bridge.errors import Refused
from mappings.order import Identifier, PatientIdentity
from tests.support.hospitals import Hospital, Resources

BIRTH = date(2021, 3, 4)


@contextmanager
def refused(code: str) -> Iterator[None]:
    with pytest.raises(Refused) as caught:
        yield
    assert caught.value.code == code
    assert "CANARY" not in str(caught.value)


class PatientContract:
    """Which patient is meant."""

    @pytest.fixture
    def make(self) -> Resources:
        return Resources()

    def by(self, make: Resources, value: str = "CANARY-1", *, system: bool = True, **known: Any) -> PatientIdentity:
        """`system=False` is a sender whose authority the site has no row for."""
        return PatientIdentity((Identifier(value, make.system if system else "", namespace="HOSP"),), **known)

    def test_a_resource_is_read_by_reference(self, hospital: Hospital, make: Resources) -> None:
        hospital.store(make.patient())
        assert hospital.record.read(f"Patient/{make.mark}-a/_history/1")["birthDate"] == "2021-03-04"

    @pytest.mark.parametrize("reference", ["Patient/nobody-here", "Patient?identifier=1", "../metadata", ""])
    def test_what_is_not_there_is_not_found(self, hospital: Hospital, reference: str) -> None:
        with refused("fhir.not-found"):
            hospital.record.read(reference)

    def test_a_deleted_resource_is_not_found(self, hospital: Hospital, make: Resources) -> None:
        hospital.store(make.patient())
        hospital.delete(f"Patient/{make.mark}-a")
        with refused("fhir.not-found"):
            hospital.record.read(f"Patient/{make.mark}-a")

    def test_a_patient_is_found_by_system_and_value(self, hospital: Hospital, make: Resources) -> None:
        hospital.store(make.patient("a"), make.patient("b", "CANARY-2"))
        assert hospital.record.find_patient(self.by(make, birth_date=BIRTH, sex="female"))["id"] == f"{make.mark}-a"

    def test_a_patient_is_found_as_soon_as_stored(self, hospital: Hospital, make: Resources) -> None:
        with refused("patient.not-found"):
            hospital.record.find_patient(self.by(make))
        hospital.store(make.patient())
        assert hospital.record.find_patient(self.by(make))

    @pytest.mark.parametrize("value", ["CANARY-2", "canary-1", "CANARY", "CANARY-1 "])
    def test_another_value_is_another_patient(self, hospital: Hospital, make: Resources, value: str) -> None:
        hospital.store(make.patient())
        with refused("patient.not-found"):
            hospital.record.find_patient(self.by(make, value))

    def test_the_same_value_in_another_system_is_another_patient(self, hospital: Hospital, make: Resources) -> None:
        hospital.store(make.patient())
        with refused("patient.not-found"):
            hospital.record.find_patient(self.by(Resources()))

    @pytest.mark.parametrize("value", ["CANARY|1", "CANARY,1", "CANARY$1", "CANARY 1/2&x=é"])
    def test_a_value_may_hold_what_searches_separate_by(self, hospital: Hospital, make: Resources, value: str) -> None:
        hospital.store(make.patient(value=value))
        assert hospital.record.find_patient(self.by(make, value))

    def test_two_patients_with_one_identifier_are_ambiguous(self, hospital: Hospital, make: Resources) -> None:
        hospital.store(make.patient("a"), make.patient("b"))
        with refused("patient.ambiguous"):
            hospital.record.find_patient(self.by(make, birth_date=BIRTH, sex="female"))

    def test_identifiers_of_two_patients_are_ambiguous(self, hospital: Hospital, make: Resources) -> None:
        hospital.store(make.patient("a"), make.patient("b", "CANARY-2"))
        both = PatientIdentity((Identifier("CANARY-1", make.system), Identifier("CANARY-2", make.system)))
        with refused("patient.ambiguous"):
            hospital.record.find_patient(both)

    @pytest.mark.parametrize(("value", "fits"), [("CANARY-2", True), ("CANARY-3", False)])
    def test_a_patient_of_the_number_who_has_another_one_of_another_system_is_a_mismatch(
        self, hospital: Hospital, make: Resources, value: str, fits: bool
    ) -> None:
        second = f"{make.system}:second"
        own = [{"system": make.system, "value": "CANARY-1"}, {"system": second, "value": "CANARY-2"}]
        hospital.store(make.patient(identifier=own))
        numbers = (Identifier("CANARY-1", make.system), Identifier(value, second), Identifier("CANARY-9", "urn:other"))
        if fits:
            assert hospital.record.find_patient(PatientIdentity(numbers))["id"] == f"{make.mark}-a"
            return
        with refused("patient.mismatch"):
            hospital.record.find_patient(PatientIdentity(numbers))

    @pytest.mark.parametrize("known", [{"birth_date": date(2021, 3, 5)}, {"sex": "male"}])
    def test_a_contradiction_is_a_mismatch(self, hospital: Hospital, make: Resources, known: dict[str, Any]) -> None:
        hospital.store(make.patient())
        with refused("patient.mismatch"):
            hospital.record.find_patient(self.by(make, **known))

    @pytest.mark.parametrize(
        ("kept", "found"), [("2021", True), ("2021-03", True), ("2021-04", False), ("2020", False)]
    )
    def test_a_partial_birth_date_may_contradict(
        self, hospital: Hospital, make: Resources, kept: str, found: bool
    ) -> None:
        hospital.store(make.patient(birthDate=kept))
        identity = self.by(make, birth_date=BIRTH)
        if found:
            assert hospital.record.find_patient(identity)
            return
        with refused("patient.mismatch"):
            hospital.record.find_patient(identity)

    @pytest.mark.parametrize("sex", ["", "unknown"])
    def test_an_unknown_sex_contradicts_nothing(self, hospital: Hospital, make: Resources, sex: str) -> None:
        hospital.store(make.patient())
        assert hospital.record.find_patient(self.by(make, sex=sex))

    def test_a_bare_value_counts_when_birth_date_and_sex_agree(self, hospital: Hospital, make: Resources) -> None:
        value = f"CANARY-{make.mark}"
        hospital.store(make.patient(value=value))
        identity = self.by(make, value, system=False, birth_date=BIRTH, sex="female")
        assert hospital.record.find_patient(identity)["id"] == f"{make.mark}-a"

    @pytest.mark.parametrize(
        "known",
        [{}, {"birth_date": BIRTH}, {"sex": "female"}, {"birth_date": BIRTH, "sex": "unknown"},
         {"birth_date": BIRTH, "sex": "male"}, {"birth_date": date(2020, 3, 4), "sex": "female"}],
    )  # fmt: skip
    def test_a_bare_value_without_proof_is_a_mismatch(
        self, hospital: Hospital, make: Resources, known: dict[str, Any]
    ) -> None:
        value = f"CANARY-{make.mark}"
        hospital.store(make.patient(value=value))
        with refused("patient.mismatch"):
            hospital.record.find_patient(self.by(make, value, system=False, **known))

    def test_a_bare_value_in_two_systems_is_ambiguous(self, hospital: Hospital, make: Resources) -> None:
        value = f"CANARY-{make.mark}"
        hospital.store(make.patient("a", value), Resources().patient("b", value))
        with refused("patient.ambiguous"):
            hospital.record.find_patient(self.by(make, value, system=False, birth_date=BIRTH, sex="female"))

    def test_nobody_is_found_by_name_alone(self, hospital: Hospital, make: Resources) -> None:
        hospital.store(make.patient())
        with refused("patient.not-found"):
            hospital.record.find_patient(PatientIdentity(birth_date=BIRTH, sex="female"))

    def test_a_reference_is_read_and_compared(self, hospital: Hospital, make: Resources) -> None:
        hospital.store(make.patient())
        identity = PatientIdentity(reference=f"Patient/{make.mark}-a", birth_date=BIRTH)
        assert hospital.record.find_patient(identity)["id"] == f"{make.mark}-a"

    def test_a_reference_to_someone_else_is_a_mismatch(self, hospital: Hospital, make: Resources) -> None:
        hospital.store(make.patient())
        with refused("patient.mismatch"):
            hospital.record.find_patient(PatientIdentity(reference=f"Patient/{make.mark}-a", sex="male"))

    def named(self, make: Resources, *numbers: tuple[str, str], of: str = "a", **known: Any) -> PatientIdentity:
        """The resource by reference, and numbers beside it as (value, system)."""
        identifiers = tuple(Identifier(value, system) for value, system in numbers)
        return PatientIdentity(identifiers, reference=f"Patient/{make.mark}-{of}", **known)

    def test_a_reference_counts_with_a_number_that_the_patient_has(self, hospital: Hospital, make: Resources) -> None:
        hospital.store(make.patient())
        numbers = (("CANARY-1", make.system), ("CANARY-8", make.system), ("CANARY-9", "urn:test:insurer"))
        assert hospital.record.find_patient(self.named(make, *numbers))["id"] == f"{make.mark}-a"

    @pytest.mark.parametrize(
        "numbers",
        [[("CANARY-2", "")], [("CANARY-1", ":other")], [("CANARY-1", ""), ("CANARY-3", ":second")]],
        ids=["another number", "a number of another system", "one that fits and one that does not"],
    )
    def test_a_reference_to_a_patient_of_other_numbers_is_a_mismatch(
        self, hospital: Hospital, make: Resources, numbers: list[tuple[str, str]]
    ) -> None:
        own = [{"system": make.system, "value": "CANARY-1"}, {"system": f"{make.system}:second", "value": "CANARY-2"}]
        hospital.store(make.patient(identifier=own))
        wanted = self.named(
            make, *((value, make.system + end) for value, end in numbers), birth_date=BIRTH, sex="female"
        )
        with refused("patient.mismatch"):
            hospital.record.find_patient(wanted)

    def test_a_reference_counts_with_a_bare_number_and_birth_date_and_sex(
        self, hospital: Hospital, make: Resources
    ) -> None:
        hospital.store(make.patient())
        wanted = self.named(make, ("CANARY-1", ""), birth_date=BIRTH, sex="female")
        assert hospital.record.find_patient(wanted)["id"] == f"{make.mark}-a"

    @pytest.mark.parametrize(
        ("value", "known"),
        [("CANARY-2", {"birth_date": BIRTH, "sex": "female"}), ("CANARY-1", {"birth_date": BIRTH}), ("CANARY-1", {})],
    )
    def test_a_reference_with_a_bare_number_alone_is_a_mismatch(
        self, hospital: Hospital, make: Resources, value: str, known: dict[str, Any]
    ) -> None:
        hospital.store(make.patient())
        with refused("patient.mismatch"):
            hospital.record.find_patient(self.named(make, (value, ""), **known))

    @pytest.mark.parametrize("value", ["CANARY-1", "CANARY-2"])
    def test_a_reference_to_a_merged_patient_counts_with_the_old_or_the_new_number(
        self, hospital: Hospital, make: Resources, value: str
    ) -> None:
        link = {"type": "replaced-by", "other": {"reference": f"Patient/{make.mark}-b"}}
        hospital.store(make.patient("b", "CANARY-2"), make.patient("a", active=False, link=[link]))
        assert hospital.record.find_patient(self.named(make, (value, make.system)))["id"] == f"{make.mark}-b"

    def test_a_reference_to_a_merged_patient_of_other_numbers_is_a_mismatch(
        self, hospital: Hospital, make: Resources
    ) -> None:
        link = {"type": "replaced-by", "other": {"reference": f"Patient/{make.mark}-b"}}
        hospital.store(make.patient("b", "CANARY-2"), make.patient("a", active=False, link=[link]))
        with refused("patient.mismatch"):
            hospital.record.find_patient(self.named(make, ("CANARY-3", make.system)))

    def test_a_merged_patient_leads_to_the_survivor(self, hospital: Hospital, make: Resources) -> None:
        link = {"type": "replaced-by", "other": {"reference": f"Patient/{make.mark}-b"}}
        hospital.store(make.patient("b", "CANARY-2"), make.patient("a", active=False, link=[link]))
        assert hospital.record.find_patient(self.by(make))["id"] == f"{make.mark}-b"

    def test_old_and_new_number_of_a_merged_patient_are_one(self, hospital: Hospital, make: Resources) -> None:
        link = {"type": "replaced-by", "other": {"reference": f"Patient/{make.mark}-b"}}
        hospital.store(make.patient("b", "CANARY-2"), make.patient("a", active=False, link=[link]))
        both = PatientIdentity((Identifier("CANARY-1", make.system), Identifier("CANARY-2", make.system)))
        assert hospital.record.find_patient(both)["id"] == f"{make.mark}-b"

    def merged(self, make: Resources, now: str, *former: str, system: bool = True, **known: Any) -> PatientIdentity:
        """One whose number changed by a merge that HL7 v2 told us of."""
        numbers = [Identifier(value, make.system if system else "") for value in (now, *former)]
        return PatientIdentity((numbers[0],), former=tuple(numbers[1:]), **known)

    def test_a_former_number_counts_where_the_server_does_not_know_the_survivor_yet(
        self, hospital: Hospital, make: Resources
    ) -> None:
        hospital.store(make.patient())
        assert hospital.record.find_patient(self.merged(make, "CANARY-2", "CANARY-1"))["id"] == f"{make.mark}-a"

    def test_a_former_number_does_not_count_beside_the_survivor(self, hospital: Hospital, make: Resources) -> None:
        hospital.store(make.patient(), make.patient("b", "CANARY-2"))
        assert hospital.record.find_patient(self.merged(make, "CANARY-2", "CANARY-1"))["id"] == f"{make.mark}-b"

    def test_two_patients_with_former_numbers_are_ambiguous(self, hospital: Hospital, make: Resources) -> None:
        hospital.store(make.patient(), make.patient("b", "CANARY-2"))
        with refused("patient.ambiguous"):
            hospital.record.find_patient(self.merged(make, "CANARY-3", "CANARY-1", "CANARY-2"))

    def test_a_patient_of_a_former_number_who_is_another_person_is_a_mismatch(
        self, hospital: Hospital, make: Resources
    ) -> None:
        hospital.store(make.patient())
        with refused("patient.mismatch"):
            hospital.record.find_patient(self.merged(make, "CANARY-2", "CANARY-1", sex="male"))

    def test_a_bare_former_number_needs_proof(self, hospital: Hospital, make: Resources) -> None:
        value = f"CANARY-{make.mark}"
        hospital.store(make.patient(value=value))
        with refused("patient.mismatch"):
            hospital.record.find_patient(self.merged(make, f"{value}-now", value, system=False))

    @pytest.mark.parametrize(("active", "found"), [(False, True), (True, False), (None, False)])
    def test_of_two_patients_with_one_identifier_the_one_in_use_counts(
        self, hospital: Hospital, make: Resources, active: bool | None, found: bool
    ) -> None:
        old = {} if active is None else {"active": active}
        hospital.store(make.patient("a", **old), make.patient("b", active=True))
        if found:
            assert hospital.record.find_patient(self.by(make))["id"] == f"{make.mark}-b"
            return
        with refused("patient.ambiguous"):
            hospital.record.find_patient(self.by(make))

    def chain(self, make: Resources, *names: str) -> list[dict[str, Any]]:
        """Each becomes the next; the first has the number that is asked for."""
        return [
            make.patient(
                name,
                f"CANARY-{place + 1}",
                active=False,
                link=[{"type": "replaced-by", "other": {"reference": f"Patient/{make.mark}-{after}"}}],
            )
            for place, (name, after) in enumerate(pairwise(names))
        ]

    @pytest.mark.parametrize("last", ["c", "f"])
    def test_a_patient_who_was_merged_several_times_leads_to_the_last_survivor(
        self, hospital: Hospital, make: Resources, last: str
    ) -> None:
        names = "abcdef"[: "abcdef".index(last) + 1]
        hospital.store(make.patient(last, "CANARY-9"), *self.chain(make, *names))
        assert hospital.record.find_patient(self.by(make))["id"] == f"{make.mark}-{last}"

    def test_too_long_a_chain_of_merges_is_ambiguous(self, hospital: Hospital, make: Resources) -> None:
        hospital.store(make.patient("g", "CANARY-9"), *self.chain(make, *"abcdefg"))
        with refused("patient.ambiguous"):
            hospital.record.find_patient(self.by(make))

    @pytest.mark.parametrize("names", ["aba", "abcb", "aa"])
    def test_merges_that_go_round_in_a_circle_are_ambiguous(
        self, hospital: Hospital, make: Resources, names: str
    ) -> None:
        hospital.store(*(make.patient(name, f"CANARY-{name}") for name in set(names)))
        hospital.store(*self.chain(make, *names))
        with refused("patient.ambiguous"):
            hospital.record.find_patient(self.by(make))

    @pytest.mark.parametrize(
        "links",
        [["b", "c"], ["b", ""]],
        ids=["by two", "by one without a reference"],
    )
    def test_a_patient_who_was_replaced_by_nobody_in_particular_is_ambiguous(
        self, hospital: Hospital, make: Resources, links: list[str]
    ) -> None:
        others = [{"reference": f"Patient/{make.mark}-{name}"} if name else {"display": "CANARY"} for name in links]
        hospital.store(make.patient("b", "CANARY-2"), make.patient("c", "CANARY-3"))
        hospital.store(make.patient("a", link=[{"type": "replaced-by", "other": other} for other in others]))
        with refused("patient.ambiguous"):
            hospital.record.find_patient(self.by(make))

    @pytest.mark.parametrize("kind", ["replaces", "refer", "seealso"])
    def test_other_links_lead_nowhere(self, hospital: Hospital, make: Resources, kind: str) -> None:
        link = {"type": kind, "other": {"reference": f"Patient/{make.mark}-b"}}
        hospital.store(make.patient("b", "CANARY-2"), make.patient("a", link=[link]))
        assert hospital.record.find_patient(self.by(make))["id"] == f"{make.mark}-a"

    def test_a_patient_no_longer_in_use_whom_nobody_replaced_is_inactive(
        self, hospital: Hospital, make: Resources
    ) -> None:
        hospital.store(make.patient(active=False))
        with refused("patient.inactive"):
            hospital.record.find_patient(self.by(make))

    def test_a_survivor_who_is_no_longer_in_use_is_inactive(self, hospital: Hospital, make: Resources) -> None:
        hospital.store(make.patient("b", "CANARY-2", active=False), *self.chain(make, "a", "b"))
        with refused("patient.inactive"):
            hospital.record.find_patient(self.by(make))

    @pytest.mark.parametrize("died", [{"deceasedBoolean": True}, {"deceasedDateTime": "2026-01-05"}])
    def test_a_deceased_patient_is_the_patient(self, hospital: Hospital, make: Resources, died: dict[str, Any]) -> None:
        hospital.store(make.patient(**died))
        assert hospital.record.find_patient(self.by(make))["id"] == f"{make.mark}-a"
