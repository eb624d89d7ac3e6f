"""What an HL7 v2 order is known by: its numbers and its Study Instance UID, and which sender writes them where."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

from mappings.authority import Authorities
from mappings.hl7v2_datatypes import entity_identifier
from mappings.hl7v2_groups import OrderGroup
from mappings.order import Identifier
from mappings.refusal import MappingRefused
from mappings.trace import Trace

_SOURCE = re.compile(r"([A-Z][A-Z0-9]{2})-(\d{1,3})(?:\.(\d{1,2}))?")
_UID = re.compile(r"[0-9]+(\.[0-9]+)+")


@dataclass(frozen=True, slots=True)
class SenderPolicy:
    """How one sender writes its orders. Raises ValueError for a malformed accession source or an unknown time zone.

    `time_zone` is the IANA name that holds for times without an offset. `accession_sources` are the fields that may carry the
    accession number, best first, as `SEG-field` or `SEG-field.component`. `patient_authority` names the authority (HD.1, or the
    name of its rule) whose identifier in PID-3 is the patient's.
    """

    authorities: Authorities = field(default_factory=Authorities)
    time_zone: str = "UTC"
    accession_sources: tuple[str, ...] = ("IPC-1", "OBR-18")
    patient_authority: str = ""

    def __post_init__(self) -> None:
        for source in self.accession_sources:
            if not _SOURCE.fullmatch(source):
                raise ValueError(f"accession source {source!r}: expected a field such as OBR-18 or ZAC-2.1")
        ZoneInfo(self.time_zone)


def order_number(group: OrderGroup, position: int, kind: str, policy: SenderPolicy, trace: Trace) -> Identifier | None:
    """Placer (2) and filler (3) order number: ORC, else OBR; OBR first where several OBR stand under one ORC."""
    segments = [group.obr, group.orc] if group.shares_orc else [group.orc, group.obr]
    for segment in segments:
        found = entity_identifier(segment, position, kind, policy.authorities) if segment else None
        if segment and found:
            trace.note("placer" if kind == "PLAC" else "filler", segment.where(position))
            return found
    return None


def accession(group: OrderGroup, policy: SenderPolicy, trace: Trace) -> Identifier | None:
    """The first of the sender's sources that has a value. Of a `^` in OBR-18 (an ST) only the first part is the number."""
    for source in policy.accession_sources:
        match = _SOURCE.fullmatch(source)
        if match is None:  # the policy has checked them
            continue
        name, position, component = match[1], int(match[2]), int(match[3] or 1)
        for segment in group.named(name):
            value = segment.key(position, component)
            if not value:
                continue
            trace.note("accession", segment.where(position))
            if component > 1:
                return Identifier(value, type="ACSN")
            return entity_identifier(segment, position, "ACSN", policy.authorities)
    return None


def study_instance_uid(group: OrderGroup, trace: Trace) -> str:
    """IPC-3.1, else ZDS-1.1, else OBX with DCM 110180. They should agree; where they do not, the first of these is taken."""
    found = list(_study_uids(group))
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


def _study_uids(group: OrderGroup) -> Iterator[tuple[str, str]]:
    for name, position in (("IPC", 3), ("ZDS", 1)):
        for segment in group.named(name):
            if value := segment.key(position):
                yield value, segment.where(position)
    for segment in group.named("OBX"):
        if segment.text(3) == "110180" and (value := segment.key(5)):
            yield value, segment.where(5)
