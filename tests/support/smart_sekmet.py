"""A real sekmet-fhir that wants SMART Backend Services: it fetches our keys where we publish them."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import requests

from fhir_bridge.adapters.smart_keys import SmartKeys
from fhir_bridge.practice.fhir_peer import missing_parts
from tests.support.frozen_clock import START
from tests.support.processes import until
from tests.support.real_parts import part_missing
from tests.support.scripted_http import Asked, Scripted, scripted_server

CLIENT_ID, SCOPES = "fhir-bridge", "system/Patient.rs system/Patient.cu"


@dataclass(frozen=True, slots=True)
class SmartSekmet:
    """Its addresses, and the keys that it knows us by."""

    base_url: str
    token_url: str
    keys: SmartKeys


@contextmanager
def smart_sekmet(folder: Path, port: int, algorithms: tuple[str, ...]) -> Iterator[SmartSekmet]:
    """It knows client CLIENT_ID, which may ask for SCOPES, by a key of each algorithm, the first one the oldest."""
    if missing := missing_parts("sekmet", folder):
        part_missing("sekmet", ", ".join(missing))
    keys = SmartKeys(folder / "smart")
    for number, algorithm in enumerate(algorithms):
        keys.make(algorithm, START + timedelta(days=number))

    def publish(_: Asked) -> Scripted:
        return Scripted(200, json.dumps(keys.public()).encode(), {"Content-Type": "application/json"})

    with scripted_server(publish) as ours, _running(folder, port, f"{ours.url}/.well-known/jwks.json"):
        root = f"http://127.0.0.1:{port}"
        yield SmartSekmet(f"{root}/fhir", f"{root}/auth/token", keys)


@contextmanager
def _running(folder: Path, port: int, jwks_url: str) -> Iterator[None]:
    client = {"client_id": CLIENT_ID, "jwks_url": jwks_url, "scopes": SCOPES}
    settings = {
        "base_url": f"http://127.0.0.1:{port}/fhir",
        "host": "127.0.0.1",
        "port": port,
        "data_dir": str(folder / "data"),
        "own_private_key_path": str(folder / "own.pem"),
        "log_inbound": False,
        "simulator": {"enabled": False},
        "server_auth": {"types": ["smart"], "smart_clients": [client], "token_lifetime": 300},
    }
    file = folder / "settings.yaml"
    file.write_text(json.dumps(settings))  # JSON is YAML
    command = [sys.executable, "-m", "sekmet.cli", "serve", "--config", str(file)]
    with (folder / "sekmet.out").open("w") as output:
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
        try:
            until(lambda: _answers(port), "sekmet's discovery")
            yield
        finally:
            process.terminate()
            process.wait(15)


def _answers(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/.well-known/smart-configuration", timeout=5).ok
    except requests.ConnectionError:
        return False
