"""The hospital's FHIR server as a destination of results: one transaction, looked for before and read back after (R4 §3.1.0.11)."""

from datetime import datetime
from typing import Any

from fhir_bridge.adapters.fhir_client import FhirClient, literal, token
from fhir_bridge.adapters.fhir_transport import Conflict, Timing
from fhir_bridge.errors import Refused, Uncertain
from fhir_bridge.ports import Receipt
from fhir_bridge.study import Resource
from mappings.fhir_report import Publisher, bundle_of
from mappings.fhir_validation import validate
from mappings.finding import Report

MAX_ATTEMPTS = 5  # against others who write the same at the same time
_FIRST_WAIT_SECONDS = 0.1
_UNSIGNED = ("registered", "partial", "preliminary")
_WHERE = "DiagnosticReport"


class FhirDelivery:
    """Never writes over what a person signed or withdrew, and never makes a ServiceRequest.

    Besides the errors of `Transport` and MappingRefused of `bundle_of` and `validate`: Refused `fhir.report-signed`, `fhir.report-doubled`, `fhir.not-kept`.
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
        """Write unless it is there as it should be. The transaction is conditional throughout, so that repeating it is harmless."""
        bundle = bundle_of(report, self._publisher)
        sent = next(e["resource"] for e in bundle["entry"] if e["resource"]["resourceType"] == "DiagnosticReport")
        attempt = 0
        while True:
            attempt += 1
            before = self._kept(report)
            if before is not None and not _difference(sent, before):
                return _receipt(before, "unchanged")
            _require_unsigned(before)
            try:
                detail = "created" if before is None else "updated"
                return self._write(report, self._with_withdrawals(bundle, before), sent, detail)
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
        validate(bundle)
        answer = self._client.transaction(bundle)
        statuses = _statuses(answer)
        if len(statuses) != len(bundle["entry"]) or not all(status.startswith("2") for status in statuses):
            raise Refused("fhir.not-kept", "Bundle.entry", "the server answered other entries than it was sent")
        kept = self._kept(report)
        differing = "identifier" if kept is None else _difference(sent, kept)
        if kept is None or differing:
            raise Refused("fhir.not-kept", f"{_WHERE}.{differing}", "the server accepted the report, but keeps another")
        return _receipt(kept, detail)

    def _with_withdrawals(self, bundle: Resource, before: Resource | None) -> Resource:
        """The transaction, and in it the results of the version before that this one no longer has: they were entered in error.

        Otherwise "pneumonia: present" of a first run would stand beside the "not analysed" of the second.
        """
        still = {number for entry in bundle["entry"] for number in self._numbers(entry["resource"])}
        entries = []
        for reference in (literal(result.get("reference", "")) for result in (before or {}).get("result", ())):
            observation = self._client.read(reference)
            numbers = self._numbers(observation)
            if numbers and not numbers & still and observation.get("status") in _UNSIGNED:
                withdrawn = observation | {"status": "entered-in-error"}
                entries.append({"resource": withdrawn, "request": {"method": "PUT", "url": reference}})
        return bundle | {"entry": [*bundle["entry"], *entries]}

    def _numbers(self, resource: Resource) -> set[object]:
        """Our identifiers of an Observation; of anything else, and of a stranger's, none."""
        system = self._publisher.observation_system
        return {i["value"] for i in _identifiers(resource) if i["system"] == system}

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


def _require_unsigned(kept: Resource | None) -> None:
    if kept is not None and kept.get("status") not in _UNSIGNED:
        raise Refused("fhir.report-signed", f"{_WHERE}.status", "a person has signed or withdrawn the report since")


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
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return text
