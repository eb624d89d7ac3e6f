from pathlib import Path

import pytest

from fhir_bridge.deid.vault import Vault
from tests.support.crossings import Hospital


@pytest.fixture
def vault(data_dir: Path) -> Vault:
    return Vault(data_dir / "phi" / "vault.db", bytes(32))


@pytest.fixture
def hospital(data_dir: Path, vault: Vault) -> Hospital:
    return Hospital(data_dir, vault)
