import pytest

from mappings.code import Code
from mappings.model_findings import findings_of, measurements_of
from mappings.refusal import MappingRefused

SCT = "http://snomed.info/sct"
PRESENT, ABSENT = Code("52101004", SCT, "Present"), Code("2667000", SCT, "Absent")


@pytest.mark.parametrize(
    ("probability", "value", "interpretation", "concluded"),
    [
        (0.9, PRESENT, "POS", True),
        (0.3, PRESENT, "POS", True),
        (0.2999, ABSENT, "NEG", False),
        (0.0, ABSENT, "NEG", False),
    ],
)
def test_a_probability_becomes_a_finding(probability: float, value: Code, interpretation: str, concluded: bool) -> None:
    (finding,) = findings_of("xray_pneumonia", {"pneumonia": probability}, {"pneumonia": 0.3})

    assert (finding.value, finding.interpretation and finding.interpretation.code) == (value, interpretation)
    assert finding.code == Code("233604007", SCT, "Pneumonia")
    assert finding.body_site == Code("39607008", SCT, "Lung structure")
    assert (finding.conclusion is not None) is concluded
    assert (finding.probability, finding.threshold, finding.output) == (probability, 0.3, "pneumonia")


def test_the_numbers_shown_are_the_numbers_that_decided() -> None:
    (finding,) = findings_of("xray_pneumonia", {"pneumonia": 0.306281}, {"pneumonia": 0.306289})

    assert (finding.probability, finding.threshold, finding.value) == (0.3063, 0.3063, PRESENT)


def test_an_output_that_is_not_to_be_shown_is_left_out() -> None:
    assert findings_of("xray_pneumonia", {"viral": 0.99}, {"viral": 0.5}) == ()


@pytest.mark.parametrize(
    ("model", "outputs", "thresholds", "code"),
    [
        ("xray_pneumonia", {"fracture": 0.5}, {"fracture": 0.5}, "mapping.code-missing"),
        ("another", {"pneumonia": 0.5}, {"pneumonia": 0.5}, "mapping.code-missing"),
        ("xray_pneumonia", {"pneumonia": 0.5}, {}, "finding.threshold-missing"),
        ("xray_pneumonia", {"pneumonia": 1.5}, {"pneumonia": 0.5}, "finding.probability-range"),
        ("xray_pneumonia", {"pneumonia": float("nan")}, {"pneumonia": 0.5}, "finding.probability-range"),
    ],
)
def test_what_cannot_be_said_is_refused(
    model: str, outputs: dict[str, float], thresholds: dict[str, float], code: str
) -> None:
    with pytest.raises(MappingRefused) as caught:
        findings_of(model, outputs, thresholds)

    assert caught.value.code == code


def test_quality_measures_carry_their_units_and_the_score_comes_first() -> None:
    found = measurements_of({"snr_db": 21.54321, "contrast": 0.2}, 0.93)

    assert [(item.output, item.value, item.unit) for item in found] == [
        ("quality_score", 0.93, "1"),
        ("contrast", 0.2, "1"),
        ("snr_db", 21.5432, "dB"),
    ]


def test_an_unknown_quality_measure_is_refused() -> None:
    with pytest.raises(MappingRefused, match=r"mapping\.code-missing"):
        measurements_of({"aura": 1.0})
