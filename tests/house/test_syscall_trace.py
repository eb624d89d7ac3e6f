"""The reading of a trace is itself tested: on traces of servers that answer too early."""

import pytest

from tests.support.syscall_trace import calls_of, not_durable

READ = '11 recvfrom(9<TCP:[1->2]>, "\\vMSH|^~\\\\&|RIS|||||ORM^O01|X1|P|2.3.1\\r", 262144, 0, NULL, NULL) = 300'
WRITE = '12 pwrite64(5</d/journal.db-wal>, "...ORM^O01|X1|P|2.3.1...", 4096, 56) = 4096'
SYNC = "12 fdatasync(5</d/journal.db-wal>) = 0"
ANSWER = '11 sendto(9<TCP:[1->2]>, "\\vMSH|^~\\\\&|...\\rMSA|AA|X1\\r\\34\\r", 80, 0, NULL, 0) = 80'
SYNC_BEGUN, SYNC_ENDED = "12 fdatasync(5</d/journal.db-wal> <unfinished ...>", "12 <... fdatasync resumed>) = 0"


def test_an_answer_after_its_sync_is_durable() -> None:
    assert not_durable("\n".join((READ, WRITE, SYNC, ANSWER)), ["X1"]) == []


@pytest.mark.parametrize(
    "trace",
    [
        (READ, WRITE, ANSWER, SYNC),
        (READ, SYNC, WRITE, ANSWER),
        (READ, SYNC, ANSWER),
        (READ, WRITE, SYNC_BEGUN, ANSWER, SYNC_ENDED),
        (READ, SYNC_BEGUN, WRITE, SYNC_ENDED, ANSWER),
        (READ, WRITE, SYNC.replace("-wal", ""), ANSWER),
        (READ, WRITE, SYNC.replace("= 0", "= -1 EIO (Input/output error)"), ANSWER),
        (WRITE, SYNC, READ, ANSWER),
        (READ, WRITE, SYNC),
    ],
    ids=[
        "answer before sync", "sync before write", "never written", "sync not over", "sync begun before the write",
        "another file", "sync failed", "written before it came", "no answer",
    ],
)  # fmt: skip
def test_an_answer_that_no_sync_covers_is_found(trace: tuple[str, ...]) -> None:
    assert not_durable("\n".join(trace), ["X1"]) == ["X1"]


def test_a_call_that_others_interrupt_is_one_call() -> None:
    (write, sync) = calls_of("\n".join((SYNC_BEGUN, WRITE, SYNC_ENDED)))
    assert (write.name, write.begin, write.end) == ("pwrite64", 1, 1)
    assert (sync.name, sync.path, sync.begin, sync.end) == ("fdatasync", "/d/journal.db-wal", 0, 2)
