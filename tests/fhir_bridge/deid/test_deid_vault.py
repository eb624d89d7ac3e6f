import os
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fhir_bridge.deid.subject import Mapped
from fhir_bridge.deid.vault import Vault, load_or_create_key
from fhir_bridge.errors import Refused, Unavailable

MASTER, OTHER = bytes(range(32)), bytes(range(1, 33))
STUDY = Mapped("study", "2.25.1", "1.2.CANARY")
IMAGE = Mapped("instance", "2.25.2", "1.3.CANARY")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "phi" / "vault.db"


@pytest.fixture
def vault(path: Path) -> Vault:
    vault = Vault(path, MASTER)
    vault.remember("job-1", "project", "patient-1", [STUDY, IMAGE])
    return vault


def everything_on_disk(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in path.parent.iterdir())


def change(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()


def test_a_job_resolves_its_own_pseudonyms(vault: Vault) -> None:
    assert vault.resolve("job-1", [("study", "2.25.1")]) == {("study", "2.25.1"): "1.2.CANARY"}


def test_the_next_process_resolves_them_too(vault: Vault, path: Path) -> None:
    vault.close()
    assert Vault(path, MASTER).resolve("job-1", [("instance", "2.25.2")])["instance", "2.25.2"] == "1.3.CANARY"


@pytest.mark.parametrize(
    ("job", "wanted"),
    [
        ("job-2", [("study", "2.25.1")]),
        ("job-1", [("study", "2.25.9")]),
        ("job-1", [("instance", "2.25.1")]),
        ("job-1", [("study", "2.25.1"), ("instance", "2.25.9")]),
        ("job-1", [("study", "1.2.CANARY")]),
    ],
)
def test_a_foreign_unknown_or_swapped_pseudonym_refuses_all(
    vault: Vault, job: str, wanted: list[tuple[str, str]]
) -> None:
    with pytest.raises(Refused) as refusal:
        vault.resolve(job, wanted)
    assert refusal.value.code == "deid.foreign-pseudonym"
    assert "CANARY" not in str(refusal.value)


def test_a_new_crossing_of_the_job_takes_the_old_pseudonyms_away(vault: Vault) -> None:
    vault.remember("job-1", "project", "patient-2", [Mapped("study", "2.25.5", "1.2.5")])
    with pytest.raises(Refused, match=r"deid\.foreign-pseudonym"):
        vault.resolve("job-1", [("study", "2.25.1")])


def test_no_original_is_on_disk_in_plain(vault: Vault, path: Path) -> None:
    assert b"CANARY" not in everything_on_disk(path)
    assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE mapping SET sealed = zeroblob(40)",
        "UPDATE mapping SET sealed = (SELECT sealed FROM mapping WHERE pseudonym = '2.25.2')",
        "UPDATE patient_key SET wrapped = zeroblob(60)",
        "UPDATE binding SET patient = 'patient-2'",
        "INSERT OR REPLACE INTO binding SELECT 'job-2', pseudonym, project, patient, kind, tag FROM binding",
        "DELETE FROM mapping",
    ],
)
def test_a_row_that_someone_else_wrote_is_refused(vault: Vault, path: Path, statement: str) -> None:
    change(path, statement)
    with pytest.raises(Refused) as refusal:
        vault.resolve("job-2" if "job-2" in statement else "job-1", [("study", "2.25.1")])
    assert refusal.value.code == "deid.vault-tampered"


def test_every_look_is_in_the_log_and_the_log_names_nobody(vault: Vault, path: Path) -> None:
    vault.resolve("job-1", [("study", "2.25.1")])
    with pytest.raises(Refused):
        vault.resolve("job-2", [("study", "2.25.1")])
    rows = sqlite3.connect(path).execute("SELECT action, job, pseudonyms FROM access_log ORDER BY number").fetchall()
    assert rows == [
        ("remember", "job-1", '["2.25.1", "2.25.2"]'),
        ("resolve", "job-1", '["2.25.1"]'),
        ("refuse", "job-2", '["2.25.1"]'),
    ]
    assert vault.check_log() == 3


@pytest.mark.parametrize("statement", ["UPDATE access_log SET job = 'x'", "DELETE FROM access_log"])
def test_the_log_takes_no_changes(vault: Vault, path: Path, statement: str) -> None:
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        change(path, statement)


@pytest.mark.parametrize(
    "statement", ["UPDATE access_log SET job = 'x' WHERE number = 1", "DELETE FROM access_log WHERE number = 1"]
)
def test_a_changed_log_is_noticed(vault: Vault, path: Path, statement: str) -> None:
    vault.resolve("job-1", [("study", "2.25.1")])
    change(path, "DROP TRIGGER access_log_is_append_only")
    change(path, "DROP TRIGGER access_log_keeps_all")
    change(path, statement)
    with pytest.raises(Refused, match=r"deid\.vault-tampered at the access log"):
        vault.check_log()


