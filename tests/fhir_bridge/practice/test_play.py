"""The order of events, and the verdict, with a hospital that is only a record of what was asked of it."""

import io
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from fhir_bridge.cli.demo import conclude, demo, print_verdict
from fhir_bridge.practice.outcome import Outcome
from fhir_bridge.practice.patients import patient_reference
from fhir_bridge.practice.play import Play, Verdict
from fhir_bridge.practice.record import ReportSeen
from fhir_bridge.practice.ris_inbox import ResultSeen
from fhir_bridge.practice.story import STORIES, Story

BY_NAME = {story.name: story for story in STORIES}
LATE, DOORS, TWICE, CANCELLED = (BY_NAME[n] for n in ("late-images", "both-doors", "sent-twice", "cancelled"))


@dataclass
class Scripted:
    """FHIR server, bridge and RIS in one: each `jobs` call gives the next of `job_lists`, then the last again."""

    pacs: Path
    job_lists: list[list[dict]]
    seen_reports: list[ReportSeen] = field(default_factory=list)
    seen_results: list[ResultSeen] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    alive: bool = True
    orders: int = 0

    def place(self, story, at) -> None:
        self.orders += 1
        self.events.append("place")

    def count_service_requests(self) -> int:
        return self.orders

    def reports(self) -> tuple[ReportSeen, ...]:
        return tuple(self.seen_reports)

    def results(self) -> tuple[ResultSeen, ...]:
        return tuple(self.seen_results)

    def jobs(self) -> tuple[dict, ...]:
        films = len(list(self.pacs.glob("*.dcm"))) if self.pacs.is_dir() else 0
        self.events.append(f"jobs ({films} films)")
        return tuple(self.job_lists.pop(0) if len(self.job_lists) > 1 else self.job_lists[0])

    def job(self, job: str) -> dict:
        return {"history": [{"event": "created"}, {"event": "received-again"}]}

    def is_alive(self) -> bool:
        return self.alive

    def next_control_id(self) -> str:
        return "1"

    def send(self, message: bytes) -> str:
        self.events.append(next(s for s in message.split(b"\r") if s.startswith(b"ORC"))[4:6].decode())
        return "AA"

    def send_again(self) -> str:
        self.events.append("again")
        return "AA"


def line(story: Story, status: str, stage: str = "study") -> dict:
    return {
        "job": f"J{story.number}", "status": status, "stage": stage, "reason": "", "source": "hl7v2",
        "placer": story.placer, "filler": story.filler, "accession": story.accession,
    }  # fmt: skip


def report(story: Story, *, linked: bool = False) -> ReportSeen:
    return ReportSeen(
        "DiagnosticReport/1", "preliminary", patient_reference(story), frozenset((story.placer,)), linked, (), ()
    )  # fmt: skip


def row(story: Story, **columns: str) -> Outcome:
    blank = Outcome(story.name, story.placer, "AA", "hl7v2", "1", "done", "", "1", "preliminary", "", "", "0", "")
    return replace(blank, **columns)


def play(story: Story, hospital: Scripted, expected: Outcome, told: list[str] | None = None) -> Verdict:
    performance = Play(
        (story,), (expected,), hospital, hospital, hospital, hospital, hospital.pacs,
        told.append if told is not None else lambda words: None, poll_seconds=0.001, settle_seconds=0,
    )  # fmt: skip
    return performance.run(deadline_seconds=0.3)


def test_late_images_come_once_the_job_waits_for_them(tmp_path) -> None:
    lists = [[], [line(LATE, "ready", "context")], [line(LATE, "waiting")], [line(LATE, "done", "deliver")]]
    hospital = Scripted(tmp_path / "pacs", lists, [report(LATE)])
    assert play(LATE, hospital, row(LATE)).passed
    assert hospital.events[:5] == ["NW", "jobs (0 films)", "jobs (0 films)", "jobs (0 films)", "jobs (1 films)"]


def test_an_order_is_cancelled_only_while_it_waits(tmp_path) -> None:
    lists = [[], [line(CANCELLED, "running")], [line(CANCELLED, "waiting", "context")], [line(CANCELLED, "waiting")]]
    hospital = Scripted(tmp_path / "pacs", [*lists, [line(CANCELLED, "cancelled")]])
    expected = row(CANCELLED, answers="AA AA", status="cancelled", reports="0", report_status="")
    assert play(CANCELLED, hospital, expected).passed
    assert [event for event in hospital.events if not event.startswith("jobs")] == ["NW", "CA"]
    assert hospital.events.index("CA") == 5


