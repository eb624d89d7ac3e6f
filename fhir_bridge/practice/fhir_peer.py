"""Starts a real FHIR server on a free loopback port, for the practice hospital and the acceptance tests.

`sekmet` is PyPI sekmet-fhir (pure Python, seconds, extra `[demo]`); `hapi` is HAPI FHIR JPA, built by Maven on first use (`hapi/README.md`).
"""

import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import requests

from fhir_bridge.errors import Refused, Unavailable

_READY = re.compile(r"^ready (http://\S+)|Uvicorn running on (http://\S+)")
_START_SECONDS = {"sekmet": 120.0, "hapi": 900.0}  # HAPI's first start resolves 250 jars
_STOP_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class FhirPeer:
    """A running server. `stop` ends its whole process group and may be called twice."""

    base_url: str
    process: subprocess.Popen[str]
    log: Path

    def stop(self) -> None:
        """Ask, then insist."""
        _stop(self.process)

    def kill(self) -> None:
        """SIGKILL, as a power cut would end it."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(_STOP_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def missing_parts(kind: str, work: Path) -> tuple[str, ...]:
    """What this machine lacks to start the server; empty when nothing."""
    if kind == "sekmet":
        return () if importlib.util.find_spec("sekmet") else ("sekmet-fhir (pip install 'fhir-bridge[demo]')",)
    wanted = {"java": "java 17 or later (default-jdk-headless)", "bash": "bash", "flock": "flock (util-linux)"}
    if not (work / "built").exists():
        wanted["mvn"] = "mvn (maven), for the first build"
    if os.environ.get("JAVA_HOME"):
        del wanted["java"]  # run.sh takes it from there
    return tuple(words for command, words in wanted.items() if shutil.which(command) is None)


def start_fhir_peer(
    kind: str,
    work: Path,
    output: Callable[[str], None] = lambda line: None,
    *,
    port: int = 0,
    database: Path | None = None,
) -> FhirPeer:
    """Start `sekmet` or `hapi` with all its files under `work`; returns once `/metadata` answers.

    `output` is given every line of the server until then. A server that is started again on the same `port` has what it had before:
    sekmet by itself, HAPI where it was given a `database` file. Raises Refused `practice.part-missing`, Unavailable `practice.peer-failed`.
    """
    if kind not in _START_SECONDS:
        raise ValueError("the FHIR peers are sekmet and hapi")
    if missing := missing_parts(kind, work):
        raise Refused("practice.part-missing", kind, "this machine lacks " + ", ".join(missing))
    work.mkdir(parents=True, exist_ok=True)
    command, environment = _sekmet(work, port) if kind == "sekmet" else _hapi(work, port, database)
    process = subprocess.Popen(
        command,
        cwd=work,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,  # a group of its own: stop() reaches the server's children, Ctrl-C only us
    )
    log = work / f"{kind}-{process.pid}.out"
    address = _Address()
    assert process.stdout is not None
    threading.Thread(
        target=_follow, args=(process.stdout, log, address, output), name=f"{kind}-output", daemon=True
    ).start()
    with ExitStack() as unless_ready:
        unless_ready.callback(_stop, process)  # after Ctrl-C during a long first build, too
        peer = FhirPeer(_ready(kind, address, log), process, log)
        unless_ready.pop_all()
        return peer


def _stop(process: subprocess.Popen[str]) -> None:
    for sign in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        os.killpg(process.pid, sign)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)


class _Address:
    """The base URL that the server announced, once it did; None if it ended first."""

    def __init__(self) -> None:
        self.known = threading.Event()
        self.url: str | None = None


def _follow(lines: IO[str], log: Path, address: _Address, output: Callable[[str], None]) -> None:
    """Keep the pipe empty for as long as the server lives: a full one would stop it."""
    with lines, log.open("w") as kept:
        for line in lines:
            kept.write(line)
            kept.flush()
            if address.known.is_set():
                continue
            output(line.rstrip("\n"))
            if found := _READY.search(line):
                address.url = found[1] or f"{found[2]}/fhir"
                address.known.set()
    address.known.set()


def _ready(kind: str, address: _Address, log: Path) -> str:
    in_time = address.known.wait(_START_SECONDS[kind])
    if address.url is None:
        how = "ended before it was ready" if in_time else f"was not ready after {_START_SECONDS[kind]:.0f} s"
        raise Unavailable("practice.peer-failed", kind, f"the server {how}; see {log}")
    try:
        answer = requests.get(f"{address.url}/metadata", headers={"Accept": "application/fhir+json"}, timeout=60)
    except requests.RequestException as error:
        raise Unavailable("practice.peer-failed", kind, f"{type(error).__name__} from /metadata; see {log}") from None
    if answer.status_code != 200:
        raise Unavailable("practice.peer-failed", kind, f"/metadata answers {answer.status_code}; see {log}")
    return address.url


def _hapi(work: Path, port: int = 0, database: Path | None = None) -> tuple[Sequence[str], Mapping[str, str]]:
    script = Path(__file__).with_name("hapi") / "run.sh"
    command = ["bash", str(script), "--work", str(work), "--port", str(port)]
    return command + (["--database", str(database)] if database else []), dict(os.environ)


def _sekmet(work: Path, port: int = 0) -> tuple[Sequence[str], Mapping[str, str]]:
    port = port or _free_port()  # its settings must name the port: the links it sends are made from them
    settings = {
        "base_url": f"http://127.0.0.1:{port}/fhir",
        "host": "127.0.0.1",
        "port": port,
        "data_dir": str(work / f"data-{port}"),
        "own_private_key_path": str(work / "keys" / "sekmet_private.pem"),
        "log_inbound": False,
        "simulator": {"enabled": False},  # it would fulfil our practice orders itself
    }
    file = work / f"settings-{port}.yaml"
    file.write_text(json.dumps(settings, indent=1))  # JSON is YAML
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SEKMET_")}
    return [sys.executable, "-m", "sekmet.cli", "serve", "--config", str(file)], environment | {"PYTHONUNBUFFERED": "1"}


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
