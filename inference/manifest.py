"""What a model package declares, as data: `models/<name>/manifest.toml`, read strictly. Nothing here loads a network."""

import hashlib
import json
import tomllib
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from inference.refusal import InferenceRefused

MODELS = Path(__file__).parent / "models"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Scope(_Strict):
    """What the model may be asked about. Ages in years, the upper one excluded; everything else is DICOM terms.

    `view_codes` maps SCT codes of ViewCodeSequence (PS3.16 CID 4010) to ViewPosition terms. `body_part_words` are looked for in
    the study's and series' descriptions where BodyPartExamined is absent.
    """

    modalities: tuple[str, ...]
    sop_classes: tuple[str, ...]
    body_parts: tuple[str, ...]
    body_part_words: tuple[str, ...]
    views: tuple[str, ...]
    view_codes: dict[str, str]
    view_caveats: dict[str, str]
    unknown_view: Literal["refuse", "caveat"]
    age_from: float
    age_below: float
    smallest_side: int  # pixels
    geometry_tolerated: tuple[str, ...]


class ModelInput(_Strict):
    """The array the network takes, batch first, and its value range."""

    name: str
    shape: tuple[int, ...]
    dtype: Literal["float32"]
    range: tuple[float, float]


class Step(_Strict):
    """A named preprocessing step (`inference.preprocess`) and its parameters."""

    step: Literal["invert_monochrome1", "resize", "stretch_percentiles"]
    parameters: dict[str, float] = {}


class Output(_Strict):
    """A number the network gives. Only a `reported` output leaves the package; `unit` is UCUM."""

    name: str
    kind: Literal["probability"]
    unit: str
    range: tuple[float, float]
    threshold: float
    reported: bool
    meaning: str


class Weights(_Strict):
    """The weights file beside the manifest and its SHA-256."""

    file: str
    sha256: str


class Explanation(_Strict):
    """How the attribution map is made: the method, the layer it reads, the output it explains."""

    method: Literal["grad-cam"]
    layer: str
    output: str


class Limit(_Strict):
    """The bound of one quality measure: `worst` is the last accepted value, `typical` the one that earns a full score."""

    measure: Literal["snr_db", "contrast", "sharpness", "saturation"]
    worst: float
    typical: float


class Quality(_Strict):
    """The quality gate: after which step it measures, its bounds, how they were found, how often it refuses clean films."""

    measured_after: Literal["invert_monochrome1", "resize"]
    limits: tuple[Limit, ...]
    calibration: str
    false_alarms: float
    false_alarms_set: str


class SelfTest(_Strict):
    """Input `RandomState(seed).random_sample(shape)` must give these outputs within `tolerance`."""

    seed: int
    tolerance: float
    expected: dict[str, float]


class Evidence(_Strict):
    """One measured figure with its 95 % interval, recomputed from `predictions.csv` by `inference.evaluation`."""

    data_set: str
    split: str
    metric: str
    value: float
    interval: tuple[float, float]
    n: int
    groups: int


class ModelManifest(_Strict):
    """Everything a model package says of itself."""

    name: str
    version: str
    display: str
    task: str
    intended_use: str
    not_for: tuple[str, ...]
    limits: str
    licence: str
    enabled_by_default: bool
    folder: Path
    scope: Scope
    input: ModelInput
    preprocessing: tuple[Step, ...]
    outputs: tuple[Output, ...]
    weights: Weights
    explanation: Explanation
    quality: Quality
    self_test: SelfTest
    evidence: tuple[Evidence, ...]

    @property
    def weights_path(self) -> Path:
        return self.folder / self.weights.file

    @cached_property
    def reported(self) -> tuple[Output, ...]:
        return tuple(output for output in self.outputs if output.reported)

    def verify_weights(self) -> str:
        """The SHA-256 of the weights file, which is the declared one.

        Raises InferenceRefused `model.weights-missing`, `model.weights-changed`.
        """
        try:
            with self.weights_path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            raise InferenceRefused("model.weights-missing", self.name, "the weights file cannot be read") from None
        if digest != self.weights.sha256:
            raise InferenceRefused("model.weights-changed", self.name, "the weights are not those of the manifest")
        return digest


def read_manifest(folder: Path) -> ModelManifest:
    """The manifest in this folder. Raises InferenceRefused `model.manifest` naming the offending key."""
    try:
        declared = tomllib.loads((folder / "manifest.toml").read_text(encoding="utf-8"))
        return ModelManifest.model_validate_json(json.dumps(declared | {"folder": str(folder)}))
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors(include_input=False, include_url=False)[0]["loc"])
        raise InferenceRefused(
            "model.manifest", f"{folder.name}: {where}", "a key is unknown, missing or wrong"
        ) from None
    except (OSError, ValueError):
        raise InferenceRefused("model.manifest", folder.name, "the manifest cannot be read as TOML") from None


def available(models: Path = MODELS) -> tuple[ModelManifest, ...]:
    """The manifests of all installed models, by name. Raises InferenceRefused `model.manifest`."""
    return tuple(read_manifest(path.parent) for path in sorted(models.glob("*/manifest.toml")))


def manifest_of(name: str, models: Path = MODELS) -> ModelManifest:
    """The manifest of one model. Raises InferenceRefused `model.unknown`."""
    for manifest in available(models):
        if manifest.name == name:
            return manifest
    raise InferenceRefused("model.unknown", "models", "no model of this name is installed")
