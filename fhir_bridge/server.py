"""The running server: both doors, the pages, the workers and the model process, started and drained in order."""

import fcntl
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from cheroot.wsgi import Server as HttpServer
from flask import Flask

from fhir_bridge import log
from fhir_bridge.adapters.group_commit import GroupCommit
from fhir_bridge.api.fhir_endpoints import hooks
from fhir_bridge.api.health import Check, health
from fhir_bridge.api.metrics import Metrics, metrics
from fhir_bridge.compose import Parts
from fhir_bridge.errors import Refused
from fhir_bridge.inbox import Inbox
from fhir_bridge.intake import receive
from fhir_bridge.ports import Notification
from fhir_bridge.web.app import LOOPBACK_HOSTS, make_app
from fhir_bridge.web.pages import pages
from fhir_bridge.worker import Retry, Worker
from hl7_listener.acknowledgement import Outcome
from hl7_listener.connection import Received
from hl7_listener.policy import ListenerPolicy
from hl7_listener.server import MllpServer

_HOOK_SECONDS = 9  # HAPI gives up after 10


class Server:
    """One process that owns a data folder. `start` returns once both doors are open."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        settings = parts.settings
        self._worker = Worker(
            parts.queue,
            parts.kit,
            Retry(settings.worker.max_attempts, settings.worker.backoff_seconds, settings.worker.backoff_cap_seconds),
            threads=settings.worker.threads,
            settle_notifications=Inbox(parts.store, parts.record, parts.policy, parts.clock).settle_due,
            lease_seconds=settings.worker.lease_seconds,
        )
        self._writer = GroupCommit(parts.store, self._worker.wake)
        self._mllp = MllpServer(_listener_policy(parts), self._accept)
        self._http = HttpServer((settings.http.host, settings.http.port), self._app(), numthreads=settings.http.threads)
        self._http_thread = threading.Thread(target=self._http.serve, name="http")

    def start(self) -> tuple[tuple[str, int], tuple[str, int]]:
        """The addresses of MLLP and HTTP. What a killed predecessor left running is taken over."""
        log.event("server.take-over", count=self._parts.queue.take_over())
        self._writer.start()
        mllp = self._mllp.start()
        self._http.prepare()
        self._http_thread.start()
        self._parts.predictor.start()
        self._worker.start()
        host, port = self._http.bind_addr[:2]
        return mllp, (host, port)

    def drain(self, seconds: float) -> None:
        """No new connections; what was stored is answered; the running step ends or is taken over at the next start."""
        self._mllp.drain(seconds)
        self._mllp.stop()
        self._http.stop()
        self._http_thread.join(seconds)
        self._worker.stop(seconds)
        self._writer.stop()
        self._parts.close()

    def _accept(self, received: Received) -> "Future[Outcome]":
        return self._writer.submit(lambda ledger: receive(ledger, received, self._parts.policy))

    def _receive_notification(self, notification: Notification, body: bytes) -> None:
        self._writer.submit(lambda ledger: ledger.add_notification(notification, body)).result(_HOOK_SECONDS)

    def _app(self) -> Flask:
        parts, settings = self._parts, self._parts.settings
        figures = Metrics(parts.store.job_counts)
        max_body_bytes = int(settings.http.max_body_mebibytes * 2**20)
        public = settings.http.public_url.partition("://")[2].partition("/")[0].rpartition(":")[0]
        return make_app(
            (
                pages(parts.store, parts.artifacts, parts.clock, parts.store.job_counts),
                hooks(self._receive_notification, parts.hook_token, max_body_bytes, figures.hook),
                health(self._checks()),
                metrics(figures),
            ),
            LOOPBACK_HOSTS | {public or settings.http.host},
        )

    def _checks(self) -> dict[str, Check]:
        def store() -> tuple[bool, str]:
            return True, f"{sum(self._parts.store.job_counts().values())} jobs"

        def fhir() -> tuple[bool, str]:
            if self._parts.fhir is None:
                return False, "fhir.not-configured"
            self._parts.fhir.search_parameters()
            return True, "answers"

        def archive() -> tuple[bool, str]:
            self._parts.archive.ping()
            return True, self._parts.settings.archive.kind

        def model() -> tuple[bool, str]:
            return True, f"network guard: {self._parts.predictor.guard}"

        return {"store": store, "fhir": fhir, "archive": archive, "model": model}


def _listener_policy(parts: Parts) -> ListenerPolicy:
    mllp = parts.settings.mllp
    return ListenerPolicy(
        name="mllp",
        host=mllp.host,
        port=mllp.port,
        application=mllp.application,
        facility=mllp.facility,
        max_message_mebibytes=mllp.max_message_mebibytes,
        idle_timeout_seconds=mllp.idle_timeout_seconds or None,
    )


@contextmanager
def sole_owner(data_dir: Path) -> Iterator[IO[str]]:
    """Two servers on one data folder would take over each other's jobs. Raises Refused `server.already-running`."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (data_dir / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused("server.already-running", "data_dir", "another server works on this data folder") from None
        yield file
