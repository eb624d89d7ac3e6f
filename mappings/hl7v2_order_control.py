"""What an order group asks for: ORC-1, ORC-5 and what they refer to (HL7 v2.5.1 §4.5.1.1, §4.5.1.5, §4.5.1.8)."""

from collections.abc import Iterable
from dataclasses import replace

from mappings import code_system
from mappings.authority import Authorities
from mappings.code_table import load
from mappings.hl7v2_groups import Located, OrderGroup
from mappings.order import Identifier, Order, OrderControl, OrderKey, PatientIdentity
from mappings.refusal import MappingRefused
from mappings.trace import Trace

_NOT_IMAGING = frozenset({"RXO", "RXE", "RXA", "RXD", "RXG", "RQD", "RQ1", "ODS", "ODT"})  # pharmacy, supplies, diet
_BY_STATUS = "SC"
_CHANGES = ("XO", "XX")
_REPLACING = "RO"


def code_of(group: OrderGroup) -> str:
    """ORC-1 in upper case; `NW` where there is no ORC."""
    return group.orc.text(1).upper() if group.orc else "NW"


def control_of(group: OrderGroup, trace: Trace) -> OrderControl:
    """ORC-1 (table 0119); for SC by ORC-5 (table 0038); a change (XO, XX) whose ORC-5 is CM says that the procedure is done.

    Without ORC: NEW (6 of 55 orders counted in public repositories have none). Raises MappingRefused `order.control-missing`,
    `order.control-unknown`.
    """
    if group.orc is None:
        trace.note("control", "no ORC: taken as NW")
        return OrderControl.NEW
    code, orc = code_of(group), group.orc
    if not code:
        raise MappingRefused("order.control-missing", orc.where(1), "ORC-1 is required")
    row = load("order_control").find(code, code_system.ORDER_CONTROL)
    if row is None:
        raise MappingRefused("order.control-unknown", orc.where(1), "not a code of table 0119")
    if group.obr is None and any(segment.name in _NOT_IMAGING for segment in group.details):
        trace.note("control", f"{orc.where(1)}: an order for drugs, supplies or diet, not for imaging")
        return OrderControl.NONE
    if code == _BY_STATUS:
        return _by_status(orc, trace)
    if code in _CHANGES and orc.text(5).upper() == "CM":
        trace.note("control", f"{orc.where(1)}, and {orc.where(5)}: completed")
        return OrderControl.COMPLETED
    trace.note("control", orc.where(1))
    return OrderControl(row.target.code) if row.target else OrderControl.NONE


def _by_status(orc: Located, trace: Trace) -> OrderControl:
    effect = load("order_status").target(orc.text(5).upper(), code_system.ORDER_STATUS)
    trace.note("control", f"{orc.where(5)} (ORC-1 is SC)" + ("" if effect else ": no code of table 0038"))
    return OrderControl(effect.code) if effect else OrderControl.NONE


def parent_keys(group: OrderGroup, authorities: Authorities, trace: Trace) -> tuple[OrderKey, ...]:
    """By what the parent of a child order is known: ORC-8, its placer's number, then its filler's (EIP, §2.A.27)."""
    if group.orc is None or code_of(group) != "CH":
        return ()
    placer, filler = (_number(group.orc, component, authorities) for component in (1, 2))
    if placer or filler:
        trace.note("related", f"{group.orc.where(8)}: the parent order")
    return Order(OrderControl.NONE, PatientIdentity(), placer=placer, filler=filler).keys()


def _number(orc: Located, component: int, authorities: Authorities) -> Identifier | None:
    value, namespace, universal_id = (orc.text(8, component, part) for part in (1, 2, 3))
    found = Identifier(value, type="PLAC" if component == 1 else "FILL", namespace=namespace, universal_id=universal_id)
    return authorities.resolve(found) if value else None


def with_replaced(orders: Iterable[Order]) -> tuple[Order, ...]:
    """Each replacing order (RO) with the keys of those that it replaces: the RP, RQ or RU right before it (§4.5.1.1.1)."""
    found: list[Order] = []
    replaced: tuple[OrderKey, ...] = ()
    for order in orders:
        if order.control is OrderControl.REPLACED:
            # the first one after an RO begins a new replacement
            begins_anew = bool(found) and found[-1].control is not OrderControl.REPLACED
            replaced = order.keys() if begins_anew else replaced + order.keys()
            found.append(order)
        elif order.control_code == _REPLACING:
            found.append(replace(order, related=replaced))
        else:
            replaced = ()
            found.append(order)
    return tuple(found)
