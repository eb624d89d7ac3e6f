"""The model process as its parent sees it: lines in, lines out. For tests of the process itself, without the bridge."""

import subprocess
import sys
from types import TracebackType
from typing import Any

from inference.protocol import decode, encode


class ModelProcess:
    """A running `python -m inference`; `ready` is the first thing it said."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "inference", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self.process.stdout
        self.ready = decode(self.process.stdout.readline())

    def ask(self, **request: Any) -> dict[str, Any]:
        return self.ask_line(encode({"id": 1, **request}))

    def ask_line(self, line: bytes) -> dict[str, Any]:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(line)
        self.process.stdin.flush()
        return decode(self.process.stdout.readline())

    def end(self) -> tuple[int, bytes, bytes]:
        """Close its stdin; exit status, and what was left on its stdout and stderr."""
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err

    def __enter__(self) -> "ModelProcess":
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
