"""The only file that imports TensorFlow: loads a model package, checks it, runs it. Used inside the model process only."""

import os

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

from inference.explanation import Array
from inference.manifest import Explanation, ModelManifest
from inference.refusal import InferenceRefused


def configure(threads: int) -> None:
    """Limit TensorFlow's threads and make its kernels deterministic; once, before the first model is loaded."""
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.set_visible_devices([], "GPU")  # the same numbers on every host
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(0)


class LoadedPackage:
    """A model package whose weights are the declared ones and whose network passed its self-test."""

    def __init__(self, manifest: ModelManifest) -> None:
        """Raises InferenceRefused `model.weights-missing`, `model.weights-changed`, `model.not-loadable`, `model.self-test`."""
        manifest.verify_weights()
        self.manifest = manifest
        self.network = _load(manifest)
        self._answer = tf.function(lambda batch: self.network(batch, training=False))
        self._gradients = {manifest.explanation: self._traced(manifest.explanation)}
        self.self_test()

    def answer(self, picture: Array) -> Mapping[str, float]:
        outputs = self._answer(tf.constant(picture[np.newaxis]))
        return {name: float(np.asarray(value).ravel()[0]) for name, value in outputs.items()}

    def gradients(self, picture: Array, explained: Explanation) -> tuple[Array, Array]:
        activations, gradients = self._gradients[explained](tf.constant(picture[np.newaxis]))
        return np.asarray(activations)[0], np.asarray(gradients)[0]

    def _traced(self, explained: Explanation) -> tf.types.experimental.PolymorphicFunction:
        try:
            layers = [self.network.get_layer(name) for name in (explained.layer, f"{explained.output}_logit")]
        except ValueError:
            raise InferenceRefused("model.not-loadable", self.manifest.name, "the explanation names no layer") from None
        part = keras.Model(self.network.inputs, [layer.output for layer in layers])

        def gradients(batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            with tf.GradientTape() as tape:
                tape.watch(batch)
                activations, logit = part(batch, training=False)
            return activations, tape.gradient(logit, activations)

        return tf.function(gradients)

    def self_test(self) -> None:
        """The probe of the manifest gives the outputs of the manifest. Raises InferenceRefused `model.self-test`."""
        test = self.manifest.self_test
        probe = np.random.RandomState(test.seed).random_sample((1, *self.manifest.input.shape))[0].astype(np.float32)
        self.gradients(probe, self.manifest.explanation)  # compiled now, not while a film waits
        answer = self.answer(probe)
        if set(answer) != set(test.expected):
            raise InferenceRefused(
                "model.self-test", self.manifest.name, "the network has other outputs than the manifest"
            )
        if any(not abs(answer[name] - expected) <= test.tolerance for name, expected in test.expected.items()):
            raise InferenceRefused(
                "model.self-test", self.manifest.name, "the network answers otherwise than when it was made"
            )


def _load(manifest: ModelManifest) -> keras.Model:
    try:
        return keras.models.load_model(manifest.weights_path, compile=False, safe_mode=True)
    except (OSError, ValueError, TypeError, KeyError):
        raise InferenceRefused("model.not-loadable", manifest.name, "Keras cannot load the network") from None
