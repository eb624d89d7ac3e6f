"""The commands of the README, as far as they can be tried without installing anything."""

import os
import subprocess
import sys

import pytest

from tests.support.source_tree import ROOT

SCRIPTS = sorted((ROOT / "scripts").glob("*.sh"))


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_interpreter_of_these_tests_is_one_that_setup_takes() -> None:
    assert run(sys.executable, "scripts/find_python.py").returncode == 0


def test_a_program_that_is_there_needs_no_package() -> None:
    answer = run("scripts/packages.sh", "bash=no-such-package")
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_can_be_run_and_parsed(script: os.PathLike[str]) -> None:
    assert os.access(script, os.X_OK)
    assert run("bash", "-n", str(script)).stderr == ""


def test_an_unknown_fhir_server_is_named_with_its_alternatives() -> None:
    answer = run("make", "--assume-old=.venv/ready", "demo", "FHIR=other")
    assert answer.returncode != 0
    assert "FHIR=other is not known; choose FHIR=sekmet or FHIR=hapi" in answer.stderr


def test_ci_allows_no_missing_part() -> None:
    assert "REQUIRE_REAL_PARTS=1 make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
