"""The clinical context from the FHIR server: independent reads at once, with what its CapabilityStatement offers (DESIGN §6)."""

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from functools import partial
from threading import Event

from fhir_bridge.adapters.fhir_answer import has_errors
from fhir_bridge.adapters.fhir_client import FhirClient, Params
from fhir_bridge.adapters.record_context import (
    ANSWERED,
    MAX_CONTEXT_RESOURCES,
    TOPICS,
    Part,
    Topic,
    context_from,
    newest_of,
    part_of,
    references_of,
    referred,
    withheld,
)
from fhir_bridge.adapters.record_match import OnePatient, merged_into, reference_to
from fhir_bridge.errors import Refused, Unavailable
from fhir_bridge.study import ClinicalContext, Resource
from mappings.order import Order

CONTEXT_SECONDS = 120.0  # for all of it; the deadline of one call is the client's
MAX_EVERYTHING_RESOURCES = 2000
_PAGE_SIZE = 50  # of $everything: HAPI's largest
PARALLEL_READS = 6  # of all jobs of this process together
_UNAUTHORIZED = "fhir.unauthorized"  # 403 on one type: outside our scopes; on all of them: our credentials
_ABOUT = ("patient", "subject")  # search parameters; what a server has of them differs by type
Offered = Mapping[str, Collection[str]]
Read = Callable[[Event], tuple[Part, ...]]  # ends early once the event is set: nobody waits for it


class ContextReader:
    """Threads may share it. One failing read fails the whole, what the server has no right for us to see is noted (`ContextSource`)."""

    def __init__(self, client: FhirClient, seconds: float = CONTEXT_SECONDS, *, parallel: int = PARALLEL_READS) -> None:
        self._client = client
        self._seconds = seconds
        self._pool = ThreadPoolExecutor(parallel, thread_name_prefix="fhir-context")

    def context_of(self, patient: Resource, order: Order) -> ClinicalContext:
        """See `ports.ClinicalRecord`. Raises Unavailable `fhir.unavailable` where it takes longer than allowed."""
        offered = self._client.search_parameters()
        whole = merged_into(patient, self._client.read, self._client.is_own)
        searchable = [topic for topic in TOPICS if _about(offered, topic.kind)]
        missing = [topic for topic in TOPICS if topic not in searchable]
        reads: list[Read] = [partial(self._order, order, reference_to(patient))]
        reads += [partial(self._search, topic, whole, offered) for topic in searchable]
        untold = [Part(topic.kind, "not-offered") for topic in missing]
        if missing and "everything" in self._client.capabilities().operations.get("Patient", ()):
            reads.append(partial(self._everything, missing, whole))
            untold = []
        parts = [*untold, *itertools.chain.from_iterable(self._all(reads))]
        if any(part.code == _UNAUTHORIZED for part in parts) and not any(part.how in ANSWERED for part in parts):
            raise Unavailable(_UNAUTHORIZED, "context", "the server shows us nothing of the patient's record")
        return context_from(patient, order, parts)

    def _all(self, reads: Iterable[Read]) -> list[tuple[Part, ...]]:
        """What they return; the first error ends the waiting, and what is not done by then is left."""
        stop = Event()
        begun: list[Future[tuple[Part, ...]]] = [self._pool.submit(read, stop) for read in reads]
        try:
            done, late = wait(begun, self._seconds, FIRST_EXCEPTION)
            for future in begun:
                if future in done:
                    future.result()
            if late:
                raise Unavailable("fhir.unavailable", "context", f"not read within {self._seconds:g} s")
            return [future.result() for future in begun]
        finally:
            stop.set()
            for future in begun:
                future.cancel()

    def _search(self, topic: Topic, patient: OnePatient, offered: Offered, stop: Event) -> tuple[Part, ...]:
        """One search for each Patient: there are servers that take `Patient/1,Patient/2` for one name, and find nothing, unseen."""
        about, params = _about(offered, topic.kind), _narrowed(topic, offered)
        found: dict[str, Resource] = {}
        is_truncated = False
        try:
            for reference in patient.references:
                matches = self._client.search(
                    topic.kind, ((about, reference), *params), limit=MAX_CONTEXT_RESOURCES, stop=stop
                )
                is_truncated |= len(matches) == MAX_CONTEXT_RESOURCES
                found |= {match["id"]: of_own_patient(match, self._client) for match in matches}
        except (Refused, Unavailable) as error:
            return (_withheld(topic.kind, error),)
        is_truncated |= len(found) > MAX_CONTEXT_RESOURCES
        return (part_of(topic, newest_of(found.values()), patient, is_truncated=is_truncated),)

    def _everything(self, topics: list[Topic], patient: OnePatient, stop: Event) -> tuple[Part, ...]:
        """`Patient/$everything` (R4 operation-patient-everything) of the types that cannot be searched by patient."""
        kinds = sorted({topic.kind for topic in topics})
        params: Params = (("_type", ",".join(kinds)), ("_count", str(_PAGE_SIZE)))
        try:
            entries = (self._entries(reference, params, kinds, stop) for reference in patient.references)
            found = tuple(itertools.islice(itertools.chain.from_iterable(entries), MAX_EVERYTHING_RESOURCES))
        except (Refused, Unavailable) as error:
            return tuple(_withheld(kind, error) for kind in kinds)
        of_kind = {kind: [resource for resource in found if resource["resourceType"] == kind] for kind in kinds}
        is_cut = len(found) == MAX_EVERYTHING_RESOURCES
        return tuple(
            part_of(topic, of_kind[topic.kind], patient, how="everything", is_truncated=is_cut) for topic in topics
        )

    def _entries(self, patient: str, params: Params, kinds: Collection[str], stop: Event) -> Iterator[Resource]:
        """Page by page; the server may have ignored `_type`."""
        where = "GET Patient"
        try:
            for page in self._client.pages(f"{patient}/$everything", params, stop=stop):
                for resource in (entry["resource"] for entry in page.bundle.get("entry", ())):
                    if has_errors(resource):
                        raise Unavailable("fhir.error-inside", where, "the Bundle says that it failed")
                    if resource["resourceType"] in kinds and resource["id"]:
                        yield of_own_patient(resource, self._client)
        except (AttributeError, KeyError, TypeError):
            raise Unavailable("fhir.not-fhir", where, "the entries of the Bundle are malformed") from None

    def _order(self, order: Order, patient: str, stop: Event) -> tuple[Part, ...]:
        """The ServiceRequest, then what it refers to, one after the other: they are few, and the searches take longer."""
        if not order.service_request:
            return ()
        request = referred(order.service_request, patient, order, self._read)
        references = [reference for resource in request.resources for reference in references_of(resource)]
        wanted = itertools.takewhile(lambda _: not stop.is_set(), references)
        return request, *(referred(reference, patient, order, self._read) for reference in wanted)

    def _read(self, reference: str) -> Resource:
        return of_own_patient(self._client.read(reference), self._client)


