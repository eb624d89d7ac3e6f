"""An order of the FHIR server follows the state of its resources there, in whatever order we hear of them, and however often."""

from dataclasses import replace

from fhir_bridge.job import Event, Job, Stage, Status
from fhir_bridge.order_intake.changing import AS_ASKED, Result, apply_change
from fhir_bridge.order_intake.standing import (
    is_overtaken,
    together,
    why_cancelled,
    with_word,
    without_word,
)
from fhir_bridge.ports import KnownOrder, Ledger
from fhir_bridge.rendezvous.same_order import enriched, reread, restated
from mappings.order import Order, OrderControl, OrderKey, Standing

STALE = "order.stale"
TOO_LATE = "order.revoked-after-result"
ORDERED_ANEW = "order.ordered-anew"


def begin(ledger: Ledger, order: Order) -> str:
    """The new job of an order that stands on the server: it runs, or is on hold or cancelled from the start."""
    job = ledger.add_order(order, "fhir")
    _move(ledger, job, Status.READY, order, OrderControl.NEW)
    return job


def follow(ledger: Ledger, known: KnownOrder, order: Order) -> Result:
    """Let the job be what the order's resources say now, as read. What is older than what we know has no effect.

    An order that HL7 v2 brought keeps its content, and only learns what it lacks.
    """
    fresh = [said for said in order.standings if not is_overtaken(known.order, said)]
    if not fresh:
        ledger.note(known.job.id, "received-again", STALE)
        return True, STALE
    wanted = known.order
    if any(said.source == order.service_request for said in fresh):
        wanted = _with_content(known, replace(order, control=OrderControl.NONE))
    for said in fresh:
        wanted = with_word(wanted, said)
    return _become(ledger, known, wanted)


def _with_content(known: KnownOrder, order: Order) -> Order:
    if known.job.source != "fhir":
        return enriched(known.order, order)
    if order.event is not None and order.event == known.order.event:
        return reread(known.order, order)
    return restated(known.order, order)


def request_ended(ledger: Ledger, known: KnownOrder, said: Standing) -> Result:
    """The ServiceRequest says that the order is cancelled: whose it is matters no more. One that the server has no more says so without
    a version: if it is put again, it orders anew, whichever version that is."""
    if is_overtaken(known.order, said):
        ledger.note(known.job.id, "received-again", STALE)
        return True, STALE
    return _become(ledger, known, with_word(known.order, said))


def task_deleted(ledger: Ledger, known: KnownOrder, task: str) -> Result:
    """The order is what the ServiceRequest and the other Tasks say."""
    result = _become(ledger, known, without_word(known.order, task))
    ledger.release_key(known.job.id, OrderKey("task", "", task))
    return result


def _become(ledger: Ledger, known: KnownOrder, wanted: Order) -> Result:
    job, before, after = known.job, together(known.order), together(wanted)
    result = AS_ASKED
    if wanted == known.order:
        if before is after:
            ledger.note(job.id, "received-again", "order.same")
    elif job.status is not Status.CANCELLED and after is not OrderControl.CANCEL:
        result = _take_content(ledger, known, wanted)
    ledger.update_order(job.id, wanted)
    moved = _move(ledger, job.id, job.status, wanted, before)
    return moved[0] and result[0], moved[1] or result[1]


def _take_content(ledger: Ledger, known: KnownOrder, wanted: Order) -> Result:
    if known.job.source == "fhir":
        return apply_change(ledger, known, wanted)
    ledger.note(known.job.id, "received-again", "order.same")  # by the other door
    ledger.happen(known.job.id, Event.WAKE, "order.enriched")
    return AS_ASKED


def _move(ledger: Ledger, job: str, status: Status, order: Order, before: OrderControl) -> Result:
    """Only where what all sides say together is new: what a person decided meanwhile stays."""
    after = together(order)
    if before is after:
        return AS_ASKED
    if after is OrderControl.CANCEL:
        return _cancel(ledger, job, why_cancelled(order))
    if before is OrderControl.CANCEL:
        revive(ledger, job, status)
    if after is OrderControl.HOLD:
        if not ledger.happen(job, Event.SUSPEND, "order.on-hold"):
            ledger.note(job, "hold", f"order.{status}")
            return status is not Status.DONE, "order.hold-too-late" if status is Status.DONE else ""
    elif before is OrderControl.HOLD and not ledger.happen(job, Event.RESUME, "order.released"):
        ledger.note(job, "release", f"order.{status}")
    return AS_ASKED


def _cancel(ledger: Ledger, job: str, reason: str) -> Result:
    if ledger.happen(job, Event.CANCEL, reason):
        return AS_ASKED
    ledger.note(job, "cancel-ignored", TOO_LATE)
    return False, TOO_LATE


def revive(ledger: Ledger, job: str, status: Status) -> None:
    """Ordered anew. Where the cancel was too late to stop it, but is still wished for, it is not any more."""
    event = Event.REPLAY if status is Status.CANCELLED else Event.CHANGE
    ledger.happen(job, event, ORDERED_ANEW, Stage.CONTEXT)


def subject_changed(ledger: Ledger, job: Job, reason: str) -> None:
    """The same ServiceRequest is about another patient now: nothing goes on until a person has looked."""
    if job.reason != reason and not ledger.happen(job.id, Event.HOLD, reason):
        ledger.note(job.id, "conflict", reason)
