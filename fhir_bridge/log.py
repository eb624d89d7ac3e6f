"""JSON lines on standard error, through an allow-list of fields. No value of a patient ever has a field to go to."""

import contextlib
import logging
import sys
import threading
import traceback
from collections import Counter
from types import TracebackType

import structlog

FIELDS = frozenset(
    {
        "attempts", "code", "count", "destination", "disposition", "error_id", "error_type", "event", "frames", "guard",
        "http", "job", "kind", "listener", "logger", "message", "method", "mllp", "model", "notification", "peer", "reason", "request",
        "resource_type", "seconds", "signal", "stage", "status", "subscription", "version", "where", "worker",
    }
)  # fmt: skip


class UnknownField(ValueError):
    """A field that the allow-list does not have: raised in tests, dropped in production."""


_strict = False
_third_party: Counter[str] = Counter()
_lock = threading.Lock()


def configure(*, strict: bool = False) -> None:
    """Once per process: JSON lines, third-party loggers reduced to a count, warnings caught."""
    global _strict
    _strict = strict
    structlog.configure(
        processors=[
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(sort_keys=True),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    logging.captureWarnings(True)
    root = logging.getLogger()
    root.handlers[:] = [_CountOnly()]
    root.setLevel(logging.ERROR)
    sys.excepthook = _without_text
    threading.excepthook = lambda args: _without_text(args.exc_type, args.exc_value, args.exc_traceback)


def event(name: str, **fields: object) -> None:
    """One line. `message` is our database id of a message, never its text."""
    unknown = fields.keys() - FIELDS
    if unknown and _strict:
        raise UnknownField(f"log fields not on the allow-list: {sorted(unknown)}")
    with contextlib.suppress(OSError, ValueError):  # nowhere to write to must not stop what is worked on
        structlog.get_logger().info(name, **{key: value for key, value in fields.items() if key in FIELDS})


def third_party_counts() -> dict[str, int]:
    """How often each foreign logger spoke at ERROR; its text is dropped, it may quote a patient."""
    with _lock:
        return dict(_third_party)


def _without_text(kind: type[BaseException], _: BaseException | None, trace: TracebackType | None) -> None:
    """The end of a thread or of the program by an error: its type and place, never its text."""
    frames = [f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in traceback.extract_tb(trace)]
    event("internal.bug", error_type=kind.__name__, frames=frames)


class _CountOnly(logging.Handler):
    """Keeps the name and the count of a foreign log record, and drops its text."""

    def emit(self, record: logging.LogRecord) -> None:
        with _lock:
            _third_party[record.name] += 1
            first = _third_party[record.name] == 1
        if first:
            event("log.third-party", logger=record.name)
