"""An order that came by either door becomes a job, or touches the one it has: the order control of HL7 v2 table 0119, and the state of
FHIR's ServiceRequest, Task and ImagingStudy.

Written against `ports.Ledger`: all of it happens inside one transaction of the store.
"""

from fhir_bridge.order_intake.accept import UNKNOWN, Taken, accept_order
from fhir_bridge.order_intake.changing import CONFLICT
from fhir_bridge.order_intake.follow import request_ended, task_deleted
from fhir_bridge.order_intake.standing import DELETED
from fhir_bridge.order_intake.study import orders_of_study, tell_of_study

__all__ = [
    "CONFLICT",
    "DELETED",
    "UNKNOWN",
    "Taken",
    "accept_order",
    "orders_of_study",
    "request_ended",
    "task_deleted",
    "tell_of_study",
]
