"""The role `web`: hooks, pages, health and metrics over HTTP."""

import threading
from collections.abc import Mapping
from concurrent.futures import TimeoutError as NotInTime
from datetime import datetime
from importlib.metadata import version

from cheroot.wsgi import Server as HttpServer
from flask import Blueprint, Flask

from fhir_bridge import log
from fhir_bridge.adapters.door_process import DoorProcess
from fhir_bridge.adapters.group_commit import GroupCommit
from fhir_bridge.adapters.record_context import CONTEXT_TYPES
from fhir_bridge.api.capability import uses
from fhir_bridge.api.fhir_api import fhir_api
from fhir_bridge.api.fhir_endpoints import hooks
from fhir_bridge.api.health import Check, health, subscriptions_check
from fhir_bridge.api.jwks import jwks
from fhir_bridge.api.metrics import DoorFigures, FeedFigures, Metrics, metrics
from fhir_bridge.compose import Parts
from fhir_bridge.errors import Unavailable
from fhir_bridge.feed import Feed
from fhir_bridge.hook_intake import HookCall, take
from fhir_bridge.roles.subscriptions import feeds_of, patience_of, remember_address
from fhir_bridge.sections import Http
from fhir_bridge.watchdog import alarms
from fhir_bridge.web.app import LOOPBACK_HOSTS, host_of, make_app
from fhir_bridge.web.message_pages import message_pages
from fhir_bridge.web.pages import only_this_machine, pages
from fhir_bridge.web.subscription_pages import subscription_pages
from hl7_listener.traffic import Statistics

_HOOK_SECONDS = 9  # HAPI gives up after 10
_LONG_BACKLOG = 10_000  # messages that are answered and not applied: `degraded`


class _QuietHttpServer(HttpServer):
    """cheroot, whose own error log would print the text of exceptions."""

    keep_alive_conn_limit = 100  # by its own 10, each notification of the eleventh connection would cost a new one

    def error_log(self, msg: str = "", level: int = 20, traceback: bool = False) -> None:
        """Only that there was one: what it says may quote a request."""
        if level >= 40:
            log.event("http.server-error")


class Web:
    """Notifications go through the same writer as messages: answered after the commit that covers them."""

    def __init__(self, parts: Parts, writer: GroupCommit, door: DoorProcess) -> None:
        self._parts = parts
        self._writer = writer
        self._door = door
        self._heard: dict[str, datetime] = {}  # feeds
        http = parts.settings.http
        self._max_body_bytes = int(http.max_body_mebibytes * 2**20)
        self._server = _QuietHttpServer(
            (http.host, http.port), self._app(), numthreads=http.threads, server_name="fhir-bridge"
        )
        self._thread = threading.Thread(target=self._server.serve, name="http")

    def start(self) -> tuple[str, int]:
        """Host and port."""
        self._server.prepare()
        self._thread.start()
        host, port = self._server.bind_addr[:2]
        remember_address(self._parts.settings, port)
        return host, port

    def drain(self, seconds: float) -> None:
        """Answers what was asked, takes nothing new."""
        self._server.stop()
        self._thread.join(seconds)

    def _receive(self, call: HookCall) -> None:
        stored = self._writer.submit(lambda ledger: take(ledger, call, self._parts.clock.now(), self._heard))
        try:
            stored.result(_HOOK_SECONDS)
        except NotInTime:
            raise Unavailable("store.slow", "store", "not committed in time") from None

    def _door_is_up(self) -> bool:
        return self._door.is_up

    def _traffic(self) -> Mapping[str, Statistics]:
        return self._door.traffic

    def _backlog(self) -> int:
        return self._parts.journal.backlog(self._parts.store.intake_position())

    def _feeds(self) -> tuple[tuple[Feed, tuple[str, ...]], ...]:
        settings, now = self._parts.settings, self._parts.clock.now()
        feeds = (feed for feed in self._parts.store.feeds() if feed.name in feeds_of(settings))
        return tuple((feed, alarms(feed, now, patience_of(settings))) for feed in feeds)

    def _door_checks(self) -> dict[str, Check]:
        def door() -> tuple[bool, str]:
            return self._door.is_up, f"{len(self._traffic())} listeners" if self._door.is_up else "mllp.door-not-ready"

        def journal() -> tuple[bool, str]:
            return self._door.can_write, "writes" if self._door.can_write else "store.unavailable"

        def intake() -> tuple[bool, str]:
            behind = self._backlog()
            return behind < _LONG_BACKLOG, f"{behind} messages wait"

        return {"door": door, "journal": journal, "intake": intake}

    def _app(self) -> Flask:
        parts, http = self._parts, self._parts.settings.http
        door = DoorFigures(self._door_is_up, self._traffic, self._backlog)
        figures = Metrics(parts.store.job_counts, door, FeedFigures(self._feeds, parts.store.notification_counts))
        checks = _checks(parts) | {"subscriptions": subscriptions_check(self._feeds)} | self._door_checks()
        blueprints = (
            pages(parts.store, parts.artifacts, parts.clock, parts.store.job_counts),
            message_pages(parts.journal, parts.store, parts.clock, _field_name, only_this_machine, self._traffic),
            subscription_pages(parts.store, parts.clock, self._feeds, only_this_machine),
            hooks(self._receive, parts.hook_token, self._max_body_bytes, figures.hook, _previous_secret(http)),
            health(checks, required=("store", "door", "journal")),
            metrics(figures),
            jwks(parts.smart_keys.public),
            _our_fhir(http),
        )
        return make_app(blueprints, LOOPBACK_HOSTS | {host_of(http.public_url) if http.public_url else http.host})


def _our_fhir(http: Http) -> Blueprint:
    """What we publish, and say that we use of the hospital's server."""
    base_url = f"{http.public_url.rstrip('/')}/fhir" if http.public_url else ""
    searched = ("Patient", "ServiceRequest", "Task", *CONTEXT_TYPES)
    results = ("DiagnosticReport", "Observation", "ImagingStudy", "Communication", "Device", "Provenance")
    client = uses(
        read=(*searched, "Practitioner", "PractitionerRole"),
        searched=(*searched, *results, "Subscription"),
        written=(*results, "Subscription"),
        updated=("Task",),
    )
    return fhir_api(version("fhir-bridge"), base_url, client)


def _previous_secret(http: Http) -> str:
    return http.previous_hook_token.get_secret_value()


def _field_name(version: str, segment: str, position: int) -> str:
    from fhir_bridge.adapters.hl7apy_conformance import field_name  # its tables take a second to load

    return field_name(version, segment, position)


def _checks(parts: Parts) -> dict[str, Check]:
    def store() -> tuple[bool, str]:
        return True, f"{sum(parts.store.job_counts().values())} jobs"

    def fhir() -> tuple[bool, str]:
        if parts.fhir is None:
            return False, "fhir.not-configured"
        parts.fhir.ping()
        return True, "answers"

    def archive() -> tuple[bool, str]:
        parts.archive.ping()
        return True, parts.settings.archive.kind

    def model() -> tuple[bool, str]:
        return True, f"network guard: {parts.predictor.guard}"

    return {"store": store, "fhir": fhir, "archive": archive, "model": model}
