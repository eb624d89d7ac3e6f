"""`fhir-bridge demo`: the practice hospital, played and judged."""

import contextlib
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import click
from rich import box
from rich.console import Console
from rich.table import Column, Table

from fhir_bridge.errors import Refused, Unavailable
from fhir_bridge.practice.bridge_process import BridgeProcess
from fhir_bridge.practice.fhir_peer import start_fhir_peer
from fhir_bridge.practice.outcome import Outcome, expected_outcomes
from fhir_bridge.practice.play import Play, Verdict
from fhir_bridge.practice.record import HospitalRecord
from fhir_bridge.practice.ris_inbox import RisInbox
from fhir_bridge.practice.ris_sender import RisSender
from fhir_bridge.practice.story import FILLER_SYSTEM, PATIENT_SYSTEM, PLACER_SYSTEM, STORIES

_DEADLINE_SECONDS = 300.0  # on a quiet machine a tenth of it is needed
_HAPI_WORK = Path(".work") / "hapi"  # 287 MB of jars: built once, kept
_ANSWERS = {"52101004": "present", "2667000": "absent"}  # SNOMED CT, as in mappings/tables/answers.csv
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_PIPE_WIDTH = 150
_TITLE_WIDTH = 110  # a narrower terminal shows the stories' names

_EXAMPLES = """\b
Examples:
  fhir-bridge demo
  fhir-bridge demo --fhir hapi
  fhir-bridge demo --keep --data-dir practice
"""


@click.command(epilog=_EXAMPLES)
@click.option(
    "--fhir", type=click.Choice(["sekmet", "hapi"]), default="sekmet", help="The FHIR server to play against."
)
@click.option("--keep", is_flag=True, help="Leave everything running afterwards, until Ctrl-C.")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="An empty folder for all files; without it a temporary one, removed afterwards.",
)
def demo(fhir: str, keep: bool, data_dir: Path | None) -> None:
    """Play a practice hospital on this machine: real orders in, results checked on a real FHIR server.

    Exit code 0: every story ended as fhir_bridge/practice/expected.csv says; 1: one did not; 2: something could not be started.
    """
    if data_dir is not None and data_dir.exists() and any(data_dir.iterdir()):
        raise click.UsageError(f"--data-dir {data_dir} is not empty: the hospital would already know its orders")
    folder = Path(tempfile.mkdtemp(prefix="fhir-bridge-demo-")) if data_dir is None else data_dir.resolve()
    try:
        with _stopped_in_order():
            verdict = _perform(fhir, folder, keep)
    except (Refused, Unavailable) as error:
        click.echo(f"demo: {error}\nThe files are kept in {folder}", err=True)
        sys.exit(2)
    except KeyboardInterrupt as stop:
        if data_dir is None:
            shutil.rmtree(folder)
        click.echo("demo: interrupted, everything is stopped", err=True)
        sys.exit(143 if isinstance(stop, _Terminated) else 130)
    conclude(verdict, folder, keep_files=data_dir is not None)


def conclude(verdict: Verdict, folder: Path, *, keep_files: bool) -> None:
    """Exit code 1 unless every story ended as it should; then the files stay for whoever looks for the reason."""
    if not verdict.passed:
        click.echo(f"The files are kept in {folder}", err=True)
        sys.exit(1)
    if not keep_files:
        shutil.rmtree(folder)


class _Terminated(KeyboardInterrupt):
    """SIGTERM."""


@contextlib.contextmanager
def _stopped_in_order() -> Iterator[None]:
    """SIGTERM leaves by the same way as Ctrl-C, past everything that stops the processes."""

    def leave(*_: object) -> None:
        raise _Terminated

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _interruption_put_off() -> Iterator[None]:
    """Ctrl-C and SIGTERM take effect at the end of the block."""
    came: list[int] = []
    before = {sign: signal.signal(sign, lambda number, _: came.append(number)) for sign in _SIGNALS}
    try:
        yield
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)
        for number in came:
            signal.raise_signal(number)


def _perform(fhir: str, folder: Path, keep: bool) -> Verdict:
    console = Console() if sys.stdout.isatty() else Console(width=_PIPE_WIDTH)
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        tell = stack.enter_context(_progress(console))
        play = _open_hospital(stack, fhir, folder, tell)
        verdict = play.run(_DEADLINE_SECONDS)
        tell("")
        print_verdict(console, verdict, play.expected, time.monotonic() - started)
        if keep:
            console.print(f"Open {play.bridge.url}/ in a browser; Ctrl-C stops everything.", soft_wrap=True)
            with contextlib.suppress(KeyboardInterrupt):
                threading.Event().wait()
    return verdict


