"""Every figure of a model card, computed again from its `predictions.csv`: metrics and patient bootstrap, deterministic."""

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from inference.manifest import Evidence, ModelManifest

Labels = npt.NDArray[np.bool_]
Scores = npt.NDArray[np.float64]

BOOTSTRAP_DRAWS = 2000
_SEED = 0


@dataclass(frozen=True, slots=True)
class Predictions:
    """Held-out films: is pneumonia there, what the model said (0..1), and whose film it is."""

    label: Labels
    score: Scores
    patient: npt.NDArray[np.str_]

    def subset(self, chosen: npt.NDArray[np.bool_]) -> "Predictions":
        return Predictions(self.label[chosen], self.score[chosen], self.patient[chosen])


@dataclass(frozen=True, slots=True)
class Figure:
    """A metric with its 95 % bootstrap interval over patients."""

    split: str
    metric: str
    value: float
    interval: tuple[float, float]
    n: int
    groups: int


def read_predictions(path: Path, split: str, output: str = "pneumonia") -> Predictions:
    """One split of a `predictions.csv`, or a part of one.

    `test.strict` is the part of `test` whose patient number is absent from the training films; `test.bacteria` and
    `test.virus` are its normal films and those of one kind of pneumonia.
    """
    which, _, part = split.partition(".")
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["set"] == which]
    if part == "strict":
        rows = [row for row in rows if row["strict"] == "1"]
    elif part:
        rows = [row for row in rows if row["subtype"] in (part, "normal")]
    return Predictions(
        np.array([row["label"] == "1" for row in rows]),
        np.array([float(row[output]) for row in rows]),
        np.array([row["patient"] for row in rows]),
    )


def auc(label: Labels, score: Scores) -> float:
    """The area under the ROC curve as the Mann-Whitney statistic, ties counted half; nan where a class is absent."""
    positive, negative = int(label.sum()), int((~label).sum())
    if not positive or not negative:
        return float("nan")
    _, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return float((rank[label].sum() - positive * (positive + 1) / 2) / (positive * negative))


def accuracy(label: Labels, said: Labels) -> float:
    """The share of right answers."""
    return float((label == said).mean())


def sensitivity(label: Labels, said: Labels) -> float:
    """The share of the sick that were said to be sick; nan where nobody is."""
    return float(said[label].mean()) if label.any() else float("nan")


def specificity(label: Labels, said: Labels) -> float:
    """The share of the healthy that were said to be healthy; nan where nobody is."""
    return float((~said[~label]).mean()) if not label.all() else float("nan")


def bootstrap(statistic: Callable[[npt.NDArray[np.intp]], float], patient: npt.NDArray[np.str_]) -> tuple[float, float]:
    """[2.5 %, 97.5 %] of statistic(rows) over 2,000 draws of whole patients with replacement; draws without a value are left out."""
    random_state = np.random.RandomState(_SEED)
    _, group, sizes = np.unique(patient, return_inverse=True, return_counts=True)
    order, starts = np.argsort(group, kind="stable"), np.cumsum(sizes) - sizes
    values = []
    for _ in range(BOOTSTRAP_DRAWS):
        drawn = random_state.randint(0, len(sizes), len(sizes))
        # the positions start, start + 1, ... of every drawn patient, one after the other
        before = np.cumsum(sizes[drawn]) - sizes[drawn]
        rows = np.repeat(starts[drawn] - before, sizes[drawn]) + np.arange(sizes[drawn].sum())
        values.append(statistic(order[rows]))
    low, high = np.nanpercentile(values, (2.5, 97.5))
    return round(float(low), 4), round(float(high), 4)


def evaluate(predictions: Predictions, threshold: float, split: str, metrics: Sequence[str]) -> tuple[Figure, ...]:
    """The named metrics (`auc`, `accuracy`, `sensitivity`, `specificity`) of a split, rounded to four digits."""
    label, score = predictions.label, predictions.score
    said = score >= threshold
    rates: dict[str, Callable[[npt.NDArray[np.intp]], float]] = {
        "auc": lambda rows: auc(label[rows], score[rows]),
        "accuracy": lambda rows: accuracy(label[rows], said[rows]),
        "sensitivity": lambda rows: sensitivity(label[rows], said[rows]),
        "specificity": lambda rows: specificity(label[rows], said[rows]),
    }
    everything, groups = np.arange(len(label)), len(np.unique(predictions.patient))
    return tuple(
        Figure(
            split,
            name,
            round(rates[name](everything), 4),
            bootstrap(rates[name], predictions.patient),
            len(label),
            groups,
        )
        for name in metrics
    )


def recompute(manifest: ModelManifest) -> tuple[Figure, ...]:
    """The figures that the manifest's evidence declares, computed again, in its order."""
    threshold = next(output.threshold for output in manifest.reported)
    output = next(output.name for output in manifest.reported)
    found: dict[tuple[str, str], Figure] = {}
    for split in dict.fromkeys(evidence.split for evidence in manifest.evidence):
        metrics = [evidence.metric for evidence in manifest.evidence if evidence.split == split]
        predictions = read_predictions(manifest.folder / "predictions.csv", split, output)
        found |= {(split, figure.metric): figure for figure in evaluate(predictions, threshold, split, metrics)}
    return tuple(found[evidence.split, evidence.metric] for evidence in manifest.evidence)


def agrees(evidence: Evidence, figure: Figure) -> bool:
    """Whether a declared figure, its interval and its counts are the recomputed ones, to four digits."""
    declared = (evidence.value, *evidence.interval, evidence.n, evidence.groups)
    return declared == (figure.value, *figure.interval, figure.n, figure.groups)
