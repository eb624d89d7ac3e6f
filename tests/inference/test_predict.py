"""The story of a prediction on a package without TensorFlow: a network that answers with the mean of its input."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from inference.explanation import Array
from inference.manifest import Explanation, ModelManifest, manifest_of
from inference.predict import predict
from inference.prediction import Prediction
from inference.protocol import prediction_from_json, prediction_to_json
from inference.refusal import InferenceRefused
from tests.support.films import STUDY, a_chest, a_film

MANIFEST = manifest_of("xray_pneumonia")


@dataclass
class MeanPackage:
    """Answers with the mean grey value; what is bright speaks for it."""

    manifest: ModelManifest = MANIFEST

    def answer(self, picture: Array) -> Mapping[str, float]:
        assert picture.shape == self.manifest.input.shape
        assert picture.dtype == np.float32
        return {"pneumonia": float(picture.mean()), "viral": 0.5}

    def gradients(self, picture: Array, explained: Explanation) -> tuple[Array, Array]:
        return picture[::32, ::32], np.ones_like(picture[::32, ::32])


@pytest.fixture
def study(tmp_path: Path) -> Path:
    (tmp_path / "study").mkdir()
    return tmp_path / "study"


def test_a_film_in_scope_is_analysed(study: Path, tmp_path: Path) -> None:
    path = a_film(study / "film.dcm", pixels=a_chest(), view="AP")

    said = predict(study, MeanPackage(), tmp_path / "pictures")

    assert (said.status, said.reason, said.caveats) == ("analysed", "", ())
    assert (said.model, said.version, said.weights_digest) == ("xray_pneumonia", "1.0.0", MANIFEST.weights.sha256)
    assert said.study_instance_uid == STUDY
    assert [image.digest for image in said.inputs] == [hashlib.sha256(path.read_bytes()).hexdigest()]
    assert set(said.quality) == {"snr_db", "contrast", "sharpness", "saturation"}
    assert said.quality_score == 1
    assert (tmp_path / "pictures" / said.picture).read_bytes().startswith(b"\x89PNG")
    assert said.picture_method == "grad-cam"


def test_only_reported_outputs_leave_the_package(study: Path, tmp_path: Path) -> None:
    a_film(study / "film.dcm", pixels=a_chest())
    said = predict(study, MeanPackage(), tmp_path)
    assert set(said.outputs) == {"pneumonia"}
    assert dict(said.thresholds) == {"pneumonia": MANIFEST.reported[0].threshold}


def test_a_film_out_of_scope_gives_its_reason_and_no_number(study: Path, tmp_path: Path) -> None:
    a_film(study / "film.dcm", pixels=a_chest(), age="045Y")
    said = predict(study, MeanPackage(), tmp_path / "pictures")
    assert (said.status, said.reason, dict(said.outputs), said.picture) == ("refused", "scope.age", {}, "")
    assert said.quality_score is None
    assert not (tmp_path / "pictures").exists()


def test_a_bad_film_is_refused_with_its_measures(study: Path, tmp_path: Path) -> None:
    a_film(study / "film.dcm", pixels=(a_chest() // 10))
    said = predict(study, MeanPackage(), tmp_path)
    assert (said.status, said.reason, said.quality_score) == ("refused", "quality.contrast", 0)
    assert said.quality["contrast"] < next(q.worst for q in MANIFEST.quality.limits if q.measure == "contrast")
    assert len(said.inputs) == 1


def test_a_film_that_cannot_be_decoded_is_refused(study: Path, tmp_path: Path) -> None:
    a_film(study / "film.dcm", pixels=a_chest(), Rows=500)
    assert predict(study, MeanPackage(), tmp_path).reason == "dicom.undecodable"


def test_an_instance_without_its_uid_does_not_stop_the_process(study: Path, tmp_path: Path) -> None:
    path = a_film(study / "film.dcm", pixels=a_chest())
    dataset = dcmread(path)
    del dataset.SOPInstanceUID
    dataset.save_as(path)
    assert predict(study, MeanPackage(), tmp_path).inputs[0].sop_instance_uid == ""


def test_inverted_and_deeper_films_give_the_same_answer(study: Path, tmp_path: Path) -> None:
    plain = a_film(study / "film.dcm", pixels=a_chest())
    expected = predict(study, MeanPackage(), tmp_path).outputs["pneumonia"]
    a_film(plain, pixels=a_chest().astype(np.uint16) * 257, monochrome1=True, modality="CR")
    assert predict(study, MeanPackage(), tmp_path).outputs["pneumonia"] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("marked", [{"deidentified": False}, {"deidentified": False, "PatientIdentityRemoved": "NO"}])
def test_one_instance_that_is_not_marked_de_identified_stops_everything(
    study: Path, tmp_path: Path, marked: dict[str, object]
) -> None:
    a_film(study / "film.dcm", pixels=a_chest())
    a_film(study / "lateral.dcm", pixels=a_chest(), view="LL", **marked)  # type: ignore[arg-type]
    with pytest.raises(InferenceRefused) as caught:
        predict(study, MeanPackage(), tmp_path)
    assert caught.value.code == "dicom.not-deidentified"


def test_a_folder_with_two_studies_is_no_study(study: Path, tmp_path: Path) -> None:
    a_film(study / "one.dcm", pixels=a_chest())
    a_film(study / "two.dcm", pixels=a_chest(), StudyInstanceUID="2.25.7")
    with pytest.raises(InferenceRefused) as caught:
        predict(study, MeanPackage(), tmp_path)
    assert caught.value.code == "dicom.several-studies"


def test_a_prediction_survives_the_pipe(study: Path, tmp_path: Path) -> None:
    a_film(study / "film.dcm", pixels=a_chest())
    said: Prediction = predict(study, MeanPackage(), tmp_path)
    assert prediction_from_json(prediction_to_json(said)) == said
