"""A glance at an order message: enough to know that `orders_from` will take it, at a tenth of the cost.

For whoever must answer before the orders are needed. Most orders are plain: one patient, one ORC, its own number. Whatever is not
plain is left to `orders_from`, which knows the place of what is wrong.
"""

from mappings import code_system
from mappings.code_table import load
from mappings.hl7v2_groups import groups_of
from mappings.hl7v2_message import MessageView
from mappings.hl7v2_order_control import code_of
from mappings.hl7v2_order_keys import SenderPolicy, study_instance_uid
from mappings.refusal import MappingRefused
from mappings.trace import Trace


def is_surely_taken(message: MessageView, policy: SenderPolicy) -> bool:
    """Whether `orders_from` refuses nothing here; False says nothing.

    The caller has checked that the message holds no null (`""`, also escaped): a null in any key would be refused.
    """
    groups = groups_of(message)
    if len(groups) != 1:
        return False
    (group,) = groups
    if group.patient is None or group.orc is None or not group.patient.text(3):
        return False
    has_number = group.orc.text(2) or (group.obr and group.obr.text(2))
    if not has_number or load("order_control").find(code_of(group), code_system.ORDER_CONTROL) is None:
        return False
    try:
        study_instance_uid(group, Trace(wanted=False), policy.study_uid_sources)
    except MappingRefused:
        return False
    return True
