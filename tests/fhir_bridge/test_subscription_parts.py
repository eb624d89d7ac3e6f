"""What tells this bridge from another, and the address that the FHIR server is given."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fhir_bridge.compose import Parts
from fhir_bridge.errors import Refused
from fhir_bridge.feed import Feed
from fhir_bridge.roles.subscriptions import bridge_id, public_url, remember_address, watchdog_of
from fhir_bridge.settings import Settings, load


def settings_of(data_dir: Path, *assignments: str) -> Settings:
    return load(data_dir, assignments)


def test_a_bridge_has_one_id_whoever_asks_first(data_dir: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        ids = set(threads.map(lambda _: bridge_id(data_dir), range(32)))
    assert ids == {bridge_id(data_dir)}
    assert [path.name for path in data_dir.glob("bridge.id*")] == ["bridge.id"]


def test_two_bridges_have_two_ids(tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    assert len({bridge_id(folder) for folder in folders}) == 2


ADDRESSES = {
    "as set": (("http.public_url=https://bridge.example/x", "http.port=0"), "https://bridge.example/x"),
    "host and port": (("http.port=4711",), "http://127.0.0.1:4711"),
    "a free port": (("http.port=0",), "http://127.0.0.1:50000"),
}


@pytest.mark.parametrize(("assignments", "address"), ADDRESSES.values(), ids=ADDRESSES.keys())
def test_the_address_is_the_one_set_else_where_we_listen(
    data_dir: Path, assignments: tuple[str, ...], address: str
) -> None:
    settings = settings_of(data_dir, *assignments)
    remember_address(settings, 50000)
    assert public_url(settings) == address


def test_a_free_port_that_nobody_has_taken_is_no_address(data_dir: Path) -> None:
    with pytest.raises(Refused) as caught:
        public_url(settings_of(data_dir, "http.port=0"))
    assert caught.value.code == "subscription.no-address"


def test_without_a_fhir_server_the_watchdog_rests(data_dir: Path) -> None:
    parts = Parts(settings_of(data_dir))
    with parts.store.transaction() as ledger:
        ledger.keep_feed(Feed("orders", wanted=True))
    assert watchdog_of(parts).turn() == 0
    parts.close()
