"""Where the bounds of the quality gate come from: percentiles of each measure over clean films of the training split.

A film earns the full score while at most a quarter of the training films are worse. It is refused where it is worse than all but
0.1 % of them by another half of the distance between the two: a gate at the edge of one hospital's films would refuse every
second hospital's.
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from inference.manifest import Limit, Quality
from inference.quality.gate import require_quality
from inference.refusal import InferenceRefused

MEASURES = (
    "contrast",
    "saturation",
    "sharpness",
    "snr_db",
)  # in this order they are judged: without contrast the rest means little
WORST_PERCENT, TYPICAL_PERCENT = 0.1, 25.0  # of films that are worse, on the bad side of the measure
MARGIN = 0.5  # of the distance between the two percentiles
_HIGH_IS_BAD = {"saturation"}

Measured = Mapping[str, float]


def read_measurements(path: Path, split: str) -> tuple[Measured, ...]:
    """The rows of one split of a `quality_calibration.csv`."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == split]
    return tuple({name: float(row[name]) for name in MEASURES} for row in rows)


def limits_of(films: Sequence[Measured]) -> tuple[Limit, ...]:
    """Full score at the 25th percentile, counted from the bad side, and the bound half a distance beyond the 0.1th."""
    limits = []
    for name in MEASURES:
        values = [film[name] for film in films]
        percents = [100 - p if name in _HIGH_IS_BAD else p for p in (WORST_PERCENT, TYPICAL_PERCENT)]
        rare, typical = (float(value) for value in np.percentile(values, percents))
        worst = rare - MARGIN * (typical - rare)
        limits.append(Limit.model_validate({"measure": name, "worst": round(worst, 4), "typical": round(typical, 4)}))
    return tuple(limits)


def false_alarms(films: Sequence[Measured], quality: Quality) -> float:
    """The share of these films, clean by assumption, that the gate refuses."""
    return sum(_refused(film, quality) for film in films) / len(films)


def _refused(film: Measured, quality: Quality) -> bool:
    try:
        require_quality(film, quality)
    except InferenceRefused:
        return True
    return False
