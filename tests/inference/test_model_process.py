"""The model process over its pipe: the protocol, the shipped model against its own held-out predictions, its end."""

import csv
import io
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inference.manifest import manifest_of
from tests.support.films import a_chest, a_film
from tests.support.model_process import ModelProcess

pytestmark = pytest.mark.tensorflow

MANIFEST = manifest_of("xray_pneumonia")
TEST_FILMS = Path(__file__).resolve().parents[3] / "shared" / "datasets" / "xray_kermany_pneumonia" / "images" / "test"


@pytest.fixture(scope="module")
def process() -> Iterator[ModelProcess]:
    with ModelProcess() as running:
        yield running


@pytest.fixture
def study(tmp_path: Path) -> Path:
    (tmp_path / "study").mkdir()
    a_film(tmp_path / "study" / "film.dcm", pixels=a_chest(), view="AP")
    return tmp_path / "study"


def analyse(process: ModelProcess, folder: Path, into: Path) -> dict[str, object]:
    answer = process.ask(folder=str(folder), models=[MANIFEST.name], into=str(into))
    (prediction,) = answer["predictions"]
    return prediction


def test_it_says_that_it_is_ready_and_under_which_guard(process: ModelProcess) -> None:
    assert process.ready["ready"] is True
    assert process.ready["guard"] in ("netns", "seccomp", "none")


def test_the_shipped_model_passes_its_self_test(process: ModelProcess) -> None:
    assert process.ask(verify=True) == {
        "id": 1,
        "models": [
            {"model": MANIFEST.name, "version": "1.0.0", "weights_digest": MANIFEST.weights.sha256, "code": ""},
        ],
    }


def test_a_film_gets_a_probability_and_the_same_one_again(process: ModelProcess, study: Path, tmp_path: Path) -> None:
    first, again = (analyse(process, study, tmp_path / name) for name in ("first", "again"))
    assert first["status"] == "analysed"
    assert 0 <= first["outputs"]["pneumonia"] <= 1
    assert first["outputs"] == again["outputs"]
    assert (tmp_path / "first" / first["picture"]).read_bytes() == (tmp_path / "again" / again["picture"]).read_bytes()


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"no JSON\n", "model.bad-request"),
        (b"[1]\n", "model.bad-request"),
        (b'{"id":1,"folder":"x"}\n', "model.bad-request"),
        (b'{"id":1,"folder":"x","into":"y","models":["xray_pneumonia"],"shell":"z"}\n', "model.bad-request"),
        (b'{"id":1,"folder":"/nowhere","into":"y","models":["telepathy"]}\n', "model.unknown"),
        (b'{"id":1,"folder":"/nowhere","into":"y","models":["xray_pneumonia"]}\n', "dicom.no-instances"),
    ],
)
def test_an_error_is_a_code_and_the_process_goes_on(process: ModelProcess, line: bytes, code: str) -> None:
    answer = process.ask_line(line)
    assert answer["error"]["code"] == code
    assert set(answer["error"]) == {"code", "where"}
    assert "models" in process.ask(verify=True)


