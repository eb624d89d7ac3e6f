"""The numbers of the orders of one message, and which of them find each order on a server again."""

from collections.abc import Sequence
from dataclasses import dataclass

from mappings.hl7v2_conversion import Conversion
from mappings.hl7v2_groups import OrderGroup
from mappings.hl7v2_identity import derived
from mappings.hl7v2_order_keys import accession, order_number, study_instance_uid
from mappings.order import Identifier
from mappings.refusal import MappingRefused
from mappings.trace import Trace


@dataclass(frozen=True, slots=True)
class Numbers:
    """The numbers of one order. `identity` finds it: any of these is it, and none of another order of the message is among them."""

    placer: Identifier | None
    filler: Identifier | None
    accession: Identifier | None
    study_instance_uid: str
    identity: tuple[Identifier, ...] = ()
    part: Identifier | None = None  # where no number tells it from its siblings


def numbers_of(conversion: Conversion, groups: Sequence[OrderGroup]) -> list[Numbers]:
    """The numbers of every group. Raises MappingRefused `order.key-missing`, `order.key-deleted`, `order.study-uid-malformed`."""
    read = [_read(conversion, number, group) for number, group in enumerate(groups, 1)]
    counts: dict[tuple[str, str], int] = {}
    for numbers in read:
        for found in (numbers.placer, numbers.filler, numbers.accession):
            if found:
                key = (found.system, found.value)
                counts[key] = counts.get(key, 0) + 1
    return [
        _identified(numbers, group, number, counts)
        for number, (numbers, group) in enumerate(zip(read, groups, strict=True), 1)
    ]


def _read(conversion: Conversion, number: int, group: OrderGroup) -> Numbers:
    trace, policy, scope = Trace(wanted=conversion.trace.wanted), conversion.policy, conversion.scope
    placer = order_number(group, 2, "PLAC", policy, trace)
    filler = order_number(group, 3, "FILL", policy, trace)
    accession_number = accession(group, policy, trace)
    numbers = Numbers(
        placer and scope.identified(placer, "placer"),
        filler and scope.identified(filler, "filler"),
        accession_number and scope.identified(accession_number, "accession"),
        study_instance_uid(group, trace, policy.study_uid_sources),
    )
    for element, source in trace.lines():
        conversion.trace.note(f"ServiceRequest[{number}].identifier {element}", source)
    return numbers


def _identified(numbers: Numbers, group: OrderGroup, number: int, counts: dict[tuple[str, str], int]) -> Numbers:
    """By placer and filler number; else by accession number; else by study. A number that siblings share finds no single order."""
    order_numbers = [found for found in (numbers.placer, numbers.filler) if found]
    for candidates in (order_numbers, [numbers.accession] if numbers.accession else []):
        own = tuple([found for found in candidates if counts[found.system, found.value] == 1])
        if own:
            return _with_identity(numbers, own)
    shared = order_numbers[0] if order_numbers else numbers.accession
    if shared is None and not numbers.study_instance_uid:
        segment = group.orc or group.obr
        where = segment.where(2) if segment else "ORC^1^2"
        raise MappingRefused("order.key-missing", where, "no order number, accession number or study UID")
    whole = (shared.system, shared.value) if shared else ("study", numbers.study_instance_uid)
    code = group.obr.text(4) or group.obr.text(4, 2) if group.obr else ""
    part = derived("order-part", *whole, code or str(number))
    return _with_identity(numbers, (part,), part)


def _with_identity(numbers: Numbers, identity: tuple[Identifier, ...], part: Identifier | None = None) -> Numbers:
    return Numbers(
        numbers.placer, numbers.filler, numbers.accession, numbers.study_instance_uid, identity=identity, part=part
    )
