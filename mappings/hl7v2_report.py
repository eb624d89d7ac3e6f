"""A Report as an ORU^R01 (HL7 v2.5.1 §7.3.1; v2.3.1 to v2.8 by receiver): the result of one order, made by software.

    MSH  PID  ORC|RE  OBR  NTE...  OBX...        one order, one OBR; NTE and OBX say what the narrative says

The same report makes the same bytes for the same receiver, MSH-10 included: a message that is sent again is known there as a repeat.
The patient's name is not known to us, and the RIS that gets this has it: PID-5 says so (table 0200, `U`).
"""

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from zoneinfo import ZoneInfo

from mappings import code_system
from mappings.authority import Authorities
from mappings.code import Code
from mappings.code_table import load
from mappings.fhir_elements import own_code
from mappings.finding import Finding, Measurement, Report, ReportOutcome, ReportStatus
from mappings.hl7v2_writer import Er7Writer, header, segment
from mappings.narrative import Narrative, narrative_of, number
from mappings.order import Identifier
from mappings.refusal import MappingRefused

_RESULT_STATUS = {  # OBR-25 (table 0123), OBX-11 (table 0085)
    ReportStatus.PRELIMINARY: ("P", "P"),  # no person has signed it
    ReportStatus.FINAL: ("F", "F"),
    ReportStatus.AMENDED: ("C", "C"),
    ReportStatus.CORRECTED: ("C", "C"),
    ReportStatus.RETRACTED: ("C", "W"),  # posted as wrong; table 0123 has no word of its own for that
}
_NO_RESULT, _ORDER_DETAIL = "X", "O"  # OBX-11: results cannot be obtained; a detail of the order, no result
_UNKNOWN_NAME = "^^^^^^U"
_STUDY = Code("113014", code_system.DCM, "DICOM Study")  # IHE RAD TF-2 §4.7: the Study Instance UID as an OBX
_FINDINGS = Code("59776-5", code_system.LOINC, "Procedure findings Narrative")
_IMPRESSION = Code("19005-8", code_system.LOINC, "Radiology Imaging study [Impression] (narrative)")
_RECOMMENDATION = Code("18783-1", code_system.LOINC, "Radiology Study recommendation (narrative)")
_UNITY = Code("1", code_system.UCUM)


@dataclass(frozen=True, slots=True)
class Receiver:
    """Who gets an ORU^R01. `name` is ours for the destination; the rest is MSH-12, MSH-18, MSH-5, MSH-6 and our MSH-3, MSH-4.

    Times are written in `time_zone`, with their offset: a receiver that leaves offsets out of account reads its own local time.
    """

    name: str
    version: str = "2.5.1"
    charset: str = "UNICODE UTF-8"
    application: str = ""
    facility: str = ""
    sending_application: str = "FHIR-BRIDGE"
    sending_facility: str = ""
    time_zone: str = "UTC"
    authorities: Authorities = field(default_factory=Authorities)


def oru_from(report: Report, receiver: Receiver) -> bytes:
    """The message, without the block around it.

    Raises MappingRefused `report.patient-identifier-missing`, `report.order-number-missing`, `report.issued-naive`,
    `report.not-encodable`, `mapping.code-missing`.
    """
    _check(report)
    writer = Er7Writer(receiver.version, receiver.charset, receiver.authorities, ZoneInfo(receiver.time_zone))
    body = "".join(
        (_patient(report, writer), _order(report, writer), *_notes(report, writer), *_results(report, receiver, writer))
    )
    return writer.encode(_header(report, receiver, writer, body) + body)


def _check(report: Report) -> None:
    if not report.patient_identity.identifiers:
        where, why = "Report.patient_identity", "a result without a patient identifier could be anybody's"
        raise MappingRefused("report.patient-identifier-missing", where, why)
    if not report.order_identifiers:
        where, why = "Report.order_identifiers", "the receiver could not tell which order the result is of"
        raise MappingRefused("report.order-number-missing", where, why)
    if report.issued.tzinfo is None:
        raise MappingRefused("report.issued-naive", "Report.issued", "the time has no zone")


