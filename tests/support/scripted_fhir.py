"""A FHIR server on loopback that plays the traits of products which cannot be run here, each trait by itself.

It is no second HAPI: it keeps resources, finds them by the parameters of `fhir_search`, and refuses, ignores, delays and numbers pages
as `Traits` say. The traits come from these, and from nowhere else:

- Epic: open.epic.com and fhir.epic.com list no transaction and no `_history` interaction, and creates that answer 201 with `Location` and
  no body; which elements a create demands (an encounter, say) is written at each resource there. Recalled, not run: the profile
  `epic` says so, too. Page sizes and rates are the customer's.
- Azure: learn.microsoft.com, "FHIR features supported" (optimistic locking, conditional create, transactions; of paging `self` and `next`
  only; rest-hooks none); microsoft/fhir-server pull requests 1639 and 1643 (429 with `x-ms-retry-after-ms` and `Retry-After`).
- Google: docs.cloud.google.com/healthcare-api, "Implementing pagination and search totals" (forward pages by a token, `total` is
  an estimate until the last page) and `FhirNotificationConfig` (notifications by Pub/Sub that hold the resource's name).
- ids only: the Subscriptions R4 Backport guide, payloads `id-only` and `empty`, with its handshake.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import formatdate
from itertools import count
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from tests.support.fhir_notices import Notices
from tests.support.fhir_search import TYPES, matches, parameters_of, unknown
from tests.support.fhir_shelf import Shelf, Version
from tests.support.fhir_writes import Answered, Outcome, Writes
from tests.support.proxy import hung_up
from tests.support.scripted_http import Asked, Scripted, ScriptedServer
from tests.support.serve_process import unlistened_port

Resource = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Traits:
    """The default does all that R4 describes and we use."""

    transactions: bool = True
    conditional_create: bool = True  # else If-None-Exist is not heard, and there are two
    history: bool = True
    sorts_by_change: bool = True  # else _sort is not heard
    notices: str = "resource"  # resource, id-only, empty; nothing: no Subscriptions
    written: frozenset[str] = frozenset()  # types that it takes; empty: all
    client_ids: bool = True  # a PUT may create
    required: tuple[str, ...] = ()  # `Observation.encounter`
    largest_page: int = 50
    next_parameter: str = "_getpages"
    throttled_every: int = 0  # every n-th call is answered 429
    throttle_headers: Mapping[str, str] = field(default_factory=lambda: {"Retry-After": "1"})
    unknown_parameters: str = "refused"  # or ignored
    answers: str = "preferred"  # what a create or update answers: `preferred`, `resource`, `location` (never a body)
    token: str = ""  # the bearer that it wants


EPIC_LIKE = Traits(
    transactions=False,
    conditional_create=False,
    history=False,
    sorts_by_change=False,
    notices="",
    written=frozenset({"DiagnosticReport", "Observation"}),
    client_ids=False,
    required=("Observation.encounter", "Observation.effectiveDateTime", "DiagnosticReport.encounter"),
    largest_page=10,
    throttled_every=25,
    answers="location",
    token="epic-token",
)
AZURE_LIKE = Traits(
    notices="",
    next_parameter="ct",
    throttled_every=20,
    throttle_headers={"x-ms-retry-after-ms": "300", "Retry-After": "1"},
    unknown_parameters="ignored",
    token="azure-token",
)
GOOGLE_LIKE = Traits(
    notices="", next_parameter="_page_token", unknown_parameters="ignored", answers="resource", token="google-token"
)
IDS_ONLY = Traits(notices="id-only")
EMPTY_NOTICES = Traits(notices="empty")


class ScriptedFhir:
    """The server, and its hospital: `put`, `delete` and `all_of` are the hospital's own doings, to which no trait applies."""

    def __init__(self, traits: Traits) -> None:
        self.traits = traits
        self.asked: list[Asked] = []
        self.lost_answers = 0  # so many writes are done, and then the connection breaks
        self.notices = Notices(traits.notices or "resource")
        self.notices.is_off = not traits.notices
        self.shelf = Shelf(self.notices.hear)
        self._writes = Writes(self.shelf, traits)
        self._calls = count(1)
        self._pages: dict[str, tuple[list[Resource], int, str]] = {}
        self._port = unlistened_port()
        self.start()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._port}/fhir"

    def start(self) -> None:
        """Listen, at the same port as before; searches that were under way are forgotten."""
        self._pages.clear()
        self._server = ScriptedServer(self._answer, self._port)

    def stop(self) -> None:
        """Nobody listens any more."""
        self._server.answer = hung_up
        self._server.close()

    def put(self, *resources: Resource) -> None:
        with self.shelf.at_once():
            for resource in resources:
                self.shelf.put(resource)

    def delete(self, reference: str) -> None:
        self.shelf.delete(reference)

    def read(self, reference: str) -> Resource:
        found = self.shelf.current(reference)
        assert found is not None
        return found

    def all_of(self, kind: str) -> list[Resource]:
        return self.shelf.all_of(kind)

    def _answer(self, asked: Asked) -> Scripted:
        self.asked.append(asked)
        traits = self.traits
        if traits.throttled_every and next(self._calls) % traits.throttled_every == 0:
            return _said(Outcome(429, "throttled", traits.throttle_headers))
        if traits.token and asked.headers.get("authorization") != f"Bearer {traits.token}":
            return _said(Outcome(401, "login"))
        try:
            said = _said(self._handled(asked))
        except Outcome as outcome:
            return _said(outcome)
        if asked.method != "GET" and self.lost_answers:
            self.lost_answers -= 1
            raise ConnectionResetError
        return said

    def _handled(self, asked: Asked) -> Answered:
        url = urlsplit(asked.path)
        path = url.path.removeprefix("/fhir").strip("/").split("/")
        params = parse_qsl(url.query, keep_blank_values=True)
        if asked.method != "GET":
            return self._writes.handle(asked, path, params)
        if path == ["metadata"]:
            return Answered(200, self._statement())
        if path[0] not in TYPES:
            raise Outcome(404, "not-supported")
        if len(path) == 1:
            return Answered(200, self._page(path[0], params))
        if path[1] == "_history":
            return Answered(200, self._history(path[0], dict(params).get("_since", "")))
        reference = "/".join(path[:2])
        found = self.shelf.current(reference)
        if found is None or len(path) > 2:
            raise Outcome(410 if self.shelf.is_gone(reference) else 404, "not-found")
        return Answered(200, found)

    def _page(self, kind: str, params: list[tuple[str, str]]) -> Resource:
        asked = dict(params)
        name = self.traits.next_parameter
        if name in asked:
            if asked[name] not in self._pages:
                raise Outcome(410, "not-found")
            found, size, key = self._pages[asked[name]]
            start = int(key)
        else:
            found, size, start = self._found(kind, params), self._page_size(asked), 0
        entries = [{"fullUrl": f"{self.base_url}/{kind}/{one['id']}", "resource": one} for one in found[start:][:size]]
        links = [{"relation": "self", "url": f"{self.base_url}/{kind}"}]
        if start + size < len(found):
            mark = f"{len(self._pages)}-{start + size}"
            self._pages[mark] = (found, size, str(start + size))
            links.append({"relation": "next", "url": f"{self.base_url}/{kind}?{urlencode({name: mark})}"})
        return {"resourceType": "Bundle", "type": "searchset", "link": links, "entry": entries}

    def _page_size(self, asked: Mapping[str, str]) -> int:
        return max(1, min(int(asked.get("_count", "20")), self.traits.largest_page))

    def _found(self, kind: str, params: list[tuple[str, str]]) -> list[Resource]:
        if self.traits.unknown_parameters == "refused" and unknown(kind, params):
            raise Outcome(400, "invalid")
        found = [one for one in self.shelf.all_of(kind) if matches(kind, params)(one)]
        if not self.traits.sorts_by_change:
            return sorted(found, key=lambda one: str(one["id"])[::-1])  # any order but that of the changes
        return found[::-1] if dict(params).get("_sort") == "-_lastUpdated" else found

    def _history(self, kind: str, since: str) -> Resource:
        if not self.traits.history:
            raise Outcome(404, "not-supported")
        versions = self.shelf.history_of(kind)
        if since:
            versions = [v for v in versions if v.changed >= datetime.fromisoformat(since.replace(" ", "+"))]
        entries = [_past(version) for version in versions]
        return {"resourceType": "Bundle", "type": "history", "entry": entries}

    def _statement(self) -> Resource:
        kinds = [kind for kind in TYPES if kind != "Subscription" or self.traits.notices]
        resources = [
            {"type": kind, "searchParam": [{"name": name, "type": "string"} for name in parameters_of(kind)]}
            for kind in kinds
        ]
        rest: Resource = {"mode": "server", "resource": resources}
        if self.traits.transactions:
            rest["interaction"] = [{"code": "transaction"}]
        return {
            "resourceType": "CapabilityStatement",
            "status": "active",
            "kind": "instance",
            "date": "2026-01-01",
            "fhirVersion": "4.0.1",
            "format": ["json"],
            "rest": [rest],
        }


