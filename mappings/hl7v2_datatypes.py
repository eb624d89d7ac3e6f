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


def timestamp(text: str, zone: tzinfo) -> datetime | None:
    """A DTM (§2.A.22) as an aware time; without an offset it is local to `zone`. None where it is no time of at least a day.

    A day alone is its midnight. `2400` is the next midnight, as senders write it. In the hour that daylight saving repeats, the
    first one is meant; in the hour it skips, the offset before the skip holds.
    """
    match = _DTM.fullmatch(text)
    if not match:
        return None
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
    microsecond = int((match[7] or "").ljust(6, "0"))
    days = 0
    if hour == 24 and not (minute or second or microsecond):
        hour, days = 0, 1
    try:
        local = datetime(year, month, day, hour, minute, second, microsecond) + timedelta(days=days)  # zone follows
        return local.replace(tzinfo=offset(text) or zone)
    except (ValueError, OverflowError):
        return None


def offset(text: str) -> tzinfo | None:
    """The offset that a DTM bears (`+0100`), or None."""
    match = re.search(r"([+-])(\d{2})(\d{2})$", text)
    if not match:
        return None
    delta = timedelta(hours=int(match[2]), minutes=int(match[3]))
    if delta >= timedelta(hours=24):
        return None
    return timezone(-delta if match[1] == "-" else delta) if delta else UTC


def day(text: str) -> date | None:
    """The day of a DT or DTM; None where a part of it is missing or wrong (`00000000`, a year alone)."""
    match = re.match(r"(\d{4})(\d{2})(\d{2})", text)
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
    return authorities.resolve(
        Identifier(value, type=kind, namespace=segment.text(position, 2), universal_id=segment.text(position, 3))
    )


def composite_identifiers(segment: Located, position: int, authorities: Authorities) -> tuple[Identifier, ...]:
    """All repetitions of a CX (§2.A.14): id, assigning authority (component 4, an HD), type (component 5, table 0203)."""
    found = []
    for repetition in range(1, segment.segment.repetitions(position) + 1):
        value = segment.key(position, repetition=repetition)
        if value:
            identifier = Identifier(
                value,
                type=segment.text(position, 5, repetition=repetition),
                namespace=segment.text(position, 4, 1, repetition),
                universal_id=segment.text(position, 4, 2, repetition),
            )
            found.append(authorities.resolve(identifier))
    return tuple(found)


def coded(segment: Located, position: int, authorities: Authorities) -> Code | None:
    """A CE or CWE (§2.A.11): the first triplet with a code, else the text alone; None where all is empty.

    The coding system is a FHIR URI where table 0396 or a rule of the site knows its name, else empty: a local code passes unchanged.
    """
    for first in (1, 4):
        code, name = segment.text(position, first), segment.text(position, first + 2)
        if code:
            known = load("coding_systems").target(name.upper(), code_system.CODING_SYSTEM)
            system = known.code if known else authorities.system_of(name)
            return Code(code, system, segment.text(position, first + 1), name)
    text = segment.text(position, 2)
    return Code("", "", text) if text else None
