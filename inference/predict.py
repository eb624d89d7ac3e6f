"""The story of one prediction: a folder of de-identified images and a model package in, a Prediction out."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np

from inference.explanation import Array, grad_cam, overlay, save_overlay
from inference.film import Instance, digest_of, read_film, read_instances
from inference.manifest import Explanation, ModelManifest
from inference.prediction import InputImage, Prediction
from inference.preprocess import prepare
from inference.quality import measure, quality_score, require_quality
from inference.refusal import InferenceRefused
from inference.scope import choose


class Package(Protocol):
    """A loaded model package: its manifest and its network (`inference.runtime`)."""

    @property
    def manifest(self) -> ModelManifest: ...

    def answer(self, picture: Array) -> Mapping[str, float]:
        """Every output for one input array [rows, columns, channels]."""

    def gradients(self, picture: Array, explained: Explanation) -> tuple[Array, Array]:
        """A layer's activations, and the gradients of the output's logit with respect to them, [rows, columns, channels]."""


def predict(folder: Path, package: Package, into: Path) -> Prediction:
    """What the model says about the study in `folder`; the attribution picture is written into `into`.

    A study out of scope, of poor quality or not decodable gives a Prediction with status `refused` and the reason.
    Raises InferenceRefused `dicom.not-deidentified`, `dicom.no-instances`, `dicom.several-studies`: these are never a result.
    """
    started, manifest = time.monotonic(), package.manifest
    instances = read_instances(folder)
    require_deidentified(instances)
    said = Prediction(manifest.name, manifest.version, manifest.weights.sha256, "refused", one_study(instances))
    try:
        chosen = choose(manifest.scope, instances)
        instance = InputImage(chosen.instance.text("SOPInstanceUID"), digest_of(chosen.instance.path))
        said = replace(said, inputs=(instance,), caveats=chosen.caveats)
        on_grid, ready = prepare(read_film(chosen.instance), manifest.preprocessing, manifest.quality.measured_after)
        quality = measure(on_grid)
        said = replace(said, quality=quality, quality_score=quality_score(quality, manifest.quality))
        require_quality(quality, manifest.quality)
        picture = ready.pixels[..., np.newaxis]
        answer = package.answer(picture)
        png = overlay(ready.pixels, grad_cam(*package.gradients(picture, manifest.explanation)))
        said = replace(
            said,
            status="analysed",
            outputs={output.name: answer[output.name] for output in manifest.reported},
            thresholds={output.name: output.threshold for output in manifest.reported},
            picture=save_overlay(png, into, manifest.name),
            picture_method=manifest.explanation.method,
        )
    except InferenceRefused as refusal:
        said = replace(said, reason=refusal.code, explanation=refusal.explanation)
    return replace(said, seconds=round(time.monotonic() - started, 3))


def require_deidentified(instances: Sequence[Instance]) -> None:
    """Every file says Patient Identity Removed YES (0012,0062). Raises InferenceRefused `dicom.not-deidentified`."""
    for number, instance in enumerate(instances):
        if instance.text("PatientIdentityRemoved") != "YES":
            where = f"file {number}, (0012,0062)"
            raise InferenceRefused("dicom.not-deidentified", where, "an instance is not marked de-identified")


def one_study(instances: Sequence[Instance]) -> str:
    """The Study Instance UID that all files share. Raises InferenceRefused `dicom.several-studies`."""
    studies = {instance.text("StudyInstanceUID") for instance in instances}
    if len(studies) != 1:
        raise InferenceRefused(
            "dicom.several-studies", "StudyInstanceUID", "the folder holds instances of several studies"
        )
    return studies.pop()
