"""The model process on this machine: `ports.Predictor` over `python -m inference`.

One thread owns the process: it starts it, writes a request, waits for the answer, and kills it when the answer is late. So the
callers need no lock, and the process, which dies with the thread that started it, lives as long as this adapter.
"""

import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import inference
from fhir_bridge.errors import BridgeError, Refused, Unavailable
from fhir_bridge.study import DeidentifiedStudy
from inference.prediction import Prediction
from inference.protocol import decode, encode, prediction_from_json

T = TypeVar("T")

_ANSWER_SECONDS = 120.0  # a prediction takes about 0.1 s, loading a model 2 s; the rest is for a machine under load
_READY_SECONDS = 120.0  # importing TensorFlow takes 3 s on an idle machine
_LONGEST_ANSWER = 8 * 2**20  # bytes
_INHERITED = ("PATH", "LANG", "LC_ALL", "TZ")

# What the process says of a single study, and a person must look at; anything else it says is about the process or a model.
_REFUSED = ("dicom.", "model.unknown", "model.bad-request", "model.failed")


class LocalPredictor:
    """`ports.Predictor` on a process of our own. Raises Refused with the codes of `inference.predict`, and Unavailable
    `model.unavailable`, `model.timeout`, `model.weights-changed`, `model.weights-missing`, `model.self-test`, ..."""

    def __init__(
        self,
        *,
        threads: int = 2,
        timeout_seconds: float = _ANSWER_SECONDS,
        command: Sequence[str] = (sys.executable, "-P", "-m", "inference"),
    ) -> None:
        """Starts nothing yet. `command` is the program, for tests; `threads` are those TensorFlow may use."""
        self._command = (*command, "--threads", str(threads))
        self._timeout_seconds = timeout_seconds
        self._environment = {"OMP_NUM_THREADS": str(threads), "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": str(threads)}
        self._owner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model-process")
        self._process: _ModelProcess | None = None
        self._closing = False
        self._request_ids = count(1)

    @property
    def guard(self) -> str:
        """How the process is kept off the network; starts it where it does not run. Raises Unavailable."""
        process = self._process
        if process and process.alive and process.guard:
            return process.guard  # without waiting for an answer that is being made
        return self._by_owner(lambda: self._running().guard)

    @property
    def pid(self) -> int | None:
        """The process id, while there is a process."""
        process = self._process
        return process.pid if process and process.alive else None

    def start(self) -> None:
        """Warm up in the background: start the process and load every installed model, so that the first order does not wait."""
        self._owner.submit(self._ask, {"verify": True})

    def verify(self, models: Sequence[str]) -> tuple[str, ...]:
        """Load and test these models; "name version" of each. Raises Refused `model.unknown`, Unavailable with what is wrong."""
        answer = self._by_owner(lambda: self._ask({"verify": True, "models": list(models)}))
        for verdict in answer["models"]:
            if verdict["code"]:
                raise _error(verdict["code"], verdict["model"])
        return tuple(f"{verdict['model']} {verdict['version']}" for verdict in answer["models"])

    def analyse(self, study: DeidentifiedStudy, models: Sequence[str], into: Path) -> tuple[Prediction, ...]:
        request = {"folder": str(study.folder.resolve()), "models": list(models), "into": str(into.resolve())}
        answer = self._by_owner(lambda: self._ask(request))
        return tuple(prediction_from_json(values) for values in answer["predictions"])

    def close(self) -> None:
        """End the process, whatever it is doing; the adapter is of no use afterwards."""
        self._closing = True
        self._owner.shutdown(wait=False, cancel_futures=True)
        if self._process:
            self._process.kill()
        self._owner.shutdown(wait=True)
        self._discard()

    def _by_owner(self, work: Callable[[], T]) -> T:
        """The result of `work`, done by the thread that owns the process."""
        try:
            return self._owner.submit(work).result()
        except (RuntimeError, CancelledError):  # what an executor says that shuts down
            if self._closing:
                raise Unavailable("model.unavailable", "model process", "it is being ended") from None
            raise

    def _discard(self) -> None:
        if self._process:
            self._process.discard()

    def _running(self) -> "_ModelProcess":
        """The live process; a dead one is replaced."""
        if self._process is None or not self._process.alive:
            self._discard()
            self._process = _ModelProcess(self._command, self._environment)
            if self._closing:  # set before `close` looked for a process to kill, so one of us two sees the other
                self._process.kill()
            self._process.await_ready(_READY_SECONDS)
        return self._process

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        process, number = self._running(), next(self._request_ids)
        try:
            answer = process.ask({"id": number, **request}, self._timeout_seconds)
        except BridgeError:
            process.discard()  # whatever it still says belongs to nobody; the next request starts another
            raise
        if answer.get("id") != number:
            process.discard()
            raise Unavailable("model.unavailable", "model process", "it answered another question")
        if "error" in answer:
            raise _error(answer["error"]["code"], answer["error"]["where"])
        return answer


