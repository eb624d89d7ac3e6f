"""The starter of practice FHIR servers."""

import subprocess
import sys
from pathlib import Path

import pytest
import requests

from fhir_bridge.errors import BridgeError
from fhir_bridge.practice import fhir_peer

HAPI = Path(fhir_peer.__file__).with_name("hapi")


@pytest.mark.real_parts
def test_sekmet_answers_on_loopback_and_is_gone_after_stop(tmp_path: Path) -> None:
    with fhir_peer.start_fhir_peer("sekmet", tmp_path) as peer:
        metadata = requests.get(f"{peer.base_url}/metadata", timeout=30).json()
    assert metadata["resourceType"] == "CapabilityStatement"
    assert peer.process.poll() is not None
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{peer.base_url}/metadata", timeout=30)


@pytest.mark.real_parts
def test_sekmet_that_was_killed_comes_back_on_its_port_with_what_it_had(tmp_path: Path) -> None:
    patient = {"resourceType": "Patient", "id": "kept"}
    with fhir_peer.start_fhir_peer("sekmet", tmp_path) as peer:
        assert requests.put(f"{peer.base_url}/Patient/kept", json=patient, timeout=30).status_code == 201
        peer.kill()
    port = int(peer.base_url.split(":")[2].partition("/")[0])
    with fhir_peer.start_fhir_peer("sekmet", tmp_path, port=port) as again:
        assert again.base_url == peer.base_url
        assert requests.get(f"{again.base_url}/Patient/kept", timeout=30).status_code == 200


def test_what_the_machine_lacks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(BridgeError) as caught:
        fhir_peer.start_fhir_peer("hapi", tmp_path / "work")
    assert caught.value.code == "practice.part-missing"
    assert "java" in caught.value.explanation
    assert "maven" in caught.value.explanation


def test_there_is_no_third_kind(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="sekmet and hapi"):
        fhir_peer.start_fhir_peer("fhir", tmp_path)


def test_maven_is_not_asked_for_once_hapi_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "built").touch()
    assert not [part for part in fhir_peer.missing_parts("hapi", tmp_path) if "maven" in part]


def test_a_server_that_ends_before_it_is_ready_is_an_error_with_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for name in ("java", "mvn", "flock"):
        (bin_folder / name).write_text("#!/bin/sh\necho no such thing; exit 3\n")
        (bin_folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_folder}:/usr/bin:/bin")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(BridgeError) as caught:
        fhir_peer.start_fhir_peer("hapi", tmp_path / "work")
    assert caught.value.code == "practice.peer-failed"
    assert list((tmp_path / "work").glob("hapi-*.out"))


@pytest.mark.parametrize("options", [["--port"], ["--unknown", "1"], []])
def test_the_recipe_refuses_wrong_options_with_its_usage(options: list[str]) -> None:
    done = subprocess.run(["bash", str(HAPI / "run.sh"), *options], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "usage: run.sh" in done.stderr


def test_the_settings_of_sekmet_do_not_come_from_our_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEKMET_PORT", "1")
    command, environment = fhir_peer._sekmet(tmp_path)
    assert command[0] == sys.executable
    assert "SEKMET_PORT" not in environment
