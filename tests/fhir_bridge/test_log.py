import contextlib
import json
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from fhir_bridge import log


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    hooks = sys.excepthook, threading.excepthook
    yield
    sys.excepthook, threading.excepthook = hooks
    logging.captureWarnings(False)
    root.handlers[:], root.level = handlers, level
    log.configure(strict=True)
    root.handlers[:], root.level = handlers, level
    sys.excepthook, threading.excepthook = hooks
    logging.captureWarnings(False)


def test_an_event_is_one_json_line(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure()
    log.event("job.step", job="4f1c", stage="study")
    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["job"], line["stage"]) == ("job.step", "4f1c", "study")


def test_a_field_that_is_not_allowed_is_dropped_in_production(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure()
    log.event("job.step", accession="0815")
    assert "0815" not in capsys.readouterr().err


def test_a_field_that_is_not_allowed_fails_a_test() -> None:
    log.configure(strict=True)
    with pytest.raises(log.UnknownField):
        log.event("job.step", accession="0815")


def test_the_text_of_a_third_party_logger_is_dropped_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure()
    logging.getLogger("pydicom").error("bad value %s", "DOE^JANE")
    assert "DOE" not in capsys.readouterr().err
    assert log.third_party_counts()["pydicom"] >= 1


def test_warnings_do_not_reach_the_screen(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("invalid value DOE^JANE", UserWarning, stacklevel=1)
    assert "DOE" not in capsys.readouterr().err


def test_a_full_disk_under_the_log_does_not_stop_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/full").open("w", buffering=1) as full:
        monkeypatch.setattr(sys, "stderr", full)
        log.configure()
        log.event("job.step", job="4f1c")
        with contextlib.suppress(OSError):
            full.close()


def test_a_thread_that_ends_by_an_error_says_type_and_place_only(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure()

    def fail() -> None:
        raise ValueError("DOE^JANE")

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    said = capsys.readouterr().err
    assert ("ValueError" in said, "test_log.py:" in said, "DOE" in said) == (True, True, False)
