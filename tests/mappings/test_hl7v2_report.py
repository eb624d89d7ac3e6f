"""A report as ORU^R01: against the standard's fields, hl7apy's validation, and our own reader (facts §4 item 34, §5)."""

from dataclasses import replace
from datetime import date

import pytest
from hl7apy.parser import parse_message, parse_segment
from hypothesis import given
from hypothesis import strategies as st

from hl7_listener.message import Message, Segment
from mappings.authority import Authorities, Authority
from mappings.code import Code
from mappings.code_system import LOINC
from mappings.finding import Report
from mappings.hl7v2_report import Receiver, oru_from
from mappings.order import Identifier, PatientIdentity
from mappings.refusal import MappingRefused
from tests.support.reports import a_refused_report, a_report

VERSIONS = ("2.3.1", "2.4", "2.5", "2.5.1", "2.6", "2.7", "2.8")
MRN = Identifier("CANARY-1", "urn:hosp", "MR", "HOSP", "1.2.3")
PATIENT = PatientIdentity((MRN,), date(2022, 3, 4), "female")
NUMBERS = (
    Identifier("CANARY-P1", "", "PLAC", "CPOE"),
    Identifier("CANARY-F1", "", "FILL", "RIS", "1.2.3.7"),
    Identifier("CANARY-A1", "", "ACSN"),
)
PROCEDURE = Code("XR1", "", "Chest & ribs", "99RIS")
REPORTS = {
    "present": a_report(),
    "absent": a_report(0.1),
    "not analysed": a_refused_report(),
    "without a model": a_refused_report(model=None, modality="", procedure=None),
}


def of_an_order(report: Report, **changes: object) -> Report:
    values = {"patient_identity": PATIENT, "order_identifiers": NUMBERS, "procedure": PROCEDURE, **changes}
    return replace(report, **values)  # type: ignore[arg-type]


def a_receiver(version: str = "2.5.1", **changes: object) -> Receiver:
    return replace(Receiver("ris", version, application="RIS", facility="HOSP"), **changes)  # type: ignore[arg-type]


def segments(message: bytes, name: str) -> list[Segment]:
    return [segment for segment in Message(message).segments if segment.name == name]


def only(message: bytes, name: str) -> Segment:
    (segment,) = segments(message, name)
    return segment


def results(message: bytes) -> dict[tuple[str, str], Segment]:
    """OBX by the code of OBX-3 and OBX-4, which together name one result (§7.4.2.4)."""
    found = {(obx.value(3), obx.value(4)): obx for obx in segments(message, "OBX")}
    assert len(found) == len(segments(message, "OBX"))
    return found


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS)
def test_hl7apy_finds_every_message_valid(version: str, report: Report) -> None:
    """item 34: the structure of the receiver's version, by hl7apy's tables of it.

    Of v2.8 hl7apy takes every OBX for a part of the group that ORC opens, and asks for TXA there: segment by segment it finds nothing.
    """
    text = oru_from(of_an_order(report, procedure=report.procedure and PROCEDURE), a_receiver(version)).decode()
    if version != "2.8":
        message = parse_message(text)
        assert message.validate()
        assert message.to_er7().rstrip("\r") == text.rstrip("\r")
    for line in text.split("\r")[1:-1]:
        assert parse_segment(line, version=version).validate()


def test_the_numbers_of_the_order_are_echoed_as_they_came() -> None:
    """item 34: OBR-2, OBR-3, OBR-4 and OBR-18."""
    message = oru_from(of_an_order(a_report()), a_receiver())
    orc, obr = only(message, "ORC"), only(message, "OBR")
    assert (orc.raw(2), orc.raw(3)) == (obr.raw(2), obr.raw(3)) == (b"CANARY-P1^CPOE", b"CANARY-F1^RIS^1.2.3.7^ISO")
    assert (obr.raw(4), obr.raw(18)) == (b"XR1^Chest \\T\\ ribs^99RIS", b"CANARY-A1")
    assert (orc.raw(1), obr.raw(24)) == (b"RE", b"DX")


@pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS)
def test_nothing_is_more_than_preliminary(report: Report) -> None:
    """item 34: OBR-25 P; OBX-11 P, O for the study's UID and X for what could not be had."""
    message = oru_from(of_an_order(report), a_receiver())
    assert only(message, "OBR").raw(25) == b"P"
    assert {obx.value(11) for obx in segments(message, "OBX")} <= {"P", "O", "X"}
    texts = [obx.text(5) for obx in segments(message, "OBX")] + [nte.text(3) for nte in segments(message, "NTE")]
    assert sum("Preliminary result of an AI" in text for text in texts) == 2


def test_the_patient_is_who_the_orders_sender_said() -> None:
    """PID-3 with all its identifiers; PID-5 holds no name, since none is known (table 0200, U)."""
    second = Identifier("CANARY-2", "", "PI", "OTHER")
    patient = replace(PATIENT, identifiers=(MRN, second))
    pid = only(oru_from(of_an_order(a_report(), patient_identity=patient), a_receiver()), "PID")
    assert pid.raw(3) == b"CANARY-1^^^HOSP&1.2.3&ISO^MR~CANARY-2^^^OTHER^PI"
    assert (pid.raw(5), pid.raw(7), pid.raw(8)) == (b"^^^^^^U", b"20220304", b"F")


def test_a_patient_of_whom_only_the_number_is_known() -> None:
    pid = only(oru_from(of_an_order(a_report(), patient_identity=PatientIdentity((MRN,))), a_receiver()), "PID")
    assert (pid.raw(7), pid.raw(8)) == (b"", b"")


@pytest.mark.parametrize(
    ("identifier", "written"),
    [
        (Identifier("CANARY-1", "urn:oid:1.2.3.4", "MR"), b"CANARY-1^^^&1.2.3.4&ISO^MR"),
        (Identifier("CANARY-1", "urn:hosp", "MR"), b"CANARY-1^^^HOSP^MR"),
        (Identifier("CANARY-1", "urn:oid:1.2.9", "MR"), b"CANARY-1^^^LAB&1.2.9&ISO^MR"),
        (Identifier("CANARY-1", "http://hosp.example/mrn", "MR"), b"CANARY-1^^^&http://hosp.example/mrn&URI^MR"),
        (Identifier("CANARY-1", namespace="X", universal_id="hosp.example"), b"CANARY-1^^^X&hosp.example&DNS"),
        (Identifier("CANARY-1"), b"CANARY-1"),
    ],
)
def test_an_authority_is_written_as_it_came_else_as_the_site_calls_it(identifier: Identifier, written: bytes) -> None:
    site = Authorities([Authority("HOSP", system="urn:hosp"), Authority("LAB", oid="1.2.9")])
    report = of_an_order(a_report(), patient_identity=PatientIdentity((identifier,)))
    assert only(oru_from(report, a_receiver(authorities=site)), "PID").raw(3) == written


def test_from_v2_7_on_an_identifier_says_that_its_type_is_unknown() -> None:
    report = of_an_order(a_report(), patient_identity=PatientIdentity((Identifier("CANARY-1"),)))
    assert only(oru_from(report, a_receiver("2.7")), "PID").raw(3) == b"CANARY-1^^^^U"


def test_a_finding_is_its_answer_its_probability_and_its_threshold() -> None:
    """item 34: OBX-14 and OBX-18 too. The numbers are those of the report, to the last digit."""
    found = results(oru_from(of_an_order(a_report(0.91234)), a_receiver()))
    answer = found["233604007", "1"]
    assert [answer.raw(n) for n in (2, 3, 5, 8)] == [b"CE", b"233604007^Pneumonia^SCT", b"52101004^Present^SCT", b"A"]
    assert answer.raw(18) == b"xray_pneumonia/1.0.0^FHIR-BRIDGE"
    assert answer.raw(14) == answer.raw(19) == b"20260115083005+0000"
    probability, threshold = found["probability", "1"], found["decision-threshold", "1"]
    assert [probability.raw(n) for n in (2, 5, 6)] == [b"NM", b"0.9123", b"1^^UCUM"]
    assert threshold.raw(5) == b"0.3"


