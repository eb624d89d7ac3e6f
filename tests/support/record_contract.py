"""What every `ports.ClinicalRecord` does. Subclasses give a `hospital`; the names of the tests are the contract."""

from typing import Any

import pytest

from mappings.order import Identifier, Order, OrderControl, PatientIdentity
from tests.support.context_contract import ContextContract, FormerPatientsContract
from tests.support.hospitals import Hospital, Resources
from tests.support.patient_contract import PatientContract, refused
from tests.support.study_orders_contract import StudyOrdersContract


def an_order(placer: Identifier | None = None, **elements: Any) -> Order:
    return Order(OrderControl.NEW, PatientIdentity(), placer=placer, **elements)


class OrderContract:
    """Which ServiceRequest and which ImagingStudy belong to the order."""

    @pytest.fixture
    def make(self) -> Resources:
        return Resources()

    @pytest.fixture
    def patient(self, hospital: Hospital, make: Resources) -> str:
        hospital.store(make.patient("a"), make.patient("b", "CANARY-2"))
        return f"Patient/{make.mark}-a"

    def request(self, make: Resources, name: str, value: str, *, of: str = "a", **elements: Any) -> dict[str, Any]:
        identifier = [{"system": make.system, "value": value}]
        return make.of({"id": f"{make.mark}-{of}"}, "ServiceRequest", name, identifier=identifier, **elements)

    @pytest.mark.parametrize("field", ["placer", "filler", "accession"])
    def test_the_request_is_found_by_any_of_its_numbers(
        self, hospital: Hospital, make: Resources, patient: str, field: str
    ) -> None:
        hospital.store(self.request(make, "r", "CANARY-P"))
        order = Order(OrderControl.NEW, PatientIdentity(), **{field: Identifier("CANARY-P", make.system)})
        assert hospital.record.find_service_request(order, patient) == f"ServiceRequest/{make.mark}-r"

    def test_an_accession_number_without_a_system_is_enough(
        self, hospital: Hospital, make: Resources, patient: str
    ) -> None:
        hospital.store(self.request(make, "r", "CANARY-A"), self.request(make, "s", "CANARY-A", of="b"))
        order = an_order(accession=Identifier("CANARY-A"))
        assert hospital.record.find_service_request(order, patient) == f"ServiceRequest/{make.mark}-r"

    def test_the_placer_number_goes_before_a_shared_accession_number(
        self, hospital: Hospital, make: Resources, patient: str
    ) -> None:
        shared = {"system": make.system, "value": "CANARY-A"}
        for name in ("r", "s"):
            request = self.request(make, name, f"CANARY-{name}")
            hospital.store({**request, "identifier": [*request["identifier"], shared]})
        order = an_order(Identifier("CANARY-s", make.system), accession=Identifier("CANARY-A", make.system))
        assert hospital.record.find_service_request(order, patient) == f"ServiceRequest/{make.mark}-s"

    def test_no_request_is_an_empty_answer(self, hospital: Hospital, make: Resources, patient: str) -> None:
        hospital.store(self.request(make, "r", "CANARY-P", status="entered-in-error"))
        order = an_order(Identifier("CANARY-P", make.system))
        assert hospital.record.find_service_request(order, patient) == ""

    def test_two_requests_that_fit_equally_are_none(self, hospital: Hospital, make: Resources, patient: str) -> None:
        hospital.store(self.request(make, "r", "CANARY-P"), self.request(make, "s", "CANARY-P"))
        assert hospital.record.find_service_request(an_order(Identifier("CANARY-P", make.system)), patient) == ""

    def test_a_request_for_someone_else_is_a_mismatch(self, hospital: Hospital, make: Resources, patient: str) -> None:
        hospital.store(self.request(make, "r", "CANARY-P", of="b"))
        with refused("patient.mismatch"):
            hospital.record.find_service_request(an_order(Identifier("CANARY-P", make.system)), patient)

    def test_a_named_request_is_read(self, hospital: Hospital, make: Resources, patient: str) -> None:
        hospital.store(self.request(make, "r", "CANARY-P"))
        named = an_order(service_request=f"ServiceRequest/{make.mark}-r")
        assert hospital.record.find_service_request(named, patient) == f"ServiceRequest/{make.mark}-r"

    def test_a_named_request_for_someone_else_is_a_mismatch(
        self, hospital: Hospital, make: Resources, patient: str
    ) -> None:
        hospital.store(self.request(make, "r", "CANARY-P", of="b"))
        with refused("patient.mismatch"):
            hospital.record.find_service_request(an_order(service_request=f"ServiceRequest/{make.mark}-r"), patient)

    def merge(self, hospital: Hospital, make: Resources) -> None:
        """a becomes b."""
        link = {"type": "replaced-by", "other": {"reference": f"Patient/{make.mark}-b"}}
        hospital.store(make.patient("a", active=False, link=[link]))

    def test_a_named_request_of_a_merged_patient_is_the_survivors(
        self, hospital: Hospital, make: Resources, patient: str
    ) -> None:
        hospital.store(self.request(make, "r", "CANARY-P"))
        self.merge(hospital, make)
        named = an_order(service_request=f"ServiceRequest/{make.mark}-r")
        assert hospital.record.find_service_request(named, f"Patient/{make.mark}-b") == f"ServiceRequest/{make.mark}-r"

    def test_a_numbered_request_of_a_merged_patient_is_the_survivors(
        self, hospital: Hospital, make: Resources, patient: str
    ) -> None:
        hospital.store(self.request(make, "r", "CANARY-P"))
        self.merge(hospital, make)
        order = an_order(Identifier("CANARY-P", make.system))
        assert hospital.record.find_service_request(order, f"Patient/{make.mark}-b") == f"ServiceRequest/{make.mark}-r"

    @pytest.mark.parametrize(
        ("former", "bare", "found"), [("CANARY-1", False, True), ("CANARY-3", False, False), ("CANARY-1", True, False)]
    )
    def test_a_request_of_a_patient_with_a_former_number_is_the_survivors(
        self, hospital: Hospital, make: Resources, patient: str, former: str, bare: bool, found: bool
    ) -> None:
        hospital.store(self.request(make, "r", "CANARY-P"))
        merged = PatientIdentity(former=(Identifier(former, "" if bare else make.system),))
        order = Order(OrderControl.NEW, merged, placer=Identifier("CANARY-P", make.system))
        if found:
            survivor = f"Patient/{make.mark}-b"
            assert hospital.record.find_service_request(order, survivor) == f"ServiceRequest/{make.mark}-r"
            return
        with refused("patient.mismatch"):
            hospital.record.find_service_request(order, f"Patient/{make.mark}-b")

    def test_a_survivors_request_is_not_the_merged_patients(
        self, hospital: Hospital, make: Resources, patient: str
    ) -> None:
        hospital.store(self.request(make, "r", "CANARY-P", of="b"))
        self.merge(hospital, make)
        with refused("patient.mismatch"):
            hospital.record.find_service_request(an_order(service_request=f"ServiceRequest/{make.mark}-r"), patient)

    def test_a_named_request_that_points_to_no_patient_is_none(
        self, hospital: Hospital, make: Resources, patient: str
    ) -> None:
        subject = {"identifier": {"system": make.system, "value": "CANARY-1"}}
        hospital.store(self.request(make, "r", "CANARY-P", subject=subject))
        named = an_order(service_request=f"ServiceRequest/{make.mark}-r")
        assert hospital.record.find_service_request(named, patient) == ""

    def study(self, make: Resources, of: str, uid: str) -> dict[str, Any]:
        identifier = [{"system": "urn:dicom:uid", "value": f"urn:oid:{uid}"}]
        return make.of({"id": f"{make.mark}-{of}"}, "ImagingStudy", "i", identifier=identifier)

    def test_an_imaging_study_is_found_by_its_uid(self, hospital: Hospital, make: Resources, patient: str) -> None:
        uid = f"2.25.{int(make.mark, 16)}"
        assert hospital.record.find_imaging_study(uid, patient) == ""
        hospital.store(self.study(make, "a", uid))
        assert hospital.record.find_imaging_study(uid, patient) == f"ImagingStudy/{make.mark}-i"

    def test_an_imaging_study_of_someone_else_is_a_mismatch(
        self, hospital: Hospital, make: Resources, patient: str
    ) -> None:
        uid = f"2.25.{int(make.mark, 16)}"
        hospital.store(self.study(make, "b", uid))
        with refused("patient.mismatch"):
            hospital.record.find_imaging_study(uid, patient)

    def test_an_imaging_study_of_a_merged_patient_is_the_survivors(
        self, hospital: Hospital, make: Resources, patient: str
    ) -> None:
        uid = f"2.25.{int(make.mark, 16)}"
        hospital.store(self.study(make, "a", uid))
        self.merge(hospital, make)
        assert hospital.record.find_imaging_study(uid, f"Patient/{make.mark}-b") == f"ImagingStudy/{make.mark}-i"

    def test_an_imaging_study_of_a_patient_with_a_former_number_is_the_survivors(
        self, hospital: Hospital, make: Resources, patient: str
    ) -> None:
        uid, former = f"2.25.{int(make.mark, 16)}", [Identifier("CANARY-1", make.system)]
        hospital.store(self.study(make, "a", uid))
        assert (
            hospital.record.find_imaging_study(uid, f"Patient/{make.mark}-b", former) == f"ImagingStudy/{make.mark}-i"
        )


class RecordContract(PatientContract, OrderContract, StudyOrdersContract, FormerPatientsContract, ContextContract):
    """All of it."""
