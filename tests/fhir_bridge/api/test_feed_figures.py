"""What a load balancer and Prometheus are told of how we hear of the FHIR server."""

from datetime import UTC, datetime

import pytest
from flask import Flask
from prometheus_client.parser import text_string_to_metric_families

from fhir_bridge.api.health import health, subscriptions_check
from fhir_bridge.api.metrics import FeedFigures, Metrics, metrics
from fhir_bridge.errors import Unavailable
from fhir_bridge.feed import Feed

AT = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
ORDERS = Feed("orders", wanted=True, status="active", heard=AT, caught_up=AT, missed=2, gaps=3, resets=4, repairs=5)
STUDIES = Feed("studies", wanted=True, status="off")
TASKS = Feed("tasks")
ALARMED = [(ORDERS, ()), (STUDIES, ("subscription.stopped",)), (TASKS, ())]


def samples(figures: FeedFigures) -> dict[tuple[str, ...], float]:
    app = Flask("metrics")
    app.register_blueprint(metrics(Metrics(dict, feeds=figures)))
    text = app.test_client().get("/metrics").get_data(as_text=True)
    return {
        (sample.name.removeprefix("fhir_bridge_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


FIGURES = {
    ("feed_missed_total", "orders"): 2,
    ("feed_gaps_total", "orders"): 3,
    ("feed_resets_total", "orders"): 4,
    ("feed_repairs_total", "orders"): 5,
    ("feed_heard_timestamp_seconds", "orders"): 1772443800,  # date -u -d 2026-03-02T09:30 +%s
    ("feed_caught_up_timestamp_seconds", "orders"): 1772443800,
    ("feed_active", "orders"): 1,
    ("feed_active", "studies"): 0,
    ("feed_alarms", "subscription.stopped", "studies"): 1,
    ("notifications", "quarantined"): 7,
    ("notifications", "done"): 0,
}


@pytest.mark.parametrize("sample", FIGURES)
def test_each_feed_has_its_figures(sample: tuple[str, ...]) -> None:
    found = samples(FeedFigures(lambda: ALARMED, lambda: {"quarantined": 7}))
    assert found[sample] == FIGURES[sample]


@pytest.mark.parametrize(
    "sample", [("feed_heard_timestamp_seconds", "studies"), ("feed_active", "tasks")], ids=" of ".join
)
def test_what_never_was_has_no_figure(sample: tuple[str, ...]) -> None:
    assert sample not in samples(FeedFigures(lambda: ALARMED, dict))


def test_a_store_that_is_away_leaves_the_other_figures() -> None:
    def away() -> dict[str, int]:
        raise Unavailable("store.unavailable", "store", "")

    found = samples(FeedFigures(lambda: ALARMED, away))
    assert ("store_up",) in found
    assert not [sample for sample in found if sample[0].startswith(("feed", "notifications"))]


CHECKS = {
    "all is well": ([(ORDERS, ()), (TASKS, ())], "ready", "orders"),
    "an alarm": (ALARMED, "degraded", "studies: subscription.stopped"),
    "nobody subscribed": ([(TASKS, ())], "ready", "none are wanted"),
}


@pytest.mark.parametrize(("feeds", "status", "detail"), CHECKS.values(), ids=CHECKS.keys())
def test_an_alarm_degrades_us_and_never_takes_us_out(
    feeds: list[tuple[Feed, tuple[str, ...]]], status: str, detail: str
) -> None:
    app = Flask("health")
    app.register_blueprint(health({"store": lambda: (True, ""), "subscriptions": subscriptions_check(lambda: feeds)}))
    answer = app.test_client().get("/health/ready")
    assert answer.json
    assert (answer.status_code, answer.json["status"]) == (200, status)
    assert answer.json["checks"]["subscriptions"]["detail"] == detail
