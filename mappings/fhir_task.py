"""A Task that asks for a ServiceRequest to be done (FHIR R4 §12.8 and §12.9.2: `Task.focus`, `Task.for`, `Task.status`)."""

from dataclasses import replace

from mappings import code_system
from mappings.code_table import load
from mappings.fhir_reading import (
    Resource,
    is_in,
    object_of,
    pointed_to,
    reference_to,
    require_subject,
    text_of,
    version_of,
)
from mappings.order import Order, OrderControl, Standing
from mappings.refusal import MappingRefused

CODE_SYSTEM = "http://hl7.org/fhir/CodeSystem/task-code"
CODES = frozenset({"approve", "fulfill", "abort", "replace", "change", "suspend", "resume"})
"""CodeSystem task-code (R4 §12.8.3), against which `check` holds `fhir.task_codes`."""

_NO_ORDERS = frozenset({"proposal", "plan", "option", "unknown"})  # Task.intent


def request_of(task: Resource, codes: frozenset[str]) -> str:
    """`ServiceRequest/id` that the Task wants done; empty where it is none of ours: another focus or code, or no order."""
    request = pointed_to(task.get("focus"))
    is_ours = is_in([object_of(task.get("code"))], codes) and text_of(task, "intent") not in _NO_ORDERS
    return request if is_ours and request.startswith("ServiceRequest/") else ""


def with_task(order: Order, task: Resource) -> Order:
    """The order of the ServiceRequest, with what the Task says of it by task_status.csv.

    Raises MappingRefused `order.id-missing`, `order.status-unknown`, `order.subject-mismatch` where it is for another patient.
    """
    reference = reference_to(task, "Task")
    if task.get("for") is not None:
        require_subject(task, "for", order.patient.reference, "Task.for")
    status = text_of(task, "status")
    row = load("task_status").find(status, code_system.TASK_STATUS)
    if row is None or row.target is None:
        raise MappingRefused("order.status-unknown", "Task.status", "not a code of task-status")
    standing = Standing(reference, OrderControl(row.target.code), version_of(task, "Task"), status)
    trace = (*order.trace, ("task", "Task.focus"))
    return replace(order, task=reference, standings=(*order.standings, standing), trace=trace)
