"""Which of the orders that we hold an arrival is, if any, and what becomes of it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fhir_bridge.job import Event
from fhir_bridge.order_intake.answers import answer_to
from fhir_bridge.order_intake.candidates import candidates
from fhir_bridge.order_intake.changing import CONFLICT
from fhir_bridge.order_intake.effects import CANCELLED_EARLY, STATUS_MISSING, TROUBLE, touch
from fhir_bridge.order_intake.follow import begin, follow, subject_changed
from fhir_bridge.order_intake.standing import HL7V2, with_word
from fhir_bridge.ports import KnownOrder, Ledger
from fhir_bridge.rendezvous.same_order import (
    clashes,
    contradicts,
    other_procedure,
    same_patient,
    same_placer,
    same_procedure,
)
from fhir_bridge.rendezvous.survivor import authority, with_survivors
from mappings.order import Order, OrderControl, OrderKey, Standing
from mappings.refusal import MappingRefused

UNKNOWN = "order.unknown"  # a cancel, change, hold, ... of an order that we do not know

_CANCELS = (OrderControl.CANCEL, OrderControl.REPLACED)
_CHANGES = (OrderControl.CHANGE, OrderControl.CHANGE_CONFIRMED)
_FOR_ALL = frozenset({*_CANCELS, OrderControl.HOLD, OrderControl.HOLD_CONFIRMED, OrderControl.RELEASE})
_NEVER_MAKE_A_JOB = frozenset(
    {
        OrderControl.NONE,
        OrderControl.NUMBER,
        OrderControl.LINK,
        OrderControl.TROUBLE,
        OrderControl.CHANGE_CONFIRMED,
        OrderControl.HOLD_CONFIRMED,
    }
)


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of an order: the job that it made or touched (empty for none), the order-level answer (ORC-1 of an ORR, ORG or
    ORI; table 0119), and what somebody should look at (a slug; empty for nothing). `others`: more jobs under the same number.
    `replaced`: ServiceRequests that it names as replaced for the first time."""

    job: str = ""
    answer: str = "OK"
    warning: str = ""
    others: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()

    @property
    def jobs(self) -> tuple[str, ...]:
        """All jobs that it made or touched."""
        return (self.job, *self.others) if self.job else ()


def accept_order(ledger: Ledger, order: Order, source: str, *, keep_unknown: bool = True) -> Taken:
    """What this order makes of its job, or of none. The same order by another door touches the same job.

    Without `keep_unknown` a cancel, change or hold of an order that we do not know leaves no trace. Raises MappingRefused
    `order.patient-conflict`, `order.ambiguous`.
    """
    order = with_survivors(ledger, order)
    known = candidates(ledger, order)
    ours = [k for k in known if same_patient(k.order.patient, order.patient)]
    same = _same(ours, order)
    if order.control is OrderControl.LINK:
        _link(ledger, same, order)
    if same:
        return _touch(ledger, same, order, source)
    if others := [k for k in known if order.standings and k.order.service_request == order.service_request]:
        subject_changed(ledger, others[0].job, CONFLICT)
        return Taken(others[0].job.id, warning=CONFLICT)
    if order.control in _NEVER_MAKE_A_JOB:
        return _nothing_known(order)
    if any(clashes(k.order, order) for k in known if k not in ours):
        return _conflict(ledger, order, source)
    if order.standings:
        job = begin(ledger, replace(order, control=OrderControl.NONE))
        _link_replaced(ledger, job, order)
        return Taken(job, replaced=_requests(order))
    if order.control is OrderControl.NEW:
        job = ledger.add_order(order, source)
        _link_replaced(ledger, job, order)
        return Taken(job, answer_to(order.control_code, done=True))
    kept = keep_unknown and order.control is not OrderControl.RELEASE
    job = _create_early(ledger, order, source) if kept else ""
    return Taken(job, answer_to(order.control_code, done=kept), UNKNOWN)


def _same(ours: Sequence[KnownOrder], order: Order) -> list[KnownOrder]:
    """The known orders that this one is: one, or all under its number where it does not say which.

    Of several under one accession number a new order or a change is one; what stops or releases goes for all, where it names a
    procedure for all of these. A ServiceRequest is one order, that of its procedure: which result answers it is not guessed.
    """
    same = [k for k in ours if not contradicts(k.order, order)]
    if not same and order.control in _CHANGES:
        same = [k for k in ours if same_placer(k.order, order)]  # it corrects the numbers, too
        if len(same) > 1:
            raise MappingRefused("order.ambiguous", "OBR^1^4", "several orders bear this number, none this procedure")
    if len(same) > 1 and order.standings:
        return _of_procedure(same, order)
    if len(same) < 2 or all(k.order.part for k in same):
        return same
    named = [k for k in same if not other_procedure(k.order.procedure, order.procedure)]
    if order.control in _CHANGES and len(named) != 1:
        raise MappingRefused("order.ambiguous", "OBR^1^18", "several orders bear this number")
    return named if order.control in _FOR_ALL else (named or same)[:1]


