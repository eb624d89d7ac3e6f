"""One report to one destination: what is written down before, and what after. Running it again is harmless."""

from dataclasses import replace

from fhir_bridge import encoding
from fhir_bridge.decisions import as_it_went
from fhir_bridge.errors import BridgeError, Refused, Unavailable, Uncertain
from fhir_bridge.job import Stage
from fhir_bridge.ports import ArtifactStore, Claim, Delivery, JobStore, ReportDelivery
from fhir_bridge.rendezvous.survivor import among
from mappings.finding import Report

SIGNED = "fhir.report-signed"
SUPERSEDED = "superseded"


def send(
    to: ReportDelivery,
    before: Delivery | None,
    finished: Report,
    claim: Claim,
    store: JobStore,
    artifacts: ArtifactStore,
) -> BridgeError | None:
    """Unless it is there. The error that kept it away, if one did: those of `ReportDelivery`."""
    was = before.status if before else ""
    if finished.is_retracted:
        if before is None or not before.is_out:
            return None  # it never got there
        finished = as_it_went(finished, before, artifacts)
    if (
        before and claim.job.attempts and was in ("refused", "skipped")
    ):  # a replay counts attempts from 0, and asks again
        return Refused(before.reason, to.destination, "see to it, then replay the job") if was == "refused" else None
    content = store.latest_artifact(claim.job.id, Stage.REPORT) or ""
    delivery = store.begin_delivery(claim, to.destination, content)  # from here a cancel comes too late
    if delivery.status == "delivered":
        return None
    had = before.contents if before else ()
    try:
        receipt = to.deliver(finished)
        if receipt.detail == SUPERSEDED:  # a later one of ours has a later claim, and then this one writes nothing down
            words = "what is there was issued later than this edition: by another, or by a clock that was ahead"
            raise Refused("report.superseded", to.destination, words)
    except (Refused, Unavailable, Uncertain) as error:
        taken_over = error.code == SIGNED and delivery.reference and finished.decision is None
        if taken_over and _is_of_the_same(finished, had, artifacts):
            # a person took over the report that is there: what a merge makes of it is the hospital's affair
            store.end_delivery(claim, replace(delivery, status="delivered", reason=SIGNED, contents=had))
            return None
        contents = delivery.contents if error.may_be_done or content in had else had
        store.end_delivery(
            claim, replace(delivery, status=_after_failure(error, was), reason=error.code, contents=contents)
        )
        return error
    status, reason = ("delivered", "") if receipt.is_accepted else ("skipped", receipt.detail)
    contents = (content,) if receipt.is_accepted else had
    store.end_delivery(
        claim, replace(delivery, status=status, reason=reason, reference=receipt.reference, contents=contents)
    )
    return None


def _is_of_the_same(report: Report, had: tuple[str, ...], artifacts: ArtifactStore) -> bool:
    """Whether what is there is this patient's, or of a number that was merged into him; not of somebody whom the order was not of."""
    if not had:
        return False
    there = encoding.load(Report, artifacts.get(report.job, Stage.REPORT, had[-1]))
    former = report.patient_identity.former
    return there.patient == report.patient or any(among(n, former) for n in there.patient_identity.identifiers)


def _after_failure(error: BridgeError, was: str) -> str:
    """What may be there stays `sending`, this attempt's or one before: the order cannot be cancelled as if nothing had gone out."""
    if isinstance(error, Refused):
        return "refused"
    return "sending" if error.may_be_done or was in ("sending", "stale") else "pending"
