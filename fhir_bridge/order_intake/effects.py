"""What an order message does to an order that we hold, by what it wants. One function for each row of the order-control table."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from fhir_bridge.job import Event, Stage, Status
from fhir_bridge.ports import KnownOrder, Ledger
from fhir_bridge.rendezvous.completeness import NO_IMAGES, STILL_ARRIVING
from fhir_bridge.rendezvous.same_order import changed, demographics_differ, enriched, needs_restart
from fhir_bridge.rendezvous.survivor import UNCERTAIN_MOVE
from mappings.order import EventTime, Order, OrderControl

CANCELLED_EARLY = "order.cancelled-early"  # the cancel came first; its order has not come yet
CONFLICT = "order.patient-conflict"
STALE = "order.stale"  # an older message after a newer one
TROUBLE = "order.trouble-reported"
STATUS_MISSING = "order.status-missing"

Result = tuple[bool, str]  # what was asked is so now, or nothing was asked; what somebody should look at
_AS_ASKED: Result = (True, "")
_COMES_TOO_EARLY = frozenset({NO_IMAGES, STILL_ARRIVING, "study.key-missing"})  # held since no images came in time


def touch(ledger: Ledger, known: KnownOrder, order: Order, source: str) -> Result:
    """Let the message have its effect on the known order and its job."""
    return _EFFECTS[order.control](ledger, known, order, source)


def _new(ledger: Ledger, known: KnownOrder, order: Order, source: str) -> Result:
    if known.job.status is Status.CANCELLED:
        return _new_after_cancel(ledger, known, order, source)
    if _is_newer_version(known, order, source):
        if known.job.status is Status.ON_HOLD:
            ledger.happen(known.job.id, Event.RESUME, "order.released")
        return _change(ledger, known, order, source)
    ledger.note(known.job.id, "received-again", "order.same")
    _enrich(ledger, known, order)
    return _AS_ASKED


def _new_after_cancel(ledger: Ledger, known: KnownOrder, order: Order, source: str) -> Result:
    """The cancel that overtook its order counts once. After that a new NW orders anew; a ServiceRequest that merely is active does not."""
    job = known.job.id
    never_came = known.order.control is not OrderControl.NEW  # until now there were only messages about it
    if never_came and not _is_placed_after_its_cancel(known, order):
        ledger.update_order(job, enriched(known.order, order))
        ledger.happen(job, Event.CANCEL, "order.cancelled-before-it-came")
    elif source != "hl7v2":
        ledger.note(job, "received-again", f"order.{known.job.status}")
    elif _is_older_than_a_move(known, order):
        ledger.note(job, "received-again", STALE)
        return True, STALE
    else:
        ledger.update_order(job, replace(changed(known.order, order), moved=_with_move(known, order)))
        ledger.happen(job, Event.REPLAY, "order.ordered-anew", Stage.CONTEXT)
    return _AS_ASKED


def _is_placed_after_its_cancel(known: KnownOrder, order: Order) -> bool:
    """By ORC-9 alone: MSH-7 is stamped anew by whoever sends a late message again."""
    return bool(order.requested_at) and any(move.is_before(order.event) for move in known.order.moved)


def _is_newer_version(known: KnownOrder, order: Order, source: str) -> bool:
    """A ServiceRequest that we know by the FHIR door has changed there. An order that HL7 v2 brought is changed by HL7 v2."""
    same_request = bool(order.service_request) and known.order.service_request == order.service_request
    return source == known.job.source == "fhir" and same_request


def _enrich(ledger: Ledger, known: KnownOrder, order: Order) -> None:
    wanted = enriched(known.order, order)
    if wanted != known.order:
        ledger.update_order(known.job.id, wanted)
        ledger.happen(known.job.id, Event.WAKE, "order.enriched")


def _change(ledger: Ledger, known: KnownOrder, order: Order, _source: str) -> Result:
    """Data and priority follow at once, and the urgency in the queue. What was computed from other data is computed anew."""
    job = known.job
    if job.status is Status.CANCELLED:
        ledger.note(job.id, "change-ignored", f"order.{job.status}")
        return False, ""
    if order.event and order.event.is_before(known.order.event):
        ledger.note(job.id, "change-ignored", STALE)
        return False, STALE
    wanted = changed(known.order, order)
    if wanted == known.order:
        ledger.note(job.id, "received-again", "order.same")
        result = _AS_ASKED
    else:
        result = _apply_change(ledger, known, wanted)
    ledger.update_order(job.id, wanted)
    if demographics_differ(wanted.patient, order.patient):
        ledger.note(job.id, "demographics-kept", "order.demographics-differ")
        return result[0], result[1] or "order.demographics-differ"
    return result


def _apply_change(ledger: Ledger, known: KnownOrder, wanted: Order) -> Result:
    job, restart = known.job, needs_restart(known.order, wanted)
    if restart and job.status is Status.DONE:
        # the result that is out was made of other data: whether it is made anew, a person decides
        ledger.note(job.id, "change", "order.changed-after-result")
        return False, "order.changed-after-result"
    if restart and not _is_disputed(known) and ledger.happen(job.id, Event.CHANGE, "order.changed", Stage.CONTEXT):
        return _AS_ASKED
    ledger.note(job.id, "change", "order.changed")
    return _AS_ASKED


def _is_disputed(known: KnownOrder) -> bool:
    """A change does not settle whose order it is."""
    return known.job.status is Status.HELD and known.job.reason in (CONFLICT, UNCERTAIN_MOVE)


def _cancel(ledger: Ledger, known: KnownOrder, order: Order, _source: str) -> Result:
    """Before its result goes out a job is stopped. Later it cannot be: that is noted, and nothing more goes out than is on its way."""
    if _is_stale(ledger, known, order):
        return False, STALE
    job, replaced = known.job, order.control is OrderControl.REPLACED
    _moved(ledger, known, order)
    if ledger.happen(job.id, Event.CANCEL, "order.replaced" if replaced else "order.cancelled"):
        return _AS_ASKED
    ledger.note(job.id, "cancel-ignored", f"order.{job.status}")
    return False, "order.cancel-too-late"


def _hold(ledger: Ledger, known: KnownOrder, order: Order, _source: str) -> Result:
    """What waits for a person stays there; once the person has replayed it, it is on hold."""
    if _is_stale(ledger, known, order):
        return False, STALE
    job = known.job
    if job.status in (Status.DONE, Status.CANCELLED):
        ledger.note(job.id, "hold-ignored", f"order.{job.status}")
        return False, "order.hold-too-late" if job.status is Status.DONE else ""
    _moved(ledger, known, order)
    if not ledger.happen(job.id, Event.SUSPEND, "order.on-hold"):
        ledger.note(job.id, "hold", f"order.{job.status}")
    return _AS_ASKED


def _release(ledger: Ledger, known: KnownOrder, order: Order, _source: str) -> Result:
    """What is not on hold stays as it is."""
    if _is_stale(ledger, known, order):
        return False, STALE
    job = known.job
    _moved(ledger, known, order)
    if not ledger.happen(job.id, Event.RESUME, "order.released"):
        ledger.note(job.id, "release", f"order.{job.status}")
    return job.status is not Status.CANCELLED, ""


def _is_stale(ledger: Ledger, known: KnownOrder, order: Order) -> bool:
    """Older than the last cancel, hold or release that counted (never by arrival: messages overtake each other)."""
    if not _is_older_than_a_move(known, order):
        return False
    ledger.note(known.job.id, f"{order.control}-ignored", STALE)
    return True


def _moved(ledger: Ledger, known: KnownOrder, order: Order) -> None:
    if order.event:
        ledger.update_order(known.job.id, replace(known.order, moved=_with_move(known, order)))


def _is_older_than_a_move(known: KnownOrder, order: Order) -> bool:
    return order.event is not None and any(order.event.is_before(move) for move in known.order.moved)


def _with_move(known: KnownOrder, order: Order) -> tuple[EventTime, ...]:
    return order.event.among(known.order.moved) if order.event else known.order.moved


def _progress(ledger: Ledger, known: KnownOrder, order: Order, _source: str) -> Result:
    ledger.note(known.job.id, "received", "order.in-progress")
    _enrich(ledger, known, order)
    return _AS_ASKED


def _completed(ledger: Ledger, known: KnownOrder, order: Order, source: str) -> Result:
    """The images should be there: look at once, and with all the patience that a new wait has."""
    result = _AS_ASKED
    if order.control_code == "SC":
        _enrich(ledger, known, order)
    else:
        result = _change(ledger, known, order, source)
    job = known.job
    revived = job.status is Status.HELD and job.reason in _COMES_TOO_EARLY
    if not ledger.happen(job.id, Event.REPLAY if revived else Event.WAKE, "order.completed"):
        ledger.note(job.id, "received", "order.completed")
    return result


def _number(ledger: Ledger, known: KnownOrder, order: Order, _source: str) -> Result:
    wanted = replace(enriched(known.order, order), filler=order.filler or known.order.filler)
    ledger.update_order(known.job.id, wanted)
    ledger.note(known.job.id, "number", "order.same" if wanted == known.order else "order.number-stored")
    return _AS_ASKED


def _trouble(ledger: Ledger, known: KnownOrder, order: Order, _source: str) -> Result:
    ledger.note(known.job.id, "trouble", f"{TROUBLE} {order.control_code}")
    return True, TROUBLE


def _link(ledger: Ledger, known: KnownOrder, _order: Order, _source: str) -> Result:
    ledger.note(known.job.id, "received", "order.parent-or-child")
    return _AS_ASKED


def _nothing(ledger: Ledger, known: KnownOrder, order: Order, _source: str) -> Result:
    ledger.note(known.job.id, "received", "order.no-effect")
    return True, STATUS_MISSING if order.control_code == "SC" else ""


_EFFECTS: Mapping[OrderControl, Callable[[Ledger, KnownOrder, Order, str], Result]] = {
    OrderControl.NEW: _new,
    OrderControl.CHANGE: _change,
    OrderControl.CHANGE_CONFIRMED: _change,
    OrderControl.CANCEL: _cancel,
    OrderControl.REPLACED: _cancel,
    OrderControl.HOLD: _hold,
    OrderControl.HOLD_CONFIRMED: _hold,
    OrderControl.RELEASE: _release,
    OrderControl.PROGRESS: _progress,
    OrderControl.COMPLETED: _completed,
    OrderControl.NUMBER: _number,
    OrderControl.TROUBLE: _trouble,
    OrderControl.LINK: _link,
    OrderControl.NONE: _nothing,
}
