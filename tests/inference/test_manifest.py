"""What a model package declares, and that nothing else is accepted."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from inference.manifest import MODELS, ModelManifest, Step, available, manifest_of, read_manifest
from inference.preprocess import STEPS
from inference.refusal import InferenceRefused

SHIPPED = available()


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the shipped package without its weights."""
    folder = tmp_path / "xray_pneumonia"
    folder.mkdir()
    shutil.copy(MODELS / "xray_pneumonia" / "manifest.toml", folder)
    return folder


def edited(package: Path, old: str, new: str) -> Path:
    manifest = package / "manifest.toml"
    text = manifest.read_text(encoding="utf-8")
    assert old in text
    manifest.write_text(text.replace(old, new, 1), encoding="utf-8")
    return package


def test_the_x_ray_model_is_installed() -> None:
    assert [(manifest.name, manifest.version) for manifest in SHIPPED] == [("xray_pneumonia", "1.0.0")]


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ('name = "xray_pneumonia"', 'name = "xray_pneumonia"\ncolour = "blue"', "colour"),
        ("age_below = 6.0", "age_below = 6.0\nage_above = 7.0", "scope.age_above"),
        ("age_below = 6.0", "", "scope.age_below"),
        ("age_below = 6.0", 'age_below = "6"', "scope.age_below"),
        ('unknown_view = "refuse"', 'unknown_view = "ignore"', "scope.unknown_view"),
        ('step = "resize"', 'step = "enlarge"', "preprocessing.1.step"),
    ],
)
def test_a_key_that_is_unknown_missing_or_wrong_is_named(package: Path, old: str, new: str, where: str) -> None:
    with pytest.raises(InferenceRefused) as caught:
        read_manifest(edited(package, old, new))
    assert (caught.value.code, caught.value.where) == ("model.manifest", f"xray_pneumonia: {where}")


def test_a_manifest_that_is_no_toml_is_refused(package: Path) -> None:
    (package / "manifest.toml").write_text("name =", encoding="utf-8")
    with pytest.raises(InferenceRefused) as caught:
        read_manifest(package)
    assert caught.value.code == "model.manifest"


def test_a_model_that_is_not_installed_is_unknown() -> None:
    with pytest.raises(InferenceRefused) as caught:
        manifest_of("ct_telepathy")
    assert caught.value.code == "model.unknown"


@pytest.mark.parametrize("manifest", SHIPPED, ids=lambda manifest: manifest.name)
class TestEveryShippedModel:
    def test_has_the_weights_that_it_declares(self, manifest: ModelManifest) -> None:
        assert manifest.verify_weights() == manifest.weights.sha256

    def test_lies_in_a_folder_of_its_name_with_card_and_licence(self, manifest: ModelManifest) -> None:
        files = {path.name for path in manifest.folder.iterdir()}
        assert manifest.folder.name == manifest.name
        assert {"MODEL_CARD.md", "LICENSE", "predictions.csv"} <= files

    def test_says_what_it_is_not_for(self, manifest: ModelManifest) -> None:
        assert manifest.intended_use
        assert manifest.not_for
        assert "not cleared" in manifest.limits.lower()

    def test_explains_and_tests_outputs_that_it_has(self, manifest: ModelManifest) -> None:
        names = {output.name for output in manifest.outputs}
        assert manifest.explanation.output in {output.name for output in manifest.reported}
        assert set(manifest.self_test.expected) == names

    def test_measures_its_quality_after_a_step_that_it_takes(self, manifest: ModelManifest) -> None:
        assert manifest.quality.measured_after in [step.step for step in manifest.preprocessing]


def test_viral_pneumonia_is_not_reported() -> None:
    assert [output.name for output in manifest_of("xray_pneumonia").reported] == ["pneumonia"]


def test_changed_weights_are_noticed(package: Path) -> None:
    (package / "model.keras").write_bytes(b"other weights")
    with pytest.raises(InferenceRefused) as caught:
        read_manifest(package).verify_weights()
    assert caught.value.code == "model.weights-changed"


def test_missing_weights_are_noticed(package: Path) -> None:
    with pytest.raises(InferenceRefused) as caught:
        read_manifest(package).verify_weights()
    assert caught.value.code == "model.weights-missing"


def test_every_step_that_a_manifest_may_name_exists() -> None:
    assert set(get_args(get_type_hints(Step)["step"])) == set(STEPS)


def test_reading_manifests_loads_no_tensorflow() -> None:
    code = "import sys, inference.manifest, inference.evaluation as e; inference.manifest.available(); sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
