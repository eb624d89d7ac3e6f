import re

import pytest

from mappings.finding import Report
from mappings.model_findings import measurements_of
from mappings.narrative import narrative_of, number
from tests.support.reports import a_refused_report, a_report


def everything(report: Report) -> str:
    narrative = narrative_of(report)
    return " ".join((*narrative.findings, narrative.conclusion()))


@pytest.mark.parametrize(
    "report", [a_report(0.9), a_report(0.1), a_refused_report()], ids=["present", "absent", "refused"]
)
def test_every_report_says_what_it_is(report: Report) -> None:
    text = everything(report)

    for words in (
        "Preliminary",
        "AI",
        "Not for clinical use",
        "radiologist must read",
        "version 1.0.0",
        "Limits: Children of 1",
    ):
        assert words in text
    assert "normal" not in text.lower()


def test_a_present_finding_is_said_with_its_numbers() -> None:
    narrative = narrative_of(a_report(0.87))

    assert narrative.findings[0] == "Pneumonia: present (probability 0.87, present from 0.3 on)."
    assert narrative.impression == ("Pneumonia: the AI model finds it present (probability 0.87).",)


def test_an_absent_finding_excludes_nothing() -> None:
    (impression,) = narrative_of(a_report(0.1)).impression

    assert "does not find it" in impression
    assert "does not exclude it" in impression


def test_a_refused_study_has_its_reason_and_no_finding() -> None:
    narrative = narrative_of(a_refused_report())

    assert narrative.impression == (
        "Not analysed because the patient is 41 years old and the model is for children from 1 to under 6 years "
        "(reason code scope.age).",
    )
    assert "Pneumonia" not in " ".join((*narrative.findings, *narrative.impression, *narrative.recommendations))


def test_what_was_measured_before_the_refusal_is_said() -> None:
    report = a_refused_report(measurements=measurements_of({"snr_db": 3.25}))

    assert narrative_of(report).findings == (
        "The AI model makes no statement about these images.",
        "Signal to Noise Ratio: 3.25 dB.",
    )


def test_no_number_is_said_that_the_report_does_not_hold() -> None:
    report = a_report(0.87)
    held = {"0.87", "0.3", "0.93", "21.5", "0"}  # probability, threshold, quality score, SNR, saturation
    of_the_model = {"1.0.0", "1", "5"}

    assert set(re.findall(r"\d+(?:\.\d+)*", everything(report))) == held | of_the_model


def test_caveats_are_said() -> None:
    assert "Caveat: The film is postero-anterior." in everything(a_report(caveats=("The film is postero-anterior.",)))


def test_a_report_without_findings_says_nothing_about_the_images() -> None:
    assert narrative_of(a_report(findings=())).impression == ("The AI model makes no statement about these images.",)


@pytest.mark.parametrize(
    ("value", "text"), [(0.5, "0.5"), (1.0, "1"), (0.0, "0"), (-0.00001, "0"), (0.87345, "0.8734"), (120.0, "120")]
)
def test_numbers_are_written_plainly(value: float, text: str) -> None:
    assert number(value) == text
