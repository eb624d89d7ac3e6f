"""What an order message does to an order that we hold, by what it wants. One function for each row of the order-control table."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from fhir_bridge.job import Event, Stage, Status
from fhir_bridge.order_intake.changing import AS_ASKED, Result, apply_change
from fhir_bridge.order_intake.follow import ORDERED_ANEW
from fhir_bridge.order_intake.standing import DELETED, HL7V2, said_by, together, why_cancelled, with_word, without_word
from fhir_bridge.order_intake.study import COMES_TOO_EARLY
from fhir_bridge.ports import KnownOrder, Ledger
from fhir_bridge.rendezvous.same_order import changed, demographics_differ, enriched
from mappings.order import EventTime, Order, OrderControl, Standing

CANCELLED_EARLY = "order.cancelled-early"  # the cancel came first; its order has not come yet
STALE = "order.stale"  # an older message after a newer one
TROUBLE = "order.trouble-reported"
STATUS_MISSING = "order.status-missing"


def touch(ledger: Ledger, known: KnownOrder, order: Order, source: str) -> Result:
    """Let the message have its effect on the known order and its job."""
    return _EFFECTS[order.control](ledger, known, order, source)


def _new(ledger: Ledger, known: KnownOrder, order: Order, _source: str) -> Result:
    if known.job.status is Status.CANCELLED:
        return _new_after_cancel(ledger, known, order)
    is_late = known.job.status is not Status.DONE and _said_cancel(known.order)
    if is_late and not _is_older_than_a_move(known, order):
        return _new_after_late_cancel(ledger, known, order)
    ledger.note(known.job.id, "received-again", "order.same")
    _enrich(ledger, known, order)
    return AS_ASKED


def _new_after_late_cancel(ledger: Ledger, known: KnownOrder, order: Order) -> Result:
    """The cancel could not stop the job any more, and is wished for no longer."""
    wanted = with_word(changed(known.order, order), Standing(HL7V2, OrderControl.NEW))
    ledger.update_order(known.job.id, replace(wanted, moved=_with_move(known, order)))
    if together(wanted) is not OrderControl.CANCEL and ledger.happen(
        known.job.id, Event.CHANGE, ORDERED_ANEW, Stage.CONTEXT
    ):
        return AS_ASKED
    ledger.note(known.job.id, "received-again", f"order.{known.job.status}")
    return AS_ASKED


def _new_after_cancel(ledger: Ledger, known: KnownOrder, order: Order) -> Result:
    """The cancel that overtook its order counts once. After that a new NW orders anew, unless the FHIR server says that the order is
    revoked there, which a deleted ServiceRequest cannot say."""
    job = known.job.id
    never_came = known.order.control is not OrderControl.NEW  # until now HL7 v2 only sent messages about it
    if never_came and _said_cancel(known.order) and not _is_placed_after_its_cancel(known, order):
        ledger.update_order(job, enriched(known.order, order))
        ledger.happen(job, Event.CANCEL, "order.cancelled-before-it-came")
        return AS_ASKED
    if _is_older_than_a_move(known, order):
        ledger.note(job, "received-again", STALE)
        return True, STALE
    wanted = replace(changed(known.order, order), moved=_with_move(known, order))
    if said_by(wanted, HL7V2) is None or _said_cancel(wanted):
        wanted = with_word(wanted, Standing(HL7V2, OrderControl.NEW))
    wanted = _without_deleted_request(wanted)
    ledger.update_order(job, wanted)
    return _as_all_say(ledger, job, wanted)


def _as_all_say(ledger: Ledger, job: str, order: Order) -> Result:
    if together(order) is OrderControl.CANCEL:
        reason = why_cancelled(order)
        ledger.note(job, "received-again", reason)
        return True, reason
    ledger.happen(job, Event.REPLAY, ORDERED_ANEW, Stage.CONTEXT)
    if together(order) is OrderControl.HOLD:
        ledger.happen(job, Event.SUSPEND, "order.on-hold")
    return AS_ASKED


def _without_deleted_request(order: Order) -> Order:
    request = said_by(order, order.service_request)
    if request is None or request.status != DELETED:
        return order
    return replace(without_word(order, order.service_request), service_request="")


def _said_cancel(order: Order) -> bool:
    said = said_by(order, HL7V2)
    return said is not None and said.word is OrderControl.CANCEL


def _is_placed_after_its_cancel(known: KnownOrder, order: Order) -> bool:
    """By ORC-9 alone: MSH-7 is stamped anew by whoever sends a late message again."""
    return bool(order.requested_at) and any(move.is_before(order.event) for move in known.order.moved)


def _enrich(ledger: Ledger, known: KnownOrder, order: Order) -> None:
    wanted = enriched(known.order, order)
    if wanted != known.order:
        ledger.update_order(known.job.id, wanted)
        ledger.happen(known.job.id, Event.WAKE, "order.enriched")


def _change(ledger: Ledger, known: KnownOrder, order: Order, _source: str) -> Result:
    """Data and priority follow at once, and the urgency in the queue. What was computed from other data is computed anew."""
    job = known.job
    revoked = together(known.order) is OrderControl.CANCEL and not _said_cancel(known.order)  # on the FHIR server
    if job.status is Status.CANCELLED and not revoked:
        ledger.note(job.id, "change-ignored", f"order.{job.status}")
        return False, ""
    if order.event and order.event.is_before(known.order.event):
        ledger.note(job.id, "change-ignored", STALE)
        return False, STALE
    wanted = changed(known.order, order)
    if job.status is Status.CANCELLED:
        ledger.update_order(job.id, wanted)  # it counts if the server orders anew
        ledger.note(job.id, "change", f"order.{job.status}")
        return False, ""
    if wanted == known.order:
        ledger.note(job.id, "received-again", "order.same")
        result = AS_ASKED
    else:
        result = apply_change(ledger, known, wanted)
    ledger.update_order(job.id, wanted)
    if demographics_differ(wanted.patient, order.patient):
        ledger.note(job.id, "demographics-kept", "order.demographics-differ")
        return result[0], result[1] or "order.demographics-differ"
    return result


def _cancel(ledger: Ledger, known: KnownOrder, order: Order, _source: str) -> Result:
    """Before its result goes out a job is stopped. Later it cannot be: that is noted, and nothing more goes out than is on its way."""
    if _is_stale(ledger, known, order):
        return False, STALE
    job, replaced = known.job, order.control is OrderControl.REPLACED
    _moved(ledger, known, order, OrderControl.CANCEL)
    if ledger.happen(job.id, Event.CANCEL, "order.replaced" if replaced else "order.cancelled"):
        return AS_ASKED
    ledger.note(job.id, "cancel-ignored", f"order.{job.status}")
    return False, "order.cancel-too-late"


def _hold(ledger: Ledger, known: KnownOrder, order: Order, _source: str) -> Result:
    """What waits for a person stays there; once the person has replayed it, it is on hold."""
    if _is_stale(ledger, known, order):
        return False, STALE
    job = known.job
    if job.status in (Status.DONE, Status.CANCELLED):
        ledger.update_order(job.id, _saying(known.order, OrderControl.HOLD))
        ledger.note(job.id, "hold-ignored", f"order.{job.status}")
        return False, "order.hold-too-late" if job.status is Status.DONE else ""
    _moved(ledger, known, order, OrderControl.HOLD)
    if not ledger.happen(job.id, Event.SUSPEND, "order.on-hold"):
        ledger.note(job.id, "hold", f"order.{job.status}")
    return AS_ASKED


def _release(ledger: Ledger, known: KnownOrder, order: Order, _source: str) -> Result:
    """What is not on hold stays as it is, and what the FHIR server holds stays on hold."""
    if _is_stale(ledger, known, order):
        return False, STALE
    job = known.job
    if together(without_word(_moved(ledger, known, order, OrderControl.NEW), HL7V2)) is not OrderControl.NEW:
        ledger.note(job.id, "release", "order.on-hold" if job.status is Status.ON_HOLD else f"order.{job.status}")
    elif not ledger.happen(job.id, Event.RESUME, "order.released"):
        ledger.note(job.id, "release", f"order.{job.status}")
    return job.status is not Status.CANCELLED, ""


def _is_stale(ledger: Ledger, known: KnownOrder, order: Order) -> bool:
    """Older than the last cancel, hold or release that counted (never by arrival: messages overtake each other)."""
    if not _is_older_than_a_move(known, order):
        return False
    ledger.note(known.job.id, f"{order.control}-ignored", STALE)
    return True


def _moved(ledger: Ledger, known: KnownOrder, order: Order, word: OrderControl) -> Order:
    """The order as kept: the time of this move, and this door's last word."""
    wanted = replace(_saying(known.order, word), moved=_with_move(known, order))
    ledger.update_order(known.job.id, wanted)
    return wanted


