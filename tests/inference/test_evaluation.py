"""The metrics by hand calculation, and every figure of manifest and model card from the committed predictions."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.evaluation import (
    accuracy,
    agrees,
    auc,
    bootstrap,
    read_predictions,
    recompute,
    sensitivity,
    specificity,
)
from inference.manifest import ModelManifest, available
from inference.quality.calibration import false_alarms, limits_of, read_measurements

SHIPPED = available()
SCORES = st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1, max_size=30)


@pytest.mark.parametrize(
    ("label", "score", "expected"),
    [
        ([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], 0.75),  # three of four pairs in order
        ([0, 1], [0.5, 0.5], 0.5),
        ([0, 1, 1], [0.9, 0.1, 0.2], 0.0),
    ],
)
def test_auc_by_hand(label: list[int], score: list[float], expected: float) -> None:
    assert auc(np.array(label, bool), np.array(score)) == expected


@given(SCORES)
def test_auc_is_the_share_of_pairs_in_order(films: list[tuple[bool, int]]) -> None:
    sick = [score for label, score in films if label]
    healthy = [score for label, score in films if not label]
    found = auc(np.array([label for label, _ in films]), np.array([float(score) for _, score in films]))
    if not sick or not healthy:
        assert np.isnan(found)
    else:
        pairs = [(s > h) + (s == h) / 2 for s in sick for h in healthy]
        assert found == pytest.approx(sum(pairs) / len(pairs))


def test_the_rates_by_hand() -> None:
    label = np.array([1, 1, 1, 0, 0], bool)
    said = np.array([1, 1, 0, 1, 0], bool)
    assert (accuracy(label, said), sensitivity(label, said), specificity(label, said)) == (0.6, 2 / 3, 0.5)


def test_a_rate_of_nobody_is_no_number() -> None:
    everybody = np.ones(3, bool)
    assert np.isnan(specificity(everybody, everybody))
    assert np.isnan(sensitivity(~everybody, everybody))


def test_the_bootstrap_draws_whole_patients() -> None:
    patient = np.array(["a", "b", "a", "a", "b"])
    seen = set()

    def statistic(rows: np.ndarray) -> float:
        seen.add(tuple(sorted(rows)))
        return 0.0

    bootstrap(statistic, patient)
    # two draws of two patients: a and a, b and b, or both
    assert seen == {(0, 0, 2, 2, 3, 3), (1, 1, 4, 4), (0, 1, 2, 3, 4)}


def test_the_bootstrap_interval_of_a_mean_is_near_the_normal_one() -> None:
    values = np.random.RandomState(1).normal(0, 1, 400)
    low, high = bootstrap(lambda rows: float(values[rows].mean()), np.arange(400).astype(str))
    half = 1.96 * values.std() / 20  # standard error of the mean of 400
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.01)


def test_the_strict_part_leaves_out_patients_whose_number_is_in_training() -> None:
    (manifest,) = SHIPPED
    path = manifest.folder / "predictions.csv"
    assert len(read_predictions(path, "test").label) == 624
    assert len(read_predictions(path, "test.strict").label) == 304


@pytest.mark.parametrize("manifest", SHIPPED, ids=lambda manifest: manifest.name)
class TestEveryShippedModel:
    def test_has_evidence_that_its_predictions_give_again(self, manifest: ModelManifest) -> None:
        figures = recompute(manifest)
        wrong = [(e, f) for e, f in zip(manifest.evidence, figures, strict=True) if not agrees(e, f)]
        assert wrong == []

    def test_prints_its_evidence_on_the_card_and_no_other_figure(self, manifest: ModelManifest) -> None:
        card = (manifest.folder / "MODEL_CARD.md").read_text(encoding="utf-8")
        printed = re.findall(r"\| `([\w.]+)` \| (\w+) \| ([\d.]+) \[([\d.]+), ([\d.]+)\] \| (\d+) \| (\d+) \|", card)
        declared = [
            (
                e.split,
                e.metric,
                f"{e.value:.4f}",
                f"{e.interval[0]:.4f}",
                f"{e.interval[1]:.4f}",
                str(e.n),
                str(e.groups),
            )
            for e in manifest.evidence
        ]
        assert printed == declared

    def test_prints_its_quality_limits_on_the_card(self, manifest: ModelManifest) -> None:
        card = (manifest.folder / "MODEL_CARD.md").read_text(encoding="utf-8")
        printed = re.findall(r"\| `(\w+)` \| (?:dB|1) \| ([\d.]+) \| ([\d.]+) \|", card)
        assert printed == [(q.measure, f"{q.worst:g}", f"{q.typical:g}") for q in manifest.quality.limits]
        assert f"{manifest.quality.false_alarms:.2%} of the 624 test films" in card

    def test_has_quality_limits_from_its_training_films(self, manifest: ModelManifest) -> None:
        measured = manifest.folder / "quality_calibration.csv"
        assert manifest.quality.limits == limits_of(read_measurements(measured, "train"))

    def test_counts_its_false_alarms_on_the_test_films(self, manifest: ModelManifest) -> None:
        films = read_measurements(manifest.folder / "quality_calibration.csv", "test")
        assert len(films) == 624
        assert round(false_alarms(films, manifest.quality), 4) == manifest.quality.false_alarms


def test_other_figures_of_the_card_are_those_of_the_evidence() -> None:
    (manifest,) = SHIPPED
    card = (manifest.folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    known = {(e.split, e.metric): e.value for e in manifest.evidence}
    assert f"Adults: AUC {known['external', 'auc']:.4f}" in card
    path: Path = manifest.folder / "predictions.csv"
    threshold = manifest.reported[0].threshold
    for split, digits in (("val", "1.00"), ("test", "0.83")):
        predictions = read_predictions(path, split)
        assert f"{specificity(predictions.label, predictions.score >= threshold):.2f}" == digits
        assert digits in card
