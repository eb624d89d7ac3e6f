"""What only the real predictor has: a process that dies, hangs, babbles, and knows nothing of ours."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fhir_bridge.adapters.local_predictor import LocalPredictor, minimal_environment
from fhir_bridge.errors import Refused, Unavailable
from fhir_bridge.study import _CROSSED, DeidentifiedStudy
from tests.support.films import STUDY, a_chest, a_film

MODEL = "xray_pneumonia"

READY = "import sys, json, time\nprint(json.dumps({'ready': True, 'guard': 'none'}), flush=True)\n"


@pytest.fixture
def study(tmp_path: Path) -> DeidentifiedStudy:
    folder = tmp_path / "deidentified" / "study"
    folder.mkdir(parents=True)
    return DeidentifiedStudy(_CROSSED, folder, STUDY, (a_film(folder / "film.dcm", pixels=a_chest()),))


@pytest.fixture
def scripted(tmp_path: Path) -> Iterator[Callable[..., LocalPredictor]]:
    """A predictor over a small Python program in place of the model process."""
    started = []

    def start(program: str, **options: float) -> LocalPredictor:
        script = tmp_path / "program.py"
        script.write_text(READY + program, encoding="utf-8")
        started.append(LocalPredictor(command=(sys.executable, str(script)), **options))  # type: ignore[arg-type]
        return started[-1]

    yield start
    for predictor in started:
        predictor.close()


def unavailable(predictor: LocalPredictor, study: DeidentifiedStudy, into: Path) -> str:
    with pytest.raises(Unavailable) as caught:
        predictor.analyse(study, [MODEL], into)
    return caught.value.code


def test_a_process_that_does_not_answer_in_time_is_killed(
    scripted: Callable[..., LocalPredictor], study: DeidentifiedStudy, tmp_path: Path
) -> None:
    predictor = scripted("time.sleep(600)\n", timeout_seconds=0.2)
    assert predictor.guard == "none"
    first = predictor.pid
    assert unavailable(predictor, study, tmp_path / "out") == "model.timeout"
    assert predictor.pid is None
    assert not Path(f"/proc/{first}").exists()


def test_a_process_that_dies_over_a_request_is_replaced_at_the_next(
    scripted: Callable[..., LocalPredictor], study: DeidentifiedStudy, tmp_path: Path
) -> None:
    marker = tmp_path / "died-once"
    predictor = scripted(
        "import pathlib\n"
        f"marker = pathlib.Path({str(marker)!r})\n"
        "for line in sys.stdin:\n"
        "    if not marker.exists():\n"
        "        marker.touch()\n"
        "        sys.exit(1)\n"
        "    print(json.dumps({'id': json.loads(line)['id'], 'predictions': []}), flush=True)\n"
    )
    assert unavailable(predictor, study, tmp_path / "out") == "model.unavailable"
    assert predictor.analyse(study, [MODEL], tmp_path / "out") == ()


@pytest.mark.parametrize(
    "program",
    [
        "print('no JSON', flush=True)\nsys.stdin.read()\n",
        "print(json.dumps({'id': -1, 'predictions': []}), flush=True)\nsys.stdin.read()\n",
        "sys.stdin.readline()\nprint('x' * (9 * 2**20), flush=True)\nsys.stdin.read()\n",
        "sys.exit(3)\n",
    ],
    ids=["not readable", "another question", "too long", "gone at once"],
)
def test_an_answer_that_is_none_makes_the_model_unavailable(
    scripted: Callable[..., LocalPredictor], study: DeidentifiedStudy, tmp_path: Path, program: str
) -> None:
    predictor = scripted(program)
    assert unavailable(predictor, study, tmp_path / "out") == "model.unavailable"
    assert predictor.pid is None


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("model.unknown", Refused),
        ("dicom.not-deidentified", Refused),
        ("dicom.undecodable", Refused),
        ("model.failed", Refused),
        ("model.weights-changed", Unavailable),
        ("model.self-test", Unavailable),
        ("model.io", Unavailable),
    ],
)
def test_the_code_of_the_process_decides_what_to_do(
    scripted: Callable[..., LocalPredictor], study: DeidentifiedStudy, tmp_path: Path, code: str, kind: type[Exception]
) -> None:
    predictor = scripted(
        "for line in sys.stdin:\n"
        f"    print(json.dumps({{'id': json.loads(line)['id'], 'error': {{'code': {code!r}, 'where': 'w'}}}}), flush=True)\n"
    )
    with pytest.raises(kind) as caught:
        predictor.analyse(study, [MODEL], tmp_path / "out")
    assert (caught.value.code, caught.value.where) == (code, "w")


def test_a_program_that_does_not_exist_makes_the_model_unavailable(study: DeidentifiedStudy, tmp_path: Path) -> None:
    predictor = LocalPredictor(command=(str(tmp_path / "nothing"),))
    assert unavailable(predictor, study, tmp_path / "out") == "model.unavailable"
    predictor.close()


def test_closing_ends_a_process_that_is_busy(scripted: Callable[..., LocalPredictor]) -> None:
    predictor = scripted("sys.stdin.readline()\ntime.sleep(600)\n")
    assert predictor.guard == "none"
    pid = predictor.pid
    predictor.start()
    predictor.close()
    assert not Path(f"/proc/{pid}").exists()


def test_after_closing_the_model_is_unavailable(
    scripted: Callable[..., LocalPredictor], study: DeidentifiedStudy, tmp_path: Path
) -> None:
    predictor = scripted("sys.stdin.read()\n")
    predictor.close()
    assert unavailable(predictor, study, tmp_path / "out") == "model.unavailable"


def test_no_secret_of_ours_is_in_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FHIR_BRIDGE_FHIR__TOKEN", "CANARY-SECRET")
    monkeypatch.setenv("HTTPS_PROXY", "http://CANARY@proxy")
    given = minimal_environment(str(tmp_path))
    assert set(given) <= ALLOWED
    assert not any("CANARY" in value for value in given.values())


ALLOWED = {
    "PATH",
    "LANG",
    "LC_ALL",
    "TZ",
    "PYTHONPATH",
    "PYTHONDONTWRITEBYTECODE",
    "HOME",
    "TMPDIR",
    "KERAS_HOME",
    "KERAS_BACKEND",
    "TF_CPP_MIN_LOG_LEVEL",
    "CUDA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
}


@pytest.fixture(scope="module")
def running() -> Iterator[LocalPredictor]:
    """The real process, started while we hold a secret."""
    os.environ["FHIR_BRIDGE_FHIR__TOKEN"] = "CANARY-SECRET"
    predictor = LocalPredictor()
    try:
        assert predictor.guard
        yield predictor
    finally:
        del os.environ["FHIR_BRIDGE_FHIR__TOKEN"]
        predictor.close()


@pytest.mark.tensorflow
def test_the_process_has_no_variable_but_the_allowed_ones(running: LocalPredictor) -> None:
    try:
        content = Path(f"/proc/{running.pid}/environ").read_bytes()
    except PermissionError:
        pytest.skip("a process in a user namespace hides its environment from other users' processes here")
    names = {entry.partition(b"=")[0].decode() for entry in content.split(b"\0") if entry}
    assert names <= ALLOWED
    assert b"CANARY" not in content


@pytest.mark.tensorflow
def test_the_models_are_verified(running: LocalPredictor) -> None:
    assert running.verify([MODEL]) == ("xray_pneumonia 1.0.0",)
    with pytest.raises(Refused) as caught:
        running.verify(["telepathy"])
    assert caught.value.code == "model.unknown"


@pytest.mark.tensorflow
def test_a_film_that_is_not_de_identified_is_refused(running: LocalPredictor, tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    film = a_film(tmp_path / "study" / "film.dcm", pixels=a_chest(), deidentified=False)
    with pytest.raises(Refused) as caught:
        running.analyse(DeidentifiedStudy(_CROSSED, film.parent, STUDY, (film,)), [MODEL], tmp_path / "out")
    assert caught.value.code == "dicom.not-deidentified"


@pytest.mark.tensorflow
def test_a_killed_process_is_replaced(running: LocalPredictor, study: DeidentifiedStudy, tmp_path: Path) -> None:
    first = running.pid
    assert first
    os.kill(first, signal.SIGKILL)
    os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)

    (prediction,) = running.analyse(study, [MODEL], tmp_path / "out")

    assert prediction.status == "analysed"
    assert running.pid != first