def _open_hospital(stack: contextlib.ExitStack, fhir: str, folder: Path, tell: Callable[[str], None]) -> Play:
    """Start the FHIR server, the bridge and the RIS; `stack` stops them, whatever happens."""
    tell(f"starting the FHIR server ({fhir})")
    if fhir == "hapi":  # its build and start take a while: show what it says
        peer = stack.enter_context(start_fhir_peer(fhir, _HAPI_WORK, tell))
    else:
        peer = stack.enter_context(start_fhir_peer(fhir, folder / "fhir"))
    record = HospitalRecord(peer.base_url)
    record.load(STORIES)
    inbox = stack.enter_context(RisInbox())
    tell("starting the bridge")
    settings = _settings(peer.base_url, folder / "pacs", inbox)
    with _interruption_put_off():  # a process that was started but not yet noted would stay
        bridge = stack.enter_context(BridgeProcess(folder / "bridge", settings))
    bridge.wait_until_ready()
    bridge.subscribe()
    ris = stack.enter_context(RisSender(*bridge.mllp))
    return Play(STORIES, expected_outcomes(), record, bridge, ris, inbox, folder / "pacs", tell)


def _settings(fhir_base_url: str, pacs: Path, inbox: RisInbox) -> dict[str, str]:
    pacs.mkdir(parents=True, exist_ok=True)
    return {
        "mllp.port": "0",
        "http.port": "0",
        "fhir.base_url": fhir_base_url,
        "archive.kind": "folder",
        "archive.folder": str(pacs),
        "study.quiet_seconds": "1",
        "study.poll_seconds": "0.5",
        "authority.HOSP.system": PATIENT_SYSTEM,
        "authority.CPOE.system": PLACER_SYSTEM,
        "authority.RIS.system": FILLER_SYSTEM,
        "destinations.ris.host": inbox.host,
        "destinations.ris.port": str(inbox.port),
        "destinations.ris.application": "RIS",
        "destinations.ris.facility": "HOSP",
        "destinations.ris.results": "true",
    }


@contextlib.contextmanager
def _progress(console: Console) -> Iterator[Callable[[str], None]]:
    """On a terminal a line that moves; in a pipe plain lines."""
    if not console.is_terminal:
        yield lambda words: print(words, flush=True) if words else None
        return
    with console.status("") as status:
        yield lambda words: status.update(words) if words else status.stop()


def print_verdict(console: Console, verdict: Verdict, expected: Sequence[Outcome], seconds: float) -> None:
    """The table of what happened; then each thing that should have been otherwise. Order numbers are not for the screen."""
    wanted = {row.story: row for row in expected}
    titles = {story.name: story.title if console.width >= _TITLE_WIDTH else story.name for story in STORIES}
    headings = ("", "what happened", "answers", "doors", "job", "reports", "to the RIS", "pneumonia")
    table = Table(*(Column(heading, overflow="fold") for heading in headings), box=box.SIMPLE, pad_edge=False)
    for row in verdict.outcomes:
        word = "[red]wrong[/]" if row.story in verdict.differing else "[green]ok[/]"
        job = f"{row.status} {row.reason}".strip() if row.jobs == "1" else f"{row.jobs} jobs"
        report = f"{row.reports} {row.report_status}".strip()
        result = f"{row.results} ORU" if row.results != "0" else ""
        answer = _ANSWERS.get(row.finding, row.finding)
        table.add_row(word, titles[row.story], row.answers, row.doors, job, report, result, answer)
    console.print(table)
    for row in verdict.outcomes:
        for column in verdict.differing.get(row.story, ()):
            is_, should = (getattr(side, column, "") or "nothing" for side in (row, wanted.get(row.story)))
            name = column.replace("_", " ")
            console.print(f"[red]wrong[/] {row.story}: {name} is {is_}, expected {should}", soft_wrap=True)
    for problem in verdict.problems:
        console.print(f"[red]wrong[/] {problem}", soft_wrap=True)
    right = len(verdict.outcomes) - len(verdict.differing)
    console.print(f"{right} of {len(verdict.outcomes)} stories ended as expected, in {seconds:.0f} s.")
