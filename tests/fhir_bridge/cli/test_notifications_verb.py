"""`fhir-bridge notifications`: what is listed shows nobody; what is shown and replayed."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fhir_bridge.adapters.sql_database import SqlDatabase
from fhir_bridge.adapters.sql_store import SqlStore
from fhir_bridge.cli.root import main
from fhir_bridge.compose import SystemClock
from fhir_bridge.ports import Notification


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    """1 was done, 2 and 3 could not be used."""
    database = SqlDatabase.in_folder(tmp_path / "phi")
    database.migrate()
    store = SqlStore(database, SystemClock())
    for status in ("done", "quarantined", "quarantined"):
        told = Notification(
            0, "orders", "PUT", "ServiceRequest", f"CANARY-{status}", "2", status, reason=f"hook.{status}"
        )
        with store.transaction() as ledger:
            ledger.add_notification(told, b'{"id": "CANARY^ZEBRA"}')
    yield store
    database.close()


@pytest.fixture
def verb(tmp_path: Path, store: SqlStore) -> Callable[..., Result]:
    def invoke(*words: str) -> Result:
        return CliRunner().invoke(main, ["notifications", *words, "--data-dir", str(tmp_path)])

    return invoke


def test_the_list_shows_hook_type_and_reason_and_nobody(verb: Callable[..., Result]) -> None:
    found = [json.loads(line) for line in verb("list", "--json").stdout.splitlines()]
    assert [line["notification"] for line in found] == [3, 2, 1]
    assert {key: found[0][key] for key in ("hook", "call", "type", "status", "reason")} == {
        "hook": "orders",
        "call": "PUT",
        "type": "ServiceRequest",
        "status": "quarantined",
        "reason": "hook.quarantined",
    }


def test_the_list_is_a_table_for_people(verb: Callable[..., Result]) -> None:
    assert "hook.done" in verb("list").stdout


def test_the_list_can_be_narrowed(verb: Callable[..., Result]) -> None:
    found = [json.loads(line)["status"] for line in verb("list", "--json", "--status", "done").stdout.splitlines()]
    assert found == ["done"]


@pytest.mark.prints_identifiers
def test_one_is_shown_with_its_body(verb: Callable[..., Result]) -> None:
    done = verb("show", "2", "--json")
    assert (done.exit_code, json.loads(done.stdout)["body"]) == (0, '{"id": "CANARY^ZEBRA"}')


@pytest.mark.prints_identifiers
def test_one_is_shown_line_by_line_for_people(verb: Callable[..., Result]) -> None:
    assert "id: CANARY-quarantined\n" in verb("show", "2").stdout


def test_what_is_not_there_cannot_be_shown(verb: Callable[..., Result]) -> None:
    assert (verb("show", "9").exit_code, verb("show", "9").output) == (1, "no such notification\n")


def test_one_that_is_replayed_is_due_again(verb: Callable[..., Result], store: SqlStore) -> None:
    assert verb("replay", "2").exit_code == 0
    assert [(n.id, n.reason) for n in store.due_notifications()] == [(2, "")]


def test_all_that_could_not_be_used_are_replayed_at_once(verb: Callable[..., Result], store: SqlStore) -> None:
    assert verb("replay", "--all-quarantined").stdout == "2: is tried again\n3: is tried again\n"
    assert store.notification_counts() == {"done": 1, "ready": 2}


def test_an_unknown_one_fails_the_verdict_and_not_the_others(verb: Callable[..., Result], store: SqlStore) -> None:
    assert verb("replay", "9", "3").exit_code == 1
    assert store.notification_counts()["ready"] == 1


@pytest.mark.parametrize("words", [(), ("2", "--all-quarantined")], ids=["nothing", "both"])
def test_replay_wants_numbers_or_all(verb: Callable[..., Result], words: tuple[str, ...]) -> None:
    assert verb("replay", *words).exit_code == 2
