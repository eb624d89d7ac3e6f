"""The timed trainer: cosine rate after a short warm-up, weights averaged exponentially over chunks of steps."""

import math
import time

import keras
import numpy as np

from inference.training.data import Batches
from inference.training.network import Augmentation


class Trainer(keras.Model):
    """Augments a batch, runs the network and computes the loss; exists at training time only, and is never saved.

    prepare(batch, augmentation, training) -> (network inputs, targets); loss(targets, outputs) -> scalar."""

    def __init__(self, network, prepare, loss, seed):
        super().__init__(dtype="float32")
        self.network, self.prepare, self.criterion = network, prepare, loss
        self.augmentation = Augmentation(seed)
        self.seed_generator = self.augmentation.seed  # tracked by Keras through this attribute

    def call(self, batch, training=False):
        inputs, targets = self.prepare(batch, self.augmentation, training)
        return {"targets": targets, "outputs": self.network(inputs, training=training)}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return self.criterion(y_pred["targets"], y_pred["outputs"])


def train(options, build, prepare, loss, gather, sample):
    """The trained network in float32, and the steps done: `options.steps`, or what `options.minutes` allow."""
    keras.utils.set_random_seed(options.seed)
    keras.config.set_dtype_policy("float32" if options.float32 else "mixed_bfloat16")
    trainer = Trainer(build(), prepare, loss, options.seed)
    optimizer = keras.optimizers.AdamW(options.rate, weight_decay=1e-2, clipnorm=1.0)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    jit = "auto" if keras.backend.backend() == "jax" else False
    trainer.compile(optimizer=optimizer, loss=None, jit_compile=jit)
    weights, done = _average_weights(options, trainer, gather, sample)
    keras.config.set_dtype_policy("float32")
    network = build()
    network.set_weights(weights)
    return network, done


def _average_weights(options, trainer, gather, sample, chunk=40, momentum=0.9):
    started, done, chunks, average, progress = time.time(), 0, 0, None, 0.0
    random_state = np.random.RandomState(options.seed)
    while progress < 1:
        warm = min(1.0, (chunks + 1) / 4)
        trainer.optimizer.learning_rate = warm * (0.01 + 0.495 * (1 + math.cos(math.pi * progress))) * options.rate
        steps = min(chunk, options.steps - done)
        history = trainer.fit(Batches(gather, sample, steps, random_state), epochs=1, verbose=0).history
        done, chunks = done + steps, chunks + 1
        current = trainer.network.get_weights()
        rate = min(momentum, chunks / (chunks + 4))
        average = (
            current if average is None else [rate * a + (1 - rate) * c for a, c in zip(average, current, strict=True)]
        )
        if not np.isfinite(history["loss"][0]):
            raise FloatingPointError(f"the loss is not finite after {done} steps")
        progress = max(done / options.steps, (time.time() - started) / (60 * options.minutes))
        print(f"step {done}, {time.time() - started:.0f} s, loss {history['loss'][0]:.4f}", flush=True)
    return average, done


def predict(network, gather, indices, batch):
    """A dict of output -> array for these samples, in batches of one size."""
    parts = []
    for start in range(0, len(indices), batch):
        part = indices[start : start + batch]
        padded = np.concatenate([part, np.repeat(part[:1], batch - len(part))])
        result = network.predict_on_batch(gather(padded))
        parts.append({key: np.asarray(value, np.float32)[: len(part), 0] for key, value in result.items()})
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
