"""Runs the bridge as its users do: by its command line, in processes of its own."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from fhir_bridge.errors import Unavailable

_READY = re.compile(r"^ready mllp=(\S+):(\d+) http=(\S+:\d+)")
_READY_SECONDS = 120.0  # the model's self-test loads TensorFlow
_COMMAND_SECONDS = 120.0
_DRAIN_SECONDS = 30.0  # serve takes up to 20


class BridgeProcess:
    """A running `fhir-bridge serve` with all its state in `data_dir`. Raises Unavailable `practice.bridge-failed`."""

    def __init__(self, data_dir: Path, settings: Mapping[str, str]) -> None:
        data_dir.mkdir(parents=True, exist_ok=True)
        self._options = ["--data-dir", str(data_dir)]
        for key, value in settings.items():
            self._options += ["--set", f"{key}={value}"]
        self.log = data_dir.with_name("bridge.out")
        self._ready = threading.Event()
        self._match: re.Match[str] | None = None
        with self.log.open("wb") as errors:
            self._process = subprocess.Popen(
                self._command("serve"),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,  # stop() reaches its model process too, Ctrl-C only us
            )
        assert self._process.stdout is not None
        threading.Thread(target=self._follow, args=(self._process.stdout,), name="bridge-output", daemon=True).start()

    def wait_until_ready(self) -> None:
        """Until the one ready line; the addresses are known from then on."""
        in_time = self._ready.wait(_READY_SECONDS)
        if self._match is None:
            how = "ended before it was ready" if in_time else f"was not ready after {_READY_SECONDS:.0f} s"
            raise Unavailable("practice.bridge-failed", "serve", f"the bridge {how}; see {self.log}")
        self.mllp = (self._match[1], int(self._match[2]))
        self.url = f"http://{self._match[3]}"

    def subscribe(self) -> None:
        """Tell the FHIR server where to send its notifications."""
        self._run("subscribe", "--set", f"http.public_url={self.url}")

    def unsubscribe(self) -> None:
        """And it tells us no more; nothing makes the Subscriptions again."""
        self._run("subscribe", "--remove")

    def jobs(self) -> tuple[dict[str, Any], ...]:
        """`jobs list --json`, line by line."""
        return tuple(json.loads(line) for line in self._run("jobs", "list", "--json").splitlines())

    def job(self, job: str) -> dict[str, Any]:
        """`jobs show JOB --json`."""
        shown: dict[str, Any] = json.loads(self._run("jobs", "show", job, "--json"))
        return shown

    @property
    def pid(self) -> int:
        return self._process.pid

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> None:
        """Let it drain, then insist, and leave no child behind, even if interrupted here. May be called twice."""
        try:
            with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(self._process.pid, signal.SIGTERM)
                self._process.wait(_DRAIN_SECONDS)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "fhir_bridge", *words, *self._options]

    def _run(self, *words: str) -> str:
        try:
            done = subprocess.run(self._command(*words), capture_output=True, text=True, timeout=_COMMAND_SECONDS)
        except subprocess.TimeoutExpired:
            raise Unavailable("practice.bridge-failed", words[0], "the command did not end") from None
        if done.returncode != 0:
            with self.log.open("a") as log:
                log.write(done.stderr)
            raise Unavailable("practice.bridge-failed", words[0], f"exit code {done.returncode}; see {self.log}")
        return done.stdout

    def _follow(self, lines: IO[str]) -> None:
        with lines:
            for line in lines:
                if self._match is None and (found := _READY.match(line)):
                    self._match = found
                    self._ready.set()
        self._ready.set()
