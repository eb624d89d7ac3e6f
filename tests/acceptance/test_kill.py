"""Nothing acknowledged is ever lost and nothing is doubled, however often and whenever the server dies."""

import random
from pathlib import Path

import pytest

from fhir_bridge.practice.fhir_peer import FhirPeer
from tests.support.kill_run import KillRun


@pytest.mark.real_parts
@pytest.mark.tensorflow
def test_kills_lose_nothing_and_double_nothing(hapi: FhirPeer, tmp_path: Path, notes: list[str]) -> None:
    figures = KillRun(hapi.base_url, tmp_path, kills=24, seed=random.SystemRandom().randrange(10**6)).run()
    notes.append(f"kill run: {figures}")
    assert figures["kept"], figures
