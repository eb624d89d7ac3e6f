"""The Observations of a report: one per finding, one per measurement, or one that says that nothing was analysed (FHIR R4 §10.1)."""

from collections.abc import Iterator
from dataclasses import dataclass

from mappings import code_system
from mappings.code import Code
from mappings.fhir_elements import Json, coding, concept, identifier, instant, own_code, quantity, without_empty
from mappings.finding import Finding, Measurement, Report, ReportOutcome
from mappings.narrative import narrative_of

NOT_ANALYSED = "not-analysed"  # instead of an output's name


@dataclass(frozen=True, slots=True)
class ObservationLinks:
    """What every Observation of a report points to, and the identifier system it is known by. Empty strings: there is none."""

    system: str
    device: str
    imaging_study: str
    performer: Json
    meta: Json


def observations_of(report: Report, links: ObservationLinks) -> Iterator[tuple[str, Json]]:
    """(identifier value, Observation) for all that was found and measured. A refused study has no finding, whatever the model said."""
    if report.outcome is ReportOutcome.NOT_ANALYSED:
        yield result_name(report.job, NOT_ANALYSED), _not_analysed(report, links)
    else:
        for finding in report.findings:
            yield result_name(report.job, finding.output), _finding(report, finding, links)
    for measurement in report.measurements:
        yield result_name(report.job, measurement.output), _measurement(report, measurement, links)


def outputs_of(report: Report) -> tuple[str, ...]:
    """Of what `observations_of` makes Observations, in their order."""
    answers = (
        (NOT_ANALYSED,) if report.outcome is ReportOutcome.NOT_ANALYSED else tuple(f.output for f in report.findings)
    )
    return (*answers, *(measurement.output for measurement in report.measurements))


def ai_meta(*, label: bool) -> Json:
    """`meta` of what the AI asserts: our tag, and the security label AIAST (AI Transparency on FHIR) if the server knows it."""
    security = coding(Code("AIAST", code_system.OBSERVATION_VALUE, "Artificial Intelligence asserted"))
    return {"security": [security], **own_meta()} if label else own_meta()


OWN_TAG = (code_system.OWN_TAGS, "ai-result")  # system and code in `meta.tag` of everything we write


def is_ours(resource: Json) -> bool:
    """Whether we wrote the resource: our own results must neither trigger us nor count as what the hospital knows."""
    return any((tag.get("system"), tag.get("code")) == OWN_TAG for tag in resource.get("meta", {}).get("tag", ()))


def own_meta() -> Json:
    """`meta` of whatever we write: our tag, so that subscriptions can leave it out (`_tag:not`)."""
    return {"tag": [coding(own_code(OWN_TAG[1], OWN_TAG[0]))]}


def result_name(job: str, output: str) -> str:
    """The identifier value of an Observation."""
    return f"{job}/{output}"


def _observation(report: Report, output: str, links: ObservationLinks, code: Code, answer: Json) -> Json:
    """What all Observations have in common. The subject is the patient, so that `focus` stays away (R4 §10.1.4.9)."""
    method = f"{report.model.display}, version {report.model.version}" if report.model else ""
    return without_empty(
        (
            ("resourceType", "Observation"),
            ("meta", links.meta),
            ("identifier", [identifier(links.system, result_name(report.job, output))]),
            ("status", report.status),
            ("category", [concept(Code("imaging", code_system.OBSERVATION_CATEGORY, "Imaging"))]),
            ("code", concept(code)),
            ("subject", {"reference": report.patient}),
            ("encounter", {"reference": report.encounter} if report.encounter else {}),
            ("effectiveDateTime", report.started),
            ("issued", instant(report.issued)),
            ("performer", [links.performer]),
            *answer.items(),
            ("method", concept(own_code("ai-image-analysis"), text=method)),
            ("device", {"reference": links.device} if links.device else {}),
            ("derivedFrom", [{"reference": links.imaging_study}] if links.imaging_study else []),
        )
    )


def _finding(report: Report, finding: Finding, links: ObservationLinks) -> Json:
    parts = (("probability", finding.probability), ("decision-threshold", finding.threshold))
    answer = without_empty(
        (
            ("valueCodeableConcept", concept(finding.value)),
            ("interpretation", [concept(finding.interpretation)] if finding.interpretation else []),
            ("bodySite", concept(finding.body_site) if finding.body_site else {}),
            ("component", [{"code": concept(own_code(c)), "valueQuantity": quantity(v, "1")} for c, v in parts]),
        )
    )
    return _observation(report, finding.output, links, finding.code, answer)


def _measurement(report: Report, measurement: Measurement, links: ObservationLinks) -> Json:
    answer = {"valueQuantity": quantity(measurement.value, measurement.unit)}
    return _observation(report, measurement.output, links, measurement.code, answer)


def _not_analysed(report: Report, links: ObservationLinks) -> Json:
    """No value, and the reason for it: never a negative finding."""
    absent = Code("not-performed", code_system.DATA_ABSENT_REASON, "Not Performed")
    answer = {"dataAbsentReason": concept(absent, text=narrative_of(report).impression[0])}
    return _observation(report, NOT_ANALYSED, links, own_code("ai-image-analysis"), answer)
