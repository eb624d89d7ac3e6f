"""HL7 v2 data types as our values: TS/DTM, DT, EI, CX, CE/CWE (HL7 v2.5.1 chapter 2.A)."""

import re
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo

from mappings import code_system
from mappings.authority import Authorities
from mappings.code import Code
from mappings.code_table import load
from mappings.hl7v2_groups import Located
from mappings.order import Identifier

_DTM = re.compile(r"(\d{4})(\d{2})(\d{2})(?:(\d{2})(?:(\d{2})(?:(\d{2})(?:\.(\d{1,6}))?)?)?)?([+-]\d{4})?")

_OFFSET = re.compile(r"([+-])(\d{2})(\d{2})$")
_DAY = re.compile(r"(\d{4})(\d{2})(\d{2})")
_NOUGHT = frozenset({"0", "00"})


def timestamp(text: str, zone: tzinfo) -> datetime | None:
    """A DTM (§2.A.22) as an aware time; without an offset it is local to `zone`. None where it is no time of at least a day.

    A day alone is its midnight. `2400` is the next midnight, as senders write it. In the hour that daylight saving repeats, the
    first one is meant; in the hour it skips, the offset before the skip holds. The first and the last year there are hold no time: in
    another zone it would fall outside them.
    """
    match = _DTM.fullmatch(text)
    if not match or match[1] in ("0001", "9999"):
        return None
    year, month, day, hour, minute, second, fraction, own_offset = match.groups("0")
    microsecond = int(fraction.ljust(6, "0"))
    if own_offset != "0":
        zone = offset(own_offset) or zone
    try:
        if hour == "24" and minute in _NOUGHT and second in _NOUGHT and not microsecond:
            return datetime(int(year), int(month), int(day), tzinfo=zone) + timedelta(days=1)
        return datetime(int(year), int(month), int(day), int(hour), int(minute), int(second), microsecond, zone)
    except (ValueError, OverflowError):
        return None


def offset(text: str) -> tzinfo | None:
    """The offset that a DTM bears (`+0100`), or None."""
    match = _OFFSET.search(text)
    if not match:
        return None
    delta = timedelta(hours=int(match[2]), minutes=int(match[3]))
    if delta >= timedelta(hours=24):
        return None
    return timezone(-delta if match[1] == "-" else delta) if delta else UTC


def day(text: str) -> date | None:
    """The day of a DT or DTM; None where a part of it is missing or wrong (`00000000`, a year alone)."""
    match = _DAY.match(text)
    if not match:
        return None
    try:
        return date(int(match[1]), int(match[2]), int(match[3]))
    except ValueError:
        return None


def entity_identifier(segment: Located, position: int, kind: str, authorities: Authorities) -> Identifier | None:
    """An EI (§2.A.28): id ^ namespace ^ universal id ^ type. None where empty; Refused `order.key-deleted` for a null."""
    value = segment.key(position)
    if not value:
        return None
    _, namespace, universal_id = segment.texts(position, 3)
    return Identifier(value, authorities.system_for(namespace, universal_id), kind, namespace, universal_id)


def composite_identifiers(segment: Located, position: int, authorities: Authorities) -> tuple[Identifier, ...]:
    """All repetitions of a CX (§2.A.14): id, assigning authority (component 4, an HD), type (component 5, table 0203)."""
    found = []
    for repetition in range(1, segment.repetitions(position) + 1):
        value = segment.key(position, repetition=repetition)
        if value:
            _, _, _, namespace, type_ = segment.texts(position, 5, repetition)
            universal_id = segment.text(position, 4, 2, repetition)
            system = authorities.system_for(namespace, universal_id)
            found.append(Identifier(value, system, type_, namespace, universal_id))
    return tuple(found)


def coded(segment: Located, position: int, authorities: Authorities) -> Code | None:
    """A CE or CWE (§2.A.11): the first triplet with a code, else the text alone; None where all is empty.

    The coding system is a FHIR URI where table 0396 or a rule of the site knows its name, else empty: a local code passes unchanged.
    """
    if position not in segment.filled:
        return None
    stated = segment.texts(position, 6)
    for code, display, name in (stated[:3], stated[3:]):
        if code:
            known = load("coding_systems").target(name.upper(), code_system.CODING_SYSTEM)
            system = known.code if known else authorities.system_of(name)
            return Code(code, system, display, name)
    return Code("", "", stated[1]) if stated[1] else None
