"""The contract of the port Predictor: the same tests on the model process and on its twin."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from fhir_bridge.adapters.in_memory.predictor import InMemoryPredictor
from fhir_bridge.adapters.local_predictor import LocalPredictor
from fhir_bridge.errors import Refused
from fhir_bridge.ports import Predictor
from fhir_bridge.study import _CROSSED, DeidentifiedStudy
from inference.prediction import Prediction
from tests.support.films import STUDY, a_chest, a_film

MODEL = "xray_pneumonia"


@dataclass(frozen=True)
class Place:
    """A predictor, and a way to give it a study that it analyses or, with an adult's age, refuses."""

    predictor: Predictor
    study: Callable[[Path, str], DeidentifiedStudy]


def a_study(folder: Path, age: str = "004Y", **options: object) -> DeidentifiedStudy:
    folder.mkdir(parents=True)
    film = a_film(folder / "film.dcm", pixels=a_chest(), age=age, **options)  # type: ignore[arg-type]
    return DeidentifiedStudy(_CROSSED, folder, STUDY, (film,))


@pytest.fixture(scope="module")
def model_process() -> Iterator[LocalPredictor]:
    predictor = LocalPredictor()
    yield predictor
    predictor.close()


@pytest.fixture(params=["in_memory", pytest.param("local", marks=pytest.mark.tensorflow)])
def place(request: pytest.FixtureRequest) -> Place:
    if request.param == "local":
        return Place(request.getfixturevalue("model_process"), a_study)
    twin = InMemoryPredictor({MODEL: _analysed()})

    def study(folder: Path, age: str = "004Y") -> DeidentifiedStudy:
        twin.script = {MODEL: _analysed() if age == "004Y" else _refused()}
        return a_study(folder, age)

    return Place(twin, study)


def _analysed() -> Prediction:
    return Prediction(
        MODEL,
        "1.0.0",
        "0" * 64,
        "analysed",
        outputs={"pneumonia": 0.9},
        thresholds={"pneumonia": 0.3},
        picture=f"{MODEL}-attribution.png",
        picture_method="grad-cam",
    )


def _refused() -> Prediction:
    return Prediction(MODEL, "1.0.0", "0" * 64, "refused", reason="scope.age", explanation="Not of that age.")


def test_a_study_in_scope_gets_a_number_and_a_picture(place: Place, tmp_path: Path) -> None:
    study = place.study(tmp_path / "deidentified" / "study", "004Y")

    (prediction,) = place.predictor.analyse(study, [MODEL], tmp_path / "deidentified" / "analysis")

    assert (prediction.model, prediction.status, prediction.reason) == (MODEL, "analysed", "")
    assert prediction.study_instance_uid == STUDY
    assert set(prediction.outputs) == set(prediction.thresholds) == {"pneumonia"}
    assert (tmp_path / "deidentified" / "analysis" / prediction.picture).is_file()


def test_a_study_out_of_scope_is_a_result_and_no_error(place: Place, tmp_path: Path) -> None:
    study = place.study(tmp_path / "study", "045Y")

    (prediction,) = place.predictor.analyse(study, [MODEL], tmp_path / "analysis")

    assert (prediction.status, prediction.reason, dict(prediction.outputs)) == ("refused", "scope.age", {})
    assert prediction.explanation
    assert prediction.picture == ""


def test_an_unknown_model_is_refused(place: Place, tmp_path: Path) -> None:
    study = place.study(tmp_path / "study", "004Y")
    with pytest.raises(Refused) as caught:
        place.predictor.analyse(study, ["no_such_model"], tmp_path / "analysis")
    assert caught.value.code == "model.unknown"


def test_no_model_gives_no_prediction(place: Place, tmp_path: Path) -> None:
    study = place.study(tmp_path / "study", "004Y")
    assert place.predictor.analyse(study, [], tmp_path / "analysis") == ()


def test_the_guard_is_one_of_three(place: Place) -> None:
    assert place.predictor.guard in ("netns", "seccomp", "none")


def test_two_workers_may_ask_at_once(place: Place, tmp_path: Path) -> None:
    studies = [place.study(tmp_path / f"study-{number}", "004Y") for number in range(4)]
    together = threading.Barrier(len(studies))

    def ask(number: int) -> tuple[Prediction, ...]:
        together.wait()
        return place.predictor.analyse(studies[number], [MODEL], tmp_path / f"analysis-{number}")

    with ThreadPoolExecutor(len(studies)) as workers:
        answers = list(workers.map(ask, range(len(studies))))
    assert [answer[0].status for answer in answers] == ["analysed"] * len(studies)
