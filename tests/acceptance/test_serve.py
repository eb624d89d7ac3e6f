"""`serve` as an operator meets it: frozen by its host, asked to stop under load, started twice. No FHIR server but a scripted one."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from fhir_bridge.adapters.sql_database import SqlDatabase
from fhir_bridge.adapters.sql_store import SqlStore
from fhir_bridge.adapters.sqlite_journal import SqliteJournal
from fhir_bridge.adapters.sqlite_queue import SqliteQueue
from fhir_bridge.compose import SystemClock
from fhir_bridge.job import Event, Stage, Status
from fhir_bridge.ports import Claim, Move
from hl7_listener.client import MllpClient
from tests.support.bridge import until
from tests.support.mllp_peer import RawPeer, answers, block
from tests.support.scripted_http import Asked, Scripted, fhir, scripted_server
from tests.support.serve_process import ServeProcess
from tests.support.tiny_orders import MRN_SYSTEM, control_id, placer, send, tiny_order

pytestmark = [pytest.mark.real_parts, pytest.mark.tensorflow]

LEASE_SECONDS = 1.0
DRAIN_SECONDS = 20  # cli/serve.py


def database_of(data: Path) -> SqlDatabase:
    return SqlDatabase.in_folder(data / "phi")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServeProcess]:
    with ServeProcess(tmp_path / "data", {}) as server:
        server.wait_until_ready()
        yield server


def take_over(database: SqlDatabase, job: str) -> Claim:
    """As a second host would, once the lease of the first is over."""
    queue = SqliteQueue(database, SystemClock())
    claim = until(lambda: queue.claim("second-host"), "the lease ends")
    assert claim.job.id == job
    return claim


def test_a_server_frozen_past_its_lease_changes_nothing_that_another_took_over(tmp_path: Path) -> None:
    under_way, may_answer = threading.Event(), threading.Event()

    def answer(asked: Asked) -> Scripted:
        if "/Patient" in asked.path:
            under_way.set()
        may_answer.wait(30)  # nothing that is asked goes on: whoever is frozen now holds no lock of the store
        return fhir({"resourceType": "Bundle", "type": "searchset", "entry": []})

    data = tmp_path / "data"
    with scripted_server(answer) as peer:
        settings = {"fhir.base_url": peer.url, "worker.lease_seconds": str(LEASE_SECONDS)}
        with ServeProcess(data, settings | {"authority.HOSP.system": MRN_SYSTEM}) as server:
            server.wait_until_ready()
            with MllpClient(*server.mllp, 30) as client:
                assert send(client, 1).code == "AA"
                assert under_way.wait(30)
                server.freeze()
                database = database_of(data)
                store, queue = SqlStore(database, SystemClock()), SqliteQueue(database, SystemClock())
                (job,) = store.jobs()
                claim = take_over(database, job.id)
                server.thaw()
                may_answer.set()
                until(lambda: "job.claim-lost" in server.log.read_text(), "the old claim is refused")
                after = store.job(job.id)
                assert after is not None
                assert (after.status, after.stage, after.fence) == (Status.RUNNING, Stage.CONTEXT, claim.fence)
                assert store.latest_artifact(job.id, Stage.CONTEXT) is None
                queue.record(claim, Move(Event.HOLD, Stage.CONTEXT, "second.host"))
                assert send(client, 2).code == "AA"  # and it goes on as if nothing had been
            database.close()


def test_a_server_frozen_while_it_is_asked_answers_when_it_wakes(server: ServeProcess) -> None:
    server.freeze()
    with RawPeer(server.mllp) as peer:
        peer.send(block(tiny_order(1)))
        peer.finish_sending()
        server.thaw()
        assert answers(peer.rest()) == [("AA", control_id(1))]


def test_sigterm_under_load_answers_every_message_that_was_kept(server: ServeProcess, tmp_path: Path) -> None:
    senders = [_Sender(server.mllp, range(first, 100_000, 4)) for first in range(4)]
    for sender in senders:
        sender.enough.wait(60)
    server.signal(signal.SIGTERM)
    code = server.exit_code(DRAIN_SECONDS)
    answered = {number for sender in senders for number in sender.answered()}
    assert code == 0
    journal = SqliteJournal(tmp_path / "data" / "phi" / "journal.db", SystemClock())
    kept = {stored.entry.key.control_id for stored in journal.messages(10**6)}
    journal.close()
    assert answered == kept


class _Sender:
    """Sends without waiting for answers until the connection ends; `enough` is set once there is load."""

    def __init__(self, address: tuple[str, int], numbers: range) -> None:
        self._peer = RawPeer(address)
        self._numbers = numbers
        self._received = b""
        self.enough = threading.Event()
        self._threads = [threading.Thread(target=work) for work in (self._send, self._receive)]
        for thread in self._threads:
            thread.start()

    def answered(self) -> set[str]:
        """Control IDs of the messages that had AA."""
        for thread in self._threads:
            thread.join(30)
        self._peer.socket.close()
        return {acknowledged for code, acknowledged in answers(self._received) if code == "AA"}

    def _send(self) -> None:
        try:
            for number in self._numbers:
                self._peer.send(block(tiny_order(number)))
        except OSError:
            return  # the server reads no more

    def _receive(self) -> None:
        while data := self._next():
            self._received += data
            if self._received.count(b"\x1c\r") >= 20:
                self.enough.set()

    def _next(self) -> bytes:
        try:
            return self._peer.socket.recv(65536)
        except ConnectionResetError:
            return b""


def test_a_second_server_on_the_same_data_folder_is_refused(server: ServeProcess, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fhir_bridge", "serve", "--data-dir", str(tmp_path / "data")]
    second = subprocess.run(
        [*command, "--set", "mllp.port=0", "--set", "http.port=0"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert second.returncode == 2
    assert "server.already-running" in second.stderr
    with MllpClient(*server.mllp, 30) as client:
        assert send(client, 1).code == "AA"


def test_a_door_that_dies_is_opened_again_and_the_metrics_say_so(server: ServeProcess) -> None:
    def is_up() -> bool:
        return "fhir_bridge_mllp_up 1.0" in requests.get(f"{server.url}/metrics", timeout=30).text

    until(is_up, "the door is open")
    os.kill(server.door_pid, signal.SIGKILL)
    until(lambda: not is_up(), "its end is seen")
    until(is_up, "it is open again")
    with MllpClient(*server.mllp, 30) as client:
        assert send(client, 1).code == "AA"


def test_an_order_without_a_fhir_server_is_held_and_says_why(server: ServeProcess) -> None:
    with MllpClient(*server.mllp, 30) as client:
        assert send(client, 1).code == "AA"
    held = until(lambda: [job for job in server.jobs() if job["status"] == "held"], "the job is held")
    assert [(job["placer"], job["reason"]) for job in held] == [(placer(1), "fhir.not-configured")]


def test_a_server_that_cannot_start_ends_and_has_no_door_open(tmp_path: Path) -> None:
    secrets = tmp_path / "data" / "secrets"
    secrets.mkdir(parents=True)
    (secrets / "vault.key").write_text("ab" * 32)
    (secrets / "vault.key").chmod(0o644)  # others could read it
    command = [sys.executable, "-m", "fhir_bridge", "serve", "--data-dir", str(tmp_path / "data")]
    ended = subprocess.run(
        [*command, "--set", "mllp.port=0", "--set", "http.port=0"], capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 2
    assert "deid.key-permissions" in ended.stderr
