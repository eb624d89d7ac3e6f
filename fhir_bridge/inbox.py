"""Notifications of the FHIR server become orders. A notification is only a hint: the resource is read again, never believed.

What counts is the state on the server, not the event: whatever was told of a resource before it is read is settled by that one reading.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial

from fhir_bridge import log
from fhir_bridge.errors import Attempt, Classified, Disposition, Refused, Unavailable, attempt
from fhir_bridge.intake import IntakePolicy
from fhir_bridge.one_look import OneLook, OrderSource
from fhir_bridge.order_intake import (
    CONFLICT,
    DELETED,
    accept_order,
    orders_of_study,
    request_ended,
    task_deleted,
    tell_of_study,
)
from fhir_bridge.ports import Clock, JobStore, Ledger, Notification
from fhir_bridge.rendezvous.merged_patient import survivor_of
from fhir_bridge.study import Resource
from fhir_bridge.told import NOT_FOUND, OLDER, RETRY_SECONDS, Told, by_resource
from mappings.fhir_imaging_study import StudyFacts, is_news, requests_of, shares_a_number, study_facts
from mappings.fhir_observations import is_ours
from mappings.fhir_order import is_wanted, order_from, patient_from, standing_of
from mappings.fhir_reading import pointed_to, reference_to
from mappings.fhir_task import request_of, with_task
from mappings.order import Order, OrderControl, OrderKey, PatientIdentity, Standing
from mappings.trace import Trace

AT_ONCE = 64  # rows that one look at the store takes
READERS = 4  # resources that are read at a time
NO_ORDER, GONE = "notification.no-order", "notification.gone"
AMBIGUOUS = "study.order-ambiguous"

Effect = Callable[[Ledger], str]  # inside the transaction; what to write beside the settled rows


@dataclass(frozen=True, slots=True)
class Inbox:
    """Works off the stored notifications, oldest first, one resource after the other."""

    store: JobStore
    record: OrderSource
    policy: IntakePolicy
    clock: Clock

    def settle_due(self) -> int:
        """How many notifications were settled, put off or quarantined. One commit for all: the reading is done before."""
        due = self.store.due_notifications(AT_ONCE)
        waiting = by_resource(due)
        if not waiting:
            return 0
        with ThreadPoolExecutor(min(READERS, len(waiting)), thread_name_prefix="inbox") as pool:
            look = replace(self, record=OneLook(self.record))
            read = list(pool.map(lambda told: attempt(lambda: look._read(told)), waiting))
        with self.store.transaction() as ledger:
            for told, tried in zip(waiting, read, strict=True):
                self._settle(ledger, told, tried)
        return len(due)

    def _settle(self, ledger: Ledger, told: Told, read: Attempt[Effect]) -> None:
        """A resource that cannot be used must not hold up the others."""
        effect = read.value
        done = attempt(lambda: _done(ledger, told, effect)) if effect else None
        if error := done.error if done else read.error:
            self._put_off_or_quarantine(ledger, told, error)

    def _read(self, told: Told) -> Effect:
        """What the resource, as it stands on the server now, does to our orders."""
        if told.kind == "ServiceRequest":
            request = self._current(told.reference, told)
            return self._by_request(request) if request else partial(_request_gone, told.reference)
        if told.kind == "ImagingStudy":
            study = self._current(told.reference, told)
            return self._by_study(study, told) if study else _nothing(GONE)  # the images decide, not their description
        if told.kind == "Task" and self.policy.task_orders:
            task = self._current(told.reference, told)
            return self._by_task(task, told) if task else partial(_task_gone, told.reference)
        raise Refused("notification.type", "hook", "not a resource that orders are made of here")

    def _current(self, reference: str, told: Told) -> Resource | None:
        """None where it is surely not there (any more)."""
        try:
            resource = self.record.read(reference)
        except Refused as error:
            if error.code == NOT_FOUND and told.is_late:
                return None
            raise
        if reference == told.reference and told.is_ahead_of(resource):  # a replica or a cache answered
            raise Unavailable(OLDER, f"GET {told.kind}", "older than what the server told of")
        return resource

    def _by_request(self, request: Resource, task: Resource | None = None) -> Effect:
        if not self._concerns_us(request):
            return _nothing(NO_ORDER)
        said = standing_of(request)
        if task is None and said.word is OrderControl.CANCEL and self._is_of_ours(said.source):
            return partial(_request_ended, said)
        order = self._order(request)
        return partial(_accept_task, with_task(order, task)) if task else partial(_accept, order)

    def _by_task(self, task: Resource, told: Told) -> Effect:
        """The Task says whether, the ServiceRequest what."""
        reference = request_of(task, self.policy.task_codes)
        if not reference:
            own = reference_to(task, "Task")
            return partial(_task_gone, own) if self._is_known("task", own) else _nothing(NO_ORDER)
        request = self._current(reference, told)
        return self._by_request(request, task) if request else partial(_request_gone, reference)

    def _by_study(self, study: Resource, told: Told) -> Effect:
        if is_ours(study) or not is_news(study):
            return _nothing(NO_ORDER)
        patient = self._patient(study, "ImagingStudy")
        survivor = survivor_of(patient, self.record.read)
        authorities = self.policy.senders.default.mapping.authorities
        identities = [patient_from(each, authorities, Trace()) for each in (patient, survivor)]
        named = self._named(study, told)
        found = () if named else self._found(study)
        by_number = named or tuple(request for request in found if shares_a_number(request, study))
        orders = [
            (self._order(request, survivor), _facts(study, identities[0], request)) for request in by_number or found
        ]
        return partial(_study, orders, identities, _facts(study, identities[0]), bool(by_number), bool(named))

    def _named(self, study: Resource, told: Told) -> tuple[Resource, ...]:
        """The ServiceRequests that the study points to, of those that are imaging orders."""
        requests = [self._current(reference, told) for reference in requests_of(study)]
        return tuple(request for request in requests if request and self._concerns_us(request))

    def _found(self, study: Resource) -> tuple[Resource, ...]:
        """The imaging orders that it may be of, where it names none."""
        found = self.record.find_orders_for(study, self.policy.study_window_days)
        return tuple(request for request in found if self._concerns_us(request))

    def _order(self, request: Resource, patient: Resource | None = None) -> Order:
        """Of that patient, if one is given, or of one who was merged into him: another subject is refused."""
        subject = self._patient(request, "ServiceRequest")
        if patient and survivor_of(subject, self.record.read) != patient:
            raise Refused("order.subject-mismatch", "ServiceRequest.subject", "the order is about another patient")
        return order_from(request, subject, self.policy.senders.default.mapping.authorities)

    def _patient(self, resource: Resource, kind: str) -> Resource:
        subject = pointed_to(resource.get("subject"))
        if not subject.startswith("Patient/"):
            raise Refused("order.patient-identifier-missing", f"{kind}.subject", "not a reference to a Patient")
        return self.record.read(subject)

    def _concerns_us(self, request: Resource) -> bool:
        """An order of the kind that the site takes, or one that we took when it was of that kind."""
        if is_wanted(request, self.policy.order_categories, self.policy.order_codes):
            return True
        return self._is_known("service-request", reference_to(request, "ServiceRequest"))

    def _is_known(self, kind: str, reference: str) -> bool:
        with self.store.transaction() as ledger:
            return bool(ledger.orders_by_keys([OrderKey(kind, "", reference)]))

    def _is_of_ours(self, request: str) -> bool:
        """One of our orders is this ServiceRequest."""
        with self.store.transaction() as ledger:
            known = ledger.orders_by_keys([OrderKey("service-request", "", request)])
        return any(k.order.service_request == request for k in known)

    def _put_off_or_quarantine(self, ledger: Ledger, told: Told, error: Classified) -> None:
        if error.code != told.rows[0].reason:  # not with every try: an outage lasts, and many wait
            log.event("notification.not-settled", notification=told.rows[0].id, code=error.code, where=error.where,
                      error_id=error.error_id, frames=error.frames)  # fmt: skip
        early = error.code == NOT_FOUND and not told.was_missed
        if error.disposition is Disposition.UNAVAILABLE or early:
            wait = max(RETRY_SECONDS[min(told.attempts, len(RETRY_SECONDS) - 1)], error.retry_after or 0)
            told.put_off(ledger, error.code, self.clock.now() + timedelta(seconds=wait))
        else:
            told.settle(ledger, "quarantined", f"{error.code} {error.error_id}".strip())


def _done(ledger: Ledger, told: Told, effect: Effect) -> None:
    """Rolled back to its own savepoint where it fails."""
    with ledger.savepoint():
        told.settle(ledger, "done", effect(ledger))


def _nothing(reason: str) -> Effect:
    return lambda _: reason


def _accept_task(order: Order, ledger: Ledger) -> str:
    """The Task says no more of an order that it was about before."""
    for known in ledger.orders_by_keys([OrderKey("task", "", order.task)]):
        if known.order.service_request != order.service_request:
            task_deleted(ledger, known, order.task)
    return _accept(order, ledger)


def _accept(order: Order, ledger: Ledger) -> str:
    taken = accept_order(ledger, order, "fhir")
    for replaced in taken.replaced:
        # its own notification may have been lost
        kind, _, identity = replaced.partition("/")
        ledger.add_notification(Notification(0, "inbox", "PUT", kind, identity, "", "ready"), b"")
    return taken.warning or ("" if taken.job else NO_ORDER)


def _request_gone(reference: str, ledger: Ledger) -> str:
    return _request_ended(Standing(reference, OrderControl.CANCEL, status=DELETED), ledger)


def _request_ended(said: Standing, ledger: Ledger) -> str:
    known = ledger.orders_by_keys([OrderKey("service-request", "", said.source)])
    warnings = [request_ended(ledger, k, said)[1] for k in known if k.order.service_request == said.source]
    return next(filter(None, warnings), "") if warnings else GONE


def _task_gone(reference: str, ledger: Ledger) -> str:
    known = ledger.orders_by_keys([OrderKey("task", "", reference)])
    warnings = [task_deleted(ledger, k, reference)[1] for k in known]
    return next(filter(None, warnings), "") if warnings else GONE


def _study(
    orders: Sequence[tuple[Order, StudyFacts]],
    patients: Sequence[PatientIdentity],
    facts: StudyFacts,
    is_certain: bool,
    is_named: bool,
    ledger: Ledger,
) -> str:
    """The study is of the orders that it names, or whose number it has; else of the only one that it fits: nothing is guessed."""
    held = orders_of_study(ledger, patients, facts)
    if is_named:
        held = tuple(known for known in held if not known.order.service_request)  # else it would name that one, too
    if not is_certain and not held and len(orders) > 1:
        log.event("notification.study-ambiguous", code=AMBIGUOUS, count=len(orders))
        return AMBIGUOUS
    warnings, told = [], set()
    for order, own in orders if is_certain or not held else ():
        warnings.append(_accept(order, ledger))
        if warnings[-1] == CONFLICT:
            continue  # we hold it for another patient than the study's
        for known in ledger.orders_by_keys([OrderKey("service-request", "", order.service_request)]):
            tell_of_study(ledger, known, own)
            told.add(known.job.id)
    for known in held:
        if known.job.id not in told:
            tell_of_study(ledger, known, facts)
            told.add(known.job.id)
    return next((w for w in warnings if w and w != NO_ORDER), "" if told else NO_ORDER)


def _facts(study: Resource, patient: PatientIdentity, request: Resource | None = None) -> StudyFacts:
    return study_facts(study, patient.reference, reference_to(request, "ServiceRequest") if request else "")
