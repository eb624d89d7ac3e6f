"""How a plan gets to a FHIR server: as one transaction (R4 §3.1.0.11), or one resource after the other where it takes none."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

from fhir_bridge.adapters.fhir_client import FhirClient, token
from fhir_bridge.adapters.fhir_kept import REPORT, RESULT, difference, identifiers_of, is_same_result, reference_of
from fhir_bridge.adapters.fhir_plan import Plan, linked
from fhir_bridge.adapters.fhir_transport import Conflict
from fhir_bridge.errors import BridgeError, Refused, Unavailable
from fhir_bridge.server_traits import ServerTraits
from fhir_bridge.study import Resource


class Writer(Protocol):
    """Raises Conflict where something came since the plan was made; Refused `fhir.not-kept`, `fhir.report-doubled`."""

    def write(self, plan: Plan) -> None: ...


class AsTransaction:
    """All or nothing."""

    def __init__(self, client: FhirClient, traits: ServerTraits) -> None:
        self._client = client
        self._traits = traits

    def write(self, plan: Plan) -> None:
        if not self._traits.version_guard:
            for entry in plan.entries:
                require_unchanged(self._client, entry)
        bundle = {"resourceType": "Bundle", "type": "transaction", "entry": list(plan.entries)}
        statuses = _statuses(self._client.transaction(bundle))
        with once_written():
            if len(statuses) != len(plan.entries) or not all(status.startswith("2") for status in statuses):
                raise Refused("fhir.not-kept", "Bundle.entry", "the server answered other entries than it was sent")
            if any(_came_second(entry, status) for entry, status in zip(plan.entries, statuses, strict=True)):
                raise Conflict("fhir.conflict", f"POST {REPORT}", "another delivery made the report first")


class OneByOne:
    """In the order of what points to what, the report after its results: what a crash leaves behind is looked for and gone on from."""

    def __init__(self, client: FhirClient, traits: ServerTraits) -> None:
        self._client = client
        self._traits = traits

    def write(self, plan: Plan) -> None:
        links = {url: {"reference": reference} for url, reference in plan.links.items()}
        written = False
        for entry in in_order(plan.entries):
            resource = linked(entry["resource"], links)
            write = self._create if entry["request"]["method"] == "POST" else self._put
            with once_written(written):
                kept = write(entry, resource)
            written = written or resource["resourceType"] in (REPORT, RESULT)
            if "fullUrl" in entry:
                links[entry["fullUrl"]] = {"reference": reference_of(kept)}

    def _create(self, entry: Resource, resource: Resource) -> Resource:
        """Looked for, made, and looked for again where the server could not be told to make one only."""
        kind = resource["resourceType"]
        found = self._of_identity(resource)
        if found is None:
            made = _body_of(lambda: self._client.create_unless(resource, entry["request"]["ifNoneExist"]))
            with once_written(kind in (REPORT, RESULT)):
                found = made if made and self._traits.conditional_create else self._of_identity(resource)
                if found is None:
                    words = "what the server accepted cannot be found there"
                    raise Refused("fhir.not-kept", f"{kind}.identifier", words)
            second = bool(_changed(resource, found))
        else:
            second = kind in (REPORT, RESULT)
        if second:  # what the server spoilt is found out when it is looked at again
            raise Conflict("fhir.conflict", f"POST {kind}", "another delivery made it first")
        return found

    def _put(self, entry: Resource, resource: Resource) -> Resource:
        reference = entry["request"]["url"]
        guard = entry["request"].get("ifMatch", "")
        if not guard and resource["resourceType"] == "Provenance":
            there = _there(lambda: self._client.read(reference))
            if there:  # of this very act, by its id
                return there
        if not self._traits.version_guard:
            require_unchanged(self._client, entry)
        _body_of(lambda: self._client.update(reference, resource, if_match=guard))
        with once_written(resource["resourceType"] in (REPORT, RESULT)):
            kept = self._client.read(reference)
            if where := _changed(resource, kept):
                raise Refused("fhir.not-kept", where, "the server accepted it, but keeps another")
        return kept

    def _of_identity(self, resource: Resource) -> Resource | None:
        found = with_identifier(self._client, resource)
        if len(found) > 1:
            raise Refused(
                "fhir.report-doubled", resource["resourceType"], "the server has it twice; a person must choose"
            )
        return found[0] if found else None


@contextmanager
def once_written(written: bool = True) -> Iterator[None]:
    """An error in here keeps away nothing of what was written before: it says so."""
    try:
        yield
    except BridgeError as error:
        error.may_be_done |= written
        raise


def in_order(entries: Iterable[Resource]) -> list[Resource]:
    """What is pointed to first; the report once all its results are there, and what tells of it last."""
    return sorted(entries, key=lambda entry: _ORDER.get(entry["resource"]["resourceType"], 2))


_ORDER = {"Device": 0, "ImagingStudy": 1, RESULT: 2, REPORT: 3, "Provenance": 4, "Communication": 5, "Task": 6}


def with_identifier(client: FhirClient, resource: Resource) -> tuple[Resource, ...]:
    """What bears the first identifier of this resource."""
    identity = identifiers_of(resource)[0]
    params = (("identifier", token(identity["value"], identity["system"])),)
    found = client.search(resource["resourceType"], params, limit=3)
    return tuple(kept for kept in found if identity in identifiers_of(kept))


def require_unchanged(client: FhirClient, entry: Resource) -> None:
    """For servers that do not look at `If-Match`: the version is the one we saw, a moment before we write. Raises Conflict."""
    guard = entry["request"].get("ifMatch", "")
    if not guard:
        return
    now = client.read(entry["request"]["url"]).get("meta", {}).get("versionId")
    if guard != f'W/"{now}"':
        raise Conflict("fhir.conflict", f"PUT {entry['resource']['resourceType']}", "it was changed since we looked")


def _changed(sent: Resource, kept: Resource) -> str:
    """What is not as sent, in words for `where`; empty where it is. A 2xx is no proof: servers drop what they do not know."""
    kind = sent["resourceType"]
    if kind == REPORT:
        differing = difference(sent, kept)
        return f"{REPORT}.{differing}" if differing else ""
    return RESULT if kind == RESULT and not is_same_result(sent, kept) else ""


def _body_of(call: Callable[[], Resource]) -> Resource | None:
    """None where the server did it and answered nothing of use, whatever was preferred (R4 §3.1.0.1.7)."""
    try:
        return call()
    except Unavailable as error:
        if error.code != "fhir.not-fhir":
            raise
        return None


def _there(call: Callable[[], Resource]) -> Resource | None:
    try:
        return call()
    except Refused as refusal:
        if refusal.code != "fhir.not-found":
            raise
        return None


def _came_second(entry: Resource, status: str) -> bool:
    """Whether the server left a report as it was that we wanted to create (R4 §3.1.0.8.1: 200, not 201)."""
    wanted = entry["resource"]["resourceType"] == REPORT and "ifNoneExist" in entry["request"]
    return wanted and not status.startswith("201")


def _statuses(answer: Resource) -> list[str]:
    return [str(entry.get("response", {}).get("status", "")) for entry in answer.get("entry", ())]
