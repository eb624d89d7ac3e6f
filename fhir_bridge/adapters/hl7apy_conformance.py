"""What the standard itself says of a stored message, by hl7apy: names of fields, and conformance findings. On demand, never on the
acknowledgement path: hl7apy takes some 13 ms a message and refuses many that are in use.

Its own words quote values, so only element names and the kind of a finding go on.
"""

import contextlib
import importlib
import re
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

from hl7apy.exceptions import HL7apyException
from hl7apy.parser import parse_message
from hl7apy.validation import Validator

from hl7_listener.message import Message
from hl7_listener.refusal import MessageRefused

_VERSIONS = ("2.1", "2.2", "2.3", "2.3.1", "2.4", "2.5", "2.5.1", "2.6", "2.7", "2.8", "2.8.1", "2.8.2")
_NEWEST = "2.8.2"
# hl7apy 1.3.5, validation.py: what may be quoted of each line is an element's name at a fixed place, never a value.
_FINDINGS = (
    (re.compile(r"Error: Missing required child \S*?\.?([A-Z][A-Z0-9_]+)$"), "required and missing"),
    (re.compile(r"Error: Child limit exceeded \S*?\.?([A-Z][A-Z0-9_]+)$"), "repeats too often"),
    (
        re.compile(r"Warning: Value .* not in table \S+ in element .*\.([A-Z][A-Z0-9]{1,2}_\d{1,2})$"),
        "not in its table",
    ),
    (re.compile(r"Warning: Exceeded max length \(\d+\) of .*\.([A-Z][A-Z0-9]{1,2}_\d{1,2})$"), "too long"),
    (re.compile(r"Error: Datatype \S+ is not correct for .*\.([A-Z][A-Z0-9]{1,2}_\d{1,2}) \("), "another data type"),
    (re.compile(r"Error: Invalid children detected for <[A-Za-z]+ ([A-Z][A-Z0-9_]+)"), "holds what it may not"),
)


@lru_cache(maxsize=4096)
def field_name(version: str, segment: str, position: int) -> str:
    """`Patient identifier list` for PID-3, by the message's version, else the newest; empty where the standard has no such field."""
    for known in (version, _NEWEST):
        if known in _VERSIONS:
            fields: dict[str, Any] = importlib.import_module(f"hl7apy.v{known.replace('.', '_')}.fields").FIELDS
            found = fields.get(f"{segment}_{position}")
            if found is not None:
                return str(found[3]).replace("_", " ").capitalize()
    return ""


def findings(raw: bytes) -> tuple[str, ...]:
    """What hl7apy's validation finds, as `PID_5: required and missing`. Raises MessageRefused where the message cannot be read."""
    message = Message(raw, charset_default="8859/1")  # its structure is looked at, not its letters
    try:
        text = "\r".join(segment.content.decode(message.charset) for segment in message.segments)
    except UnicodeDecodeError:
        raise MessageRefused("hl7v2.charset", "MSH-18", "a text does not fit its character set") from None
    try:
        parsed = parse_message(_with_four_encoding_characters(text), find_groups=True)
    except HL7apyException as error:
        return (f"hl7apy cannot read it: {type(error).__name__}",)
    with tempfile.TemporaryDirectory() as folder:  # for this user alone, like what is written into it
        report = Path(folder) / "report"
        with contextlib.suppress(HL7apyException):
            Validator.validate(parsed, report_file=str(report))
        lines = report.read_text(encoding="utf-8").splitlines() if report.exists() else []
    return tuple(dict.fromkeys(_finding(line) for line in lines if line.startswith(("Error: ", "Warning: "))))


def _finding(line: str) -> str:
    for pattern, words in _FINDINGS:
        if found := pattern.search(line):
            return f"{found[1]}: {words}"
    return "another finding, whose words may hold a value"


def _with_four_encoding_characters(text: str) -> str:
    """hl7apy knows the truncation character only from v2.7 on."""
    return text[:8] + text[9:] if text[4:9] == "^~\\&#" else text