def _header(report: Report, receiver: Receiver, writer: Er7Writer, body: str) -> str:
    named = {
        3: receiver.sending_application,
        4: receiver.sending_facility,
        5: receiver.application,
        6: receiver.facility,
    }
    fields = {position: writer.exact(name) for position, name in named.items()}
    fields |= {7: writer.time(report.act_at), 9: "ORU^R01^ORU_R01", 11: "P", 12: receiver.version, 18: receiver.charset}
    return header(fields | {10: _control_id(report.job, receiver, body)})


def _control_id(job: str, receiver: Receiver, body: str) -> str:
    """MSH-10, 20 characters (its limit below v2.7): one per job, destination and content."""
    digest = hashlib.sha256("\0".join((job, receiver.name, receiver.version, receiver.charset, body)).encode())
    return "FB" + base64.b32encode(digest.digest()).decode("ascii")[:18]


def _patient(report: Report, writer: Er7Writer) -> str:
    patient = report.patient_identity
    sex = load("administrative_gender").translate(patient.sex, code_system.GENDER).code if patient.sex else ""
    return segment(
        "PID",
        {
            1: "1",
            3: "~".join(map(writer.composite, patient.identifiers)),
            5: _UNKNOWN_NAME,
            7: f"{patient.birth_date:%Y%m%d}" if patient.birth_date else "",
            8: sex,
        },
    )


def _order(report: Report, writer: Er7Writer) -> str:
    """ORC and OBR: the numbers as the order's sender wrote them, OBR-18 the accession number (IHE RAD-4).

    OBR-7 is the time of the images; where nobody said it, that of the report.
    """
    placer, filler, accession = (_of_type(report, kind) for kind in ("PLAC", "FILL", "ACSN"))
    numbers = {2: writer.entity(placer), 3: writer.entity(filler)}
    request = {
        **numbers,
        1: "1",
        4: writer.coded(_procedure(report)),
        7: _observed(report, writer),
        18: writer.exact(accession.value) if accession else "",
        22: writer.time(report.act_at),
        24: writer.exact(report.modality),
        25: _RESULT_STATUS[report.status][0],
    }
    return segment("ORC", {1: "RE", **numbers}) + segment("OBR", request)


def _observed(report: Report, writer: Er7Writer) -> str:
    """An R4 dateTime as TS: to the second, or the date, month or year alone."""
    if not report.started:
        return writer.time(report.issued)
    if "T" not in report.started:
        return report.started.replace("-", "")
    return writer.time(datetime.fromisoformat(report.started))


def _of_type(report: Report, kind: str) -> Identifier | None:
    return next((found for found in report.order_identifiers if found.type == kind), None)


def _procedure(report: Report) -> Code:
    """The order's procedure; of an order without one, what the study is called in the FHIR report."""
    if report.procedure:
        return report.procedure
    table = load("report_codes")
    own = table.target(report.model.name, code_system.OWN_MODELS) if report.model else None
    return own or table.translate("*", code_system.OWN_MODELS)


def _notes(report: Report, writer: Er7Writer) -> Iterator[str]:
    """NTE below the OBR: whether a person signed it, that software made it, which model, and its limits."""
    narrative = narrative_of(report)
    for position, line in enumerate((narrative.status, *narrative.limits), start=1):
        yield segment("NTE", {1: str(position), 2: "L", 3: writer.words(line)})


def _results(report: Report, receiver: Receiver, writer: Er7Writer) -> Iterator[str]:
    """The OBX segments, counted in OBX-1."""
    common = _common(report, receiver, writer)
    observations = (*_coded_results(report, common, writer), *_texts(narrative_of(report), common, writer))
    for position, fields in enumerate(observations, start=1):
        yield segment("OBX", {**fields, 1: str(position)})


