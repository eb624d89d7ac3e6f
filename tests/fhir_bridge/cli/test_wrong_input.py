"""Verbs of the door, given what they cannot use: one line that says so and exit code 2, never a trace."""

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fhir_bridge.adapters.sqlite_journal import SqliteJournal
from fhir_bridge.cli.root import main
from fhir_bridge.compose import SystemClock
from tests.support.er7_orders import an_order
from tests.support.journal_entries import an_entry


def run(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(main, [*words, "--data-dir", str(folder / "data")])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "order.hl7"
    file.write_text(an_order())
    return file


@pytest.mark.parametrize("to", ["2575", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:\u00b2", "a..b:2575"])
def test_send_to_what_is_no_address(tmp_path: Path, file: Path, to: str) -> None:
    done = run(tmp_path, "send", str(file), "--to", to)
    assert (done.exit_code, type(done.exception)) == (2, SystemExit)


def test_send_with_a_file_that_is_no_certificate(tmp_path: Path, file: Path) -> None:
    done = run(tmp_path, "send", str(file), "--to", "127.0.0.1:1", "--tls", str(file))
    assert (done.exit_code, type(done.exception)) == (2, SystemExit)


@pytest.mark.parametrize(
    "words", [("show", str(2**63)), ("replay", "0"), ("replay", str(2**63)), ("list", "--limit=-1")]
)
def test_messages_of_numbers_that_none_can_have(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = run(tmp_path, "messages", *words)
    assert (done.exit_code, type(done.exception)) == (2, SystemExit)


def test_a_type_that_looks_like_markup_is_listed_as_it_is(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / "data" / "phi" / "journal.db", SystemClock())
    with journal.transaction() as page:
        page.add(an_entry(1, message_type="[/ORM^O01]"))
    journal.close()
    done = run(tmp_path, "messages", "list")
    assert (done.exit_code, "[/ORM^O01]" in done.output) == (0, True)


def test_listen_with_a_drop_folder_that_cannot_be(tmp_path: Path, file: Path) -> None:
    done = run(tmp_path, "listen", "--set", "mllp.port=0", "--set", f"mllp.drop_folder={file}/in")
    assert (done.exit_code, "mllp.drop-folder-unusable" in done.output) == (2, True)


def test_a_process_ends_though_a_thread_of_it_does_not() -> None:
    """As `serve` does when a step outlives the drain."""
    program = (
        "import threading; from fhir_bridge.cli.stopping import end\n"
        "threading.Thread(target=threading.Event().wait).start(); print('said', end=''); end(3)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=30)
    assert (done.returncode, done.stdout) == (3, b"said")
