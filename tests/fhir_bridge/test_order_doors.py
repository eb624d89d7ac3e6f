"""One order by HL7 v2, ServiceRequest, Task and ImagingStudy: however the doors are mixed, one job, which is what all sides say together."""

from hypothesis import given, settings
from hypothesis import strategies as st

from mappings.order import OrderControl
from tests.support.builders import an_order
from tests.support.fhir_house import House, a_service_request, a_task, an_imaging_study, typed
from tests.support.frozen_clock import FrozenClock

# what a side says, one after the other, and what that comes to: 0 go on, 1 hold, 2 cancel
BY_HL7 = {("new",): 0, ("new", "cancel"): 2, ("cancel", "new"): 2, ("new", "hold"): 1, ("new", "hold", "release"): 0}
BY_REQUEST = {
    ("active",): 0,
    ("active", "revoked"): 2,
    ("active", "on-hold"): 1,
    ("on-hold", "active"): 0,
    ("revoked", "active"): 0,
}
BY_TASK = {
    ("requested",): 0,
    ("requested", "cancelled"): 2,
    ("on-hold", "in-progress"): 0,
    ("requested", "completed"): 0,
}
STATUSES = ("ready", "on-hold", "cancelled")
STUDY = [{"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"}, typed("ACSN", "CANARY-A1")]


def happen(house: House, side: str, said: str) -> None:
    if side == "hl7":
        house.hl7(an_order("1", control=OrderControl(said)))
    elif side == "request":
        house.put(a_service_request(status=said))
    elif side == "task":
        house.put(a_task(status=said))
    else:
        house.put(an_imaging_study(identifier=STUDY))


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_all_sides_must_want_the_order_and_it_is_one_job(data: st.DataObject) -> None:
    sides = {
        "hl7": data.draw(st.sampled_from(sorted(BY_HL7))),
        "request": data.draw(st.sampled_from(sorted(BY_REQUEST))),
        "task": data.draw(st.sampled_from(sorted(BY_TASK))),
        "study": ("available",),
    }
    turns = data.draw(st.permutations([side for side, said in sides.items() for _ in said]))
    house, left = House(FrozenClock(), task_orders=True), {side: list(said) for side, said in sides.items()}
    for side in turns:
        happen(house, side, left[side].pop(0))
    expected = STATUSES[max(BY_HL7[sides["hl7"]], BY_REQUEST[sides["request"]], BY_TASK[sides["task"]])]
    assert [(job.status, job.order.study_instance_uid) for job in house.jobs()] == [(expected, "1.2.3")]
