from dataclasses import replace
from typing import Any

import pytest

from fhir_bridge.deid.crossing import Crossing, bring_back
from fhir_bridge.errors import Refused
from inference.prediction import InputImage, Prediction
from tests.support.crossings import Hospital, image
from tests.support.raw_film import STUDY, Film, text


def predictions(crossing: Crossing) -> tuple[Prediction, ...]:
    inputs = tuple(InputImage(path.name.removesuffix(".dcm"), "0" * 64) for path in crossing.study.files)
    analysed = Prediction("m", "1", "d", "analysed", crossing.study.study_instance_uid, inputs, {"pneumonia": 0.9})
    return (analysed, Prediction("n", "1", "d", "refused", reason="age"))


def test_predictions_come_back_with_the_original_uids_and_nothing_else_changed(hospital: Hospital) -> None:
    found = predictions(hospital.cross(image(1).to_bytes(), image(2).to_bytes()))
    back = bring_back(found, job="job-1", vault=hospital.vault)
    assert back[0].study_instance_uid == STUDY
    assert {each.sop_instance_uid for each in back[0].inputs} == {"1.2.3.301", "1.2.3.302"}
    assert replace(back[0], study_instance_uid="", inputs=()) == replace(found[0], study_instance_uid="", inputs=())
    assert back[1] == found[1]


def _swapped(prediction: Prediction) -> Prediction:
    image = prediction.inputs[0]
    return replace(
        prediction,
        study_instance_uid=image.sop_instance_uid,
        inputs=(replace(image, sop_instance_uid=prediction.study_instance_uid),),
    )


@pytest.mark.parametrize(
    "forge",
    [
        _swapped,
        lambda prediction: replace(prediction, study_instance_uid="2.25.1"),
        lambda prediction: replace(prediction, study_instance_uid=STUDY),
        lambda prediction: replace(prediction, study_instance_uid=""),
        lambda prediction: replace(prediction, inputs=(InputImage("1.2.3.301", "0"),)),
    ],
    ids=["swapped", "unknown", "original", "none", "original image"],
)
def test_a_forged_prediction_is_refused(hospital: Hospital, forge: Any) -> None:
    found = predictions(hospital.cross(image(1).to_bytes()))
    with pytest.raises(Refused) as refusal:
        bring_back((forge(found[0]),), job="job-1", vault=hospital.vault)
    assert refusal.value.code == "deid.foreign-pseudonym"


def test_a_prediction_of_another_job_is_refused(hospital: Hospital) -> None:
    found = predictions(hospital.cross(image(1).to_bytes(), job="job-1"))
    other = Film().put(text(0x00080018, "UI", "1.2.3.999"))
    hospital.cross(other.to_bytes(), job="job-2")
    with pytest.raises(Refused, match=r"deid\.foreign-pseudonym"):
        bring_back(found, job="job-2", vault=hospital.vault)


def test_a_prediction_from_before_the_last_crossing_is_refused(hospital: Hospital) -> None:
    replayed = predictions(hospital.cross(image(1).to_bytes()))
    hospital.cross(image(2).to_bytes())
    with pytest.raises(Refused, match=r"deid\.foreign-pseudonym"):
        bring_back(replayed, job="job-1", vault=hospital.vault)
