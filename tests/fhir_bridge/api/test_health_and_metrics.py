"""What a load balancer and Prometheus are told."""

import threading
from collections.abc import Mapping

import pytest
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from fhir_bridge.api.health import Check, health
from fhir_bridge.api.metrics import Metrics, metrics
from fhir_bridge.errors import Unavailable
from fhir_bridge.job import Status


def client_of(checks: Mapping[str, Check]) -> FlaskClient:
    app = Flask("health")
    app.register_blueprint(health(checks, required=("store",)))
    return app.test_client()


def fine() -> tuple[bool, str]:
    return True, "answers"


def away() -> tuple[bool, str]:
    raise Unavailable("fhir.unavailable", "fhir", "connection refused")


def test_a_process_that_answers_is_live_whatever_its_peers_do() -> None:
    answer = client_of({"store": away}).get("/health/live")
    assert (answer.status_code, answer.json) == (200, {"status": "live"})


READY = {
    "all is well": ({"store": fine, "fhir": fine}, 200, "ready"),
    "a peer is away": ({"store": fine, "fhir": away}, 200, "degraded"),
    "the store is away": ({"store": away, "fhir": fine}, 503, "not-ready"),
}


@pytest.mark.parametrize(("checks", "code", "status"), READY.values(), ids=READY.keys())
def test_only_the_store_takes_us_out_of_service(checks: Mapping[str, Check], code: int, status: str) -> None:
    answer = client_of(checks).get("/health/ready")
    assert answer.json is not None
    assert (answer.status_code, answer.json["status"]) == (code, status)


def test_each_dependency_is_named_with_its_code() -> None:
    answer = client_of({"store": fine, "fhir": away}).get("/health/ready")
    assert answer.json is not None
    assert answer.json["checks"] == {
        "store": {"ok": True, "detail": "answers"},
        "fhir": {"ok": False, "detail": "fhir.unavailable"},
    }


def test_a_peer_that_hangs_holds_up_neither_the_answer_nor_a_second_thread() -> None:
    over, asked = threading.Event(), []

    def hangs() -> tuple[bool, str]:
        asked.append(1)
        over.wait(30)
        return True, "answers"

    app = Flask("health")
    app.register_blueprint(health({"store": fine, "fhir": hangs}, seconds=0.01))
    answers = [app.test_client().get("/health/ready").json for _ in range(3)]
    over.set()
    assert [answer["status"] for answer in answers if answer] == ["degraded"] * 3
    assert answers[0]
    assert answers[0]["checks"]["fhir"] == {"ok": False, "detail": "health.no-answer"}
    assert len(asked) == 1


def test_a_bug_in_a_check_is_trouble_of_that_dependency_only() -> None:
    def broken() -> tuple[bool, str]:
        raise KeyError("CANARY-1")

    answer = client_of({"store": fine, "fhir": broken}).get("/health/ready")
    assert answer.json is not None
    assert (answer.json["status"], answer.json["checks"]["fhir"]["detail"]) == ("degraded", "internal.bug")


def samples(figures: Metrics) -> dict[tuple[str, str], float]:
    app = Flask("metrics")
    app.register_blueprint(metrics(figures))
    text = app.test_client().get("/metrics").get_data(as_text=True)
    return {
        (sample.name, next(iter(sample.labels.values()), "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def test_jobs_are_counted_by_every_status() -> None:
    found = samples(Metrics(lambda: {"held": 3}))
    assert {label: value for (name, label), value in found.items() if name == "fhir_bridge_jobs"} == {
        status: 3 if status is Status.HELD else 0 for status in Status
    }


def test_hook_calls_are_counted_by_outcome() -> None:
    figures = Metrics(dict)
    figures.hook("received")
    figures.hook("received")
    assert samples(figures)["fhir_bridge_hook_calls_total", "received"] == 2


def test_a_store_that_is_away_is_a_figure_and_no_error() -> None:
    def down() -> Mapping[str, int]:
        raise Unavailable("store.unavailable", "store", "")

    assert samples(Metrics(down)) == {("fhir_bridge_store_up", ""): 0}
