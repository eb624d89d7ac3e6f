"""`fhir-bridge subscribe` against a scripted FHIR server, which activates a Subscription at once."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from fhir_bridge.adapters.sql_database import SqlDatabase
from fhir_bridge.adapters.sql_store import SqlStore
from fhir_bridge.cli.root import main
from fhir_bridge.compose import SystemClock
from fhir_bridge.feed import Feed
from tests.support.scripted_fhir import ScriptedFhir, Traits, scripted_fhir

OURS = "http://bridge.example/hooks/fhir/"
Verb = Callable[..., Result]


@pytest.fixture
def server() -> Iterator[ScriptedFhir]:
    with scripted_fhir(Traits()) as server:
        yield server


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    database = SqlDatabase.in_folder(tmp_path / "phi")
    database.migrate()
    yield SqlStore(database, SystemClock())
    database.close()


@pytest.fixture
def verb(server: ScriptedFhir, tmp_path: Path, store: SqlStore) -> Verb:
    def invoke(*words: str, **settings: str) -> Result:
        given = {"fhir.base_url": server.base_url, "http.public_url": "http://bridge.example"}
        given |= {key.replace("__", "."): value for key, value in settings.items()}
        options = [word for key, value in given.items() for word in ("--set", f"{key}={value}")]
        return CliRunner().invoke(main, ["subscribe", *words, *options, "--data-dir", str(tmp_path)])

    return invoke


def endpoints(server: ScriptedFhir) -> set[str]:
    return {one["channel"]["endpoint"] for one in server.all_of("Subscription")}


def lines(done: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_they_are_made_and_wanted_from_then_on(verb: Verb, server: ScriptedFhir, store: SqlStore) -> None:
    done = verb("--json")
    assert done.exit_code == 0
    assert [(line["name"], line["status"], line["action"]) for line in lines(done)] == [
        ("orders", "active", "created"),
        ("studies", "active", "created"),
    ]
    assert endpoints(server) == {OURS + "orders", OURS + "studies"}
    assert [(feed.name, feed.wanted, feed.status, feed.repairs) for feed in store.feeds()] == [
        ("orders", True, "active", 0),
        ("studies", True, "active", 0),
    ]


def test_one_that_the_server_does_not_activate_is_a_bad_verdict(verb: Verb, server: ScriptedFhir) -> None:
    assert verb().exit_code == 0
    server.put(*({**one, "status": "requested"} for one in server.all_of("Subscription")))
    assert (verb("--wait", "0").exit_code, verb("--check").exit_code) == (1, 1)


def test_an_active_one_is_said_and_left_alone(verb: Verb, server: ScriptedFhir, store: SqlStore) -> None:
    assert verb().exit_code == 0
    before = server.all_of("Subscription")
    done = verb()
    assert (done.exit_code, done.stdout.count("active"), done.stdout.count("(none)")) == (0, 2, 2)
    assert server.all_of("Subscription") == before
    assert store.feeds()[0].asked_for is not None  # what came before its activation was told to nobody


def test_tasks_are_subscribed_to_where_orders_are_placed_by_them(verb: Verb, server: ScriptedFhir) -> None:
    verb(fhir__task_orders="true")
    assert endpoints(server) == {OURS + "orders", OURS + "studies", OURS + "tasks"}


def test_those_at_a_former_address_are_moved(verb: Verb, server: ScriptedFhir) -> None:
    assert verb().exit_code == 0
    assert verb(http__public_url="http://new.example").exit_code == 0
    assert endpoints(server) == {"http://new.example/hooks/fhir/orders", "http://new.example/hooks/fhir/studies"}


def test_a_check_changes_nothing(verb: Verb, server: ScriptedFhir, store: SqlStore) -> None:
    done = verb("--check", "--json")
    assert (done.exit_code, [line["status"] for line in lines(done)]) == (1, ["missing", "missing"])
    assert server.all_of("Subscription") == []
    assert store.feeds() == ()


def test_a_check_of_what_is_well_is_a_good_verdict(verb: Verb, server: ScriptedFhir) -> None:
    assert verb().exit_code == 0
    done = verb("--check", "--json")
    assert done.exit_code == 0
    assert [(line["status"], line["kept"], line["alarms"]) for line in lines(done)] == [("active", True, [])] * 2


def test_a_check_says_all_that_is_known(verb: Verb, server: ScriptedFhir, store: SqlStore) -> None:
    assert verb().exit_code == 0
    at = SystemClock().now()
    with store.transaction() as ledger:
        known = ledger.feed("orders")
        ledger.keep_feed(
            replace(known, heard=at, event_number=41, gaps=42, resets=43, missed=44, repairs=45, watermark=at,
                    caught_up=at, trouble="fhir.unavailable")
        )  # fmt: skip
    done = verb("--check")
    assert done.exit_code == 0
    for words in (
        "41",
        "42",
        "43",
        "44",
        "45",
        "fhir.unavailable",
        at.isoformat(timespec="seconds"),
        "deletions can be seen",
    ):
        assert words in done.stdout


WRONG: dict[str, tuple[Callable[[dict[str, Any]], dict[str, Any]], str]] = {
    "off": (lambda one: {**one, "status": "off"}, '"status": "off"'),
    "changed": (lambda one: {**one, "criteria": "ServiceRequest?status=active"}, '"differs": ["criteria"]'),
    "doubled": (lambda one: {**one, "id": "double"}, '"doubled": 1'),
    "left over": (
        lambda one: {**one, "id": "former", "channel": {**one["channel"], "endpoint": "http://old.example/hooks/fhir/orders"}},
        '{"leftover": "Subscription/former"}',
    ),
    "another bridge's": (
        lambda one: {**one, "id": "b2", "meta": {"tag": [{"system": "urn:fhir-bridge:bridge", "code": "b2"}]}},
        '"foreign": ["Subscription/b2"]',
    ),
}  # fmt: skip


@pytest.mark.parametrize(("changed", "said"), WRONG.values(), ids=WRONG.keys())
def test_a_check_of_what_is_wrong_is_a_bad_verdict(
    verb: Verb, server: ScriptedFhir, changed: Callable[[dict[str, Any]], dict[str, Any]], said: str
) -> None:
    assert verb().exit_code == 0
    (orders,) = (one for one in server.all_of("Subscription") if one["channel"]["endpoint"] == OURS + "orders")
    server.put(changed(orders))
    done = verb("--check", "--json")
    assert (done.exit_code, said in done.stdout) == (1, True)


def test_an_alarm_is_a_bad_verdict(verb: Verb, server: ScriptedFhir, store: SqlStore) -> None:
    assert verb().exit_code == 0
    with store.transaction() as ledger:
        ledger.keep_feed(replace(ledger.feed("orders"), missed=1, last_missed=SystemClock().now()))
    done = verb("--check", "--json")
    assert (done.exit_code, lines(done)[0]["alarms"]) == (1, ["feed.events-missed"])


def test_a_feed_that_the_configuration_does_without_now_is_no_alarm(verb: Verb, store: SqlStore) -> None:
    verb()
    with store.transaction() as ledger:
        ledger.keep_feed(Feed("tasks", caught_up=SystemClock().now() - timedelta(days=9)))
    done = verb("--check", "--json")
    assert (done.exit_code, [line["name"] for line in lines(done)]) == (0, ["orders", "studies"])


def test_removed_ones_are_gone_and_no_longer_wanted(verb: Verb, server: ScriptedFhir, store: SqlStore) -> None:
    assert verb().exit_code == 0
    theirs = {**server.all_of("Subscription")[0], "id": "theirs", "meta": {}}
    server.put({**theirs, "channel": {**theirs["channel"], "endpoint": "http://another.example"}})
    done = verb("--remove")
    assert (done.exit_code, done.stdout.count("removed Subscription/")) == (0, 2)
    assert endpoints(server) == {"http://another.example"}
    assert {(feed.wanted, feed.status) for feed in store.feeds()} == {(False, "")}


def test_they_are_printed_with_their_tokens_for_who_makes_them_by_hand(verb: Verb, server: ScriptedFhir) -> None:
    done = verb("--print", "--json")
    assert [line["criteria"].partition("?")[0] for line in lines(done)] == ["ServiceRequest", "ImagingStudy"]
    assert "token" in done.stderr
    server.put(*({**line, "id": line["criteria"][:5], "status": "active"} for line in lines(done)))
    assert verb("--json").exit_code == 0  # what was made by hand is as wanted


def test_a_server_without_subscriptions_is_asked_instead(verb: Verb, server: ScriptedFhir, store: SqlStore) -> None:
    done = verb(fhir__profile="azure")
    assert (done.exit_code, "asked every 300 s" in done.stdout) == (0, True)
    assert store.feeds() == ()
    assert server.asked == []


def test_a_check_of_a_server_without_subscriptions_says_how_it_is_asked(verb: Verb, store: SqlStore) -> None:
    with store.transaction() as ledger:
        ledger.keep_feed(Feed("orders", caught_up=SystemClock().now(), missed=7))
    done = verb("--check", "--json", fhir__profile="azure")
    assert (done.exit_code, [(line["status"], line["missed"]) for line in lines(done)]) == (0, [("none", 7)])


@pytest.mark.parametrize("words", [("--check", "--remove"), ("--print", "--remove")], ids=" ".join)
def test_only_one_thing_is_done_at_a_time(verb: Verb, words: tuple[str, ...]) -> None:
    assert verb(*words).exit_code == 2


def test_without_a_server_there_is_nothing_to_subscribe_to(verb: Verb) -> None:
    assert (verb(fhir__base_url="").exit_code, "fhir.base_url" in verb(fhir__base_url="").output) == (2, True)


def test_a_free_port_is_known_once_a_server_has_run(verb: Verb, server: ScriptedFhir, tmp_path: Path) -> None:
    done = verb(http__public_url="", http__port="0")
    assert (done.exit_code, "subscription.no-address" in done.output) == (2, True)
    (tmp_path / "http.address").write_text("http://127.0.0.1:4711")
    verb(http__public_url="", http__port="0")
    assert endpoints(server) == {"http://127.0.0.1:4711/hooks/fhir/orders", "http://127.0.0.1:4711/hooks/fhir/studies"}