@pytest.mark.parametrize(
    ("version", "kind", "flag", "site", "device"),
    [
        ("2.3.1", b"CE", b"A", b"", b""),
        ("2.4", b"CE", b"A", b"", b"xray_pneumonia/1.0.0^FHIR-BRIDGE"),
        ("2.5.1", b"CE", b"A", b"", b"xray_pneumonia/1.0.0^FHIR-BRIDGE"),
        ("2.6", b"CWE", b"A", b"39607008^Lung structure^SCT", b"xray_pneumonia/1.0.0^FHIR-BRIDGE"),
        ("2.8", b"CWE", b"POS^Positive^HL70078", b"39607008^Lung structure^SCT", b"xray_pneumonia/1.0.0^FHIR-BRIDGE"),
    ],
)
def test_each_version_gets_what_it_knows(version: str, kind: bytes, flag: bytes, site: bytes, device: bytes) -> None:
    """OBX-2 CE until v2.5.1 (table 0125), OBX-8 POS from v2.7 (table 0078), OBX-18 from v2.4, OBX-20 from v2.6."""
    answer = results(oru_from(of_an_order(a_report()), a_receiver(version)))["233604007", "1"]
    assert (answer.raw(2), answer.raw(8), answer.raw(20), answer.raw(18)) == (kind, flag, site, device)


def test_an_absent_finding_is_never_called_normal() -> None:
    answer = results(oru_from(of_an_order(a_report(0.1)), a_receiver()))["233604007", "1"]
    assert (answer.raw(5), answer.raw(8)) == (b"2667000^Absent^SCT", b"")


def test_a_measurement_has_its_unit() -> None:
    noise = results(oru_from(of_an_order(a_report()), a_receiver()))["111787", "1"]
    assert (noise.raw(2), noise.raw(5), noise.raw(6)) == (b"NM", b"21.5", b"dB^^UCUM")


def test_the_study_is_named_as_ihe_does() -> None:
    """IHE RAD TF-2 §4.7, table 4.7-7: OBX-2 ST, OBX-3 113014, OBX-11 O."""
    study = results(oru_from(of_an_order(a_report()), a_receiver()))["113014", "1"]
    assert [study.raw(n) for n in (2, 3, 5, 11)] == [b"ST", b"113014^DICOM Study^DCM", b"1.2.840.99.1", b"O"]


def test_the_impression_says_what_was_found_and_that_nobody_confirmed_it() -> None:
    found = results(oru_from(of_an_order(a_report()), a_receiver()))
    assert found["19005-8", "1"].text(5) == "Pneumonia: the AI model finds it present (probability 0.9)."
    assert found["19005-8", "2"].text(5).endswith("Not confirmed by a physician. Not for clinical use.")
    assert found["18783-1", "1"].text(5).startswith("A radiologist must read these images")


def test_a_study_that_was_not_analysed_has_a_reason_and_no_finding() -> None:
    found = results(oru_from(of_an_order(a_refused_report()), a_receiver()))
    assert ("233604007", "1") not in found
    assert [found["ai-image-analysis", "1"].raw(n) for n in (5, 11)] == [b"", b"X"]
    assert found["19005-8", "1"].text(5).startswith("Not analysed because the patient is 41 years old")
    assert found["19005-8", "1"].text(5).endswith("(reason code scope.age).")


def test_the_model_and_its_limits_stand_below_the_order() -> None:
    notes = [nte.text(3) for nte in segments(oru_from(of_an_order(a_report()), a_receiver()), "NTE")]
    assert notes[1] == "Model: Pneumonia on a chest radiograph of a young child, version 1.0.0."
    assert notes[-1] == "Limits: Children of 1 to 5 years of one hospital."


def test_the_header_names_both_ends() -> None:
    message = oru_from(of_an_order(a_report()), a_receiver(sending_facility="AI"))
    msh = only(message, "MSH")
    assert [msh.raw(n) for n in (3, 4, 5, 6, 9)] == [b"FHIR-BRIDGE", b"AI", b"RIS", b"HOSP", b"ORU^R01^ORU_R01"]
    assert [msh.raw(n) for n in (7, 11, 12, 15, 16)] == [b"20260115083005+0000", b"P", b"2.5.1", b"", b""]
    assert msh.raw(18) == b"UNICODE UTF-8"


def test_times_are_those_of_the_receivers_zone() -> None:
    obr = only(oru_from(of_an_order(a_report()), a_receiver(time_zone="Europe/Berlin")), "OBR")
    assert obr.raw(7) == obr.raw(22) == b"20260115093005+0100"