def _error(code: str, where: str) -> BridgeError:
    if code.startswith(_REFUSED):
        return Refused(code, where, "the model process refuses this input")
    return Unavailable(code, where, "the model process cannot answer now")


class _ModelProcess:
    """A running `python -m inference` with its pipes and its empty working folder."""

    def __init__(self, command: Sequence[str], environment: dict[str, str]) -> None:
        self.guard = ""
        self._buffer = b""
        self._home = tempfile.TemporaryDirectory(prefix="model-process-")
        try:
            self._process = subprocess.Popen(  # noqa: S603 # our own program, no shell
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd=self._home.name,  # a folder "dl" in the working directory, say, would break a decoder's import
                env=minimal_environment(self._home.name) | environment,
            )
        except OSError:
            self._home.cleanup()
            raise Unavailable("model.unavailable", "model process", "it cannot be started") from None

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def await_ready(self, seconds: float) -> None:
        """Raises Unavailable `model.timeout`, `model.unavailable`."""
        try:
            self.guard = str(self._read(seconds)["guard"])
        except KeyError:
            self.discard()
            raise Unavailable("model.unavailable", "model process", "it did not say that it is ready") from None
        except Unavailable:
            self.discard()
            raise

    def ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Raises Unavailable `model.timeout`, `model.unavailable`."""
        assert self._process.stdin  # noqa: S101 # opened above
        try:
            self._process.stdin.write(encode(request))
            self._process.stdin.flush()
        except OSError:
            raise Unavailable("model.unavailable", "model process", "it has ended") from None
        return self._read(seconds)

    def kill(self) -> None:
        """End it; whoever waits for an answer is told. From any thread."""
        self._process.kill()

    def discard(self) -> None:
        """End it, close its pipes, remove its folder. May be called twice, but not while another thread waits for an answer."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                with suppress(OSError):  # a request that was never read
                    pipe.close()
        self._home.cleanup()

    def _read(self, seconds: float) -> dict[str, Any]:
        """The next line of the process."""
        assert self._process.stdout  # noqa: S101 # opened above
        deadline, descriptor = time.monotonic() + seconds, self._process.stdout.fileno()
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([descriptor], [], [], max(deadline - time.monotonic(), 0))
            if not ready:
                raise Unavailable("model.timeout", "model process", f"no answer within {seconds:g} seconds")
            chunk = os.read(descriptor, 1 << 16)
            self._buffer += chunk
            if not chunk or len(self._buffer) > _LONGEST_ANSWER:
                raise Unavailable("model.unavailable", "model process", "it ended before it answered")
        line, _, self._buffer = self._buffer.partition(b"\n")
        try:
            return decode(line)
        except ValueError:
            raise Unavailable("model.unavailable", "model process", "its answer is not readable") from None


def minimal_environment(home: str) -> dict[str, str]:
    """What the process may know of ours: where programs lie and how text is written. No setting, no secret."""
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return inherited | {
        "PYTHONPATH": str(Path(inference.__file__).parent.parent),  # the code we run ourselves, installed or not
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": home,
        "TMPDIR": home,
        "KERAS_HOME": home,
        "KERAS_BACKEND": "tensorflow",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "",
    }
