"""An order that came by either door becomes a job, or touches the one it has: the order control of HL7 v2 table 0119.

Written against `ports.Ledger`: all of it happens inside one transaction of the store.
"""

from fhir_bridge.order_intake.accept import UNKNOWN, Taken, accept_order
from fhir_bridge.order_intake.effects import CONFLICT

__all__ = ["CONFLICT", "UNKNOWN", "Taken", "accept_order"]
