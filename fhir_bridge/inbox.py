"""Notifications of the FHIR server become orders. A notification is only a hint: the resource is read again, never believed."""

import re
from dataclasses import dataclass
from datetime import timedelta

from fhir_bridge import log
from fhir_bridge.errors import Classified, Disposition, Refused, attempt
from fhir_bridge.intake import IntakePolicy
from fhir_bridge.job import Event
from fhir_bridge.order_intake import accept_order
from fhir_bridge.ports import ClinicalRecord, Clock, JobStore, Notification
from fhir_bridge.study import Resource
from mappings.fhir_observations import is_ours
from mappings.fhir_order import order_from
from mappings.order import Order, OrderKey

RETRY_SECONDS = (1, 2, 5, 10, 30, 60)
NOT_FOUND, NOT_FOUND_ATTEMPTS = "fhir.not-found", 3
_REFERENCE = re.compile(r"(?:^|/)([A-Z][A-Za-z]{1,63}/[A-Za-z0-9\-.]{1,64})(?:/_history/[^/]*)?$")


@dataclass(frozen=True, slots=True)
class Gone:
    """A ServiceRequest that the server says is deleted."""

    reference: str


@dataclass(frozen=True, slots=True)
class Inbox:
    """Works off the stored notifications, oldest first."""

    store: JobStore
    record: ClinicalRecord
    policy: IntakePolicy
    clock: Clock

    def settle_due(self) -> int:
        """How many notifications were settled, put off or quarantined."""
        due = self.store.due_notifications()
        for notification in due:
            self._settle(notification)
        return len(due)

    def _settle(self, notification: Notification) -> None:
        """A notification that cannot be used must not hold up the others."""
        tried = attempt(lambda: self._act_on(notification))
        if tried.error is not None:
            self._put_off_or_quarantine(notification, tried.error)

    def _act_on(self, notification: Notification) -> None:
        order = self._order_of(notification)
        with self.store.transaction() as ledger:
            if isinstance(order, Gone):
                for known in ledger.orders_by_keys([OrderKey("service-request", "", order.reference)]):
                    if not ledger.happen(known.job.id, Event.CANCEL, "order.deleted"):
                        ledger.note(known.job.id, "cancel-ignored", f"order.{known.job.status}")
            elif order is not None:
                accept_order(ledger, order, "fhir")
            ledger.settle_notification(notification.id, "done", "" if order else "notification.no-order")

    def _order_of(self, notification: Notification) -> "Order | Gone | None":
        """The order as it stands on the server now; None where the resource is none of our business."""
        reference = f"{notification.resource_type}/{notification.resource_id}"
        if notification.resource_type == "ServiceRequest":
            try:
                return self._order(self.record.read(reference), None)
            except Refused as error:
                if notification.method == "DELETE" and error.code == NOT_FOUND:
                    return Gone(reference)
                raise
        if notification.resource_type == "ImagingStudy":
            if notification.method == "DELETE":
                return None  # the images decide, not their description
            study = self.record.read(reference)
            requests = [r for r in map(_literal, study.get("basedOn", ())) if r.startswith("ServiceRequest/")]
            return self._order(self.record.read(requests[0]), study) if requests and not is_ours(study) else None
        raise Refused("notification.type", "hook", "neither a ServiceRequest nor an ImagingStudy")

    def _order(self, request: Resource, study: Resource | None) -> Order | None:
        if not _is_imaging(request, self.policy.order_categories):
            return None
        subject = _literal(request.get("subject", {}))
        if not subject.startswith("Patient/"):
            raise Refused("order.patient-identifier-missing", "ServiceRequest.subject", "not a reference to a Patient")
        return order_from(request, self.record.read(subject), study, self.policy.senders.default.mapping.authorities)

    def _put_off_or_quarantine(self, notification: Notification, error: Classified) -> None:
        log.event("notification.not-settled", notification=notification.id, code=error.code, where=error.where,
                  error_id=error.error_id, frames=error.frames)  # fmt: skip
        with self.store.transaction() as ledger:
            # a server that has just started, or is amid a transaction, does not find what it told us of
            early = error.code == NOT_FOUND and notification.attempts < NOT_FOUND_ATTEMPTS
            if error.disposition is Disposition.UNAVAILABLE or early:
                wait = RETRY_SECONDS[min(notification.attempts, len(RETRY_SECONDS) - 1)]
                ledger.settle_notification(
                    notification.id, "ready", error.code, self.clock.now() + timedelta(seconds=wait)
                )
            else:
                ledger.settle_notification(notification.id, "quarantined", f"{error.code} {error.error_id}".strip())


def _is_imaging(request: Resource, wanted: frozenset[str]) -> bool:
    """By category, where the order has one and the site has a list."""
    codes = {
        coding.get("code", "") for category in request.get("category", ()) for coding in category.get("coding", ())
    }
    return not codes or not wanted or bool(codes & wanted)


def _literal(reference: Resource) -> str:
    """`Type/id` of a literal reference, be it relative, absolute or versioned; empty for any other."""
    found = _REFERENCE.search(str(reference.get("reference", "")))
    return found[1] if found else ""