def _of_procedure(same: Sequence[KnownOrder], order: Order) -> list[KnownOrder]:
    exactly = [k for k in same if same_procedure(k.order.procedure, order.procedure)]
    found = exactly or [k for k in same if not other_procedure(k.order.procedure, order.procedure)]
    if len(found) > 1 and order.control is not OrderControl.NONE:
        raise MappingRefused("order.ambiguous", "ServiceRequest.code", "several orders bear this number")
    return found if len(found) == 1 else []


def _touch(ledger: Ledger, same: Sequence[KnownOrder], order: Order, source: str) -> Taken:
    if order.standings:
        return _follow(ledger, same[0], order)
    results = [touch(ledger, known, order, source) for known in same]
    warnings = [warning for _, warning in results if warning]
    done = all(done for done, _ in results)
    first, *others = (known.job.id for known in same)
    return Taken(first, answer_to(order.control_code, done=done), warnings[0] if warnings else "", tuple(others))


def _follow(ledger: Ledger, known: KnownOrder, order: Order) -> Taken:
    _, warning = follow(ledger, known, order)
    new = tuple(key for key in order.related if key not in known.order.related)
    _link_replaced(ledger, known.job.id, replace(order, related=new))
    return Taken(known.job.id, warning=warning, replaced=_requests(replace(order, related=new)))


def _requests(order: Order) -> tuple[str, ...]:
    return tuple(key.value for key in order.related if key.kind == "service-request")


def _nothing_known(order: Order) -> Taken:
    if order.control is OrderControl.TROUBLE:
        return Taken(warning=TROUBLE)
    not_for_us = order.control_code in ("NW", "RF", "SS")
    warning = STATUS_MISSING if order.control_code == "SC" else ""
    return Taken(answer=answer_to(order.control_code, done=not not_for_us), warning=warning)


def _create_early(ledger: Ledger, order: Order, source: str) -> str:
    """What came before its order is kept as a job, so that the order that comes late finds it, and people see it."""
    if order.control is OrderControl.CHANGE:
        job = ledger.add_order(order, source)
    else:
        moves = order.control in (*_CANCELS, OrderControl.HOLD)
        early = replace(order, event=None, moved=(order.event,) if moves and order.event else ())
        if moves:
            word = OrderControl.HOLD if order.control is OrderControl.HOLD else OrderControl.CANCEL
            early = with_word(early, Standing(HL7V2, word))
        job = ledger.add_order(early, source)
    if order.control in _CANCELS:
        ledger.happen(job, Event.CANCEL, CANCELLED_EARLY)
    elif order.control is OrderControl.HOLD:
        ledger.happen(job, Event.SUSPEND, "order.on-hold-early")
    else:
        ledger.note(job, "incomplete", "order.before-it-came")
    return job


def _link_replaced(ledger: Ledger, job: str, order: Order) -> None:
    """Both timelines name the other job."""
    for old in _related(ledger, order):
        ledger.note(job, "replaces", old)
        ledger.note(old, "replaced-by", job)


def _link(ledger: Ledger, same: Sequence[KnownOrder], order: Order) -> None:
    """A child order (CH) and its parent (ORC-8), as far as we know them."""
    parents = _related(ledger, order)
    for child in same:
        for parent in parents:
            ledger.note(child.job.id, "child-of", parent)
    for parent in parents:
        ledger.note(parent, "parent-of", same[0].job.id if same else "order.unknown-child")


def _related(ledger: Ledger, order: Order) -> list[str]:
    """The jobs of the orders that this one names, of the same patient."""
    known = ledger.orders_by_keys(order.related)
    return [k.job.id for k in known if same_patient(k.order.patient, order.patient)]


def _conflict(ledger: Ledger, order: Order, source: str) -> Taken:
    """The same accession, study or placer number, but another patient: somebody must look; no guess. Held once, however often it comes."""
    keys = tuple(OrderKey(f"conflict-{key.kind}", _patient_of(order), key.value) for key in order.keys())  # noqa: SIM118 - a method of Order
    if held := [known for known in ledger.orders_by_keys(keys) if not contradicts(known.order, order)]:
        taken = _touch(ledger, held[:1], order, source)
        return replace(taken, warning=taken.warning or CONFLICT)
    if order.control is OrderControl.NEW:
        job = ledger.add_order(order, source, held=CONFLICT, keys=keys)
        return Taken(job, answer_to(order.control_code, done=True), CONFLICT)
    raise MappingRefused(CONFLICT, "PID^1^3", "the order is known, but for another patient")


def _patient_of(order: Order) -> str:
    first = order.patient.identifiers[0]  # the mappings let no order with an effect pass without one
    return f"{authority(first)}|{first.value}"
