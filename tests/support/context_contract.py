"""What every `ports.ClinicalRecord` does to gather the clinical context. Subclasses give a `hospital`."""

from typing import Any

import pytest

from fhir_bridge.study import ClinicalContext
from mappings.order import Order, OrderControl, PatientIdentity
from tests.support.hospitals import Hospital, Resources
from tests.support.patient_contract import refused

OURS = {"tag": [{"system": "urn:fhir-bridge:tag", "code": "ai-result"}]}
VOID = {
    "coding": [{"system": "http://terminology.hl7.org/CodeSystem/condition-ver-status", "code": "entered-in-error"}]
}
LOINC, LOCAL = "http://loinc.org", "urn:site:laboratory"


def names(resources: tuple[dict[str, Any], ...]) -> list[str]:
    return [resource["id"].rpartition("-")[2] for resource in resources]


def code(value: str, system: str = LOINC) -> dict[str, Any]:
    return {"coding": [{"system": system, "code": value}]}


class Ward:
    """Patient a is the one; b is somebody else."""

    @pytest.fixture
    def make(self) -> Resources:
        return Resources()

    @pytest.fixture
    def ward(self, hospital: Hospital, make: Resources) -> Hospital:
        hospital.store(make.patient("a"), make.patient("b", "CANARY-2"))
        return hospital

    def one(self, make: Resources, kind: str, name: str, of: str = "a", **elements: Any) -> dict[str, Any]:
        return make.of({"id": f"{make.mark}-{of}"}, kind, name, **elements)

    def value(self, make: Resources, name: str, day: str, **elements: Any) -> dict[str, Any]:
        category = elements.pop("category", "laboratory")
        return make.measured({"id": f"{make.mark}-a"}, name, category, effectiveDateTime=day, **elements)

    def context(self, ward: Hospital, make: Resources, **order: Any) -> ClinicalContext:
        return ward.record.context_of(make.patient("a"), Order(OrderControl.NEW, PatientIdentity(), **order))


class FormerPatientsContract(Ward):
    """What stands under the numbers that the patient had: Patients are merged on the server, and their history stays where it was."""

    def link(self, hospital: Hospital, make: Resources, links: str, also: str = "") -> None:
        """`a>b a<b`: a says that it replaces b, and b that a replaced it; all Patients that are named are stored with their links."""
        said: dict[str, list[dict[str, Any]]] = {name: [] for name in f"{links}{also}" if name.isalpha()}
        for later, sign, earlier in map(tuple, links.split()):
            by, other, kind = (later, earlier, "replaces") if sign == ">" else (earlier, later, "replaced-by")
            said[by].append({"type": kind, "other": {"reference": f"Patient/{make.mark}-{other}"}})
        hospital.store(*(make.patient(name, f"CANARY-{name}") for name in said))
        hospital.store(*(make.patient(name, f"CANARY-{name}", link=found) for name, found in said.items() if found))

    def whole(self, hospital: Hospital, make: Resources) -> ClinicalContext:
        patient = hospital.record.read(f"Patient/{make.mark}-a")
        return hospital.record.context_of(patient, Order(OrderControl.NEW, PatientIdentity()))

    def ill(self, hospital: Hospital, make: Resources, patients: str) -> None:
        """One Condition of each Patient, each of one day later."""
        for day, of in enumerate(patients, start=1):
            hospital.store(self.one(make, "Condition", f"of{of}", of=of, recordedDate=f"2026-01-{day:02}"))

    @pytest.mark.parametrize(
        ("links", "known"),
        [
            ("a>b a<b", ["ofb", "ofa"]),
            ("a>b a<b a>c a<c", ["ofc", "ofb", "ofa"]),
            ("a>b a<b b>c b<c c>d c<d", ["ofd", "ofc", "ofb", "ofa"]),
            ("a>c a>b a<b b>c b<c", ["ofc", "ofb", "ofa"]),
            ("a>b a<b b>c b<c c>b c>a", ["ofc", "ofb", "ofa"]),
            ("a>b a<b b>a b<a", ["ofb", "ofa"]),
        ],
        ids=["one", "two", "chain", "chain-named-twice", "circle", "proven-circle"],
    )
    def test_what_is_known_of_a_merged_patient_is_known_of_the_survivor(
        self, hospital: Hospital, make: Resources, links: str, known: list[str]
    ) -> None:
        self.link(hospital, make, links)
        self.ill(hospital, make, "abcd"[: len(known)])
        context = self.whole(hospital, make)
        assert names(context.others["Condition"]) == known
        source = context.sources["Condition"]
        assert (source.how, source.count, source.is_truncated) == ("search", len(known), False)

    @pytest.mark.parametrize(
        "links",
        ["a>b b>c", "a<b a>c", "a>b a<b c<b", "b>a", "a>b b<a"],
        ids=["to", "from", "to-two", "back", "swapped"],
    )
    def test_a_merge_that_only_one_side_names_is_not_followed(
        self, hospital: Hospital, make: Resources, links: str
    ) -> None:
        self.link(hospital, make, links, also="abc")
        self.ill(hospital, make, "abc")
        assert names(self.whole(hospital, make).others["Condition"]) == ["ofa"]

    def test_of_each_code_the_latest_value_of_all_counts(self, hospital: Hospital, make: Resources) -> None:
        self.link(hospital, make, "a>b a<b")
        for name, of, day, number in (
            *(("before", "a", "2025-01-01", "1988-5"), ("after", "b", "2026-01-01", "1988-5")),
            *(("newer", "a", "2026-02-01", "2160-0"), ("older", "b", "2025-12-01", "2160-0")),
        ):
            person = {"id": f"{make.mark}-{of}"}
            hospital.store(make.laboratory(person, name, code=code(number), effectiveDateTime=day))
        assert names(self.whole(hospital, make).others["Observation"]) == ["newer", "after"]

    @pytest.mark.parametrize(("formers", "is_cut"), [("bcdef", False), ("bcdefg", True)])
    def test_five_merged_patients_are_followed_and_of_more_it_is_said(
        self, hospital: Hospital, make: Resources, formers: str, is_cut: bool
    ) -> None:
        self.link(hospital, make, " ".join(f"a>{former} a<{former}" for former in formers))
        self.ill(hospital, make, f"a{formers}")
        context = self.whole(hospital, make)
        assert names(context.others["Condition"]) == ["off", "ofe", "ofd", "ofc", "ofb", "ofa"]
        assert {source.is_truncated for source in context.sources.values() if source.how == "search"} == {is_cut}


