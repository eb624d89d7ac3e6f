"""The hospital's FHIR server as a destination of results: looked for before, written guarded, read back after (R4 §3.1.0.11)."""

from collections.abc import Iterator
from contextlib import contextmanager

from fhir_bridge.adapters.fhir_client import FhirClient
from fhir_bridge.adapters.fhir_kept import REPORT, RETRACTED, OwnResults, difference, reference_of
from fhir_bridge.adapters.fhir_plan import Entries, Plan, Planner, sent_report, update_of
from fhir_bridge.adapters.fhir_transport import Conflict, Timing
from fhir_bridge.adapters.fhir_writing import AsTransaction, OneByOne, Writer, once_written, with_identifier
from fhir_bridge.errors import Refused, Unavailable, Uncertain
from fhir_bridge.ports import Receipt
from fhir_bridge.server_traits import ServerTraits
from fhir_bridge.study import Resource
from mappings.fhir_notice import completed_task, is_open_task
from mappings.fhir_publisher import Publisher
from mappings.fhir_validation import validate
from mappings.finding import Report
from mappings.refusal import MappingRefused

MAX_ATTEMPTS = 5  # against others who write the same at the same time
_FIRST_WAIT_SECONDS = 0.1


class FhirDelivery:
    """Never writes over what a person signed or withdrew there, nor over what came since it looked, and never makes a ServiceRequest.

    But a retraction that a person ordered takes back whatever stands there. Besides the errors of `Transport`: Refused with the codes
    of `bundle_of` and `validate`, before anything is sent, and Refused `fhir.required-missing`, `fhir.report-signed`,
    `fhir.report-doubled`, `fhir.not-kept`, `fhir.unversioned`.
    """

    def __init__(
        self,
        client: FhirClient,
        publisher: Publisher,
        *,
        traits: ServerTraits | None = None,
        update_tasks: bool = False,
        destination: str = "fhir",
        timing: Timing | None = None,
    ) -> None:
        traits = traits or ServerTraits()
        self._client = client
        self._own = OwnResults(client, publisher)
        self._planner = Planner(self._own, publisher, traits)
        self._writer: Writer = AsTransaction(client, traits) if traits.transactions else OneByOne(client, traits)
        self._guarded = traits.version_guard
        self._update_tasks = update_tasks
        self._destination = destination
        self._timing = timing or Timing()

    @property
    def destination(self) -> str:
        return self._destination

    def deliver(self, report: Report) -> Receipt:
        """Write unless it is there as it should be, or a later edition is. Each attempt is guarded, so that repeating it is harmless."""
        with _refusing():
            wanted = self._planner.wanted(report)
        attempt, written = 0, False
        while True:
            attempt += 1
            with once_written(written):
                plan = self._plan(report, wanted)
            try:
                with once_written(written):
                    return self._carry_out(report, wanted, plan)
            except Conflict as conflict:
                written = conflict.may_be_done
                if attempt == MAX_ATTEMPTS:
                    with once_written(written):
                        self._require_single(plan)
                    raise
                self._timing.sleep(self._timing.random() * _FIRST_WAIT_SECONDS * 2**attempt)
            except Uncertain:
                written = True
                if attempt == MAX_ATTEMPTS or not self._is_settled(report, wanted):
                    raise

    def _is_settled(self, report: Report, wanted: Entries) -> bool:
        """Whether it is there after all; where that cannot be seen now, the doubt stays."""
        try:
            return bool(self._plan(report, wanted).settled)
        except (Refused, Unavailable):
            return False

    def _plan(self, report: Report, wanted: Entries) -> Plan:
        return self._planner.plan(report, wanted, lambda about: self._task(report, about))

    def _carry_out(self, report: Report, wanted: Entries, plan: Plan) -> Receipt:
        """Write, then compare what is kept: a 2xx is no proof, servers drop what they do not know."""
        if plan.entries:
            if not plan.settled:
                with _refusing():
                    validate({"resourceType": "Bundle", "type": "transaction", "entry": list(wanted)})
            self._writer.write(plan)
        if plan.settled and plan.before is not None:
            return Receipt(reference_of(plan.before), plan.settled)
        with once_written():
            kept = self._own.report(report.job)
            differing = "identifier" if kept is None else self._difference(report, wanted, plan, kept)
            if kept is None or differing:
                words = "the server accepted the report, but keeps another"
                raise Refused("fhir.not-kept", f"{REPORT}.{differing}", words)
        return Receipt(reference_of(kept), "created" if plan.before is None else "updated")

    def _difference(self, report: Report, wanted: Entries, plan: Plan, kept: Resource) -> str:
        if report.is_retracted and plan.before is not None:
            return "" if kept.get("status") == RETRACTED else "status"
        return difference(sent_report(wanted), kept)

    def _task(self, report: Report, about: str) -> Resource | None:
        """The order's Task, completed, where it is still open and the site wants that."""
        if not self._update_tasks or not report.task or report.is_retracted:
            return None
        try:
            task = self._client.read(report.task)
        except Refused as refusal:
            if refusal.code != "fhir.not-found":
                raise
            return None
        if not is_open_task(task, report.service_request):
            return None
        return update_of(task, completed_task(task, report, about), guarded=self._guarded)

    def _require_single(self, plan: Plan) -> None:
        """A condition that several meet is a conflict for ever: Refused, for a person to sort out."""
        for entry in plan.entries:
            if "ifNoneExist" in entry["request"] and len(with_identifier(self._client, entry["resource"])) > 1:
                kind = entry["resource"]["resourceType"]
                raise Refused("fhir.report-doubled", kind, "the server has it twice; a person must choose")


@contextmanager
def _refusing() -> Iterator[None]:
    """What cannot be mapped is refused in the bridge's own words, for those who know only these."""
    try:
        yield
    except MappingRefused as refusal:
        raise Refused(refusal.code, refusal.where, refusal.explanation) from refusal
