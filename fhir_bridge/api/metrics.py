"""`/metrics` for Prometheus. Labels are words of ours (a status, an outcome): never a name, number or URL of anyone."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

from flask import Blueprint, Response
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from fhir_bridge.errors import Unavailable
from fhir_bridge.feed import Feed
from fhir_bridge.job import Status
from fhir_bridge.watchdog import AlarmedFeeds
from hl7_listener.traffic import Statistics

_Table = Literal["acknowledgements", "connections_refused", "closed", "discarded", "tolerances"]
_TABLES: tuple[tuple[str, str, str, _Table], ...] = (
    ("answers", "Answers that were sent, by MSA-1 (NAK: the commit block of Release 2)", "code", "acknowledgements"),
    ("connections_refused", "Connections that were not taken, by reason", "reason", "connections_refused"),
    ("connections_closed", "Connections that we ended, by reason", "reason", "closed"),
    ("discarded_bytes", "Bytes that belong to no message, by reason", "reason", "discarded"),
    ("tolerances", "Irregularities that were forgiven, by kind", "kind", "tolerances"),
)

_FEED_COUNTERS = (
    ("missed", "Changes that were found by asking only, though there was time to tell them"),
    ("gaps", "Events that the server counted and that never came"),
    ("resets", "Times that the server began its event numbers anew"),
    ("repairs", "Times that the Subscription was made again, activated again or set right"),
)
_FEED_TIMES = (
    ("heard", "When the server last called the hook"),
    ("caught_up", "When the server was last asked, to the end, for what it did not tell"),
)

JobCounts = Callable[[], Mapping[str, int]]  # status -> jobs; raises Unavailable


@dataclass(frozen=True, slots=True)
class DoorFigures:
    """The MLLP door, as the process behind it reports it. `backlog`: messages that intake has not applied yet; raises Unavailable."""

    is_up: Callable[[], bool]
    traffic: Callable[[], Mapping[str, Statistics]]
    backlog: Callable[[], int]


@dataclass(frozen=True, slots=True)
class FeedFigures:
    """How we hear of the FHIR server, and its notifications by status. Both raise Unavailable."""

    feeds: AlarmedFeeds
    notification_counts: Callable[[], Mapping[str, int]]


class Metrics:
    """What is counted. One of these per process, made by compose."""

    def __init__(
        self, job_counts: JobCounts, door: DoorFigures | None = None, feeds: FeedFigures | None = None
    ) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_Jobs(job_counts))
        if door is not None:
            self.registry.register(_Door(door))
        if feeds is not None:
            self.registry.register(_Feeds(feeds))
        self._hooks = Counter(
            "fhir_bridge_hook_calls_total",
            "Notifications of FHIR servers, by how they ended",
            ["outcome"],
            registry=self.registry,
        )

    def hook(self, outcome: str) -> None:
        """For `api.fhir_endpoints.hooks(count=...)`."""
        self._hooks.labels(outcome=outcome).inc()


class _Jobs(Collector):
    """Asks the store at each scrape, so that all processes of one store say the same."""

    def __init__(self, job_counts: JobCounts) -> None:
        self._job_counts = job_counts

    def describe(self) -> list[GaugeMetricFamily]:
        return []  # nothing to ask while registering

    def collect(self) -> Iterator[GaugeMetricFamily]:
        up = GaugeMetricFamily("fhir_bridge_store_up", "1 where the store answered this scrape")
        jobs = GaugeMetricFamily("fhir_bridge_jobs", "Jobs, by status", labels=["status"])
        try:
            counts = self._job_counts()
        except Unavailable:
            up.add_metric([], 0)
            yield up
            return
        up.add_metric([], 1)
        yield up
        for status in Status:
            jobs.add_metric([status], counts.get(status, 0))
        yield jobs


class _Door(Collector):
    """Counts begin anew with each life of the listening process. The label `listener` is a word of the configuration."""

    def __init__(self, door: DoorFigures) -> None:
        self._door = door

    def describe(self) -> list[CounterMetricFamily]:
        return []  # nothing to ask while registering

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("fhir_bridge_mllp_up", "1 where the MLLP door is open", value=float(self._door.is_up()))
        yield from _traffic_families(self._door.traffic())
        lag = GaugeMetricFamily("fhir_bridge_intake_lag_messages", "Answered messages that intake has not applied yet")
        with contextlib.suppress(Unavailable):
            lag.add_metric([], self._door.backlog())
            yield lag


class _Feeds(Collector):
    """Asks the store at each scrape. The label `feed` is a word of ours."""

    def __init__(self, figures: FeedFigures) -> None:
        self._figures = figures

    def describe(self) -> list[CounterMetricFamily]:
        return []  # nothing to ask while registering

    def collect(self) -> Iterator[Metric]:
        with contextlib.suppress(Unavailable):
            feeds, counts = self._figures.feeds(), self._figures.notification_counts()
            yield from _feed_families(feeds)
            notifications = GaugeMetricFamily(
                "fhir_bridge_notifications", "Notifications that are kept, by status", labels=["status"]
            )
            for status in ("ready", "done", "quarantined"):
                notifications.add_metric([status], counts.get(status, 0))
            yield notifications


def _feed_families(feeds: Sequence[tuple[Feed, tuple[str, ...]]]) -> Iterator[Metric]:
    for name, help_text in _FEED_COUNTERS:
        counter = CounterMetricFamily(f"fhir_bridge_feed_{name}", help_text, labels=["feed"])
        for feed, _ in feeds:
            counter.add_metric([feed.name], getattr(feed, name))
        yield counter
    for name, help_text in _FEED_TIMES:
        times = GaugeMetricFamily(f"fhir_bridge_feed_{name}_timestamp_seconds", help_text, labels=["feed"])
        for feed, _ in feeds:
            if (at := getattr(feed, name)) is not None:
                times.add_metric([feed.name], at.timestamp())
        yield times
    active = GaugeMetricFamily("fhir_bridge_feed_active", "1 where its Subscription is active", labels=["feed"])
    alarms = GaugeMetricFamily("fhir_bridge_feed_alarms", "1 while this alarm lasts", labels=["feed", "alarm"])
    for feed, found in feeds:
        if feed.wanted:
            active.add_metric([feed.name], feed.status == "active")
        for alarm in found:
            alarms.add_metric([feed.name, alarm], 1)
    yield from (active, alarms)


def _traffic_families(traffic: Mapping[str, Statistics]) -> Iterator[Metric]:
    connections = GaugeMetricFamily("fhir_bridge_mllp_connections", "Connections that are open", labels=["listener"])
    messages = CounterMetricFamily("fhir_bridge_mllp_messages", "Messages that came in", labels=["listener"])
    failures = CounterMetricFamily(
        "fhir_bridge_mllp_own_failures", "Messages that a bug of ours kept from an answer", labels=["listener"]
    )
    for listener, counts in traffic.items():
        connections.add_metric([listener], counts["connections"])
        messages.add_metric([listener], counts["messages"])
        failures.add_metric([listener], counts["acceptor_failures"])
    yield from (connections, messages, failures)
    for name, help_text, label, table in _TABLES:
        family = CounterMetricFamily(f"fhir_bridge_mllp_{name}", help_text, labels=["listener", label])
        for listener, counts in traffic.items():
            for word, count in cast(Mapping[str, int], counts[table]).items():
                family.add_metric([listener, word], count)
        yield family


def metrics(figures: Metrics) -> Blueprint:
    """`/metrics` in the text format."""
    blueprint = Blueprint("metrics", __name__)

    @blueprint.get("/metrics")
    def scrape() -> Response:
        return Response(generate_latest(figures.registry), content_type=CONTENT_TYPE_LATEST)

    return blueprint
