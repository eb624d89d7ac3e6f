"""The hospital's FHIR server as a destination of results: one transaction, looked for before and read back after (R4 §3.1.0.11)."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from fhir_bridge.adapters.fhir_client import FhirClient, literal, token
from fhir_bridge.adapters.fhir_transport import Conflict, Timing
from fhir_bridge.errors import Refused, Uncertain
from fhir_bridge.ports import Receipt
from fhir_bridge.study import Resource
from mappings.fhir_elements import full_url
from mappings.fhir_report import Publisher, bundle_of
from mappings.fhir_validation import validate
from mappings.finding import Report
from mappings.refusal import MappingRefused

MAX_ATTEMPTS = 5  # against others who write the same at the same time
_FIRST_WAIT_SECONDS = 0.1
_UNSIGNED = ("registered", "partial", "preliminary")
_WITHDRAWN = ("entered-in-error", "cancelled")
_WHERE = "DiagnosticReport"
_SEARCHED_AT_ONCE = 20  # identifiers in one URL: servers take some 8,000 characters of it


class FhirDelivery:
    """Never writes over what a person signed or withdrew, nor over what came since it looked, and never makes a ServiceRequest.

    Besides the errors of `Transport`: Refused with the codes of `bundle_of` and `validate`, before anything is sent, and Refused
    `fhir.report-signed`, `fhir.report-doubled`, `fhir.not-kept`, `fhir.unversioned`.
    """

    def __init__(
        self, client: FhirClient, publisher: Publisher, *, destination: str = "fhir", timing: Timing | None = None
    ) -> None:
        self._client = client
        self._publisher = publisher
        self._destination = destination
        self._timing = timing or Timing()

    @property
    def destination(self) -> str:
        return self._destination

    def deliver(self, report: Report) -> Receipt:
        """Write unless it is there as it should be, or a later run's is. Each attempt is guarded, so that repeating it is harmless."""
        with _refusing():
            bundle = bundle_of(report, self._publisher)
        sent = next(e["resource"] for e in bundle["entry"] if e["resource"]["resourceType"] == _WHERE)
        attempt = 0
        while True:
            attempt += 1
            before = self._kept(report)
            if before is not None and (settled := _settled(sent, before)):
                return _receipt(before, settled)
            try:
                detail = "created" if before is None else "updated"
                return self._write(report, self._guarded(bundle, before), sent, detail)
            except Conflict:
                if attempt == MAX_ATTEMPTS:
                    raise
                self._timing.sleep(self._timing.random() * _FIRST_WAIT_SECONDS * 2**attempt)
            except Uncertain:
                kept = self._kept(report)
                if kept is None or _difference(sent, kept):
                    raise

    def _write(self, report: Report, bundle: Resource, sent: Resource, detail: str) -> Receipt:
        """Post, then compare what came back: a 2xx is no proof, servers drop what they do not know."""
        with _refusing():
            validate(bundle)
        answer = self._client.transaction(bundle)
        statuses = _statuses(answer)
        if len(statuses) != len(bundle["entry"]) or not all(status.startswith("2") for status in statuses):
            raise Refused("fhir.not-kept", "Bundle.entry", "the server answered other entries than it was sent")
        if any(_came_second(entry, status) for entry, status in zip(bundle["entry"], statuses, strict=True)):
            raise Conflict("fhir.conflict", f"POST {_WHERE}", "another delivery made the report first")
        kept = self._kept(report)
        differing = "identifier" if kept is None else _difference(sent, kept)
        if kept is None or differing:
            raise Refused("fhir.not-kept", f"{_WHERE}.{differing}", "the server accepted the report, but keeps another")
        return _receipt(kept, detail)

    def _guarded(self, bundle: Resource, before: Resource | None) -> Resource:
        """The transaction as it fits what is there now: no report or result that came after our look is written over by it.

        What is there is addressed by id and version, since servers ignore `ifMatch` on a conditional update (HAPI does); what is not is
        created unless it is there by then. So even a copy of this very request that arrives late undoes no signature.
        """
        there = self._observations(bundle)
        withdrawn = list(self._withdrawals(there, before))
        if before is not None:
            there = {**there, self._url(before): before}
        entries = [_guarded_entry(entry, there.get(entry["fullUrl"])) for entry in bundle["entry"]]
        return bundle | {"entry": [*entries, *withdrawn]}

    def _observations(self, bundle: Resource) -> dict[str, Resource]:
        """Those of this bundle that the server has, by the `fullUrl` that they have in the bundle."""
        written = [e["resource"] for e in bundle["entry"] if e["resource"]["resourceType"] == "Observation"]
        numbers = [token(i["value"], i["system"]) for resource in written for i in _identifiers(resource)]
        there: dict[str, Resource] = {}
        for start in range(0, len(numbers), _SEARCHED_AT_ONCE):
            some = numbers[start : start + _SEARCHED_AT_ONCE]
            for found in self._client.search("Observation", (("identifier", ",".join(some)),), limit=2 * len(some)):
                if self._url(found) in there:
                    raise Refused("fhir.report-doubled", "Observation", "the server has a result of this job twice")
                there[self._url(found)] = found
        return there

    def _withdrawals(self, still: Mapping[str, Resource], before: Resource | None) -> Iterator[Resource]:
        """The results of the version before that this one no longer has: they were entered in error.

        Otherwise "pneumonia: present" of a first run would stand beside the "not analysed" of the second.
        """
        kept_on = {f"Observation/{observation['id']}" for observation in still.values()}
        for result in (before or {}).get("result", ()):
            reference = literal(result.get("reference", ""))
            if not reference or reference in kept_on:
                continue
            observation = self._client.read(reference)
            if self._url(observation) and observation.get("status") not in _WITHDRAWN:
                _require_unsigned(observation)
                yield _update(observation, observation | {"status": "entered-in-error"})

    def _url(self, kept: Resource) -> str:
        """The `fullUrl` of a resource of ours in our bundles; of a stranger's, nothing."""
        kind = kept["resourceType"]
        system = self._publisher.job_system if kind == _WHERE else self._publisher.observation_system
        return next((full_url(kind, system, i["value"]) for i in _identifiers(kept) if i["system"] == system), "")

    def _kept(self, report: Report) -> Resource | None:
        """Our DiagnosticReport as the server has it now, past its search cache."""
        system = self._publisher.job_system
        found = self._client.search(_WHERE, (("identifier", token(report.job, system)),), limit=10)
        ours = [kept for kept in found if {"system": system, "value": report.job} in _identifiers(kept)]
        if len(ours) > 1:
            raise Refused(
                "fhir.report-doubled", _WHERE, f"the server has {len(ours)} reports of this job; a person must choose"
            )
        return ours[0] if ours else None


