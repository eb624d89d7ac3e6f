"""Every verb has an example in its `--help`, and the command line takes it."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from fhir_bridge.cli.root import main
from fhir_bridge.job import Stage, Status


def verbs(group: click.Group, path: str = "fhir-bridge") -> Iterator[tuple[str, click.Command]]:
    """Every verb of the tree with the words that call it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from verbs(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


VERBS = dict(verbs(main))


@pytest.mark.parametrize("path", VERBS)
def test_the_example_of_a_verb_is_taken(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "film").mkdir()
    for name in ("order.hl7", "batch.hl7"):
        (tmp_path / name).touch()
    taken = []
    for line in re.findall(r"fhir-bridge [^&>\n]+", VERBS[path].epilog or ""):
        verb = next(known for known in VERBS if f"{line} ".startswith(f"{known} "))
        taken.append(VERBS[verb].make_context(verb, shlex.split(line.removeprefix(verb))))  # UsageError if not
    assert path in [context.info_name for context in taken]


@pytest.mark.parametrize("status", Status)
def test_jobs_are_listed_by_every_status_in_the_words_that_are_shown(status: Status, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["jobs", "list", "--status", status.value, "--data-dir", str(tmp_path)])
    assert done.exit_code == 0


@pytest.mark.parametrize("stage", Stage)
def test_a_job_is_replayed_from_every_step_in_the_words_that_are_shown(stage: Stage, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["jobs", "replay", "4f1c", "--from", stage.value, "--data-dir", str(tmp_path)])
    assert (done.exit_code, done.output) == (1, "no job begins with this id\n")
