"""The training script runs end to end on a few drawn films; what it saves is what the package reads. Nothing is learnt here."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inference.evaluation import read_predictions
from inference.training import pack
from tests.support.films import a_chest

SPLITS = ("train", "train", "train", "val", "test")


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sets in the form of the published ones: six drawn films of each kind and split, and a few adults."""
    root = tmp_path_factory.mktemp("datasets")
    children = [
        (f"{kind}_{number}", kind, split)
        for kind in ("normal", "bacteria", "virus")
        for number, split in enumerate(SPLITS)
    ]
    a_set(root / "xray_kermany_pneumonia", children)
    a_set(root / "xray_nih_external", [("00000001_000", "normal", "external"), ("00000002_000", "virus", "external")])
    return root


def a_set(folder: Path, films: list[tuple[str, str, str]]) -> None:
    (folder / "images").mkdir(parents=True)
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "label", "subtype", "patient", "split", "test_strict"])
        for seed, (name, kind, split) in enumerate(films):
            Image.fromarray(a_chest(seed=seed)).save(folder / "images" / f"{name}.jpeg")
            label = "normal" if kind == "normal" else "pneumonia"
            writer.writerow([f"images/{name}.jpeg", label, kind, f"patient{seed}", split, int(split == "test")])


def test_the_sets_are_packed_with_their_labels(datasets: Path, tmp_path: Path) -> None:
    pack.main([str(datasets), str(tmp_path)])
    with np.load(tmp_path / "xray_kermany_pneumonia.npz") as packed:
        assert packed["label"].tolist() == [0] * 5 + [1] * 10
        assert packed["split"].tolist() == list(SPLITS) * 3
        assert packed["strict"].sum() == 3
        assert len(packed["image_offsets"]) == 16


def test_every_script_says_how_it_is_called() -> None:
    for name in ("pack", "quality_calibration"):
        ran = subprocess.run(
            [sys.executable, "-m", f"inference.training.{name}", "--help"], capture_output=True, check=True
        )
        assert b"usage: python -m inference.training" in ran.stdout


@pytest.mark.tensorflow
def test_a_dry_run_trains_measures_and_saves(datasets: Path, tmp_path: Path) -> None:
    pack.main([str(datasets), str(tmp_path / "packed")])
    command = [sys.executable, "-m", "inference.training.xray_pneumonia", "--packed", str(tmp_path / "packed")]
    options = ["--out", str(tmp_path / "out"), "--steps", "2", "--batch", "4", "--float32"]
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run([*command, *options], env=environment, check=True, capture_output=True, timeout=300)

    record = json.loads((tmp_path / "out" / "figures.json").read_text(encoding="utf-8"))
    assert (record["steps"], record["parameters"]) == (2, 2825910)  # as many weights as the shipped network
    assert {figure["split"] for figure in record["figures"]} == {"val", "test", "test.strict", "external"}
    assert len(read_predictions(tmp_path / "out" / "predictions.csv", "test.virus").label) == 2
    assert (tmp_path / "out" / "model.keras").is_file()
