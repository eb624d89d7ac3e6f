"""Which of the orders that we hold an arrival may be: all that share a key, and their siblings under one number."""

from fhir_bridge.ports import KnownOrder, Ledger
from fhir_bridge.rendezvous.same_order import under_one_accession, under_one_number
from mappings.order import Order


def candidates(ledger: Ledger, order: Order) -> tuple[KnownOrder, ...]:
    """By the order's keys; a ServiceRequest that we know is itself. Of orders that came under one number only the first is found by
    it, the others by their patient."""
    known = ledger.orders_by_keys(order.keys())
    if itself := tuple(k for k in known if order.service_request and k.order.service_request == order.service_request):
        return itself
    parts = any(k.order.part for k in known)
    loose = not order.placer or any(k.order.service_request for k in known)
    if not known or not (parts or loose):
        return known
    siblings = ledger.orders_of_patient(order.patient.identifiers)
    found = {
        k.job.id: k
        for k in siblings
        if (k.order.part and under_one_number(k.order, order)) or (loose and under_one_accession(k.order, order))
    }
    return tuple((found | {k.job.id: k for k in known}).values())
