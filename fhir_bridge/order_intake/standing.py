"""Each side of an order has its last word: HL7 v2, the ServiceRequest, the Tasks. What they say together is what its job should be. Pure."""

from dataclasses import replace

from mappings.fhir_order import DO_NOT_PERFORM
from mappings.order import Order, OrderControl, Standing

HL7V2 = "hl7v2"
DELETED = "deleted"  # in place of a ServiceRequest's status
_REASONS = {
    "revoked": "order.revoked",
    "entered-in-error": "order.entered-in-error",
    DELETED: "order.deleted",
    DO_NOT_PERFORM: "order.do-not-perform",
}
_SEVERITY = (OrderControl.NEW, OrderControl.HOLD, OrderControl.CANCEL)


def together(order: Order) -> OrderControl:
    """NEW (go on), HOLD or CANCEL. All sides must want the order; of several Tasks for it one is enough."""
    tasks = [_severity(standing) for standing in order.standings if _is_task(standing)]
    others = [_severity(standing) for standing in order.standings if not _is_task(standing)]
    return _SEVERITY[max([*others, *([min(tasks)] if tasks else [])], default=0)]


def said_by(order: Order, source: str) -> Standing | None:
    """The last word of this side."""
    return next((standing for standing in order.standings if standing.source == source), None)


def is_overtaken(order: Order, standing: Standing) -> bool:
    """We know a newer version of that resource."""
    known = said_by(order, standing.source)
    return known is not None and standing.as_of is not None and standing.as_of.is_before(known.as_of)


def with_word(order: Order, said: Standing) -> Order:
    """The order with this side's last word in place of the one before. A ServiceRequest that was revoked and now says nothing (`completed`)
    does not bring the order back; a Task that says nothing leaves the word to the others."""
    known = said_by(order, said.source)
    if known and known.word is OrderControl.CANCEL and said.word is OrderControl.NONE and not _is_task(said):
        said = replace(known, as_of=said.as_of or known.as_of)
    return _with_task(replace(order, standings=(*_without(order, said.source), said)))


def without_word(order: Order, source: str) -> Order:
    """The order as if this side had never said anything: a Task that is deleted."""
    return _with_task(replace(order, standings=_without(order, source)))


def why_cancelled(order: Order) -> str:
    """The reason of a cancel, by the side that says so."""
    for standing in order.standings:
        if standing.word is OrderControl.CANCEL and not _is_task(standing):
            return "order.cancelled" if standing.source == HL7V2 else _REASONS[standing.status]
    return "order.task-ended"


def _without(order: Order, source: str) -> tuple[Standing, ...]:
    return tuple(standing for standing in order.standings if standing.source != source)


def _with_task(order: Order) -> Order:
    """Of several Tasks the order names the one that asks for most, by its id where two do."""
    tasks = [standing for standing in order.standings if _is_task(standing)]
    best = min(tasks, key=lambda task: (_severity(task), task.source), default=None)
    return replace(order, task=best.source if best else "")


def _is_task(standing: Standing) -> bool:
    return standing.source.startswith("Task/")


def _severity(standing: Standing) -> int:
    """A Task that asks for nothing (any more) does not stand in the way."""
    return 0 if standing.word is OrderControl.NONE else _SEVERITY.index(standing.word)
