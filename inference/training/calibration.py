"""Threshold, temperature and shift, all from the validation part only."""

import math

import numpy as np


def threshold_for(label, score):
    """The score with the best balanced accuracy (half-way between neighbouring scores)."""
    label, score = np.asarray(label).astype(bool), np.asarray(score, float)
    values = np.unique(score)
    if len(values) < 2 or label.all() or not label.any():
        return 0.5
    cuts = (values[1:] + values[:-1]) / 2
    quality = [((score[label] >= c).mean() + (score[~label] < c).mean()) / 2 for c in cuts]
    best = np.flatnonzero(np.array(quality) >= max(quality) - 1e-9)
    return float(cuts[best[len(best) // 2]])


def scaling_for(label, probability, lowest=0.3):
    """(T, b) with T >= lowest that minimise the log loss of sigmoid(logit / T + b): temperature, and a shift for the prior."""
    p = np.clip(np.asarray(probability, float), 1e-6, 1 - 1e-6)
    label, z = np.asarray(label, float), np.log(p / (1 - p))
    best = (np.inf, 1.0, 0.0)
    for t in np.exp(np.linspace(math.log(lowest), math.log(6), 61)):
        b = 0.0
        for _ in range(15):  # Newton's method for the shift
            p = 1 / (1 + np.exp(-np.clip(z / t + b, -30, 30)))
            b = float(np.clip(b - (p - label).mean() / max((p * (1 - p)).mean(), 1e-4), -6, 6))
        p = np.clip(1 / (1 + np.exp(-np.clip(z / t + b, -30, 30))), 1e-7, 1 - 1e-7)
        loss = -(label * np.log(p) + (1 - label) * np.log(1 - p)).mean()
        if loss < best[0] - 1e-9:
            best = (loss, float(t), b)
    return best[1], best[2]


def calibrate(network, output, temperature, shift=0.0):
    """Put temperature and shift into the output's logit layer, so that the saved network is calibrated as it stands."""
    layer = network.get_layer(f"{output}_logit")
    kernel, bias = layer.get_weights()
    layer.set_weights([kernel / temperature, bias / temperature + shift])
