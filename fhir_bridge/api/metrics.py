"""`/metrics` for Prometheus. Labels are words of ours (a status, an outcome): never a name, number or URL of anyone."""

from collections.abc import Callable, Iterator, Mapping

from flask import Blueprint, Response
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from fhir_bridge.errors import Unavailable
from fhir_bridge.job import Status

JobCounts = Callable[[], Mapping[str, int]]  # status -> jobs; raises Unavailable


class Metrics:
    """What is counted. One of these per process, made by compose."""

    def __init__(self, job_counts: JobCounts) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_Jobs(job_counts))
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


def metrics(figures: Metrics) -> Blueprint:
    """`/metrics` in the text format."""
    blueprint = Blueprint("metrics", __name__)

    @blueprint.get("/metrics")
    def scrape() -> Response:
        return Response(generate_latest(figures.registry), content_type=CONTENT_TYPE_LATEST)

    return blueprint