def test_both_doors_are_seen_in_the_history_of_the_job(tmp_path) -> None:
    hospital = Scripted(
        tmp_path / "pacs", [[line(DOORS, "waiting")], [line(DOORS, "done")]], [report(DOORS, linked=True)]
    )
    assert play(DOORS, hospital, row(DOORS, doors="fhir hl7v2")).passed
    assert hospital.orders == 1


def test_a_repeat_that_became_an_order_again_is_wrong(tmp_path) -> None:
    hospital = Scripted(tmp_path / "pacs", [[line(TWICE, "done")]], [report(TWICE)])
    assert play(TWICE, hospital, row(TWICE, answers="AA AA")).differing == {"sent-twice": ("doors",)}


@pytest.mark.parametrize(
    ("jobs", "reports", "columns"),
    [
        ([], [], {"jobs", "doors", "status", "reports", "report_status"}),
        ([line(LATE, "held")], [report(LATE)], {"status"}),
        ([line(LATE, "done"), line(LATE, "done")], [report(LATE)], {"jobs", "doors", "status"}),
        ([line(LATE, "done")], [], {"reports", "report_status"}),
        ([line(LATE, "done")], [report(LATE), report(LATE)], {"reports", "report_status"}),
    ],
)
def test_a_wrong_end_is_still_wrong_at_the_deadline(tmp_path, jobs, reports, columns) -> None:
    story = replace(LATE, steps=LATE.steps[:1])
    verdict = play(story, Scripted(tmp_path / "pacs", [jobs], reports), row(story))
    assert not verdict.passed
    assert set(verdict.differing["late-images"]) >= columns


def test_a_story_that_could_not_go_on_is_no_success(tmp_path) -> None:
    hospital = Scripted(tmp_path / "pacs", [[line(LATE, "done")]], [report(LATE)])
    verdict = play(LATE, hospital, row(LATE))
    assert verdict.differing == {}
    assert verdict.problems == ("late-images: await-images never came about",)


def test_a_bridge_that_died_is_not_waited_for(tmp_path) -> None:
    hospital = Scripted(tmp_path / "pacs", [[]], alive=False)
    assert not play(LATE, hospital, row(LATE)).passed
    assert hospital.events == ["NW", "jobs (0 films)"]


def test_what_is_told_names_no_patient(tmp_path) -> None:
    told: list[str] = []
    hospital = Scripted(tmp_path / "pacs", [[line(LATE, "waiting")], [line(LATE, "done")]], [report(LATE)])
    play(LATE, hospital, row(LATE), told)
    assert told == ["late-images: send-new, answered AA", "late-images: await-images", "late-images: film"]


def test_a_wrong_end_is_exit_code_1_and_its_files_stay(tmp_path) -> None:
    with pytest.raises(SystemExit) as ended:
        conclude(Verdict((), {"pneumonia": ("status",)}, ()), tmp_path, keep_files=False)
    assert ended.value.code == 1
    assert tmp_path.is_dir()


def test_a_problem_beside_the_stories_is_exit_code_1(tmp_path) -> None:
    with pytest.raises(SystemExit) as ended:
        conclude(Verdict((), {}, ("a report too many",)), tmp_path, keep_files=False)
    assert ended.value.code == 1


@pytest.mark.parametrize("keep_files", [True, False])
def test_a_right_end_leaves_nothing_behind_but_what_was_asked_for(tmp_path, keep_files) -> None:
    folder = tmp_path / "demo"
    folder.mkdir()
    conclude(Verdict((), {}, ()), folder, keep_files=keep_files)
    assert folder.exists() is keep_files


def test_the_table_shows_what_was_wrong_and_no_order_number() -> None:
    console = Console(width=250, file=io.StringIO())
    seen = row(LATE, status="held", reason="patient.not-found")
    print_verdict(console, Verdict((seen,), {"late-images": ("status", "reason")}, ("stray",)), [row(LATE)], 12.3)
    text = console.file.getvalue()
    assert "wrong late-images: status is held, expected done" in text
    assert "wrong late-images: reason is patient.not-found, expected nothing" in text
    assert "wrong stray" in text
    assert "0 of 1 stories ended as expected, in 12 s." in text
    assert LATE.placer not in text


def test_a_folder_in_use_is_not_played_in(tmp_path) -> None:
    (tmp_path / "something").touch()
    result = CliRunner().invoke(demo, ["--data-dir", str(tmp_path)])
    assert result.exit_code == 2
    assert "not empty" in result.output


def test_the_help_has_an_example() -> None:
    assert "fhir-bridge demo --fhir hapi" in CliRunner().invoke(demo, ["--help"]).output


def test_java_is_named_where_it_is_missing(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(demo, ["--fhir", "hapi", "--data-dir", str(tmp_path / "demo")])
    assert result.exit_code == 2
    assert "practice.part-missing" in result.output
    shutil.rmtree(tmp_path / "demo", ignore_errors=True)
