"""The model process: requests in, predictions out, one JSON object a line over stdin and stdout (`inference.protocol`).

It has no network where the host allows that, dies with its parent, and ends at the end of stdin. Standard output carries
the protocol and nothing else; what libraries print goes to standard error.
"""

import argparse
import logging
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from inference.network_guard import KINDS, die_with_parent, leave_network

Answer = dict[str, Any]


def main() -> None:
    """Serve until stdin ends."""
    arguments = argparse.ArgumentParser(prog="python -m inference", description=__doc__)
    arguments.add_argument("--threads", type=int, default=2, help="threads that TensorFlow may use")
    arguments.add_argument(
        "--guard", choices=KINDS, help="only this network guard; by default the strongest the host allows"
    )
    options = arguments.parse_args()
    sys.excepthook = _report_without_text
    logging.disable(logging.CRITICAL)  # pydicom's and TensorFlow's lines quote what they read
    guard = leave_network(
        (options.guard,) if options.guard else KINDS
    )  # before numpy and TensorFlow start their threads
    die_with_parent()
    requests, answers = sys.stdin.buffer, _private_stdout()
    from inference.server import ModelServer  # loads TensorFlow, which must find the guard in place

    serve(ModelServer(options.threads).answer, guard, requests, answers)


def serve(answer: Callable[[bytes], Answer], guard: str, requests: BinaryIO, answers: BinaryIO) -> None:
    """Say ready, then one answer a request, until the requests end."""
    from inference.protocol import encode

    answers.write(encode({"ready": True, "guard": guard}))
    answers.flush()
    for line in requests:
        answers.write(encode(answer(line)))
        answers.flush()


def _private_stdout() -> BinaryIO:
    """The real standard output, for us alone: from here on descriptor 1 is standard error."""
    sys.stdout.flush()
    mine = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return mine


def _report_without_text(kind: type[BaseException], _error: BaseException, trace: TracebackType | None) -> None:
    """An unforeseen error ends the process: its type and frames are shown, not its text, which may quote the input."""
    frames = ", ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in traceback.extract_tb(trace))
    sys.stderr.write(f"model process ended by {kind.__name__} at {frames}\n")


if __name__ == "__main__":
    main()
