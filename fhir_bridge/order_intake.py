"""An order that came by either door becomes a job, or touches the one it has: the order control of HL7 v2 table 0119.

Written against `ports.Ledger`: all of it happens inside one transaction of the store.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fhir_bridge.job import Event, Stage, Status
from fhir_bridge.ports import KnownOrder, Ledger
from fhir_bridge.rendezvous.same_order import changed, contradicts, enriched, same_patient, same_placer
from mappings.order import Order, OrderControl, OrderKey
from mappings.refusal import MappingRefused

CANCELLED_EARLY = "order.cancelled-early"  # the cancel came first; its order has not come yet
UNKNOWN = "order.unknown"  # a cancel or change of an order that we do not know


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of an order: the job that it made or touched (empty for none), the order-level answer (ORC-1 of an ORR, ORG or
    ORI; table 0119), and what somebody should look at (a slug; empty for nothing)."""

    job: str = ""
    answer: str = "OK"
    warning: str = ""


def accept_order(ledger: Ledger, order: Order, source: str, *, keep_unknown: bool = True) -> Taken:
    """What this order makes of its job, or of none. The same order by another door touches the same job.

    Without `keep_unknown` a cancel or change of an order that we do not know leaves no trace.
    """
    known = ledger.orders_by_keys(order.keys())
    ours = [k for k in known if same_patient(k.order.patient, order.patient)]
    same = [k for k in ours if not contradicts(k.order, order)]
    if not same and order.control is OrderControl.CHANGE:
        same = [k for k in ours if same_placer(k.order, order)]  # it corrects the numbers, too
    if order.control is OrderControl.NONE:
        return Taken(_note_only(ledger, same))
    if same:
        return Taken(_touch(ledger, same[0], order, source))
    if len(ours) < len(known):
        return Taken(_conflict(ledger, order, source))
    if order.control is OrderControl.NEW:
        return Taken(_create(ledger, order, source))
    return Taken(_create(ledger, order, source) if keep_unknown else "", warning=UNKNOWN)


def _create(ledger: Ledger, order: Order, source: str) -> str:
    job = ledger.add_order(order, source)
    if order.control is OrderControl.CANCEL:
        # kept as a job, so that the order that comes late finds its cancel, and people see it
        ledger.happen(job, Event.CANCEL, CANCELLED_EARLY)
    return job


def _touch(ledger: Ledger, known: KnownOrder, order: Order, source: str) -> str:
    job = known.job
    if order.control is OrderControl.CANCEL:
        if not ledger.happen(job.id, Event.CANCEL, "order.cancelled"):
            ledger.note(job.id, "cancel-ignored", f"order.{job.status}")
    elif job.status is Status.CANCELLED:
        _touch_cancelled(ledger, known, order, source)
    elif order.control is OrderControl.CHANGE or _is_newer_version(known, order, source):
        _change(ledger, known, order)
    else:
        ledger.note(job.id, "received-again", "order.same")
        wanted = enriched(known.order, order)
        if wanted != known.order:
            ledger.update_order(job.id, wanted)
            ledger.happen(job.id, Event.WAKE, "order.enriched")
    return job.id


def _touch_cancelled(ledger: Ledger, known: KnownOrder, order: Order, source: str) -> None:
    """The cancel that overtook its order counts once. After that a new NW orders anew; a ServiceRequest that merely is active does not."""
    job = known.job.id
    if order.control is OrderControl.CHANGE:
        ledger.note(job, "change-ignored", f"order.{known.job.status}")
        return
    if known.job.reason == CANCELLED_EARLY:
        ledger.update_order(job, enriched(known.order, order))
        ledger.happen(job, Event.CANCEL, "order.cancelled-before-it-came")
    elif source == "hl7v2":
        ledger.update_order(job, changed(known.order, order))
        ledger.happen(job, Event.REPLAY, "order.ordered-anew", Stage.CONTEXT)
    else:
        ledger.note(job, "received-again", f"order.{known.job.status}")


def _is_newer_version(known: KnownOrder, order: Order, source: str) -> bool:
    """A ServiceRequest that we know by the FHIR door has changed there. An order that HL7 v2 brought is changed by HL7 v2."""
    same_request = bool(order.service_request) and known.order.service_request == order.service_request
    return source == known.job.source == "fhir" and same_request


def _change(ledger: Ledger, known: KnownOrder, order: Order) -> None:
    job, wanted = known.job.id, changed(known.order, order)
    if wanted == known.order:
        ledger.note(job, "received-again", "order.same")
    elif ledger.happen(job, Event.CHANGE, "order.changed", Stage.CONTEXT):
        ledger.update_order(job, wanted)
    else:
        ledger.note(job, "change-ignored", f"order.{known.job.status}")


def _conflict(ledger: Ledger, order: Order, source: str) -> str:
    """The same accession, study or placer number, but another patient: somebody must look; no guess. Held once, however often it comes."""
    keys = tuple(OrderKey(f"conflict-{key.kind}", _patient_of(order), key.value) for key in order.keys())  # noqa: SIM118 - a method of Order
    if held := ledger.orders_by_keys(keys):
        return _touch(ledger, held[0], order, source)
    if order.control is OrderControl.NEW:
        return ledger.add_order(order, source, held="order.patient-conflict", keys=keys)
    raise MappingRefused("order.patient-conflict", "PID^1^3", "the order is known, but for another patient")


def _patient_of(order: Order) -> str:
    first = order.patient.identifiers[0]  # the mappings let no order with an effect pass without one
    return f"{first.system}|{first.value}"


def _note_only(ledger: Ledger, same: Sequence[KnownOrder]) -> str:
    if not same:
        return ""
    ledger.note(same[0].job.id, "received", "order.no-effect")
    return same[0].job.id
