"""Pneumonia on chest films of children: train, calibrate, measure, save. `python -m inference.training.xray_pneumonia --help`

Official Kermany split; adults of NIH ChestX-ray14 only as an outside test that shows the limit. Runs on any Keras backend:
the shipped weights were trained by JAX on one H100 in 2.1 minutes (2,000 steps of 128 films); for a dry run on a laptop:
`--steps 3 --limit 60 --batch 4 --float32`. Writes OUT/{model.keras, predictions.csv, figures.json}.
"""

import argparse
import csv
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
from keras import Model, ops
from keras import layers as L

from inference.evaluation import evaluate, read_predictions
from inference.training.calibration import calibrate, scaling_for, threshold_for
from inference.training.data import balanced, load_set, stretch
from inference.training.fit import predict, train
from inference.training.network import convolution, cross_entropy, head, residual

SIZE = 224
METRICS = ("auc", "accuracy", "sensitivity", "specificity")


def build():
    inputs = L.Input((SIZE, SIZE, 1), name="image")
    x = convolution(inputs, 32, 5, 2)
    for filters, strides in ((32, 1), (64, 2), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1)):
        x = residual(x, filters, strides)
    x = L.Dropout(0.4)(L.GlobalAveragePooling2D()(x))
    return Model(inputs, {"pneumonia": head(x, "pneumonia"), "viral": head(x, "viral")})


def prepare(batch, random, training):
    x = ops.cast(batch["image"], "float32")[..., None] / 255.0
    if training:
        x = random.tone(random.affine(x, 12, 0.15, 0.08, 0.08), 0.35, 0.2, 0.1)
        x = ops.clip(random.erase(random.noise(x, 0.05)), 0, 1)
    return x, {"label": ops.cast(batch["label"], "float32"), "viral": ops.cast(batch["viral"], "float32")}


def loss(target, output):
    label, viral = target["label"], target["viral"]
    main_part = ops.mean(cross_entropy(label, output["pneumonia"][:, 0], 0.03))
    side = ops.sum(label * cross_entropy(viral, output["viral"][:, 0], 0.03)) / (ops.sum(label) + 1e-6)
    return main_part + 0.3 * side


def main(argv=None):
    options = _options(argv)
    data = load_set(options.packed / "xray_kermany_pneumonia.npz", (SIZE, SIZE), options.limit)
    adults = load_set(options.packed / "xray_nih_external.npz", (SIZE, SIZE), options.limit)
    network, done = _train(options, data)
    threshold, predicted = _calibrate_and_predict(options, network, data, adults)
    options.out.mkdir(parents=True, exist_ok=True)
    network.save(options.out / "model.keras", include_optimizer=False)
    _write_predictions(options.out / "predictions.csv", data, adults, predicted)
    figures = [
        asdict(figure)
        for split in ("val", "test", "test.strict", "external")
        for figure in evaluate(read_predictions(options.out / "predictions.csv", split), threshold, split, METRICS)
    ]
    record = {"steps": done, "threshold": threshold, "parameters": network.count_params(), "figures": figures}
    (options.out / "figures.json").write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps([(f["split"], f["metric"], f["value"]) for f in figures]))


def _train(options, data):
    images, label, viral = stretch(data["image"]), data["label"], data["subtype"] == "virus"
    part = data["split"] == "train"
    groups = [np.flatnonzero(part & chosen) for chosen in (label == 0, (label == 1) & ~viral, (label == 1) & viral)]

    def gather(i):
        return {"image": images[i], "label": label[i], "viral": viral[i]}

    return train(options, build, prepare, loss, gather, balanced(groups, (2, 1, 1), options.batch))


def _calibrate_and_predict(options, network, data, adults):
    """The threshold, and the calibrated probability of pneumonia: of every film of the set, and of every adult."""

    def predicted(films):
        images = stretch(films["image"])
        everything = np.arange(len(images))
        return predict(network, lambda i: images[i, ..., None].astype("float32") / 255, everything, options.batch)

    raw, label = predicted(data), data["label"]
    validation = data["split"] == "val"
    sick = validation & (label == 1)
    # the validation part is easier than the test: never sharpen
    calibrate(network, "pneumonia", *scaling_for(label[validation], raw["pneumonia"][validation], lowest=1.0))
    calibrate(network, "viral", *scaling_for(data["subtype"][sick] == "virus", raw["viral"][sick]))
    children = predicted(data)["pneumonia"]
    return threshold_for(label[validation], children[validation]), (children, predicted(adults)["pneumonia"])


def _write_predictions(path, data, adults, predicted):
    children, grown = predicted
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["set", "id", "patient", "subtype", "strict", "label", "pneumonia"])
        for split in ("val", "test"):
            for i in np.flatnonzero(data["split"] == split):
                strict = data["strict"][i] if split == "test" else ""
                known = [data[name][i] for name in ("id", "patient", "subtype")]
                writer.writerow([split, *known, strict, data["label"][i], f"{children[i]:.5f}"])
        for i, label in enumerate(adults["label"]):
            kind = "pneumonia" if label else "normal"
            writer.writerow(["external", adults["id"][i], adults["patient"][i], kind, "", label, f"{grown[i]:.5f}"])


def _options(argv):
    parser = argparse.ArgumentParser(prog="python -m inference.training.xray_pneumonia", description=__doc__)
    parser.add_argument("--packed", type=Path, required=True, help="folder that `inference.training.pack` wrote")
    parser.add_argument("--out", type=Path, default=Path("xray_pneumonia"), help="results go here")
    parser.add_argument("--minutes", type=float, default=4.0, help="upper bound for the training")
    parser.add_argument("--steps", type=int, default=2000, help="the learning rate follows them; 3 for a dry run")
    parser.add_argument("--limit", type=int, default=0, help="keep about N films of each set (dry run)")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rate", type=float, default=1e-3, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--float32", action="store_true", help="train in float32 instead of mixed bfloat16")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
