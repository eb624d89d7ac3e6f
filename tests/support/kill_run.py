"""Kills the whole server, or its door alone, again and again under a stream of orders, and judges what is left. For `benchmarks/kill.py` and its test."""

import os
import random
import re
import signal
import statistics
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import requests

from fhir_bridge.adapters.sql_database import SqlDatabase
from fhir_bridge.adapters.sql_store import SqlStore
from fhir_bridge.adapters.sqlite_journal import SqliteJournal
from fhir_bridge.job import Event
from tests.support.frozen_clock import FrozenClock
from tests.support.kill_hospital import SAMPLES, SETTINGS, KillHospital
from tests.support.kill_sender import Stream
from tests.support.kill_verdict import JobSeen, KillVerdict, judge
from tests.support.serve_process import ServeProcess, unlistened_port

_START_SECONDS = 60.0
_REPORTS_SECONDS = 20.0
_LOOK_SECONDS = 0.1
_POLL_SECONDS = 0.5
_STANDSTILL_SECONDS = 60.0
_SETTLE_SECONDS = 3.0  # a second report of one order would have come by then


class NeverFinished(AssertionError):
    """The server did not do its work although nobody disturbed it."""


@dataclass(frozen=True, slots=True)
class Moment:
    """When to kill: `seconds` after the process began, after it was ready, or after so many reports of its have come.

    `door`: some time before that, once it is ready, its door alone.
    """

    after_ready: bool
    reports: int
    seconds: float
    door: bool = False

    @classmethod
    def drawn(cls, chance: random.Random) -> "Moment":
        """While it starts; soon after; or while results go out, for which the model must have been loaded."""
        kind = chance.random()
        if kind < 0.15:
            return cls(False, 0, chance.uniform(0.05, 1.5))
        door = chance.random() < 0.3
        if kind < 0.75:
            return cls(True, 0, chance.uniform(0.05, 6), door)
        return cls(True, chance.randint(1, 3), chance.uniform(0, 0.5), door)