@contextmanager
def scripted_fhir(traits: Traits) -> Iterator[ScriptedFhir]:
    """The server until the end."""
    server = ScriptedFhir(traits)
    try:
        yield server
    finally:
        server.notices.close()
        server.stop()


def _past(version: Version) -> Resource:
    if version.resource is None:
        return {
            "fullUrl": version.reference,
            "request": {"method": "DELETE", "url": version.reference},
            "response": {"status": "204", "lastModified": version.changed.isoformat()},
        }
    request = {"method": "POST" if version.number == 1 else "PUT", "url": version.reference}
    return {"fullUrl": version.reference, "resource": version.resource, "request": request}


def _said(answered: Answered | Outcome) -> Scripted:
    if isinstance(answered, Outcome):
        issue = {"severity": "error", "code": answered.code, "diagnostics": "CANARY ZEBRA"}  # servers quote patients
        resource: Resource | None = {"resourceType": "OperationOutcome", "issue": [issue]}
        status, headers = answered.status, dict(answered.headers)
    else:
        resource, status, headers = answered.resource, answered.status, dict(answered.headers)
    headers["Date"] = formatdate(usegmt=True)
    if resource is None:
        return Scripted(status, b"", headers)
    if "versionId" in resource.get("meta", {}):
        headers.setdefault("ETag", f'W/"{resource["meta"]["versionId"]}"')
    return Scripted(status, json.dumps(resource).encode(), {"Content-Type": "application/fhir+json", **headers})