def test_another_master_key_does_not_open_the_vault(vault: Vault, path: Path) -> None:
    vault.close()
    with pytest.raises(Refused) as refusal:
        Vault(path, OTHER)
    assert refusal.value.code == "deid.key-wrong"


def test_after_rotation_the_new_key_opens_and_the_old_does_not(vault: Vault, path: Path) -> None:
    vault.rotate(OTHER)
    assert vault.resolve("job-1", [("study", "2.25.1")])["study", "2.25.1"] == "1.2.CANARY"
    vault.close()
    again = Vault(path, OTHER)
    assert again.resolve("job-1", [("study", "2.25.1")])["study", "2.25.1"] == "1.2.CANARY"
    assert again.check_log() == 4
    with pytest.raises(Refused, match=r"deid\.key-wrong"):
        Vault(path, MASTER)


def test_a_forgotten_patient_cannot_be_found_again_and_others_can(vault: Vault, path: Path) -> None:
    wrapped = sqlite3.connect(path).execute("SELECT wrapped FROM patient_key").fetchone()[0]
    vault.remember("job-2", "project", "patient-2", [Mapped("study", "2.25.7", "1.2.7")])
    vault.forget("project", "patient-1")
    with pytest.raises(Refused, match=r"deid\.foreign-pseudonym"):
        vault.resolve("job-1", [("study", "2.25.1")])
    assert vault.resolve("job-2", [("study", "2.25.7")])["study", "2.25.7"] == "1.2.7"
    assert wrapped not in everything_on_disk(path)


def test_several_workers_write_and_read_at_once(vault: Vault) -> None:
    def work(number: int) -> str:
        mapped = Mapped("study", f"2.25.1{number}", f"1.2.{number}")
        vault.remember(f"job-{number}", "project", f"patient-{number % 3}", [mapped])
        return vault.resolve(f"job-{number}", [("study", mapped.pseudonym)])["study", mapped.pseudonym]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(work, range(10, 60)))
    assert found == [f"1.2.{number}" for number in range(10, 60)]
    assert vault.check_log() == 101


_KILLED = """
import os, signal, sys
from pathlib import Path
from fhir_bridge.deid.subject import Mapped
from fhir_bridge.deid.vault import Vault
vault = Vault(Path(sys.argv[1]), bytes(range(32)))
for number in range(1000):
    vault.remember(f"job-{number}", "project", "patient", [Mapped("study", f"2.25.{number + 1}", f"1.2.{number}")])
    os.write(1, f"{number}\\n".encode())
    if number == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("last", [0, 7, 23])
def test_what_was_remembered_survives_kill_9(path: Path, last: int) -> None:
    ended = subprocess.run([sys.executable, "-c", _KILLED, str(path), str(last)], capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL
    assert len(ended.stdout.split()) == last + 1
    again = Vault(path, MASTER)
    for number in range(last + 1):
        pair = ("study", f"2.25.{number + 1}")
        assert again.resolve(f"job-{number}", [pair])[pair] == f"1.2.{number}"


def test_a_file_that_is_no_vault_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "vault.db").write_bytes(b"CANARY" * 500)
    with pytest.raises(Unavailable) as failure:
        Vault(tmp_path / "vault.db", MASTER)
    assert failure.value.code == "deid.vault-unavailable"
    assert "CANARY" not in str(failure.value)


def test_a_missing_key_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "secrets" / "vault.key"
    key = load_or_create_key(path, {})
    assert len(key) == 32
    assert load_or_create_key(path, {}) == key
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["vault.key"]


def test_the_environment_beats_the_file(tmp_path: Path) -> None:
    path = tmp_path / "vault.key"
    assert load_or_create_key(path, {"FHIR_BRIDGE_VAULT_KEY": OTHER.hex()}) == OTHER
    assert not path.exists()


def test_processes_that_start_at_once_agree_on_one_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: load_or_create_key(tmp_path / "vault.key", {}), range(16)))
    assert len(keys) == 1


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "vault.key"
    load_or_create_key(path, {})
    path.chmod(mode)
    with pytest.raises(Refused) as refusal:
        load_or_create_key(path, {})
    assert refusal.value.code == "deid.key-permissions"


@pytest.mark.parametrize("text", ["", "CANARY", "ab" * 31, "zz" * 32, "ab " * 32])
def test_what_is_no_key_is_refused_and_not_quoted(tmp_path: Path, text: str) -> None:
    path = tmp_path / "vault.key"
    path.write_text(text, encoding="ascii")
    os.chmod(path, 0o600)  # noqa: PTH101
    with pytest.raises(Refused) as refusal:
        load_or_create_key(path, {})
    assert refusal.value.code == "deid.key-malformed"
    assert "CANARY" not in str(refusal.value)
