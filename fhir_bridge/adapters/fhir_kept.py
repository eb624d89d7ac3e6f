"""What a FHIR server keeps of our results: found by our identifiers, and compared with what we want there."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fhir_bridge.adapters.fhir_client import FhirClient, token
from fhir_bridge.errors import Refused
from fhir_bridge.study import Resource
from mappings.fhir_edition import instant_or_text, is_of
from mappings.fhir_elements import full_url, local_reference
from mappings.fhir_observations import outputs_of, result_name
from mappings.fhir_publisher import Publisher
from mappings.finding import Edition, Report

REPORT, RESULT = "DiagnosticReport", "Observation"
RETRACTED = "entered-in-error"
WITHDRAWN = (RETRACTED, "cancelled")
_UNSIGNED = ("registered", "partial", "preliminary")
_SEARCHED_AT_ONCE = 20  # identifiers in one URL: servers take some 8,000 characters of it


@dataclass(frozen=True, slots=True)
class Kept:
    """Our DiagnosticReport of a job, and those of its results that are wanted there, by the `fullUrl` that they have in our bundle."""

    report: Resource | None
    results: Mapping[str, Resource]


class OwnResults:
    """Looks past the server's search cache. Raises Refused `fhir.report-doubled`, besides the errors of `Transport`."""

    def __init__(self, client: FhirClient, publisher: Publisher) -> None:
        self._client = client
        self._publisher = publisher

    def report(self, job: str) -> Resource | None:
        """Our DiagnosticReport as the server has it now."""
        system = self._publisher.job_system
        found = self._client.search(REPORT, (("identifier", token(job, system)),), limit=10)
        ours = [kept for kept in found if {"system": system, "value": job} in identifiers_of(kept)]
        if len(ours) > 1:
            raise Refused(
                "fhir.report-doubled", REPORT, f"the server has {len(ours)} reports of this job; a person must choose"
            )
        return ours[0] if ours else None

    def results(self, entries: Iterable[Resource]) -> dict[str, Resource]:
        """Those of these entries' Observations that the server has."""
        written = [e["resource"] for e in entries if e["resource"]["resourceType"] == RESULT]
        return self._named([i["value"] for resource in written for i in identifiers_of(resource)])

    def _named(self, names: Sequence[str]) -> dict[str, Resource]:
        """Our results of these identifiers, by their `fullUrl`."""
        numbers = [token(name, self._publisher.observation_system) for name in names]
        there: dict[str, Resource] = {}
        for start in range(0, len(numbers), _SEARCHED_AT_ONCE):
            some = numbers[start : start + _SEARCHED_AT_ONCE]
            for found in self._client.search(RESULT, (("identifier", ",".join(some)),), limit=2 * len(some)):
                url = self.url_of(found)
                if url and url in there:
                    raise Refused("fhir.report-doubled", RESULT, "the server has a result of this job twice")
                there[url] = found
        return {url: found for url, found in there.items() if url}

    def others_of(self, kept: Kept, report: Report) -> Iterator[Resource]:
        """The results of ours beyond those that still stand: the server's report names them, or an edition before left them there."""
        known = {reference_of(result) for result in kept.results.values()}
        outputs = dict.fromkeys(output for edition in report.earlier for output in edition.results)
        former = self._named([result_name(report.job, o) for o in outputs if o not in outputs_of(report)])
        named = [local_reference(str(result.get("reference", ""))) for result in (kept.report or {}).get("result", ())]
        found = {reference_of(result): result for result in former.values()}
        found |= {name: self._client.read(name) for name in named if name and name not in known | found.keys()}
        for observation in found.values():
            if self.url_of(observation) and observation.get("status") not in WITHDRAWN:
                yield observation

    def url_of(self, kept: Resource) -> str:
        """The `fullUrl` of a resource of ours in our bundles; of a stranger's, nothing."""
        kind = kept["resourceType"]
        system = self._publisher.job_system if kind == REPORT else self._publisher.observation_system
        return next((full_url(kind, system, i["value"]) for i in identifiers_of(kept) if i["system"] == system), "")


def reference_of(resource: Resource) -> str:
    """`Type/id`."""
    return f"{resource['resourceType']}/{resource['id']}"


def identifiers_of(resource: Resource) -> list[dict[str, Any]]:
    """System and value of each."""
    return [{"system": i.get("system"), "value": i.get("value")} for i in resource.get("identifier", ())]


def require_ours(kept: Resource, earlier: tuple[Edition, ...]) -> None:
    """What a person signed or withdrew on the server is not written over; what a person signed with us may be, by a later decision.

    Of a result status and time tell: it says nothing that its report does not say. One that was withdrawn may come back.
    """
    kind, status = kept["resourceType"], kept.get("status")
    if status in _UNSIGNED or (kind == RESULT and status == RETRACTED):
        return
    issued = instant_or_text(str(kept.get("issued", "")))
    known = (
        is_of(kept, earlier) if kind == REPORT else (status, issued) in {(e.status, _cut(e.issued)) for e in earlier}
    )
    if not known:
        raise Refused("fhir.report-signed", f"{kind}.status", "a person has signed or withdrawn the report since")


def is_older(sent: Resource, kept: Resource) -> bool:
    """Whether the server has a later run's, or a later decision's."""
    ours, theirs = instant_or_text(str(sent.get("issued", ""))), instant_or_text(str(kept.get("issued", "")))
    return isinstance(ours, datetime) and isinstance(theirs, datetime) and ours < theirs


def is_made_after(kept: Resource, report: Report) -> bool:
    """Whether what the server has was made after the person decided."""
    issued = instant_or_text(str(kept.get("issued", "")))
    return isinstance(issued, datetime) and issued > report.act_at


def difference(sent: Resource, kept: Resource) -> str:
    """The first element of a DiagnosticReport that is not as sent; empty where this very edition is there.

    The hash is of the PDF, which shows every result.
    """
    for element, of_sent, of_kept in zip(_ELEMENTS, _essence(sent), _essence(kept), strict=True):
        if of_sent != of_kept:
            return element
    return ""


def is_same_result(sent: Resource, kept: Resource) -> bool:
    """Whether an Observation says there what it is to say."""
    return _result(sent) == _result(kept)


_ELEMENTS = ("subject", "status", "issued", "conclusion", "conclusionCode", "result", "presentedForm")


def _essence(report: Resource) -> tuple[object, ...]:
    """What is compared, free of how a server writes references and times."""
    return (
        local_reference(report.get("subject", {}).get("reference", "")),
        report.get("status"),
        instant_or_text(str(report.get("issued", ""))),
        report.get("conclusion"),
        [coding for concept in report.get("conclusionCode", ()) for coding in _codings(concept)],
        len(report.get("result", ())),
        [form.get("hash") for form in report.get("presentedForm", ())],
    )


def _result(observation: Resource) -> tuple[object, ...]:
    return (
        local_reference(observation.get("subject", {}).get("reference", "")),
        observation.get("status"),
        instant_or_text(str(observation.get("issued", ""))),
        _codings(observation.get("valueCodeableConcept", {})),
        observation.get("valueQuantity", {}).get("value"),
        _codings(observation.get("dataAbsentReason", {})),
        [part.get("valueQuantity", {}).get("value") for part in observation.get("component", ())],
    )


def _codings(concept: Mapping[str, Any]) -> list[tuple[object, object]]:
    return [(coding.get("system"), coding.get("code")) for coding in concept.get("coding", ())]


def _cut(time: datetime) -> datetime:
    """To the milliseconds that an R4 instant of ours has."""
    return time.replace(microsecond=time.microsecond // 1000 * 1000)
