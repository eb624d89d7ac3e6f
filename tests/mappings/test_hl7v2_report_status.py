"""The status of a result by HL7 v2: OBR-25 (table 0123) and OBX-11 (table 0085)."""

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest
from hl7apy.parser import parse_message

from hl7_listener.message import Message, Segment
from mappings.finding import Decision, Report, ReportStatus
from mappings.hl7v2_report import Receiver, oru_from
from mappings.order import Identifier, PatientIdentity
from tests.support.reports import a_refused_report, a_report

PATIENT = PatientIdentity((Identifier("CANARY-1", "urn:hosp", "MR", "HOSP", "1.2.3"),), date(2022, 3, 4), "female")
RIS = Receiver("ris")


def decided(status: ReportStatus, report: Report | None = None) -> Report:
    decision = Decision(status, "Practitioner/12", datetime(2026, 1, 15, 10, tzinfo=UTC), "wrong-patient")
    return replace(
        report or a_report(),
        patient_identity=PATIENT,
        decision=None if status is ReportStatus.PRELIMINARY else decision,
    )


@pytest.mark.parametrize(
    ("status", "of_order", "of_results"),
    [
        (ReportStatus.PRELIMINARY, "P", "P"),
        (ReportStatus.FINAL, "F", "F"),
        (ReportStatus.AMENDED, "C", "C"),
        (ReportStatus.CORRECTED, "C", "C"),
        (ReportStatus.RETRACTED, "C", "W"),
    ],
)
def test_order_and_results_have_the_status(status: ReportStatus, of_order: str, of_results: str) -> None:
    message = oru_from(decided(status), RIS)
    segments = Message(message).segments
    obr = next(segment for segment in segments if segment.name == "OBR")
    results = {segment.value(11) for segment in segments if segment.name == "OBX"}
    assert (obr.value(25), results - {"O"}) == (of_order, {of_results})
    assert parse_message(message.decode()).validate()


def test_what_was_not_analysed_is_taken_back_as_wrong_too() -> None:
    segments = Message(oru_from(decided(ReportStatus.RETRACTED, a_refused_report()), RIS)).segments
    assert {segment.value(11) for segment in segments if segment.name == "OBX"} <= {"W", "O"}


def test_each_act_is_a_message_of_its_own_and_the_same_one_again() -> None:
    ids = [Message(oru_from(decided(status), RIS)).segments[0].value(10) for status in [*ReportStatus, *ReportStatus]]
    assert (len({*ids}), ids[:5]) == (5, ids[5:])


def segments_of(report: Report) -> dict[str, Segment]:
    return {segment.name: segment for segment in Message(oru_from(report, RIS)).segments}


@pytest.mark.parametrize("status", [ReportStatus.FINAL, ReportStatus.RETRACTED])
def test_an_act_is_told_with_its_own_time(status: ReportStatus) -> None:
    """MSH-7 (§2.14.9.7); OBR-22: when results were reported or their status changed (§4.5.3.22)."""
    segments = segments_of(decided(status))
    assert (segments["MSH"].value(7), segments["OBR"].value(22)) == ("20260115100000+0000",) * 2


@pytest.mark.parametrize(
    ("started", "shown"),
    [
        ("2026-01-15T08:15:00.5+01:00", "20260115071500+0000"),
        ("2026-01-15", "20260115"),
        ("2026", "2026"),
        ("", "20260115083005+0000"),  # not known: the time of the analysis
    ],
)
def test_the_observation_is_of_the_time_of_the_images(started: str, shown: str) -> None:
    """OBR-7 (§4.5.3.7), as effectiveDateTime of the FHIR report."""
    assert segments_of(replace(decided(ReportStatus.PRELIMINARY), started=started))["OBR"].value(7) == shown


@pytest.mark.parametrize(("status", "analysed"), [(ReportStatus.PRELIMINARY, True), (ReportStatus.FINAL, False)])
def test_the_time_of_a_signature_is_told_as_that_of_no_analysis(status: ReportStatus, analysed: bool) -> None:
    """OBX-14 (§7.4.2.14) is the time of the images, as OBR-7; OBX-19 (§7.4.2.19) the time of the analysis."""
    segments = Message(oru_from(replace(decided(status), started="2026-01-15"), RIS)).segments
    results = [one for one in segments if one.name == "OBX" and one.value(11) != "O"]
    assert {one.value(14) for one in results} == {"20260115"}
    assert {bool(one.value(19)) for one in results} == {analysed}