@contextmanager
def _refusing() -> Iterator[None]:
    """What cannot be mapped is refused in the bridge's own words, for those who know only these."""
    try:
        yield
    except MappingRefused as refusal:
        raise Refused(refusal.code, refusal.where, refusal.explanation) from refusal


def _settled(sent: Resource, kept: Resource) -> str:
    """Why there is nothing to write, if so."""
    if not _difference(sent, kept):
        return "unchanged"
    _require_unsigned(kept)
    return "superseded" if _is_older(sent, kept) else ""


def _is_older(sent: Resource, kept: Resource) -> bool:
    ours, theirs = _instant(str(sent.get("issued", ""))), _instant(str(kept.get("issued", "")))
    return isinstance(ours, datetime) and isinstance(theirs, datetime) and ours < theirs


def _require_unsigned(kept: Resource) -> None:
    if kept.get("status") not in _UNSIGNED:
        kind = kept["resourceType"]
        raise Refused("fhir.report-signed", f"{kind}.status", "a person has signed or withdrawn the report since")


def _guarded_entry(entry: Resource, kept: Resource | None) -> Resource:
    """A conditional update becomes an update of the version we saw, or a creation where we saw none. Everything else is as it is."""
    kind, _, condition = entry["request"]["url"].partition("?")
    if not condition:
        return entry
    if kept is None:
        return entry | {"request": {"method": "POST", "url": kind, "ifNoneExist": condition}}
    if kept.get("status") != "entered-in-error":  # an Observation that we withdrew may come back
        _require_unsigned(kept)
    return entry | _update(kept, entry["resource"])


def _update(kept: Resource, resource: Resource) -> Resource:
    """An entry that changes this version of the resource and no later one (R4 §3.1.0.7, `If-Match`)."""
    kind, version = kept["resourceType"], kept.get("meta", {}).get("versionId")
    if not version:
        raise Refused("fhir.unversioned", kind, "without versions a signature could be written over unseen")
    request = {"method": "PUT", "url": f"{kind}/{kept['id']}", "ifMatch": f'W/"{version}"'}
    return {"resource": resource | {"id": kept["id"]}, "request": request}


def _came_second(entry: Resource, status: str) -> bool:
    """Whether the server left a report as it was that we wanted to create (R4 §3.1.0.8.1: 200, not 201)."""
    wanted = entry["resource"]["resourceType"] == _WHERE and "ifNoneExist" in entry["request"]
    return wanted and not status.startswith("201")


def _receipt(kept: Resource, detail: str) -> Receipt:
    return Receipt(f"{_WHERE}/{kept['id']}", detail)


def _identifiers(resource: Resource) -> list[dict[str, Any]]:
    return [{"system": i.get("system"), "value": i.get("value")} for i in resource.get("identifier", ())]


def _statuses(answer: Resource) -> list[str]:
    return [str(entry.get("response", {}).get("status", "")) for entry in answer.get("entry", ())]


def _difference(sent: Resource, kept: Resource) -> str:
    """The first element that is not as sent; empty where this very version is there.

    The hash is of the PDF, which shows every result; and the transaction is atomic: with the report came all its Observations.
    """
    for element, of_sent, of_kept in zip(_ELEMENTS, _essence(sent), _essence(kept), strict=True):
        if of_sent != of_kept:
            return element
    return ""


_ELEMENTS = ("subject", "status", "issued", "conclusion", "conclusionCode", "result", "presentedForm")


def _essence(report: Resource) -> tuple[object, ...]:
    """What is compared, free of how a server writes references and times."""
    codings = [
        (c.get("system"), c.get("code"))
        for concept in report.get("conclusionCode", ())
        for c in concept.get("coding", ())
    ]
    return (
        literal(report.get("subject", {}).get("reference", "")),
        report.get("status"),
        _instant(str(report.get("issued", ""))),
        report.get("conclusion"),
        codings,
        len(report.get("result", ())),
        [form.get("hash") for form in report.get("presentedForm", ())],
    )


def _instant(text: str) -> object:
    """The time, where it is one with a zone (R4 §2.24.0.1); else the text."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return text
    return time if time.tzinfo else text
