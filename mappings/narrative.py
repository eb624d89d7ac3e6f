"""A Report in words: findings, impression, recommendations, from `templates/`. Every face of the report says the same words.

The words never say more than was measured, and always how far the result is in its life, that software made it, and that it is not for
clinical use.
"""

from dataclasses import dataclass
from functools import cache
from importlib import resources
from string import Template

from mappings.finding import Finding, Measurement, Report, ReportOutcome


@dataclass(frozen=True, slots=True)
class Narrative:
    """The parts of a radiology report, each a list of sentences, and what must be known to read them."""

    status: str  # one line: preliminary or signed, AI, not for clinical use
    findings: tuple[str, ...]
    impression: tuple[str, ...]
    recommendations: tuple[str, ...]
    limits: tuple[str, ...]

    def conclusion(self) -> str:
        """The text of DiagnosticReport.conclusion: impression, recommendations, limits, status."""
        return " ".join((*self.impression, *self.recommendations, *self.limits, self.status))


def narrative_of(report: Report) -> Narrative:
    """The words for a report."""
    if report.outcome is ReportOutcome.NOT_ANALYSED:
        findings: tuple[str, ...] = (_say("no_statement"), *map(_measurement, report.measurements))
        impression: tuple[str, ...] = (_not_analysed(report),)
        recommendations = (_say("read_without_ai"),)
    else:
        findings = (*map(_finding, report.findings), *map(_measurement, report.measurements))
        impression = tuple(_impression(finding) for finding in report.findings) or (_say("no_statement"),)
        recommendations = (_say("confirm"),)
    return Narrative(_status(report), findings, impression, recommendations, _limits(report))


def _status(report: Report) -> str:
    reason = {"reason": report.decision.reason} if report.decision and report.is_retracted else {}
    return _say(f"status_{report.status}", **reason)


def number(value: float) -> str:
    """A number as every face writes it: at most four decimals, none that say nothing."""
    text = f"{value:.4f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def is_present(finding: Finding) -> bool:
    """Whether the model said present, by the numbers that the report shows."""
    return finding.probability >= finding.threshold


def _finding(finding: Finding) -> str:
    return _say(
        "finding",
        question=finding.code.display,
        answer=finding.value.display.lower(),
        probability=number(finding.probability),
        threshold=number(finding.threshold),
    )


def _measurement(measurement: Measurement) -> str:
    unit = "" if measurement.unit == "1" else f" {measurement.unit}"
    return _say("measurement", measure=measurement.code.display, value=number(measurement.value), unit=unit)


def _impression(finding: Finding) -> str:
    name = "impression_present" if is_present(finding) else "impression_absent"
    return _say(name, question=finding.code.display, probability=number(finding.probability))


def _not_analysed(report: Report) -> str:
    words = report.reason_text.strip().rstrip(".") or "the reason code says why"
    return _say("not_analysed", words=words, code=report.reason or "unknown")


def _limits(report: Report) -> tuple[str, ...]:
    """The model and what it is for and not for, then the caveats of this study."""
    lines = []
    if report.model:
        lines.append(_say("model", display=report.model.display, version=report.model.version))
        if report.model.intended_use:
            lines.append(_say("intended_use", words=report.model.intended_use.strip().rstrip(".")))
        if report.model.limits:
            lines.append(_say("model_limits", words=report.model.limits.strip().rstrip(".")))
    return (*lines, *(f"Caveat: {caveat.strip().rstrip('.')}." for caveat in report.caveats))


def _say(template: str, **values: str) -> str:
    return _template(template).substitute(values)


@cache
def _template(name: str) -> Template:
    return Template(resources.files("mappings").joinpath("templates", f"{name}.txt").read_text("utf-8").strip())
