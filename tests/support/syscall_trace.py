"""What a process asked its kernel for, as `strace -f -y` wrote it, in the order in which calls began and ended.

The tracer stops a thread before a call and after it, and writes a line each time: a call whose end stands above another's beginning
was over before that one began. Times would prove less.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CALLS = ("recvfrom", "sendto", "pwrite64", "fsync", "fdatasync")
_BEGUN = re.compile(r"^(\d+) +(\w+)\((\d+)(?:<(.*?)>)?[,) ](.*)$")
_RESUMED = re.compile(r"^(\d+) +<\.\.\. (\w+) resumed>(.*)$")
_UNFINISHED = "<unfinished ...>"


def strace(output: Path) -> list[str]:
    """The program to run a server under. Strings are kept whole: a page of SQLite is 4,096 bytes."""
    return ["strace", "-f", "-y", "--seccomp-bpf", "-s", "70000", "-e", f"trace={','.join(CALLS)}", "-o", str(output)]


@dataclass(frozen=True, slots=True)
class Call:
    """`begin` and `end` are line numbers. `path` is what the descriptor leads to, `text` the arguments and the result."""

    name: str
    path: str
    begin: int
    end: int
    text: str

    @property
    def succeeded(self) -> bool:
        return not re.search(r"(^|\)) += -1 [A-Z]", self.text)


def calls_of(trace: str) -> Iterator[Call]:
    """The calls that ended."""
    open_calls: dict[tuple[str, str], tuple[str, int, str]] = {}
    for number, line in enumerate(trace.splitlines()):
        if begun := _BEGUN.match(line):
            thread, name, path, text = begun[1], begun[2], begun[4] or "", begun[5]
            if text.endswith(_UNFINISHED):
                open_calls[thread, name] = (path, number, text.removesuffix(_UNFINISHED))
            else:
                yield Call(name, path, number, number, text)
        elif resumed := _RESUMED.match(line):
            path, begin, text = open_calls.pop((resumed[1], resumed[2]))
            yield Call(resumed[2], path, begin, number, text + resumed[3])


def not_durable(trace: str, control_ids: list[str]) -> list[str]:
    """Messages whose AA left before the log of the database, with the message in it, was synced. And such as have no AA."""
    calls = [call for call in calls_of(trace) if call.succeeded]
    return [control_id for control_id in control_ids if not _is_durable(calls, control_id)]


def _is_durable(calls: list[Call], control_id: str) -> bool:
    """Read, then written to the log, then a sync that began after the write, and only after its end the AA."""
    read = min((c.end for c in calls if c.name == "recvfrom" and f"|{control_id}|" in c.text), default=None)
    answer = min((c.begin for c in calls if c.name == "sendto" and f"MSA|AA|{control_id}\\r" in c.text), default=None)
    if read is None or answer is None:
        return False
    log = [call for call in calls if call.path.endswith("journal.db-wal")]
    written = [c.end for c in log if c.name == "pwrite64" and f"|{control_id}|" in c.text and c.begin > read]
    syncs = [call for call in log if call.name in ("fsync", "fdatasync") and call.end < answer]
    return any(sync.begin > end for sync in syncs for end in written)
