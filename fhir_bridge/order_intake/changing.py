"""What a change of an order's content does to its job, by whichever door it came."""

from fhir_bridge.job import Event, Stage, Status
from fhir_bridge.ports import KnownOrder, Ledger
from fhir_bridge.rendezvous.same_order import needs_restart
from fhir_bridge.rendezvous.survivor import UNCERTAIN_MOVE
from mappings.order import Order

CONFLICT = "order.patient-conflict"
AFTER_RESULT = "order.changed-after-result"

Result = tuple[bool, str]  # what was asked is so now, or nothing was asked; what somebody should look at
AS_ASKED: Result = (True, "")


def apply_change(ledger: Ledger, known: KnownOrder, wanted: Order) -> Result:
    """Data and priority follow at once, and the urgency in the queue. What was computed from other data is computed anew."""
    job, restart = known.job, needs_restart(known.order, wanted)
    if restart and job.status is Status.DONE:
        # the result that is out was made of other data: whether it is made anew, a person decides
        ledger.note(job.id, "change", AFTER_RESULT)
        return False, AFTER_RESULT
    if restart and not _is_disputed(known) and ledger.happen(job.id, Event.CHANGE, "order.changed", Stage.CONTEXT):
        return AS_ASKED
    ledger.note(job.id, "change", "order.changed")
    return AS_ASKED


def _is_disputed(known: KnownOrder) -> bool:
    """A change does not settle whose order it is."""
    return known.job.status is Status.HELD and known.job.reason in (CONFLICT, UNCERTAIN_MOVE)
