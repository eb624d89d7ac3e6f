"""What every `ports.ClinicalRecord` does to find the orders of an ImagingStudy that names none."""

from typing import Any

import pytest

from tests.support.hospitals import Hospital, Resources
from tests.support.patient_contract import refused

V2_0203 = "http://terminology.hl7.org/CodeSystem/v2-0203"
IMAGING = [{"coding": [{"system": "http://snomed.info/sct", "code": "363679005"}]}]
DCM = "http://dicom.nema.org/resources/ontology/DCM"
CHEST = {"coding": [{"system": "http://loinc.org", "code": "36643-5"}]}
KNEE = {"coding": [{"system": "http://loinc.org", "code": "24808-8"}]}
STARTED = "2026-03-02T10:00:00Z"
OURS = {"tag": [{"system": "urn:fhir-bridge:tag", "code": "ai-result"}]}


def typed(make: Resources, value: str, kind: str = "ACSN") -> dict[str, Any]:
    return {
        "type": {"coding": [{"system": V2_0203, "code": kind}]},
        "system": make.system,
        "value": f"{value}-{make.mark}",
    }


class StudyOrdersContract:
    """Which orders an ImagingStudy may be of. Patient a has the study; b is somebody else."""

    @pytest.fixture
    def make(self) -> Resources:
        return Resources()

    @pytest.fixture
    def place(self, hospital: Hospital, make: Resources) -> Hospital:
        hospital.store(make.patient("a"), make.patient("b", "CANARY-2"))
        return hospital

    def a_study(self, make: Resources, **elements: Any) -> dict[str, Any]:
        usual = {"started": STARTED, "procedureCode": [CHEST]}
        return make.of({"id": f"{make.mark}-a"}, "ImagingStudy", "study", **{**usual, **elements})

    def a_request(self, make: Resources, name: str, of: str = "a", **elements: Any) -> dict[str, Any]:
        usual = {"category": IMAGING, "code": CHEST, "authoredOn": "2026-03-01"}
        return make.of({"id": f"{make.mark}-{of}"}, "ServiceRequest", name, **{**usual, **elements})

    def found(self, place: Hospital, study: dict[str, Any], days: float = 7) -> list[str]:
        orders = place.record.find_orders_for(study, days)
        return sorted(order["id"].rpartition("-")[2] for order in orders)

    @pytest.mark.parametrize("status", ["active", "completed", "revoked"])
    def test_a_study_finds_its_order_by_accession_number(self, place: Hospital, make: Resources, status: str) -> None:
        place.store(
            self.a_request(
                make, "r", identifier=[typed(make, "CANARY-A")], status=status, code=KNEE, authoredOn="2020"
            ),
            self.a_request(make, "near"),
        )
        assert self.found(place, self.a_study(make, identifier=[typed(make, "CANARY-A")])) == ["r"]

    @pytest.mark.parametrize("kind", ["ACSN", "PLAC"])
    def test_a_study_finds_its_order_by_the_identifier_it_is_based_on(
        self, place: Hospital, make: Resources, kind: str
    ) -> None:
        place.store(self.a_request(make, "r", identifier=[typed(make, "CANARY-A", kind)], code=KNEE))
        based_on = [{"identifier": typed(make, "CANARY-A", kind)}]
        assert self.found(place, self.a_study(make, basedOn=based_on)) == ["r"]

    def test_a_number_of_another_type_is_no_accession_number(self, place: Hospital, make: Resources) -> None:
        place.store(self.a_request(make, "r", identifier=[typed(make, "CANARY-A")], code=KNEE))
        assert self.found(place, self.a_study(make, identifier=[typed(make, "CANARY-A", "MR")])) == []

    def test_an_order_that_was_an_error_is_never_found(self, place: Hospital, make: Resources) -> None:
        number = [typed(make, "CANARY-A")]
        place.store(self.a_request(make, "r", identifier=number, status="entered-in-error"))
        assert self.found(place, self.a_study(make, identifier=number)) == []

    def test_our_own_request_is_never_found(self, place: Hospital, make: Resources) -> None:
        number = [typed(make, "CANARY-A")]
        place.store(self.a_request(make, "r", identifier=number, meta=OURS), self.a_request(make, "s", meta=OURS))
        assert self.found(place, self.a_study(make, identifier=number)) == []

    def test_an_accession_number_of_another_patients_order_is_a_mismatch(
        self, place: Hospital, make: Resources
    ) -> None:
        place.store(
            self.a_request(make, "r", of="b", identifier=[typed(make, "CANARY-A")]), self.a_request(make, "near")
        )
        with refused("patient.mismatch"):
            self.found(place, self.a_study(make, identifier=[typed(make, "CANARY-A")]))

    def test_an_order_of_a_merged_patient_is_of_the_survivors_study(self, place: Hospital, make: Resources) -> None:
        number = [typed(make, "CANARY-A")]
        place.store(self.a_request(make, "r", of="b", identifier=number), self.a_request(make, "s", of="b", code=KNEE))
        link = {"type": "replaced-by", "other": {"reference": f"Patient/{make.mark}-a"}}
        place.store(make.patient("b", "CANARY-2", active=False, link=[link]))
        assert self.found(place, self.a_study(make, identifier=number)) == ["r"]

    def test_a_survivors_order_is_found_for_a_study_of_the_merged_patient(
        self, place: Hospital, make: Resources
    ) -> None:
        place.store(self.a_request(make, "old"), self.a_request(make, "new", of="b"))
        link = {"type": "replaced-by", "other": {"reference": f"Patient/{make.mark}-b"}}
        place.store(make.patient("a", active=False, link=[link]))
        assert self.found(place, self.a_study(make)) == ["new", "old"]

    def test_without_a_number_the_patients_active_order_of_the_procedure_is_found(
        self, place: Hospital, make: Resources
    ) -> None:
        place.store(
            self.a_request(make, "r"),
            self.a_request(make, "theirs", of="b"),
            self.a_request(make, "knee", code=KNEE),
            self.a_request(make, "done", status="completed"),
            self.a_request(make, "held", status="on-hold"),
            self.a_request(make, "plan", intent="plan"),
            self.a_request(make, "forbids", doNotPerform=True),
        )
        assert self.found(place, self.a_study(make)) == ["r"]

    def test_two_orders_that_fit_are_both_told(self, place: Hospital, make: Resources) -> None:
        place.store(self.a_request(make, "r"), self.a_request(make, "s"))
        assert self.found(place, self.a_study(make)) == ["r", "s"]

    def test_a_number_that_no_order_has_leaves_the_procedure_to_decide(self, place: Hospital, make: Resources) -> None:
        place.store(self.a_request(make, "r"), self.a_request(make, "other", identifier=[typed(make, "CANARY-B")]))
        assert self.found(place, self.a_study(make, identifier=[typed(make, "CANARY-A")])) == ["r"]

    def test_the_same_code_of_another_system_is_another_procedure(self, place: Hospital, make: Resources) -> None:
        local = {"coding": [{"system": "urn:site:procedures", "code": "36643-5"}]}
        place.store(self.a_request(make, "r", code=local))
        assert self.found(place, self.a_study(make)) == []

    @pytest.mark.parametrize(
        ("when", "fits"),
        [
            ({"authoredOn": "2026-02-24"}, True),
            ({"authoredOn": "2026-02-22"}, False),
            ({"authoredOn": "2026-02-23T09:59:59Z"}, False),
            ({"authoredOn": "2026-02-23T10:00:00Z"}, True),
            ({"authoredOn": "2026-03-09T10:00:01Z"}, False),
            ({"authoredOn": "2026-03"}, False),  # a month is not within days of anything
            ({"authoredOn": "2025-01-01", "occurrenceDateTime": "2026-03-02T12:00:00+01:00"}, True),
            ({"authoredOn": "2025-01-01", "occurrencePeriod": {"start": "2026-02-01", "end": "2026-04-01"}}, True),
            ({"authoredOn": "2025-01-01", "occurrencePeriod": {"start": "2026-01-01", "end": "2026-01-31"}}, False),
            ({"authoredOn": "2025-01-01", "occurrenceTiming": {"event": ["2026-03-03"]}}, True),
        ],
    )
    def test_an_order_counts_within_the_window_of_the_study(
        self, place: Hospital, make: Resources, when: dict[str, Any], fits: bool
    ) -> None:
        place.store(self.a_request(make, "r", **when))
        assert self.found(place, self.a_study(make)) == (["r"] if fits else [])

    @pytest.mark.parametrize("lacking", ["started", "subject"])
    def test_a_study_of_nobody_or_of_no_time_has_no_order(self, place: Hospital, make: Resources, lacking: str) -> None:
        place.store(self.a_request(make, "r"))
        study = self.a_study(make)
        del study[lacking]
        assert self.found(place, study) == []

    @pytest.mark.parametrize(
        ("details", "code", "fits"),
        [
            (["CT"], None, True),
            (["CT", "PT"], None, True),
            (["MR"], None, False),
            (["CT", "MR"], None, False),  # says of two what was made, and one was not
            ([], {"system": "http://terminology.hl7.org/CodeSystem/v2-0074", "code": "CT"}, True),
            ([], {"system": "http://terminology.hl7.org/CodeSystem/v2-0074", "code": "NMR"}, False),
            ([], {"system": "urn:site:procedures", "code": "CT"}, False),
        ],
    )
    def test_of_a_study_without_a_procedure_the_modality_must_agree(
        self, place: Hospital, make: Resources, details: list[str], code: dict[str, str] | None, fits: bool
    ) -> None:
        elements: dict[str, Any] = {"code": {"coding": [code]}} if code else {}
        if details:
            elements["orderDetail"] = [{"coding": [{"system": DCM, "code": detail}]} for detail in details]
        place.store(self.a_request(make, "r", **elements))
        modality = [{"system": DCM, "code": "CT"}, {"system": DCM, "code": "PT"}]
        assert self.found(place, self.a_study(make, procedureCode=[], modality=modality)) == (["r"] if fits else [])