@dataclass
class KillRun:
    """One run in an empty `folder`, against an R4 server. `tell` is given a line now and then, without patient data."""

    base_url: str
    folder: Path
    kills: int
    seed: int
    tell: Callable[[str], None] = print
    kills_before_ready: int = 0
    kills_of_the_door: int = 0
    to_first_answer: list[float] = field(default_factory=list, repr=False)

    def run(self) -> dict[str, Any]:
        """The figures. `kept` is the verdict."""
        self.tell(f"seed {self.seed}")
        started, load = time.monotonic(), os.getloadavg()[0]
        port = unlistened_port()
        hospital = KillHospital(self.base_url, self.folder / "pacs")
        self._stream = Stream(hospital, ("127.0.0.1", port), self.seed)
        self._settings = SETTINGS | {
            "mllp.port": str(port),
            "fhir.base_url": self.base_url,
            "archive.folder": str(self.folder / "pacs"),
            "study.quiet_seconds": "0.2",
            "study.poll_seconds": "0.2",
            "worker.backoff_seconds": "0.2",
            "worker.threads": "4",
        }
        usual = self._undisturbed()
        self._kill_under_load()
        self._let_finish()
        jobs, stored, redone = self._store()
        verdict = judge(
            self._stream.orders, self._stream.control_ids, stored, jobs,
            hospital.reports(), hospital.observations(), usual,
        )  # fmt: skip
        return self._figures(verdict, redone) | {
            "seconds": round(time.monotonic() - started),
            "load_average": [round(load, 1), round(os.getloadavg()[0], 1)],
        }

    def _server(self) -> ServeProcess:
        return ServeProcess(self.folder / "data", self._settings)

    def _undisturbed(self) -> Mapping[str, int]:
        """One order of each film, and how many Observations its report has."""
        with self._server() as server:
            server.wait_until_ready()
            for _ in SAMPLES:
                self._stream.send_one()
            self._await_done(server)
        reports = {report.placer: report for report in self._stream.hospital.reports()}
        if reports.keys() != self._stream.orders.keys():
            raise NeverFinished(f"not every order was reported before the first kill; see {server.log}")
        return {order.sample: len(reports[placer].observations) for placer, order in self._stream.orders.items()}

    def _kill_under_load(self) -> None:
        chance = random.Random(self.seed)
        self._stream.start()
        try:
            for number in range(1, self.kills + 1):
                self._live_and_die(Moment.drawn(chance))
                self._stream.note_reported(self._stream.hospital.newest_reported())
                if number % 10 == 0:
                    self._tell_progress(f"{number} kills")
        except BaseException:
            self._stream.abandon()
            raise

    def _live_and_die(self, moment: Moment) -> None:
        started = time.monotonic()
        with self._server() as server:
            if moment.after_ready and not server.is_ready_within(_START_SECONDS):
                raise NeverFinished("the server did not become ready")
            if moment.door:
                os.kill(server.door_pid, signal.SIGKILL)
                self.kills_of_the_door += 1
            if moment.reports:
                self._await_reports(moment.reports)
            time.sleep(moment.seconds)
            if not server.is_alive():
                raise NeverFinished(f"the server ended by itself; see {server.log}")
            self.kills_before_ready += not server.is_ready_within(0)
            server.kill()
        answered = [seen.at for seen in self._stream.acknowledgements if seen.connected > started]
        self.to_first_answer += [min(answered) - started] if answered else []

    def _await_reports(self, count: int) -> None:
        """Until so many more reports stand on the FHIR server, or there was time enough for them."""
        hospital, deadline = self._stream.hospital, time.monotonic() + _REPORTS_SECONDS
        wanted = hospital.count_reports() + count
        while hospital.count_reports() < wanted and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)

    def _let_finish(self) -> None:
        """Undisturbed, until everything is done and stays so."""
        with self._server() as server:
            server.wait_until_ready()
            self._stream.stop()
            self._await_done(server)
            time.sleep(_SETTLE_SECONDS)
            server.stop()
            if server.exit_code() != 0:
                raise NeverFinished(f"the drained server ended with {server.exit_code()}; see {server.log}")

    def _await_done(self, server: ServeProcess) -> None:
        """Until every job has come to its end, or nothing moves any more."""
        counts, changed = Counter[str](), time.monotonic()
        while True:
            now = _job_counts(server)
            if sum(now.values()) == now["done"] >= len(self._stream.orders):
                return
            if now != counts:
                counts, changed = now, time.monotonic()
            if time.monotonic() > changed + _STANDSTILL_SECONDS or not server.is_alive():
                return  # the verdict says what is missing
            time.sleep(_POLL_SECONDS)

    def _store(self) -> tuple[list[JobSeen], set[str], Counter[str]]:
        """Jobs, control IDs answered AA, and how often each step was cut off and done again."""
        database = SqlDatabase.in_folder(self.folder / "data" / "phi")
        store = SqlStore(database, FrozenClock())
        journal = SqliteJournal(self.folder / "data" / "phi" / "journal.db", FrozenClock())
        try:
            jobs = store.jobs(limit=10**6)
            stored = {m.entry.key.control_id for m in journal.messages(10**6) if m.entry.outcome.code == "AA"}
            lost = Counter(entry.stage for job in jobs for entry in store.history(job.id) if entry.event == Event.LOSE)
        finally:
            database.close()
            journal.close()
        return [JobSeen(job.order.placer.value if job.order.placer else "", job.status) for job in jobs], stored, lost

    def _tell_progress(self, what: str) -> None:
        stream = self._stream
        self.tell(f"{what}: {len(stream.orders)} orders acknowledged, {len(stream.reported)} reported")

    def _figures(self, verdict: KillVerdict, redone: Counter[str]) -> dict[str, Any]:
        stream, firsts = self._stream, self.to_first_answer
        return {
            "kept": verdict.kept,
            "seed": self.seed,
            "kills": self.kills,
            "kills_before_ready": self.kills_before_ready,
            "kills_of_the_door_alone": self.kills_of_the_door,
            "orders_acknowledged": len(stream.orders),
            "messages_acknowledged": len(stream.acknowledgements),
            "messages_repeated_on_purpose": stream.repeated,
            "attempts_without_answer": stream.unanswered,
            "answers": dict(stream.answers),
            "lost": verdict.lost,
            "doubled": verdict.doubled,
            **asdict(verdict),
            "steps_redone": dict(redone),
            "seconds_to_first_answer": {
                "restarts": len(firsts),
                "median": round(statistics.median(firsts), 2) if firsts else None,
                "max": round(max(firsts), 2) if firsts else None,
            },
            "cores": os.cpu_count(),
        }


def _job_counts(server: ServeProcess) -> Counter[str]:
    text = requests.get(f"{server.url}/metrics", timeout=30).text
    found = re.findall(r'^fhir_bridge_jobs\{status="(\w+)"\} (\d+)', text, re.MULTILINE)
    return Counter({status: int(count) for status, count in found})
