"""ERR, as the sender's version has it (HL7 v2.5.1 §2.15.5; before v2.5 §2.24.4 of v2.3.1)."""

import re

from hl7_listener.delimiters import Delimiters
from hl7_listener.escapes import encoded
from hl7_listener.outcome import ERROR_CODES, POSITIVE, Outcome
from hl7_listener.version import at_least

_LOCATION = re.compile(r"([A-Z][A-Z0-9]{2})(?:-(\d+)(?:\.(\d+))?(?:\.(\d+))?|((?:\^\d*){1,5}))?")


def error_segment(outcome: Outcome, delimiters: Delimiters, version: str) -> list[bytes]:
    """The fields of ERR; none where the outcome has nothing to say."""
    if at_least(version, "2.5"):
        return _error_from_2_5(outcome, delimiters) if outcome.error_code or outcome.code not in POSITIVE else []
    return [] if outcome.code in POSITIVE else _error_before_2_5(outcome, delimiters)


def _error_from_2_5(outcome: Outcome, delimiters: Delimiters) -> list[bytes]:
    component = delimiters.component.encode()
    name = encoded(ERROR_CODES[outcome.error_code], delimiters)
    condition = component.join((b"%d" % outcome.error_code, name, b"HL70357"))
    own = encoded(outcome.application_code, delimiters)
    return [
        b"ERR",
        b"",  # ERR-1 is withdrawn
        component.join(part.encode() for part in _located(outcome.location)),
        condition,
        outcome.severity.encode(),
        component.join((own, b"", b"L")) if own else b"",
        b"",
        b"",
        encoded(outcome.text, delimiters),
    ]


def _error_before_2_5(outcome: Outcome, delimiters: Delimiters) -> list[bytes]:
    """ERR-1 is an ELD: segment ^ sequence ^ field ^ code & text & table; code alone where MSH-2 names no sub-component mark."""
    name = encoded(ERROR_CODES[outcome.error_code], delimiters)
    condition = [b"%d" % outcome.error_code, name, b"HL70357"]
    coded = delimiters.subcomponent.encode().join(condition) if delimiters.subcomponent else condition[0]
    place = [part.encode() for part in (*_located(outcome.location), "", "", "")[:3]]
    return [b"ERR", delimiters.component.encode().join((*place, coded))]


def _located(location: str) -> list[str]:
    """`PID-3.1` or `PID^1^3` as the parts of an ERL: segment, sequence, field, repetition, component, sub-component."""
    match = _LOCATION.fullmatch(location)
    if match is None:
        return []
    segment, number, component, subcomponent, rest = match.groups()
    if rest:
        return [segment, *rest.split("^")[1:]]
    if not number:
        return [segment]
    parts = [segment, "1", number, "1" if component else "", component or "", subcomponent or ""]
    while not parts[-1]:
        parts.pop()
    return parts
