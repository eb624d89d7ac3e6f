"""The network is really gone: a process under each guard tries to reach a listener on loopback."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.model_process import ModelProcess

ATTEMPT = """
import socket, sys
from inference.network_guard import leave_network
kinds = sys.argv[2].split(",")
print(leave_network(kinds))
for family, address in ((socket.AF_INET, ("127.0.0.1", int(sys.argv[1]))), (socket.AF_INET6, ("::1", int(sys.argv[1])))):
    try:
        with socket.socket(family, socket.SOCK_STREAM) as attempt:
            attempt.settimeout(5)
            attempt.connect(address)
        print("connected")
    except OSError:
        print("refused")
left, right = socket.socketpair()
left.sendall(b"local sockets work")
print(right.recv(99).decode())
"""


@pytest.fixture
def listener() -> Iterator[int]:
    """A listener that accepts on loopback; its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def attempt(port: int, kinds: str) -> list[str]:
    ran = subprocess.run(
        [sys.executable, "-c", ATTEMPT, str(port), kinds], capture_output=True, text=True, check=True, timeout=60
    )
    return ran.stdout.splitlines()


def test_without_a_guard_the_listener_is_reached(listener: int) -> None:
    assert attempt(listener, "none")[:2] == ["none", "connected"]


@pytest.mark.parametrize("kind", ["netns", "seccomp"])
def test_under_a_guard_no_connection_is_possible(listener: int, kind: str) -> None:
    guard, *tries = attempt(listener, kind)
    if guard == "none":
        pytest.skip(f"this host allows no {kind}")
    assert guard == kind
    assert tries == ["refused", "refused", "local sockets work"]


def test_the_guard_is_passed_on_to_children(listener: int) -> None:
    code = (
        "import subprocess, sys\n"
        "from inference.network_guard import leave_network\n"
        "guard = leave_network()\n"
        "child = f\"import socket; socket.create_connection(('127.0.0.1', {sys.argv[1]}), 5)\"\n"
        "print(guard, subprocess.run([sys.executable, '-c', child], stderr=subprocess.DEVNULL).returncode)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code, str(listener)], capture_output=True, text=True, check=True)
    guard, status = ran.stdout.split()
    if guard == "none":
        pytest.skip("this host allows no guard")
    assert status == "1"


@pytest.mark.tensorflow
@pytest.mark.parametrize("kind", ["netns", "seccomp"])
def test_the_model_process_works_under_the_guard_it_names(kind: str) -> None:
    with ModelProcess("--guard", kind) as process:
        guard, pid = process.ready["guard"], process.process.pid
        verdicts = process.ask(verify=True)["models"]
        namespaces = {Path(f"/proc/{number}/ns/net").readlink() for number in ("self", pid)}
        seccomp = "Seccomp:\t2" in Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    if guard == "none":
        pytest.skip(f"this host allows no {kind}")
    assert [verdict["code"] for verdict in verdicts] == [""]
    assert (len(namespaces) == 2) if kind == "netns" else seccomp
