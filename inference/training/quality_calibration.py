"""Measure the quality of every film of the X-ray set: `python -m inference.training.quality_calibration DATA OUT.csv`.

DATA is the folder with `labels.csv` and `images/` (see MODEL_CARD.md for its origin). The bounds in the manifest are
percentiles of the rows with split `train`; the false alarms are counted on those with split `test`.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
from PIL import Image

from inference.film import Film
from inference.quality.calibration import MEASURES
from inference.quality.measures import measure


def measurements(data):
    """(split, id, measure, ...) of every film that is not excluded as a duplicate."""
    with (data / "labels.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] in ("train", "val", "test")]
    for row in rows:
        pixels = np.asarray(Image.open(data / row["file"]).convert("L"), np.float32)
        measured = measure(Film(pixels, low=0.0, high=255.0, inverted=False))
        yield [row["split"], Path(row["file"]).stem, *(f"{measured[name]:.5f}" for name in MEASURES)]


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m inference.training.quality_calibration", description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args(argv)
    with options.out.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["split", "id", *MEASURES])
        writer.writerows(measurements(options.data))


if __name__ == "__main__":
    main()
