"""The demo as a user runs it: every process is real, and none is left behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.real_parts, pytest.mark.tensorflow]


def start(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "fhir_bridge", "demo", "--data-dir", str(folder)]
    # Ctrl-C works in a terminal, however the tests were started: a shell's background jobs inherit that it is ignored
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def processes_of(folder: Path) -> list[str]:
    """The processes that name the demo's folder on their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # gone meanwhile
        if str(folder) in words and path.parent.name != str(os.getpid()):
            found.append(words)
    return found


def test_every_story_ends_as_expected_and_nothing_stays_running(tmp_path, watched_files) -> None:
    folder = tmp_path / "demo"
    demo = start(folder)
    output = demo.communicate(timeout=400)[0]
    watched_files.append(folder / "bridge.out")
    assert demo.returncode == 0, output
    assert "12 of 12 stories ended as expected" in output
    assert "CANARY" not in output
    assert processes_of(folder) == []


@pytest.mark.parametrize(
    ("moment", "sign", "code"),
    [("starting the bridge", signal.SIGINT, 130), ("send-new", signal.SIGTERM, 143)],
)
def test_an_interrupted_demo_leaves_no_process(tmp_path, moment, sign, code) -> None:
    with start(tmp_path / "demo") as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if moment in line:
                break
        demo.send_signal(sign)
        demo.stdout.read()
        assert demo.wait(60) == code
    assert processes_of(tmp_path) == []