Fields = dict[int, str]


def _common(report: Report, receiver: Receiver, writer: Er7Writer) -> Fields:
    """What every result has: status, time, method, and from v2.4 on the device that made it and when."""
    fields = {
        11: _RESULT_STATUS[report.status][1],
        14: _observed(report, writer),
        17: writer.coded(own_code("ai-image-analysis")),
    }
    if report.model and writer.at_least("2.4"):
        device = Identifier(f"{report.model.name}/{report.model.version}", namespace=receiver.sending_application)
        fields[18] = writer.entity(device)
        if report.decision is None:  # a decision has a time of its own, and the report no other
            fields[19] = writer.time(report.issued)
    return fields


def _coded_results(report: Report, common: Fields, writer: Er7Writer) -> Iterator[Fields]:
    if report.study_instance_uid:
        study = {2: "ST", 3: writer.coded(_STUDY), 4: "1", 5: writer.exact(report.study_instance_uid)}
        yield study | {11: _ORDER_DETAIL}
    if report.outcome is ReportOutcome.NOT_ANALYSED:
        # no value and never a negative finding; the impression says why
        yield {**common, 2: "TX", 3: writer.coded(own_code("ai-image-analysis")), 4: "1", 11: _nothing(report)}
    else:
        for group, finding in enumerate(report.findings, start=1):
            yield from _finding(finding, str(group), common, writer)
    for measurement in report.measurements:
        yield _measurement(measurement, common, writer)


def _nothing(report: Report) -> str:
    return _RESULT_STATUS[report.status][1] if report.is_retracted else _NO_RESULT


def _finding(finding: Finding, group: str, common: Fields, writer: Er7Writer) -> Iterator[Fields]:
    """The answer, its probability and the threshold, held together by OBX-4."""
    kind = "CWE" if writer.at_least("2.6") else "CE"
    answer = {
        2: kind,
        3: writer.coded(finding.code),
        4: group,
        5: writer.coded(finding.value),
        8: _flag(finding, writer),
    }
    if finding.body_site and writer.at_least("2.6"):
        answer[20] = writer.coded(finding.body_site)
    yield common | answer
    for name, value in (("probability", finding.probability), ("decision-threshold", finding.threshold)):
        yield common | _quantity(own_code(name), group, value, _UNITY, writer)


def _flag(finding: Finding, writer: Er7Writer) -> str:
    """OBX-8 (table 0078)."""
    meaning = finding.interpretation
    if meaning is None:
        return ""
    if writer.at_least("2.7"):
        return writer.coded(Code(meaning.code, code_system.ABNORMAL_FLAGS, meaning.display))
    flag = load("result_flags").target(meaning.code, meaning.system)
    return flag.code if flag else ""


def _measurement(measurement: Measurement, common: Fields, writer: Er7Writer) -> Fields:
    unit = Code(measurement.unit, code_system.UCUM)
    return common | _quantity(measurement.code, "1", measurement.value, unit, writer)


def _quantity(code: Code, group: str, value: float, unit: Code, writer: Er7Writer) -> Fields:
    """A number with its UCUM unit, written as on every face of the report."""
    return {2: "NM", 3: writer.coded(code), 4: group, 5: number(value), 6: writer.coded(unit)}


def _texts(narrative: Narrative, common: Fields, writer: Er7Writer) -> Iterator[Fields]:
    """The words, one sentence an OBX, its number in OBX-4: no receiver has to understand formatting."""
    sections = (
        (_FINDINGS, narrative.findings),
        (_IMPRESSION, (*narrative.impression, narrative.status)),
        (_RECOMMENDATION, narrative.recommendations),
    )
    for code, sentences in sections:
        for line, sentence in enumerate(sentences, start=1):
            yield common | {2: "TX", 3: writer.coded(code), 4: str(line), 5: writer.words(sentence)}
