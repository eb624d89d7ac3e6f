"""JSON lines on standard error, through an allow-list of fields. No value of a patient ever has a field to go to."""

import logging
import sys
import threading
from collections import Counter

import structlog

FIELDS = frozenset(
    {
        "attempts", "code", "count", "destination", "disposition", "error_id", "error_type", "event", "frames", "guard",
        "http", "job", "kind", "listener", "logger", "message", "method", "mllp", "model", "notification", "peer", "reason",
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


def event(name: str, **fields: object) -> None:
    """One line. `message` is our database id of a message, never its text."""
    unknown = fields.keys() - FIELDS
    if unknown and _strict:
        raise UnknownField(f"log fields not on the allow-list: {sorted(unknown)}")
    structlog.get_logger().info(name, **{key: value for key, value in fields.items() if key in FIELDS})


def third_party_counts() -> dict[str, int]:
    """How often each foreign logger spoke at ERROR; its text is dropped, it may quote a patient."""
    with _lock:
        return dict(_third_party)


class _CountOnly(logging.Handler):
    """Keeps the name and the count of a foreign log record, and drops its text."""

    def emit(self, record: logging.LogRecord) -> None:
        with _lock:
            _third_party[record.name] += 1
            first = _third_party[record.name] == 1
        if first:
            event("log.third-party", logger=record.name)