class ContextContract(Ward):
    """What is known of the patient."""

    @pytest.mark.parametrize(
        ("kind", "element"),
        [
            ("Condition", "recordedDate"), ("AllergyIntolerance", "recordedDate"), ("MedicationRequest", "authoredOn"),
            ("MedicationStatement", "effectiveDateTime"), ("DiagnosticReport", "effectiveDateTime"),
            ("ImagingStudy", "started"), ("Procedure", "performedDateTime"), ("Immunization", "occurrenceDateTime"),
        ],
    )  # fmt: skip
    def test_the_context_has_every_type_newest_first(
        self, ward: Hospital, make: Resources, kind: str, element: str
    ) -> None:
        days = {"x1": "2026-01-01", "x3": "2026-03-01", "x2": "2026-02-01"}
        ward.store(*(self.one(make, kind, name, **{element: f"{day}T08:00:00Z"}) for name, day in days.items()))
        context = self.context(ward, make)
        assert names(context.others[kind]) == ["x3", "x2", "x1"]
        source = context.sources[kind]
        assert (source.how, source.count, source.is_truncated) == ("search", 3, False)
        assert source.newest.startswith("2026-03-01T08:00:00")

    def test_a_patient_of_whom_nothing_is_known_has_an_empty_context_and_not_a_normal_one(
        self, ward: Hospital, make: Resources
    ) -> None:
        context = self.context(ward, make)
        assert set(context.others.values()) == {()}
        assert {(s.how, s.count, s.newest) for s in context.sources.values()} == {("search", 0, "")}

    def test_the_types_of_the_context_are_these_and_no_others(self, ward: Hospital, make: Resources) -> None:
        assert sorted(self.context(ward, make).sources) == [
            "AllergyIntolerance", "Condition", "DiagnosticReport", "Encounter", "ImagingStudy", "Immunization",
            "MedicationRequest", "MedicationStatement", "Observation", "Procedure",
        ]  # fmt: skip

    def test_of_the_observations_laboratory_and_vital_signs_count(self, ward: Hospital, make: Resources) -> None:
        ward.store(
            self.value(make, "lab", "2026-01-02", code=code("1988-5")),
            self.value(make, "pulse", "2026-01-01", code=code("8867-4"), category="vital-signs"),
            self.value(make, "smokes", "2026-01-01", code=code("72166-2"), category="social-history"),
            self.one(make, "Observation", "uncategorised"),
        )
        assert names(self.context(ward, make).others["Observation"]) == ["lab", "pulse"]

    def test_of_each_code_the_latest_value_counts(self, ward: Hospital, make: Resources) -> None:
        ward.store(
            self.value(make, "old", "2025-12-01", code=code("1988-5")),
            self.value(make, "new", "2026-02-01", code=code("1988-5")),
            self.value(make, "other", "2026-01-01", code=code("2160-0")),
            self.value(make, "local", "2025-01-01", code=code("1988-5", LOCAL)),
            self.value(make, "words", "2024-01-01", code={"text": "CRP"}),
        )
        assert names(self.context(ward, make).others["Observation"]) == ["new", "other", "local", "words"]

    def test_times_of_several_zones_are_compared_as_times(self, ward: Hospital, make: Resources) -> None:
        ward.store(
            self.value(make, "tokyo", "2026-03-02T01:00:00+09:00", code=code("1988-5")),  # 16:00 UTC, the day before
            self.value(make, "london", "2026-03-01T20:00:00Z", code=code("1988-5")),
        )
        assert names(self.context(ward, make).others["Observation"]) == ["london"]

    @pytest.mark.parametrize("status", ["registered", "cancelled", "entered-in-error"])
    def test_what_has_no_value_hides_no_older_value(self, ward: Hospital, make: Resources, status: str) -> None:
        ward.store(
            self.value(make, "old", "2025-12-01", code=code("1988-5")),
            self.value(make, "new", "2026-02-01", code=code("1988-5"), status=status),
        )
        assert names(self.context(ward, make).others["Observation"]) == ["old"]

    def test_of_the_encounters_those_that_go_on_count(self, ward: Hospital, make: Resources) -> None:
        for status in ("planned", "arrived", "in-progress", "onleave", "finished", "cancelled"):
            ward.store(self.one(make, "Encounter", status.replace("-", ""), status=status))
        assert sorted(names(self.context(ward, make).others["Encounter"])) == ["arrived", "inprogress", "onleave"]

    def test_what_we_wrote_and_what_was_wrong_is_no_context(self, ward: Hospital, make: Resources) -> None:
        ward.store(
            self.one(make, "DiagnosticReport", "theirs"),
            self.one(make, "DiagnosticReport", "ours", meta=OURS),
            self.one(make, "DiagnosticReport", "void", status="entered-in-error"),
            self.one(make, "Condition", "wrong", verificationStatus=VOID),
        )
        context = self.context(ward, make)
        assert names(context.others["DiagnosticReport"]) == ["theirs"]
        assert context.others["Condition"] == ()

    def test_the_documents_of_prior_reports_are_left_behind(self, ward: Hospital, make: Resources) -> None:
        document = {"contentType": "application/pdf", "data": "Q0FOQVJZ"}
        conclusion = [code("233604007", "http://snomed.info/sct")]
        ward.store(self.one(make, "DiagnosticReport", "x", presentedForm=[document], conclusionCode=conclusion))
        (report,) = self.context(ward, make).others["DiagnosticReport"]
        assert "presentedForm" not in report
        assert report["conclusionCode"] == conclusion

    def test_the_context_of_another_patient_stays_theirs(self, ward: Hospital, make: Resources) -> None:
        ward.store(self.one(make, "Condition", "theirs", of="b"))
        assert self.context(ward, make).others["Condition"] == ()

    def test_a_long_history_comes_whole(self, ward: Hospital, make: Resources) -> None:
        days = [f"2025-{n // 28 + 1:02}-{n % 28 + 1:02}" for n in range(130)]
        ward.store(*(self.one(make, "Condition", f"{n:03}", recordedDate=day) for n, day in enumerate(days)))
        context = self.context(ward, make)
        assert names(context.others["Condition"]) == [f"{n:03}" for n in reversed(range(130))]
        assert not context.sources["Condition"].is_truncated

    def ordered(self, ward: Hospital, make: Resources, of: str = "a", **elements: Any) -> str:
        ward.store(self.one(make, "ServiceRequest", "order", of=of, **elements))
        return f"ServiceRequest/{make.mark}-order"

    def test_the_order_and_its_encounter_are_context(self, ward: Hospital, make: Resources) -> None:
        ward.store(self.one(make, "Encounter", "then", status="finished"))
        reason = [{"coding": [{"system": "http://snomed.info/sct", "code": "49727002"}]}]
        request = self.ordered(ward, make, encounter={"reference": f"Encounter/{make.mark}-then"}, reasonCode=reason)
        context = self.context(ward, make, service_request=request)
        assert names(context.others["Encounter"]) == ["then"]
        assert context.others["ServiceRequest"][0]["reasonCode"] == reason
        assert context.sources["ServiceRequest"].how == "reference"

    def test_the_reasons_of_the_order_are_read_where_they_are_findings(self, ward: Hospital, make: Resources) -> None:
        kinds = ("Condition", "Observation", "DiagnosticReport")
        ward.store(*(self.one(make, kind, f"why{kind}") for kind in kinds))
        reasons = [{"reference": f"{kind}/{make.mark}-why{kind}"} for kind in kinds]
        request = self.ordered(ward, make, reasonReference=[*reasons, {"display": "CANARY"}])
        others = self.context(ward, make, service_request=request).others
        assert {kind: names(others[kind]) for kind in kinds} == {kind: [f"why{kind}"] for kind in kinds}

    def test_a_document_as_reason_is_not_read(self, ward: Hospital, make: Resources) -> None:
        document = {
            "resourceType": "DocumentReference", "id": f"{make.mark}-doc", "status": "current",
            "content": [{"attachment": {"contentType": "application/pdf", "title": "CANARY"}}],
            "subject": {"reference": f"Patient/{make.mark}-a"},
        }  # fmt: skip
        ward.store(document)
        reason = [{"reference": f"DocumentReference/{make.mark}-doc"}]
        context = self.context(ward, make, service_request=self.ordered(ward, make, reasonReference=reason))
        assert "DocumentReference" not in (*context.others, *context.sources)

    def test_a_reason_that_is_gone_is_missing(self, ward: Hospital, make: Resources) -> None:
        ward.store(self.one(make, "Condition", "gone"))
        request = self.ordered(ward, make)
        ward.delete(f"Condition/{make.mark}-gone")
        reason = [{"reference": f"Condition/{make.mark}-gone"}]
        try:
            request = self.ordered(ward, make, reasonReference=reason)
        except Exception:  # noqa: BLE001 - a server with referential integrity does not let it come to this
            pytest.skip("this server refuses such references")
        assert self.context(ward, make, service_request=request).others["Condition"] == ()

    @pytest.mark.parametrize("kind", ["Condition", "Encounter"])
    def test_what_the_order_refers_to_is_the_patients_own_or_a_mismatch(
        self, ward: Hospital, make: Resources, kind: str
    ) -> None:
        ward.store(self.one(make, kind, "theirs", of="b"))
        reference = {"reference": f"{kind}/{make.mark}-theirs"}
        elements = {"encounter": reference} if kind == "Encounter" else {"reasonReference": [reference]}
        request = self.ordered(ward, make, **elements)
        with refused("patient.mismatch"):
            self.context(ward, make, service_request=request)

    def test_an_order_of_another_patient_is_a_mismatch(self, ward: Hospital, make: Resources) -> None:
        request = self.ordered(ward, make, of="b")
        with refused("patient.mismatch"):
            self.context(ward, make, service_request=request)

    def test_the_orders_own_study_and_report_are_not_prior(self, ward: Hospital, make: Resources) -> None:
        uid = f"2.25.{int(make.mark, 16)}"
        request = self.ordered(ward, make)
        based_on = [{"reference": request}]
        ward.store(
            self.one(make, "ImagingStudy", "own", identifier=[{"system": "urn:dicom:uid", "value": f"urn:oid:{uid}"}]),
            self.one(make, "ImagingStudy", "ours", basedOn=based_on),
            self.one(make, "ImagingStudy", "prior"),
            self.one(make, "DiagnosticReport", "own", basedOn=based_on),
            self.one(make, "DiagnosticReport", "prior"),
        )
        others = self.context(ward, make, service_request=request, study_instance_uid=uid).others
        assert names(others["ImagingStudy"]) == names(others["DiagnosticReport"]) == ["prior"]
