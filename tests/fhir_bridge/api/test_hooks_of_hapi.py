"""Every request that a real HAPI sent to its Subscriptions' endpoints, sent to ours (tests/data/fhir/hapi)."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from fhir_bridge.adapters.sql_database import SqlDatabase
from fhir_bridge.adapters.sql_store import SqlStore
from fhir_bridge.api.fhir_endpoints import hooks
from fhir_bridge.feed import KINDS
from fhir_bridge.hook_intake import HookCall, take
from fhir_bridge.ports import Notification
from tests.support.frozen_clock import FrozenClock

CAPTURES = Path(__file__).resolve().parents[2] / "data" / "fhir" / "hapi"
TOKEN = "test-token-1"


@pytest.fixture
def store(clock: FrozenClock, tmp_path: Path) -> Iterator[SqlStore]:
    database = SqlDatabase.in_folder(tmp_path)
    database.migrate()
    yield SqlStore(database, clock)
    database.close()


@pytest.fixture
def client(store: SqlStore, clock: FrozenClock) -> FlaskClient:
    def receive(call: HookCall) -> None:
        with store.transaction() as ledger:
            take(ledger, call, clock.now())

    app = Flask("door")
    app.register_blueprint(hooks(receive, TOKEN, 100_000))
    return app.test_client()


def capture(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((CAPTURES / name).read_text())
    return found


def send(client: FlaskClient, request: dict[str, Any], name: str = "orders") -> int:
    """As captured, to our hook of this name instead of the captured one."""
    method, path, _ = request["request_line"].split()
    resource = path.lstrip("/").partition("/")[2]
    ours = ("Content-Length", "Host", "Connection", "Authorization")  # one of the captured Subscriptions had no header
    headers = [pair for pair in request["headers"] if pair[0] not in ours]
    headers.append(["Authorization", f"Bearer {TOKEN}"])
    answer = client.open(
        f"/hooks/fhir/{name}/{resource}", method=method, headers=headers, data=request["body"].encode()
    )
    assert answer.data == b""
    return answer.status_code


def kept(store: SqlStore) -> list[tuple[str, str, str, str]]:
    return [(f"{n.resource_type}/{n.resource_id}", n.version_id, n.method, n.status) for n in _oldest_first(store)]


def _oldest_first(store: SqlStore) -> list[Notification]:
    return list(reversed(store.notifications(limit=1000)))


def asked(store: SqlStore) -> set[str]:
    with store.transaction() as ledger:
        return {name for name in KINDS if ledger.feed(name).asked_for}


@pytest.mark.parametrize(
    "name", sorted(path.name for path in CAPTURES.glob("*.json") if not path.name.startswith("04"))
)
def test_each_is_answered_204_without_a_body(client: FlaskClient, name: str) -> None:
    assert {send(client, request) for request in capture(name)["requests"]} == {204}


def test_one_order_by_seven_subscriptions_is_one_version_to_read(client: FlaskClient, store: SqlStore) -> None:
    for request in capture("01-create-hooks.json")["requests"]:
        send(client, request)
    order = "ServiceRequest/1009"
    assert kept(store) == [(order, "1", "PUT", "ready"), (order, "", "PUT", "ready"), ("/", "", "POST", "done")]
    assert asked(store) == {"orders"}  # for the one without a payload


def test_its_update_is_another_version(client: FlaskClient, store: SqlStore) -> None:
    for name in ("01-create-hooks.json", "02-update-hooks.json"):
        for request in capture(name)["requests"]:
            send(client, request)
    assert {row[1] for row in kept(store)} == {"1", "2", ""}


def test_a_delete_hook_is_a_deletion(client: FlaskClient, store: SqlStore) -> None:
    send(client, capture("03-delete-hook.json")["requests"][0])
    assert kept(store) == [("ServiceRequest/1009", "", "DELETE", "ready")]


def test_what_is_sent_again_is_answered_204_and_kept_once(client: FlaskClient, store: SqlStore) -> None:
    """Twenty-one times each, where an endpoint answered something that HAPI does not like."""
    sent = [one for one in capture("04-failing-endpoints.json")["endpoints"]["json200"] if one["if_match"]]
    for one in sent:
        headers = [["If-Match", f'W/"{one["if_match"]}"']]
        assert send(client, {**one, "headers": headers, "body": ""}) == 204
    assert len(sent) > 20
    assert sorted(row[:2] for row in kept(store)) == [("ServiceRequest/1040", "1"), ("ServiceRequest/1040", "2")]


def test_a_study_is_known_by_its_hook(client: FlaskClient, store: SqlStore) -> None:
    send(client, capture("05-transaction-imagingstudy-hook.json")["requests"][0], "studies")
    assert kept(store) == [("ImagingStudy/1057", "1", "PUT", "ready")]


def test_of_a_transaction_with_the_patient_the_order_is_read(client: FlaskClient, store: SqlStore) -> None:
    send(client, capture("06-payload-search-criteria-bundle.json")["requests"][0])
    assert kept(store) == [("ServiceRequest/1077", "1", "PUT", "ready")]


def test_the_three_payloads_of_a_topic_are_one_order_and_one_question(client: FlaskClient, store: SqlStore) -> None:
    for request in capture("07-topic-notifications-create.json")["requests"]:
        send(client, request)
    assert kept(store) == [("ServiceRequest/3879", "1", "PUT", "ready"), ("/", "", "POST", "done")]
    with store.transaction() as ledger:
        feed = ledger.feed("orders")
    assert (feed.event_number, feed.gaps, asked(store)) == (1, 0, {"orders"})


def test_an_order_that_becomes_active_is_told_in_its_version(client: FlaskClient, store: SqlStore) -> None:
    send(client, capture("08-topic-notification-on-hold-to-active.json")["requests"][0])
    assert kept(store) == [("ServiceRequest/3862", "4", "PUT", "ready")]
