"""What is to be written so that a FHIR server has this edition of a report: entries that change what we saw and nothing that came since."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from fhir_bridge.adapters.fhir_kept import (
    REPORT,
    RETRACTED,
    WITHDRAWN,
    Kept,
    OwnResults,
    difference,
    is_made_after,
    is_older,
    is_same_result,
    reference_of,
    require_ours,
)
from fhir_bridge.errors import Refused
from fhir_bridge.server_traits import ServerTraits
from fhir_bridge.study import Resource
from mappings.fhir_elements import Json
from mappings.fhir_notice import communication_entry
from mappings.fhir_provenance import provenance_entry
from mappings.fhir_publisher import Publisher
from mappings.fhir_report import bundle_of
from mappings.finding import Report

Entries = tuple[Resource, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """`settled`: why the report itself needs no writing, if so. `links`: what is there already, by its `fullUrl`."""

    entries: Entries
    links: Mapping[str, str] = field(default_factory=dict)
    settled: str = ""
    before: Resource | None = None


@dataclass(frozen=True, slots=True)
class Planner:
    """For one server."""

    own: OwnResults
    publisher: Publisher
    traits: ServerTraits

    def wanted(self, report: Report) -> Entries:
        """Every resource of this edition, as if nothing were there, and as this server takes it.

        Raises MappingRefused as `bundle_of`, Refused `fhir.required-missing`.
        """
        entries = _adapted(bundle_of(report, self.publisher)["entry"], self.traits.not_written)
        _require_elements(entries, self.traits.required)
        return entries

    def plan(self, report: Report, wanted: Entries, task_entry: Callable[[str], Resource | None]) -> Plan:
        """`task_entry` is what the order's Task becomes, given the report's reference; None: nothing.

        Raises Refused `fhir.report-signed`, `fhir.report-doubled`, `fhir.unversioned`.
        """
        before = self.own.report(report.job)
        if report.is_retracted and before is not None:
            return self._retraction(report, wanted, before)
        sent = sent_report(wanted)
        if before is not None and not difference(sent, before):
            return self._settled(wanted, before, task_entry)
        if before is not None:
            require_ours(before, report.earlier)
        if before is not None and is_older(sent, before):
            return Plan(self._strays(wanted, before), settled="superseded", before=before)
        kept = Kept(before, self.own.results(wanted))
        there = {**kept.results, **({self.own.url_of(before): before} if before else {})}
        done = {url for url, found in kept.results.items() if self._is_done(url, found, wanted)}
        entries = [self._guarded(e, there.get(e["fullUrl"]), report) for e in wanted if e["fullUrl"] not in done]
        withdrawn = [self._withdrawal(observation, report) for observation in self.own.others_of(kept, report)]
        about = sent_url(wanted) if before is None else reference_of(before)
        task = task_entry(about)
        links = {url: reference_of(found) for url, found in there.items()}
        return Plan((*entries, *withdrawn, *([task] if task else [])), links, before=before)

    def _settled(self, wanted: Entries, before: Resource, task_entry: Callable[[str], Resource | None]) -> Plan:
        """The report is there. With the transaction came the rest; one by one, a crash may have kept it away."""
        if self.traits.transactions:
            return Plan((), settled="unchanged", before=before)
        links = {self.own.url_of(before): reference_of(before)}
        links |= {url: reference_of(found) for url, found in self.own.results(wanted).items()}
        missing = [e for e in wanted if e["resource"]["resourceType"] in ("Provenance", "Communication")]
        device = [e for e in wanted if e["resource"]["resourceType"] in ("Device", "ImagingStudy")] if missing else []
        task = task_entry(reference_of(before))
        return Plan((*device, *missing, *([task] if task else [])), links, settled="unchanged", before=before)

    def _is_done(self, url: str, found: Resource, wanted: Entries) -> bool:
        """One by one, what the last attempt brought there is not written again."""
        sent = next((e["resource"] for e in wanted if e["fullUrl"] == url), None)
        return not self.traits.transactions and sent is not None and is_same_result(sent, found)

    def _retraction(self, report: Report, wanted: Entries, before: Resource) -> Plan:
        """Status only: what stood there may have been acted upon, and must stay readable. Also of what a person signed there."""
        if is_made_after(before, report):
            return Plan((), settled="superseded", before=before)
        kept = Kept(before, self.own.results(wanted))
        results = [*kept.results.values(), *self.own.others_of(kept, report)]
        standing = [found for found in (before, *results) if found.get("status") not in WITHDRAWN]
        changes = [self._update(found, found | {"status": RETRACTED}) for found in standing]
        targets = [reference_of(found) for found in (before, *results)]
        companions = [provenance_entry(report, self.publisher, device="", targets=targets, sources=())]
        if self.publisher.communications and report.requester:
            companions.append(communication_entry(report, self.publisher, reference_of(before)))
        settled = "" if standing else "unchanged"
        if settled and self.traits.transactions:
            return Plan((), settled=settled, before=before)
        companions = list(_adapted(companions, self.traits.not_written))
        return Plan((*changes, *companions), settled=settled, before=before)

    def _strays(self, wanted: Entries, before: Resource) -> Entries:
        """Results that a late request of this run made beside the later run's: nobody else would take them back."""
        named = {str(result.get("reference", "")) for result in before.get("result", ())}
        sent = {e["fullUrl"]: e["resource"] for e in wanted}
        found = self.own.results(wanted).items()
        stray = [r for url, r in found if reference_of(r) not in named and is_same_result(sent[url], r)]
        return tuple(self._update(result, result | {"status": RETRACTED}) for result in stray)

    def _withdrawal(self, observation: Resource, report: Report) -> Resource:
        """A result of the edition before that this one no longer has was entered in error.

        Otherwise "pneumonia: present" of a first run would stand beside the "not analysed" of the second.
        """
        require_ours(observation, report.earlier)
        return self._update(observation, observation | {"status": RETRACTED})

    def _guarded(self, entry: Resource, kept: Resource | None, report: Report) -> Resource:
        """A conditional update becomes an update of the version we saw, or a creation where we saw none. Everything else is as it is.

        For servers ignore `ifMatch` on a conditional update (HAPI does). So even a copy of this very request that arrives late undoes
        no signature.
        """
        kind, _, condition = entry["request"]["url"].partition("?")
        if not condition:
            return entry
        if kept is None:
            return entry | {"request": {"method": "POST", "url": kind, "ifNoneExist": condition}}
        require_ours(kept, report.earlier)
        return entry | self._update(kept, entry["resource"])

    def _update(self, kept: Resource, resource: Resource) -> Resource:
        return update_of(kept, resource, guarded=self.traits.version_guard)


