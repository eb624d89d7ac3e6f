"""Packed sets into arrays, and batches out of them."""

import io
import os
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
from PIL import Image


def decode(data, offsets, shape):
    """Grey pictures out of one byte array as uint8 [n, rows, columns]."""
    result = np.zeros((len(offsets) - 1, *shape), np.uint8)

    def one(i):
        picture = Image.open(io.BytesIO(data[offsets[i] : offsets[i + 1]].tobytes()))
        result[i] = np.asarray(picture.convert("L"))

    with ThreadPoolExecutor(min(16, os.cpu_count() or 2)) as pool:
        list(pool.map(one, range(len(result))))
    return result


def load_set(path, shape, limit=0):
    """One packed set as a dict of arrays; with `limit` every k-th sample, about `limit` in all (a dry run)."""
    with np.load(path) as file:
        raw = {key: file[key] for key in file.files}
    data, offsets = raw.pop("image_bytes"), raw.pop("image_offsets")
    n = len(offsets) - 1
    chosen = np.arange(0, n, max(1, n // limit) if limit else 1)
    parts = [data[offsets[i] : offsets[i + 1]] for i in chosen]
    offsets = np.cumsum([0] + [len(part) for part in parts])
    return {key: value[chosen] for key, value in raw.items()} | {"image": decode(np.concatenate(parts), offsets, shape)}


def stretch(images, low=0.5, high=99.5):
    """Every picture's [low, high] percentile range mapped to 0..255 (rounded)."""
    result = np.empty_like(images)
    for i, image in enumerate(images):
        a, b = np.percentile(image, (low, high))
        result[i] = np.clip((image - a) * (255.0 / max(b - a, 1.0)) + 0.5, 0, 255).astype(np.uint8)
    return result


class Batches(keras.utils.PyDataset):
    """`steps` batches: indices from `sample(random state)`, rows gathered from arrays by `gather`."""

    def __init__(self, gather, sample, steps, random_state):
        super().__init__(workers=0)
        self.gather, self.sample, self.steps, self.random_state = gather, sample, steps, random_state

    def __len__(self):
        return self.steps

    def __getitem__(self, index):
        return (self.gather(self.sample(self.random_state)),)


def balanced(groups, shares, batch):
    """A sampler that draws given shares of a batch from each group of indices."""
    counts = [max(1, round(batch * share / sum(shares))) for share in shares[:-1]]
    counts.append(batch - sum(counts))

    def sample(random_state):
        drawn = zip(groups, counts, strict=True)
        return np.concatenate([random_state.choice(g, n, replace=n > len(g)) for g, n in drawn if n > 0 and len(g)])

    return sample