def test_what_is_not_de_identified_is_an_error_without_a_value(process: ModelProcess, tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    a_film(tmp_path / "study" / "film.dcm", pixels=a_chest(), deidentified=False, PatientName="CANARY^ZEBRA")
    answer = process.ask(folder=str(tmp_path / "study"), models=[MANIFEST.name], into=str(tmp_path / "out"))
    assert answer == {"id": 1, "error": {"code": "dicom.not-deidentified", "where": "file 0, (0012,0062)"}}


def test_a_folder_that_cannot_be_written_is_an_error(process: ModelProcess, study: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    answer = process.ask(folder=str(study), models=[MANIFEST.name], into=str(tmp_path / "file"))
    assert answer["error"]["code"] == "model.io"


def test_it_ends_with_its_input_and_has_said_nothing_else(study: Path, tmp_path: Path) -> None:
    with ModelProcess() as process:
        assert analyse(process, study, tmp_path / "out")["status"] == "analysed"
        status, out, _ = process.end()
    assert (status, out) == (0, b"")


def test_it_dies_with_its_parent(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    code = (
        "import subprocess, sys, pathlib, time\n"
        "child = subprocess.Popen([sys.executable, '-m', 'inference'], stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\n"
        f"pathlib.Path({str(pid_file)!r}).write_text(str(child.pid))\n"
        "print('started', flush=True)\n"
        "sys.stdin.read()\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with parent:
        assert parent.stdout
        assert parent.stdout.readline() == b"started\n"
        parent.kill()
        parent.wait()
    assert _gone(int(pid_file.read_text()))


def _gone(pid: int) -> bool:
    """Wait for the end of a process that is not ours (pidfd_open), at most ten seconds."""

    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], 10)[0])
    finally:
        os.close(descriptor)


def held_out(count: int) -> list[dict[str, str]]:
    with (MANIFEST.folder / "predictions.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["set"] == "test"]
    return rows[:: len(rows) // count]


def the_picture(row: dict[str, str]) -> Path:
    return TEST_FILMS / ("PNEUMONIA" if row["label"] == "1" else "NORMAL") / f"{row['id']}.jpeg"


def stored_as_in_training(picture: Path) -> np.ndarray:
    """The films were kept as WebP of quality 85 (`inference.training.pack`); the predictions are of those pixels."""
    kept = io.BytesIO()
    Image.open(picture).convert("L").save(kept, "WEBP", quality=85, method=4)
    return np.asarray(Image.open(kept).convert("L"))


@pytest.mark.skipif(not TEST_FILMS.is_dir(), reason="no ../shared/datasets beside the repository")
def test_held_out_films_as_dicom_give_their_predictions_again(process: ModelProcess, tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    compared = 0
    for number, row in enumerate(held_out(60)):
        a_film(
            tmp_path / "study" / "film.dcm",
            pixels=stored_as_in_training(the_picture(row)),
            modality=("CR", "DX")[number % 2],
            monochrome1=number % 3 == 0,
        )
        said = analyse(process, tmp_path / "study", tmp_path / "out")
        if said["status"] == "refused":
            assert said["reason"].startswith("quality.")
            continue
        assert said["outputs"]["pneumonia"] == pytest.approx(float(row["pneumonia"]), abs=0.02), row["id"]
        compared += 1
    assert compared >= 55


@pytest.mark.skipif(not TEST_FILMS.is_dir(), reason="no ../shared/datasets beside the repository")
def test_held_out_films_without_the_training_codec_give_the_same_decisions(
    process: ModelProcess, tmp_path: Path
) -> None:
    (tmp_path / "study").mkdir()
    threshold, differences = MANIFEST.reported[0].threshold, []
    for row in held_out(60):
        pixels = np.asarray(Image.open(the_picture(row)).convert("L"))
        a_film(tmp_path / "study" / "film.dcm", pixels=pixels)
        said, expected = analyse(process, tmp_path / "study", tmp_path / "out"), float(row["pneumonia"])
        assert said["status"] == "analysed"
        assert (said["outputs"]["pneumonia"] >= threshold) == (expected >= threshold), row["id"]
        differences.append(abs(said["outputs"]["pneumonia"] - expected))
    assert np.quantile(differences, 0.9) < 0.02


def test_an_unforeseen_error_ends_the_process_without_quoting_the_input(study: Path, tmp_path: Path) -> None:
    code = (
        "import sys, inference.__main__ as main\n"
        "import inference.server as server\n"
        "def breaks(self, line): raise LookupError('CANARY')\n"
        "server.ModelServer.answer = breaks\n"
        "main.main()\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], input=b"{}\n", capture_output=True, check=False, timeout=120)
    assert ended.returncode == 1
    assert b"LookupError" in ended.stderr
    assert b"CANARY" not in ended.stderr