def update_of(kept: Resource, resource: Resource, *, guarded: bool = True) -> Resource:
    """An entry that changes this version of the resource and no later one (R4 §3.1.0.7, `If-Match`)."""
    kind, version = kept["resourceType"], kept.get("meta", {}).get("versionId")
    if not version and guarded:
        raise Refused("fhir.unversioned", kind, "without versions a signature could be written over unseen")
    request = {"method": "PUT", "url": f"{kind}/{kept['id']}", **({"ifMatch": f'W/"{version}"'} if version else {})}
    return {"resource": resource | {"id": kept["id"]}, "request": request}


def sent_report(entries: Entries) -> Resource:
    """The DiagnosticReport among them."""
    report: Resource = next(e["resource"] for e in entries if e["resource"]["resourceType"] == REPORT)
    return report


def sent_url(entries: Entries) -> str:
    """The `fullUrl` of the DiagnosticReport."""
    return next(str(e["fullUrl"]) for e in entries if e["resource"]["resourceType"] == REPORT)


def linked(value: Any, links: Mapping[str, Json]) -> Any:
    """The same with other References in place of those to these URLs."""
    if isinstance(value, dict):
        if value.get("reference") in links:
            return links[value["reference"]]
        return {name: linked(part, links) for name, part in value.items()}
    return [linked(part, links) for part in value] if isinstance(value, list) else value


def _adapted(entries: list[Resource], not_written: tuple[str, ...]) -> Entries:
    """Without the types that the server does not take; what points to those names them by identifier alone."""
    left_out = {
        entry["fullUrl"]: {"type": entry["resource"]["resourceType"], "identifier": entry["resource"]["identifier"][0]}
        for entry in entries
        if entry["resource"]["resourceType"] in not_written and entry["resource"].get("identifier")
    }
    taken = (entry for entry in entries if entry["resource"]["resourceType"] not in not_written)
    return tuple(entry | {"resource": linked(entry["resource"], left_out)} for entry in taken)


def _require_elements(entries: Entries, required: tuple[str, ...]) -> None:
    for element in required:
        kind, _, path = element.partition(".")
        for entry in entries:
            if entry["resource"]["resourceType"] == kind and not list(_found(entry["resource"], path)):
                raise Refused(
                    "fhir.required-missing", element, "the server wants it, and the order and the study do not give it"
                )


def _found(value: Any, path: str) -> Iterator[Any]:
    for part in value if isinstance(value, list) else [value]:
        first, _, rest = path.partition(".")
        inner = part.get(first) if isinstance(part, dict) else None
        if inner and rest:
            yield from _found(inner, rest)
        elif inner:
            yield inner
