"""The blocks of the network and the augmentation. Built-in Keras layers only, so that what is saved loads in safe mode."""

import math

import keras
from keras import layers as L
from keras import ops


def convolution(x, filters, kernel=3, strides=1, activation="relu"):
    x = L.Conv2D(filters, kernel, strides=strides, padding="same", use_bias=False, kernel_initializer="he_normal")(x)
    x = L.BatchNormalization(momentum=0.97)(x)
    return L.Activation(activation)(x) if activation else x


def squeeze(x, filters):
    gate = L.Dense(max(filters // 8, 4), activation="relu")(L.GlobalAveragePooling2D(keepdims=True)(x))
    return L.Multiply()([x, L.Dense(filters, activation="sigmoid")(gate)])


def residual(x, filters, strides=1):
    """Two convolutions with a squeeze-and-excitation gate around a shortcut."""
    shortcut = x
    if strides != 1 or x.shape[-1] != filters:
        if strides != 1:
            shortcut = L.AveragePooling2D(strides, strides, padding="same")(shortcut)
        shortcut = convolution(shortcut, filters, 1, 1, None)
    y = convolution(x, filters, 3, strides)
    y = squeeze(convolution(y, filters, 3, 1, None), filters)
    return L.Activation("relu")(L.Add()([shortcut, y]))


def head(x, name):
    """A float32 probability; its layer `<name>_logit` carries the temperature after calibration."""
    logit = L.Dense(1, dtype="float32", name=f"{name}_logit")(x)
    return L.Activation("sigmoid", dtype="float32", name=name)(logit)


def cross_entropy(target, probability, smooth=0.0):
    target = target * (1 - 2 * smooth) + smooth
    p = ops.clip(probability, 1e-6, 1 - 1e-6)
    return -(target * ops.log(p) + (1 - target) * ops.log(1 - p))


class Augmentation:
    """Random numbers for one augmentation; per-sample values broadcast over [batch, 1, 1, ...]."""

    def __init__(self, seed):
        self.seed = keras.random.SeedGenerator(seed)

    def uniform(self, x, low, high, rank=None):
        rank = len(x.shape) if rank is None else rank
        return keras.random.uniform((ops.shape(x)[0], *[1] * (rank - 1)), low, high, seed=self.seed)

    def noise(self, x, most):
        return x + self.uniform(x, 0.0, most) * keras.random.normal(ops.shape(x), seed=self.seed)

    def tone(self, x, gamma=0.25, gain=0.15, offset=0.08):
        """Gamma, contrast and brightness of pictures in 0..1."""
        x = ops.power(ops.clip(x, 1e-4, 1.5), ops.exp(self.uniform(x, -gamma, gamma)))
        return x * self.uniform(x, 1 - gain, 1 + gain) + self.uniform(x, -offset, offset)

    def affine(self, x, degrees=10.0, scale=0.1, shift=0.1, stretch=0.05):
        """Rotation, scale, shift and aspect of [batch, rows, columns, channels]; outside is zero."""
        height, width = x.shape[1], x.shape[2]
        angle = self.uniform(x, -degrees, degrees, 2) * (math.pi / 180)
        size = ops.exp(self.uniform(x, -scale, scale, 2))
        aspect = ops.exp(self.uniform(x, -stretch, stretch, 2))
        sx, sy = size * aspect, size / aspect
        dx, dy = self.uniform(x, -shift, shift, 2) * width, self.uniform(x, -shift, shift, 2) * height
        cos, sin = ops.cos(angle), ops.sin(angle)
        cx, cy = (width - 1) / 2, (height - 1) / 2
        a, b, d, e = cos * sx, -sin * sy, sin * sx, cos * sy
        c, f = cx + dx - a * cx - b * cy, cy + dy - d * cx - e * cy
        matrix = ops.concatenate([a, b, c, d, e, f, ops.zeros_like(a), ops.zeros_like(a)], axis=1)
        return ops.image.affine_transform(x, matrix, "bilinear", "constant", 0.0, data_format="channels_last")

    def erase(self, x, chance=0.3, low=0.05, high=0.25):
        """One random rectangle of [batch, rows, columns, channels] set to a random grey."""
        height, width = x.shape[1], x.shape[2]
        rows = ops.reshape(ops.arange(height, dtype="float32") / height, (1, height, 1, 1))
        columns = ops.reshape(ops.arange(width, dtype="float32") / width, (1, 1, width, 1))
        h, w = self.uniform(x, low, high), self.uniform(x, low, high)
        top, left = self.uniform(x, 0.0, 1.0) * (1 - h), self.uniform(x, 0.0, 1.0) * (1 - w)
        inside = (rows >= top) & (rows < top + h) & (columns >= left) & (columns < left + w)
        inside = inside & (self.uniform(x, 0.0, 1.0) < chance)
        return ops.where(inside, self.uniform(x, 0.0, 0.8), x)
