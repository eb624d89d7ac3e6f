"""What `serve` tells its door."""

from pathlib import Path

import pytest

from fhir_bridge.server import of_the_door
from fhir_bridge.settings import SECRETS, Settings, load


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("FHIR_BRIDGE_FHIR__PASSWORD", "CANARY")
    file = tmp_path / "bridge.toml"
    file.write_text(
        f"""
        [store]
        url = "sqlite:///{tmp_path}/elsewhere.db"
        [mllp]
        port = 0
        tls = {{ certificate = "tls/door.pem" }}
        [listeners.ct]
        port = 2576
        [sender]
        time_zone = "Europe/Berlin"
        [senders.RIS]
        application = "RIS"
        processing_ids = ["T"]
        [authority.HOSP]
        oid = "1.2.3"
        """
    )
    return load(tmp_path / "data", file=file)


def test_the_door_reads_listeners_and_senders_as_its_parent_does(settings: Settings) -> None:
    door = Settings(**of_the_door(settings))
    for name in ("data_dir", "store", "mllp", "listeners", "sender", "senders", "authority"):
        assert getattr(door, name) == getattr(settings, name)
    assert door.senders["RIS"].model_fields_set == {"application", "processing_ids"}  # the rest is that of [sender]


def test_the_door_is_told_no_secret(settings: Settings) -> None:
    told = of_the_door(settings)
    given = {f"{section}.{key}" for section, keys in told.items() if isinstance(keys, dict) for key in keys}
    assert "CANARY" not in str(told)
    assert not given & SECRETS
