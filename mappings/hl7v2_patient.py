"""ADT messages as changes of patients (HL7 v2.5.1 §3.3): who is registered, updated, merged, moved, linked.

Only what concerns the orders we hold is read. Every other ADT event is understood, and has no effect.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum

from mappings.hl7v2_datatypes import composite_identifiers, offset, timestamp
from mappings.hl7v2_groups import Located
from mappings.hl7v2_message import MessageView
from mappings.hl7v2_order_keys import SenderPolicy
from mappings.hl7v2_order_timing import sent_of
from mappings.hl7v2_pid import identity_of, number_of
from mappings.order import EventTime, Identifier, PatientIdentity
from mappings.refusal import MappingRefused
from mappings.trace import Trace


class PatientEvent(StrEnum):
    """What an ADT event means for the orders we hold."""

    REGISTER = "register"
    UPDATE = "update"
    MERGE = "merge"  # one patient under two numbers: MRG-1 is PID-3 from now on
    CHANGE_IDENTIFIER = "change-identifier"  # one patient, a new number: MRG-1 was PID-3
    MOVE_PATIENT = "move-patient"  # the number PID-3 belongs to another person now
    MOVE_ACCOUNT = "move-account"  # the account PID-18 was opened for the wrong patient MRG-1
    MOVE_VISIT = "move-visit"  # the visit PV1-19 was opened for the wrong patient MRG-1
    MERGE_ACCOUNT = "merge-account"  # the account MRG-3 is PID-18 from now on; the patient is the same
    MERGE_VISIT = "merge-visit"  # the visit MRG-5 is PV1-19 from now on; the patient is the same
    LINK = "link"
    UNLINK = "unlink"
    CANCEL_VISIT = "cancel-visit"
    REOPEN_VISIT = "reopen-visit"  # a discharge was cancelled
    NONE = "none"


_E = PatientEvent
_EVENTS: Mapping[str, PatientEvent] = {
    **dict.fromkeys((f"A{number:02}" for number in range(1, 63)), _E.NONE),
    **dict.fromkeys(("A01", "A04", "A05", "A28"), _E.REGISTER),
    **dict.fromkeys(("A08", "A31"), _E.UPDATE),
    # A18, A30, A34, A36 and A39 are what older senders write for A40
    **dict.fromkeys(("A18", "A30", "A34", "A36", "A39", "A40"), _E.MERGE),
    **dict.fromkeys(("A46", "A47"), _E.CHANGE_IDENTIFIER),
    "A43": _E.MOVE_PATIENT,
    "A44": _E.MOVE_ACCOUNT,
    "A45": _E.MOVE_VISIT,
    **dict.fromkeys(("A35", "A41", "A49"), _E.MERGE_ACCOUNT),
    **dict.fromkeys(("A42", "A50"), _E.MERGE_VISIT),
    "A24": _E.LINK,
    "A37": _E.UNLINK,
    "A11": _E.CANCEL_VISIT,
    "A13": _E.REOPEN_VISIT,
}
PATIENT_EVENTS = frozenset({("ADT", ""), *(("ADT", trigger) for trigger in _EVENTS)})
"""The message types (MSH-9.1, MSH-9.2) that `patient_changes_from` reads; where MSH-9.2 is empty the event is EVN-1."""

_NEEDS_PRIOR = frozenset({_E.MERGE, _E.CHANGE_IDENTIFIER, _E.MOVE_ACCOUNT})
_PRIOR_AND_NOW = (
    (1, 3),
    (4, 2),
    (2, 4),
)  # MRG-1 becomes PID-3; older senders write MRG-4 (to PID-2) or MRG-2 (to PID-4)


@dataclass(frozen=True, slots=True)
class PatientChange:
    """One change of one patient.

    `prior` is whom the event names beside the patient: merged into it (MRG-1), or linked with it (the second PID). `account` and
    `visit` are PID-18 and PV1-19, as they are now; what they were stands in MRG-3 and MRG-5. `at` is EVN-2, else MSH-7.
    """

    event: PatientEvent
    trigger: str  # A40
    patient: PatientIdentity = field(default_factory=PatientIdentity)
    prior: PatientIdentity | None = None
    account: Identifier | None = None
    prior_account: Identifier | None = None
    visit: Identifier | None = None
    prior_visit: Identifier | None = None
    at: EventTime | None = None
    trace: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class _Group:
    """A PID and what stands up to the next one."""

    pid: Located
    merges: list[Located] = field(default_factory=list)  # MRG
    visit: Located | None = None  # PV1


def patient_changes_from(message: MessageView, policy: SenderPolicy) -> tuple[PatientChange, ...]:
    """The message's changes in their order: one a PID, in a merge one a pair of PID and MRG. An event without effect is one change.

    Raises MappingRefused: `patient.event-missing`, `patient.event-unknown`, `patient.identifier-missing`,
    `patient.prior-identifier-missing`, `patient.linked-patient-missing`, `patient.key-deleted`.
    """
    trace = Trace()
    trigger = _trigger(message, trace)
    event = _EVENTS[trigger]
    change = PatientChange(event, trigger, at=_at(message, policy, trace), trace=trace.lines())
    if event is _E.NONE:
        return (replace(change, trace=(*change.trace, ("patient.event", f"{trigger}: no effect on orders"))),)
    groups = _groups(message)
    if not groups:
        raise MappingRefused("patient.identifier-missing", "PID^1^3", "the message has no PID")
    with _in_words_of_patients():
        if event in (_E.LINK, _E.UNLINK):
            return (_link(change, groups, policy),)
        return tuple(_change(change, group, merge, policy) for group in groups for merge in group.merges or (None,))


def _trigger(message: MessageView, trace: Trace) -> str:
    """MSH-9.2, else EVN-1."""
    where = "EVN^1^1"
    for name, position, component in (("MSH", 9, 2), ("EVN", 1, 1)):
        for segment in message.segments:
            if segment.name == name and (text := segment.value(position, component).strip().upper()):
                where = f"{name}^1^{position}"
                if text not in _EVENTS:
                    raise MappingRefused("patient.event-unknown", where, "not an ADT event of table 0003")
                trace.note("patient.event", where)
                return text
    raise MappingRefused("patient.event-missing", where, "neither MSH-9.2 nor EVN-1 names an event")


def _at(message: MessageView, policy: SenderPolicy, trace: Trace) -> EventTime | None:
    """EVN-2, when the event was recorded, else MSH-7, when the message was written."""
    sent = sent_of(message, policy)
    recorded = next((s.value(2).strip() for s in message.segments if s.name == "EVN"), "")
    if found := timestamp(recorded, sent.zone):
        trace.note("patient.at", f"EVN^1^2: {'its own offset' if offset(recorded) else sent.zone_rule}")
        return EventTime(found, sent.sender)
    trace.note("patient.at", "MSH^1^7: EVN-2 is no time")
    return EventTime(sent.at, sent.sender) if sent.at else None


def _groups(message: MessageView) -> list[_Group]:
    groups: list[_Group] = []
    counts: Counter[str] = Counter()
    for segment in message.segments:
        counts[segment.name] += 1
        here = Located(segment, counts[segment.name])
        if here.name == "PID":
            groups.append(_Group(here))
        elif groups and here.name == "MRG":
            groups[-1].merges.append(here)
        elif groups and here.name == "PV1":
            groups[-1].visit = groups[-1].visit or here
    return groups


def _change(change: PatientChange, group: _Group, merge: Located | None, policy: SenderPolicy) -> PatientChange:
    trace = Trace()
    patient = _patient(group.pid, policy, trace)
    prior, now = _prior(merge, policy, trace) if merge else (None, 3)
    if change.event in _NEEDS_PRIOR and prior is None:
        where = merge.where(1) if merge else "MRG^1^1"
        raise MappingRefused("patient.prior-identifier-missing", where, "the event names no prior patient")
    return replace(
        change,
        patient=replace(_led_by(patient, group.pid, now, policy), as_of=change.at),
        prior=prior,
        account=number_of(group.pid, 18, policy),
        prior_account=number_of(merge, 3, policy),
        visit=number_of(group.visit, 19, policy),
        prior_visit=number_of(merge, 5, policy),
        trace=change.trace + trace.lines(),
    )


def _link(change: PatientChange, groups: list[_Group], policy: SenderPolicy) -> PatientChange:
    """A24 and A37 name two patients by two PID."""
    if len(groups) < 2:
        raise MappingRefused("patient.linked-patient-missing", "PID^2^3", "the event names only one patient")
    trace = Trace()
    first, second = (_patient(group.pid, policy, trace) for group in groups[:2])
    return replace(change, patient=first, prior=second, trace=change.trace + trace.lines())


def _patient(pid: Located, policy: SenderPolicy, trace: Trace) -> PatientIdentity:
    identity = identity_of(pid, policy, trace)
    if not identity.identifiers:
        raise MappingRefused("patient.identifier-missing", pid.where(3), "a change needs a patient identifier")
    return identity


def _prior(merge: Located, policy: SenderPolicy, trace: Trace) -> tuple[PatientIdentity | None, int]:
    """The prior patient, and the field of PID whose number is the patient's now."""
    for of_merge, of_patient in _PRIOR_AND_NOW:
        if found := composite_identifiers(merge, of_merge, policy.authorities):
            trace.note("patient.prior", merge.where(of_merge))
            return PatientIdentity(found), of_patient
    return None, 3


def _led_by(patient: PatientIdentity, pid: Located, position: int, policy: SenderPolicy) -> PatientIdentity:
    """With the numbers of PID-2 or PID-4 first, where the event is about these; those of PID-3 lead already."""
    leading = composite_identifiers(pid, position, policy.authorities) if position != 3 else ()
    return replace(patient, identifiers=tuple(dict.fromkeys((*leading, *patient.identifiers))))


@contextmanager
def _in_words_of_patients() -> Iterator[None]:
    """A null in a key is refused in the words of orders where it is read."""
    try:
        yield
    except MappingRefused as refusal:
        if refusal.code != "order.key-deleted":
            raise
        raise MappingRefused("patient.key-deleted", refusal.where, refusal.explanation) from None
