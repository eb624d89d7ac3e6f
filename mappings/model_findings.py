"""Named model outputs (plain numbers) as coded findings, and quality measures as coded measurements, by `tables/*.csv`."""

from collections.abc import Mapping

from mappings import code_system
from mappings.code_table import load
from mappings.finding import Finding, Measurement
from mappings.refusal import MappingRefused

_DIGITS = 4  # of a probability and of a measure; every face of the report is made from the rounded number


def findings_of(model: str, outputs: Mapping[str, float], thresholds: Mapping[str, float]) -> tuple[Finding, ...]:
    """One finding per output that has a row in findings.csv, by the output's name; those in not_reported.csv are left out.

    `outputs` are probabilities, 0..1; present means `probability >= threshold`, both rounded to four decimals first, so that the
    numbers shown are the numbers that decided. Raises MappingRefused `mapping.code-missing` for an output with neither row,
    `finding.threshold-missing`, `finding.probability-range`.
    """
    system = code_system.MODEL_OUTPUTS + model
    reported = [name for name in sorted(outputs) if load("not_reported").find(name, system) is None]
    return tuple(_finding(name, system, outputs[name], thresholds.get(name)) for name in reported)


def measurements_of(quality: Mapping[str, float], quality_score: float | None = None) -> tuple[Measurement, ...]:
    """Quality measures as measurements with their UCUM units, the overall score first.

    Raises MappingRefused `mapping.code-missing` for a measure without a row in quality_measures.csv or measurement_units.csv.
    """
    measured = dict(sorted(quality.items()))
    if quality_score is not None:
        measured = {"quality_score": quality_score, **measured}
    return tuple(
        Measurement(
            code=load("quality_measures").translate(name, code_system.QUALITY_MEASURES),
            value=round(value, _DIGITS),
            unit=load("measurement_units").translate(name, code_system.QUALITY_MEASURES).code,
            output=name,
        )
        for name, value in measured.items()
    )


def _finding(name: str, system: str, probability: float, threshold: float | None) -> Finding:
    code = load("findings").translate(name, system)
    if threshold is None:
        raise MappingRefused(
            "finding.threshold-missing", name, "the model gives no threshold for an output that is reported"
        )
    if not (0.0 <= probability <= 1.0 and 0.0 <= threshold <= 1.0):
        raise MappingRefused("finding.probability-range", name, "a probability and its threshold lie between 0 and 1")
    probability, threshold = round(probability, _DIGITS), round(threshold, _DIGITS)
    present = probability >= threshold
    answer = "present" if present else "absent"
    return Finding(
        code=code,
        value=load("answers").translate(answer, code_system.OWN_ANSWERS),
        probability=probability,
        threshold=threshold,
        interpretation=load("interpretations").translate(answer, code_system.OWN_ANSWERS),
        body_site=load("body_sites").target(name, system),
        conclusion=load("conclusions").target(name, system) if present else None,
        output=name,
    )
