"""What an HL7 v2 order is known by: its numbers and its Study Instance UID, and which sender writes them where."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Literal
from zoneinfo import ZoneInfo

from mappings.authority import Authorities
from mappings.hl7v2_datatypes import entity_identifier
from mappings.hl7v2_groups import Located, OrderGroup
from mappings.order import Identifier, Order
from mappings.refusal import MappingRefused
from mappings.trace import Trace

_SOURCE = re.compile(r"([A-Z][A-Z0-9]{2})-(\d{1,3})(?:\.(\d{1,2}))?")
_UID = re.compile(r"[0-9]+(\.[0-9]+)+")
_ACCESSION_LENGTH = 16  # IPC-1, as DICOM's SH
STUDY_UID_SOURCES = ("IPC-3", "ZDS-1")


@dataclass(frozen=True, slots=True)
class SenderPolicy:
    """How one sender writes its orders. Raises ValueError for a malformed source or an unknown time zone.

    `time_zone` is the IANA name that holds for times without an offset. `accession_sources` and `study_uid_sources` are the fields
    that may carry the accession number and the Study Instance UID, best first, as `SEG-field` or `SEG-field.component`.
    `patient_authority` names the authority (HD.1, or the name of its rule) whose identifier in PID-3 is the patient's.
    `orders_without_orc`: an OBR without ORC is a new order, or is refused.
    """

    authorities: Authorities = field(default_factory=Authorities)
    time_zone: str = "UTC"
    accession_sources: tuple[str, ...] = ("IPC-1", "OBR-18")
    patient_authority: str = ""
    study_uid_sources: tuple[str, ...] = STUDY_UID_SOURCES
    orders_without_orc: Literal["new", "refuse"] = "new"

    def __post_init__(self) -> None:
        for kind, sources in (("accession", self.accession_sources), ("study UID", self.study_uid_sources)):
            for source in sources:
                if not _SOURCE.fullmatch(source):
                    raise ValueError(f"{kind} source {source!r}: expected a field such as OBR-18 or ZAC-2.1")
        ZoneInfo(self.time_zone)


def order_number(group: OrderGroup, position: int, kind: str, policy: SenderPolicy, trace: Trace) -> Identifier | None:
    """Placer (2) and filler (3) order number: ORC, else OBR; OBR first where several OBR stand under one ORC."""
    segments = (group.obr, group.orc) if group.shares_orc else (group.orc, group.obr)
    for segment in segments:
        found = entity_identifier(segment, position, kind, policy.authorities) if segment else None
        if segment and found:
            trace.note("placer" if kind == "PLAC" else "filler", segment.where(position))
            return found
    return None


def accession(group: OrderGroup, policy: SenderPolicy, trace: Trace) -> Identifier | None:
    """The first of the sender's sources that has a value. Of a `^` in OBR-18 (an ST) only the first part is the number.

    A longer number than IPC-1 allows (16 characters) is taken, and noted; so is another number in another source.
    """
    found = _values(group, policy.accession_sources)
    if not found:
        return None
    value, segment, position, component = found[0]
    trace.note("accession", segment.where(position))
    if len(value) > _ACCESSION_LENGTH:
        trace.note("accession", f"{segment.where(position)}: longer than 16 characters")
    for other, place, field_number, _ in found[1:]:
        if other != value:
            trace.note("accession", f"{place.where(field_number)} contradicts {segment.where(position)}: not used")
    if component > 1:
        return Identifier(value, type="ACSN")
    return entity_identifier(segment, position, "ACSN", policy.authorities)


def study_instance_uid(group: OrderGroup, trace: Trace, sources: Sequence[str] = STUDY_UID_SOURCES) -> str:
    """The first of the sender's sources, else OBX with DCM 110180. They should agree; where they do not, the first is taken, and noted."""
    found = [(value, segment.where(position)) for value, segment, position, _ in _values(group, sources)]
    for segment in group.named("OBX"):
        if segment.text(3) == "110180" and (value := segment.key(5)):
            found.append((value, segment.where(5)))
    for value, where in found:
        if len(value) > 64 or not _UID.fullmatch(value):
            raise MappingRefused("order.study-uid-malformed", where, "not a DICOM UID (PS3.5 §9.1)")
    if not found:
        return ""
    trace.note("study_instance_uid", found[0][1])
    for value, where in found[1:]:
        if value != found[0][0]:
            trace.note("study_instance_uid", f"{where} contradicts {found[0][1]}: not used")
    return found[0][0]


def procedure_number(group: OrderGroup, element: str, sources: Sequence[str], trace: Trace) -> str:
    """Requested Procedure ID, Scheduled Procedure Step ID, station AE title: the first source that has a value. None is a key."""
    for source in sources:
        name, position, component = _place_of(source)
        for segment in group.named(name):
            if value := segment.text(position, component):
                trace.note(element, segment.where(position))
                return value
    return ""


def _values(group: OrderGroup, sources: Sequence[str]) -> list[tuple[str, Located, int, int]]:
    """What the sources hold, best first: value, segment, field, component. Raises MappingRefused `order.key-deleted`."""
    found = []
    for source in sources:
        name, position, component = _place_of(source)
        for segment in group.named(name):
            if value := segment.key(position, component):
                found.append((value, segment, position, component))
    return found


@lru_cache(maxsize=256)
def _place_of(source: str) -> tuple[str, int, int]:
    """Segment, field, component of a source, which the policy has checked."""
    match = _SOURCE.fullmatch(source)
    return (match[1], int(match[2]), int(match[3] or 1)) if match else ("", 0, 1)


def with_parts(orders: Sequence[Order], groups: Sequence[OrderGroup]) -> tuple[Order, ...]:
    """Several OBR under one ORC are several orders. Where placer order numbers do not tell them apart, `part` does: the
    Scheduled Procedure Step ID where each has its own, else the procedure, and which of its kind. The place under the ORC would not:
    a message about some of the orders counts anew."""
    found = list(orders)
    for start, group in enumerate(groups):
        if not group.shares_orc or (start and groups[start - 1].orc is group.orc):
            continue
        places = [place for place in range(start, len(groups)) if groups[place].orc is group.orc]
        siblings = [orders[place] for place in places]
        if _all_different([order.placer.value if order.placer else "" for order in siblings]):
            continue
        steps = [order.scheduled_step_id for order in siblings]
        names = steps if _all_different(steps) else _by_procedure(siblings)
        for place, name in zip(places, names, strict=True):
            line = ("part", "its scheduled step" if names is steps else "its procedure, and which of its kind")
            found[place] = replace(orders[place], part=name, trace=(*orders[place].trace, line))
    return tuple(found)


def _by_procedure(orders: Sequence[Order]) -> list[str]:
    counts: Counter[str] = Counter()
    names = []
    for order in orders:
        procedure = (order.procedure.code or order.procedure.display) if order.procedure else ""
        counts[procedure] += 1
        names.append(f"{procedure}.{counts[procedure]}" if procedure else str(counts[procedure]))
    return names


def _all_different(names: Sequence[str]) -> bool:
    return all(names) and len(set(names)) == len(names)
