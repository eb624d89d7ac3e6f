"""What TensorFlow is given to load: only declared weights, only built-in layers, only networks that pass their self-test."""

import hashlib
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inference.explanation import grad_cam
from inference.manifest import ModelManifest, manifest_of
from inference.refusal import InferenceRefused
from tests.support.films import a_chest

pytestmark = pytest.mark.tensorflow

MANIFEST = manifest_of("xray_pneumonia")
CHEST = (a_chest()[..., None] / 255).astype(np.float32)


@pytest.fixture(scope="module")
def load() -> Callable[[ModelManifest], Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of TensorFlow's own imports
        from inference.runtime import LoadedPackage
    return LoadedPackage


@pytest.fixture(scope="module")
def package(load: Callable[[ModelManifest], Any]) -> Any:
    return load(MANIFEST)


def with_weights(folder: Path, weights: Path) -> ModelManifest:
    """The shipped manifest over other weights, their digest declared."""
    shutil.copy(weights, folder / "model.keras")
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    declared = MANIFEST.weights.model_copy(update={"sha256": digest})
    return MANIFEST.model_copy(update={"folder": folder, "weights": declared})


def refusal_of(load: Callable[[ModelManifest], Any], manifest: ModelManifest) -> str:
    with pytest.raises(InferenceRefused) as caught:
        load(manifest)
    return caught.value.code


def test_the_shipped_model_gives_its_probe(package: Any) -> None:
    probe = np.random.RandomState(7).random_sample((1, 224, 224, 1))[0].astype(np.float32)
    assert package.answer(probe) == pytest.approx({"pneumonia": 0.999038, "viral": 0.128707}, abs=0.002)  # as trained


@pytest.mark.parametrize(
    "changed",
    [{"pneumonia": 0.99, "viral": 0.128707}, {"pneumonia": 0.999038}, {"pneumonia": float("nan"), "viral": 0.128707}],
)
def test_a_network_that_answers_otherwise_is_refused(
    load: Callable[[ModelManifest], Any], changed: dict[str, float]
) -> None:
    test = MANIFEST.self_test.model_copy(update={"expected": changed})
    assert refusal_of(load, MANIFEST.model_copy(update={"self_test": test})) == "model.self-test"


def test_weights_that_are_not_the_declared_ones_are_not_loaded(
    load: Callable[[ModelManifest], Any], tmp_path: Path
) -> None:
    (tmp_path / "model.keras").write_bytes(b"not these")
    assert refusal_of(load, MANIFEST.model_copy(update={"folder": tmp_path})) == "model.weights-changed"


def test_a_file_that_is_no_network_is_refused(load: Callable[[ModelManifest], Any], tmp_path: Path) -> None:
    (tmp_path / "garbage").write_bytes(b"PK\x03\x04 no zip")
    assert refusal_of(load, with_weights(tmp_path, tmp_path / "garbage")) == "model.not-loadable"


def test_a_network_that_carries_code_is_refused(load: Callable[[ModelManifest], Any], tmp_path: Path) -> None:
    import keras

    picture = keras.layers.Input((224, 224, 1), name="image")
    keras.Model(picture, keras.layers.Lambda(lambda x: x * 2)(picture)).save(tmp_path / "code.keras")
    assert refusal_of(load, with_weights(tmp_path, tmp_path / "code.keras")) == "model.not-loadable"


def test_a_layer_to_explain_that_does_not_exist_is_refused(load: Callable[[ModelManifest], Any]) -> None:
    explained = MANIFEST.explanation.model_copy(update={"layer": "activation_99"})
    assert refusal_of(load, MANIFEST.model_copy(update={"explanation": explained})) == "model.not-loadable"


def test_the_gradients_are_those_of_the_logit(package: Any) -> None:
    """A step along the gradient changes the logit by the square of its length (first order), in the layer's own space."""
    import keras

    activations, gradients = package.gradients(CHEST, MANIFEST.explanation)
    network = package.network
    layer, logit = network.get_layer("activation_44"), network.get_layer("pneumonia_logit")
    rest = keras.Model(layer.output, logit.output)
    step = 1e-3 / np.sqrt((gradients**2).sum())
    before, after = (float(rest(a[None])[0, 0]) for a in (activations, activations + step * gradients))
    assert (after - before) / step == pytest.approx(float((gradients**2).sum()), rel=0.02)


def test_the_map_changes_when_the_weights_are_randomised(load: Callable[[ModelManifest], Any]) -> None:
    """Sanity check of Adebayo et al., NeurIPS 2018: a map that survives random weights explains the picture, not the network."""
    loaded = load(MANIFEST)
    before = grad_cam(*loaded.gradients(CHEST, MANIFEST.explanation))
    random_state = np.random.RandomState(0)
    loaded.network.set_weights(
        [random_state.permutation(w.ravel()).reshape(w.shape) for w in loaded.network.get_weights()]
    )
    after = grad_cam(*loaded.gradients(CHEST, MANIFEST.explanation))
    assert before.max() == 1
    assert after.max() == 0 or abs(np.corrcoef(before.ravel(), after.ravel())[0, 1]) < 0.5