def of_own_patient(resource: Resource, client: FhirClient) -> Resource:
    """The resource. Raises Refused `patient.mismatch` where its patient is on another server, maybe under the id of one of ours."""
    subject = resource.get("subject") or resource.get("patient")
    if isinstance(subject, dict) and not client.is_own(str(subject.get("reference", ""))):
        where = f"{resource['resourceType']}.subject"
        raise Refused("patient.mismatch", where, "its patient is on another server than fhir.base_url names")
    return resource


def _withheld(kind: str, error: Refused | Unavailable) -> Part:
    """Not granted, or nothing that the server does; what may pass is raised again."""
    if isinstance(error, Unavailable) and error.code != _UNAUTHORIZED:
        raise error
    return withheld(kind, error)


def _narrowed(topic: Topic, offered: Offered) -> Params:
    """All but whom it is about: what the server offers of what the topic wants."""
    params: Params = ()
    if topic.category and "category" in offered[topic.kind]:
        params = (*params, ("category", topic.category))
    if topic.statuses and "status" in offered[topic.kind]:
        params = (*params, ("status", ",".join(topic.statuses)))
    if topic.sort in offered[topic.kind]:
        params = (*params, ("_sort", f"-{topic.sort}"))
    if topic.elements:
        params = (*params, ("_elements", ",".join(topic.elements)))
    return params


def _about(offered: Offered, kind: str) -> str:
    """The search parameter that takes a patient; empty where the server offers none."""
    return next((name for name in _ABOUT if name in offered.get(kind, ())), "")