def _saying(order: Order, word: OrderControl) -> Order:
    """With HL7 v2's last word; a hold or release of what it cancelled is none."""
    if word is not OrderControl.CANCEL and _said_cancel(order):
        return order
    return with_word(order, Standing(HL7V2, word))


def _is_older_than_a_move(known: KnownOrder, order: Order) -> bool:
    return order.event is not None and any(order.event.is_before(move) for move in known.order.moved)


def _with_move(known: KnownOrder, order: Order) -> tuple[EventTime, ...]:
    return order.event.among(known.order.moved) if order.event else known.order.moved


def _progress(ledger: Ledger, known: KnownOrder, order: Order, _source: str) -> Result:
    ledger.note(known.job.id, "received", "order.in-progress")
    _enrich(ledger, known, order)
    return AS_ASKED


def _completed(ledger: Ledger, known: KnownOrder, order: Order, source: str) -> Result:
    """The images should be there: look at once, and with all the patience that a new wait has."""
    result = AS_ASKED
    if order.control_code == "SC":
        _enrich(ledger, known, order)
    else:
        result = _change(ledger, known, order, source)
    job = known.job
    revived = job.status is Status.HELD and job.reason in COMES_TOO_EARLY
    if not ledger.happen(job.id, Event.REPLAY if revived else Event.WAKE, "order.completed"):
        ledger.note(job.id, "received", "order.completed")
    return result


def _number(ledger: Ledger, known: KnownOrder, order: Order, _source: str) -> Result:
    wanted = replace(enriched(known.order, order), filler=order.filler or known.order.filler)
    ledger.update_order(known.job.id, wanted)
    ledger.note(known.job.id, "number", "order.same" if wanted == known.order else "order.number-stored")
    return AS_ASKED


def _trouble(ledger: Ledger, known: KnownOrder, order: Order, _source: str) -> Result:
    ledger.note(known.job.id, "trouble", f"{TROUBLE} {order.control_code}")
    return True, TROUBLE


def _link(ledger: Ledger, known: KnownOrder, _order: Order, _source: str) -> Result:
    ledger.note(known.job.id, "received", "order.parent-or-child")
    return AS_ASKED


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