def test_the_same_report_makes_the_same_bytes() -> None:
    """item 34: the same control ID, of at most 20 characters, on resend."""
    one, two = (oru_from(of_an_order(a_report()), a_receiver()) for _ in range(2))
    assert one == two
    assert len(only(one, "MSH").value(10)) == 20


@pytest.mark.parametrize(
    ("report", "receiver"),
    [
        (a_report(job="job-2"), a_receiver()),
        (a_report(0.8), a_receiver()),
        (a_report(issued=a_report().issued.replace(hour=9)), a_receiver()),
        (a_report(), a_receiver(name="archive")),
    ],
    ids=["another job", "another result", "a run again", "another destination"],
)
def test_whatever_is_another_message_has_another_control_id(report: Report, receiver: Receiver) -> None:
    """item 34."""
    ids = {
        only(m, "MSH").raw(10)
        for m in (oru_from(of_an_order(report), receiver), oru_from(of_an_order(a_report()), a_receiver()))
    }
    assert len(ids) == 2


@pytest.mark.parametrize(
    ("charset", "expected"),
    [
        ("UNICODE UTF-8", "Röntgen ≥ 2 ☺".encode()),
        ("8859/1", "Röntgen >= 2 ?".encode("latin-1")),
        ("ASCII", b"Rontgen >= 2 ?"),
    ],
)
def test_words_are_written_alike_where_the_character_set_is_small(charset: str, expected: bytes) -> None:
    report = of_an_order(a_report(), procedure=Code("XR1", "", "Röntgen ≥ 2 ☺", "99RIS"))
    assert only(oru_from(report, a_receiver(charset=charset)), "OBR").raw(4) == b"XR1^" + expected + b"^99RIS"


def test_a_number_that_cannot_be_written_exactly_is_refused_without_showing_it() -> None:
    report = of_an_order(a_report(), order_identifiers=(Identifier("CANARY-Ä", "", "PLAC"),))
    with pytest.raises(MappingRefused) as caught:
        oru_from(report, a_receiver(charset="ASCII"))
    assert caught.value.code == "report.not-encodable"
    assert "CANARY" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"patient_identity": PatientIdentity()}, "report.patient-identifier-missing"),
        ({"order_identifiers": ()}, "report.order-number-missing"),
        ({"issued": a_report().issued.replace(tzinfo=None)}, "report.issued-naive"),
    ],
)
def test_a_result_that_could_be_anybodys_is_refused(changes: dict[str, object], code: str) -> None:
    with pytest.raises(MappingRefused) as caught:
        oru_from(of_an_order(a_report(), **changes), a_receiver())
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("procedure", "written"),
    [
        (Code("36643-5", LOINC, "XR Chest 2 Views"), b"36643-5^XR Chest 2 Views^LN"),
        (Code("XR1", "urn:hosp", "Chest"), b"XR1^Chest^HOSP"),
        (Code("XR1", "", "Chest"), b"XR1^Chest^L"),
        (Code("", "", "Chest"), b"^Chest"),
        (None, b"36554-4^XR Chest Single view^LN"),
    ],
)
def test_a_procedure_has_the_name_of_its_coding_system(procedure: Code | None, written: bytes) -> None:
    site = Authorities([Authority("HOSP", system="urn:hosp")])
    message = oru_from(of_an_order(a_report(), procedure=procedure), a_receiver(authorities=site))
    assert only(message, "OBR").raw(4) == written


@given(st.text(max_size=40), st.sampled_from(VERSIONS), st.sampled_from(["ASCII", "UNICODE UTF-8", "8859/1"]))
def test_whatever_stands_in_a_text_no_field_and_no_segment_is_broken(text: str, version: str, charset: str) -> None:
    """Delimiters, line breaks and the bytes that frame a block, in a place where senders' own words go (§2.7)."""
    report = of_an_order(a_report(), procedure=Code("XR1", "", text, "99RIS"), caveats=(text,))
    message = oru_from(report, a_receiver(version, charset=charset))
    assert [s.name for s in Message(message).segments][:4] == ["MSH", "PID", "ORC", "OBR"]
    assert only(message, "OBR").raw(25) == b"P"
    assert not {0x0A, 0x0B, 0x1C} & set(message)
    if charset == "UNICODE UTF-8" and text.isprintable():
        assert only(message, "OBR").value(4, 2) == text
