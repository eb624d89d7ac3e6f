"""No AA before what it acknowledges is on the disk: shown by the system calls of a real server, and by a disk that is full."""

import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from hl7_listener.client import MllpClient
from tests.support.mllp_peer import RawPeer, answers, block
from tests.support.real_parts import part_missing
from tests.support.serve_process import ServeProcess
from tests.support.syscall_trace import not_durable, strace
from tests.support.tiny_orders import control_id, send, tiny_order

pytestmark = [pytest.mark.real_parts, pytest.mark.tensorflow]

FULL = ("AR", "207")  # HL7 table 0357: application internal error; the sender may try again
LARGE = 60_000
SPARE = 400_000
MEBIBYTE = 2**20


def require_strace(trace: Path) -> None:
    if shutil.which("strace") is None:
        part_missing("strace", "not installed (Debian: strace)")
    tried = subprocess.run([*strace(trace), "true"], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        part_missing("strace", f"this machine does not let it trace: {tried.stderr.splitlines()[0]}")


def test_every_answer_leaves_after_the_sync_that_covers_it(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    require_strace(trace)
    with ServeProcess(tmp_path / "data", {}, prefix=strace(trace)) as server:
        server.wait_until_ready()
        with MllpClient(*server.mllp, 30) as client:
            codes = [send(client, number).code for number in range(5)]
        with ExitStack() as stack:
            peers = [stack.enter_context(RawPeer(server.mllp)) for _ in range(3)]
            for offset, peer in enumerate(peers):
                peer.send(b"".join(block(tiny_order(number)) for number in range(5 + offset, 65, 3)))
                peer.finish_sending()
            codes += [code for peer in peers for code, _ in answers(peer.rest())]
    assert codes == ["AA"] * 65
    assert not_durable(trace.read_text(), [control_id(number) for number in range(65)]) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if os.geteuid() != 0:
        part_missing("a small file system", "only root may mount one")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        part_missing("a small file system", f"mount is refused: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_answered_ar_and_loses_nothing(small_disk: Path) -> None:
    filler = small_disk / "filler"

    def fill(_: ServeProcess) -> None:
        with filler.open("wb") as file:
            left = os.statvfs(small_disk)
            os.posix_fallocate(file.fileno(), 0, max(1, left.f_bavail * left.f_bsize - SPARE))

    with ServeProcess(small_disk, {}) as server:
        assert_nothing_lost(server, fill, lambda _: filler.unlink())


def test_a_limit_on_file_size_is_answered_ar_and_loses_nothing(tmp_path: Path) -> None:
    def limit(server: ServeProcess) -> None:
        resource.prlimit(server.door_pid, resource.RLIMIT_FSIZE, (SPARE, resource.RLIM_INFINITY))

    def unlimit(server: ServeProcess) -> None:
        resource.prlimit(server.door_pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    with ServeProcess(tmp_path / "data", {}) as server:
        assert_nothing_lost(server, limit, unlimit)


def assert_nothing_lost(
    server: ServeProcess, fill: Callable[[ServeProcess], None], free: Callable[[ServeProcess], None]
) -> None:
    """Sends until the store is full and a little longer, frees it, sends what was refused again."""
    server.wait_until_ready()
    with MllpClient(*server.mllp, 30) as client:
        fill(server)
        first = {number: send(client, number, padding=LARGE) for number in range(40)}
        refused = [number for number, answer in first.items() if answer.code != "AA"]
        kept = server.kept_control_ids()
        free(server)
        second = [send(client, number, padding=LARGE).code for number in refused]
    assert {(first[number].code, first[number].error_code) for number in refused} == {FULL}
    assert sorted(kept) == [control_id(number) for number in sorted(first.keys() - set(refused))]
    assert second == ["AA"] * len(refused)
    assert sorted(server.kept_control_ids()) == [control_id(number) for number in first]
