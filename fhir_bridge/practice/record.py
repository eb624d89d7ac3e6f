"""The hospital's FHIR server as the hospital itself sees it: loads the patients, places orders, reads the end state back.

A client of its own, apart from the bridge's adapter, so that the verdict does not rest on the code it judges.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import requests

from fhir_bridge.errors import Unavailable
from fhir_bridge.practice import patients
from fhir_bridge.practice.story import Story

_TIMEOUT_SECONDS = 60
PNEUMONIA = "233604007"  # SNOMED CT; the question that the finding's Observation answers
_HEADERS = {
    "Accept": "application/fhir+json",
    "Content-Type": "application/fhir+json",
    "Cache-Control": "no-cache",  # HAPI answers an equal search from up to 60 s ago otherwise
}


@dataclass(frozen=True, slots=True)
class ReportSeen:
    """A DiagnosticReport with what it rests on, as the server holds it."""

    reference: str
    status: str
    subject: str = field(repr=False)
    orders: frozenset[str] = field(repr=False)  # identifiers of the orders in basedOn
    linked: bool  # basedOn is a literal reference to a ServiceRequest
    conclusions: tuple[str, ...]  # codes
    findings: tuple[str, ...]  # codes that its pneumonia Observations have as value


class HospitalRecord:
    """A connection to the FHIR server. Raises Unavailable `practice.fhir-failed`."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url.rstrip("/")
        self._session = requests.Session()
        self._session.headers.update(_HEADERS)

    def load(self, stories: tuple[Story, ...]) -> None:
        """Every known patient with their history, in one transaction."""
        resources = [resource for story in stories if story.known for resource in patients.history(story)]
        entries = [
            {"resource": resource, "request": {"method": "PUT", "url": f"{resource['resourceType']}/{resource['id']}"}}
            for resource in resources
        ]
        self._call("POST", self._base_url, {"resourceType": "Bundle", "type": "transaction", "entry": entries})

    def place(self, story: Story, at: datetime) -> None:
        """The clinician orders: one ServiceRequest."""
        url = f"{self._base_url}/{patients.service_request_reference(story)}"
        self._call("PUT", url, patients.service_request(story, at))

    def count_service_requests(self) -> int:
        """How many orders the server holds."""
        return len(list(self._search("ServiceRequest")))

    def reports(self) -> tuple[ReportSeen, ...]:
        """Every DiagnosticReport that is based on an order; the patients' prior reports are not."""
        orders = {f"ServiceRequest/{found['id']}": _values(found) for found in self._search("ServiceRequest")}
        observations = {f"Observation/{found['id']}": found for found in self._search("Observation")}
        return tuple(
            _seen(report, orders, observations) for report in self._search("DiagnosticReport") if report.get("basedOn")
        )

    def _search(self, resource_type: str) -> Iterator[dict[str, Any]]:
        """Page after page. Links of another origin are not followed."""
        url: str | None = f"{self._base_url}/{resource_type}?_count=50"
        while url:
            page = self._call("GET", url)
            for entry in page.get("entry", ()):
                if entry["resource"]["resourceType"] == resource_type:
                    yield entry["resource"]
            url = next((link["url"] for link in page.get("link", ()) if link["relation"] == "next"), None)
            if url and urlsplit(url)[:2] != urlsplit(self._base_url)[:2]:
                raise Unavailable("practice.fhir-failed", resource_type, "the next page lies on another server")

    def _call(self, method: str, url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        where = urlsplit(url).path
        try:
            answer = self._session.request(method, url, json=body, timeout=_TIMEOUT_SECONDS)
            content: dict[str, Any] = answer.json()
        except requests.RequestException as error:  # its JSON errors included
            raise Unavailable("practice.fhir-failed", where, f"{type(error).__name__} from the FHIR server") from None
        if answer.status_code >= 400:
            raise Unavailable("practice.fhir-failed", where, f"the FHIR server answers {answer.status_code}")
        return content


def _values(resource: dict[str, Any]) -> frozenset[str]:
    return frozenset(found["value"] for found in resource.get("identifier", ()) if "value" in found)


def _seen(
    report: dict[str, Any], orders: dict[str, frozenset[str]], observations: dict[str, dict[str, Any]]
) -> ReportSeen:
    based_on = report["basedOn"]
    values = {reference["identifier"]["value"] for reference in based_on if "value" in reference.get("identifier", {})}
    literal = [_relative(reference["reference"]) for reference in based_on if "reference" in reference]
    for reference in literal:
        values |= orders.get(reference, frozenset())
    results = [observations.get(_relative(result["reference"]), {}) for result in report.get("result", ())]
    answers = [found["valueCodeableConcept"] for found in results if PNEUMONIA in _codes([found.get("code", {})])]
    return ReportSeen(
        reference=f"DiagnosticReport/{report['id']}",
        status=report["status"],
        subject=_relative(report["subject"]["reference"]),
        orders=frozenset(values),
        linked=any(reference in orders for reference in literal),
        conclusions=_codes(report.get("conclusionCode", ())),
        findings=_codes(answers),
    )


def _codes(concepts: Any) -> tuple[str, ...]:
    return tuple(sorted({coding["code"] for concept in concepts for coding in concept.get("coding", ())[:1]}))


def _relative(reference: str) -> str:
    """`Type/id`, whether the server made it absolute, versioned, or neither."""
    return "/".join(reference.partition("/_history/")[0].split("/")[-2:])
