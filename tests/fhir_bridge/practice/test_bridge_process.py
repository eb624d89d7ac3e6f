"""The bridge as a process of its own."""

import pytest

from fhir_bridge.errors import BridgeError
from fhir_bridge.practice.bridge_process import BridgeProcess


def test_a_bridge_that_cannot_start_is_an_error_that_names_its_output(tmp_path) -> None:
    bridge = BridgeProcess(tmp_path / "bridge", {"no_such_section.key": "1"})
    with bridge, pytest.raises(BridgeError) as caught:
        bridge.wait_until_ready()
    assert caught.value.code == "practice.bridge-failed"
    assert str(bridge.log) in caught.value.explanation
    assert bridge.log.read_text()


def test_stopping_twice_is_harmless(tmp_path) -> None:
    bridge = BridgeProcess(tmp_path / "bridge", {"no_such_section.key": "1"})
    bridge.stop()
    bridge.stop()
    assert not bridge.is_alive()
