"""Is the process alive, can it do its work, and which dependency is in trouble."""

import threading
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime

from flask import Blueprint, Response, jsonify

from fhir_bridge import log
from fhir_bridge.errors import attempt
from fhir_bridge.watchdog import AlarmedFeeds

Answer = tuple[bool, str]  # fine?, and a few words free of patient data
Check = Callable[[], Answer]  # may raise BridgeError

READY_SECONDS = 5.0  # whoever asks may give up after 10


def health(
    checks: Mapping[str, Check], required: Collection[str] = ("store",), seconds: float = READY_SECONDS
) -> Blueprint:
    """`/health/live` and `/health/ready`.

    Ready answers 503 only where a required dependency is in trouble. A FHIR server or PACS that is away makes it `degraded` with
    200: orders are still taken and kept, and a load balancer that took us out then would lose them. All are asked at once; one that
    has not answered within `seconds` is in trouble, `health.no-answer`.
    """
    probes = {name: _Probe(check) for name, check in checks.items()}
    blueprint = Blueprint("health", __name__, url_prefix="/health")

    @blueprint.get("/live")
    def live() -> Response:
        return jsonify(status="live")

    @blueprint.get("/ready")
    def ready() -> tuple[Response, int]:
        deadline = time.monotonic() + seconds
        asked = {name: probe.ask() for name, probe in probes.items()}
        results = {name: _wait(answer, deadline) for name, answer in asked.items()}
        failed = {name for name, (fine, _) in results.items() if not fine}
        status = "not-ready" if failed & set(required) else "degraded" if failed else "ready"
        answer = jsonify(
            status=status,
            checks={name: {"ok": fine, "detail": detail} for name, (fine, detail) in results.items()},
        )
        return answer, 503 if status == "not-ready" else 200

    return blueprint


def subscriptions_check(feeds: AlarmedFeeds) -> Check:
    """Whether the FHIR server tells us what it should, and is asked for the rest; else each feed with its alarms."""

    def check() -> Answer:
        found = feeds()
        alarmed = [f"{feed.name}: {' '.join(alarms)}" for feed, alarms in found if alarms]
        wanted = ", ".join(feed.name for feed, _ in found if feed.wanted)
        return not alarmed, "; ".join(alarmed) or wanted or "none are wanted"

    return check


class _Probe:
    """A check that is made once at a time: a peer that hangs must not take a thread from every caller."""

    def __init__(self, check: Check) -> None:
        self._check = check
        self._lock = threading.Lock()
        self._latest: Future[Answer] | None = None

    def ask(self) -> "Future[Answer]":
        """The answer to come; that of the check under way, where there is one."""
        with self._lock:
            if self._latest is None or self._latest.done():
                self._latest = Future()
                threading.Thread(target=self._run, args=(self._latest,), name="health", daemon=True).start()
            return self._latest

    def _run(self, answer: "Future[Answer]") -> None:
        tried = attempt(self._check)
        if tried.error and tried.error.error_id:
            log.event("health.bug", code=tried.error.code, error_id=tried.error.error_id, frames=tried.error.frames)
        answer.set_result(tried.value or (False, tried.error.code if tried.error else ""))


def _wait(answer: "Future[Answer]", deadline: float) -> Answer:
    try:
        return answer.result(max(0.0, deadline - time.monotonic()))
    except NotInTime:
        return False, "health.no-answer"
