"""A FHIR server that keeps reports and results, and fails, spoils and forgets as the test wants."""

import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import SplitResult, parse_qs, urlsplit

from tests.support.scripted_http import Asked, Scripted, fhir

CONFLICT = fhir({"resourceType": "OperationOutcome", "issue": [{"diagnostics": "HAPI-2745: CANARY"}]}, 409)


class ReportServer:
    """A server that keeps what R4 §3.1.0.11 says; `posts` are played before it does its work, `change` spoils the reports it keeps."""

    def __init__(self) -> None:
        self.kept: dict[str, dict[str, Any]] = {}  # by Type/id
        self.posted: list[dict[str, Any]] = []
        self.posts: list[Scripted] = []
        self.keeps_what_fails = False
        self.change: Callable[[dict[str, Any]], None] = lambda report: None
        self.answered_entries = 0
        self.strangers: list[dict[str, Any]] = []  # come with every search
        self.is_blind = False  # finds nothing until something was posted

    def of(self, kind: str) -> dict[str, Any]:
        (kept,) = (kept for kept in self.kept.values() if kept["resourceType"] == kind)
        return kept

    def __call__(self, asked: Asked) -> Scripted:
        if asked.method == "GET":
            assert asked.headers["cache-control"] == "no-cache"
            return self.look(urlsplit(asked.path.removeprefix("/fhir/")))
        self.posted.append(asked.json)
        failure = self.posts.pop(0) if self.posts else None
        if failure and not self.keeps_what_fails:
            return failure
        answered = self.keep(asked.json["entry"])
        if answered is None:
            return failure or CONFLICT
        entries = [{"response": {"status": status}} for status in answered][self.answered_entries :]
        return failure or fhir({"resourceType": "Bundle", "type": "transaction-response", "entry": entries})

    def look(self, url: SplitResult) -> Scripted:
        if not url.query:
            return fhir(self.kept[url.path])
        wanted = parse_qs(url.query)["identifier"][0].split(",")
        seen = [] if self.is_blind and not self.posted else self.kept.values()
        found = [r for r in seen if r["resourceType"] == url.path and numbers_of(r) & {*wanted}] + self.strangers
        return fhir({"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": r} for r in found]})

    def keep(self, entries: list[dict[str, Any]]) -> list[str] | None:
        """The status of each; None where one wants another version than there is."""
        places = [self.place(entry) for entry in entries]
        for entry, place in zip(entries, places, strict=True):
            if "ifMatch" in entry["request"] and entry["request"]["ifMatch"] != f'W/"{self.version(place)}"':
                return None
        links = {entry["fullUrl"]: place for entry, place in zip(entries, places, strict=True) if "fullUrl" in entry}
        return [self.store(entry, place, links) for entry, place in zip(entries, places, strict=True)]

    def place(self, entry: dict[str, Any]) -> str:
        kind, _, identity = entry["request"]["url"].partition("?")[0].partition("/")
        if identity:
            return f"{kind}/{identity}"
        number = entry["resource"]["identifier"][0]["value"]
        known = "7" if kind == "DiagnosticReport" else re.sub("[^A-Za-z0-9]", "-", number)[-64:]
        return f"{kind}/{known}"

    def version(self, place: str) -> int:
        return int(self.kept[place]["meta"]["versionId"]) if place in self.kept else 0

    def store(self, entry: dict[str, Any], place: str, links: dict[str, str]) -> str:
        if place in self.kept and "ifNoneExist" in entry["request"]:
            return "200 OK"
        status = "200 OK" if place in self.kept else "201 Created"
        text = json.dumps(entry["resource"])
        for url, reference in links.items():
            text = text.replace(f'"{url}"', f'"{reference}"')
        kept = json.loads(text)
        kept |= {"id": place.partition("/")[2], "meta": kept["meta"] | {"versionId": str(self.version(place) + 1)}}
        if kept["resourceType"] == "DiagnosticReport":
            self.change(kept)
        self.kept[place] = kept
        return status


def numbers_of(resource: dict[str, Any]) -> set[str]:
    return {f"{number.get('system', '')}|{number['value']}" for number in resource.get("identifier", ())}
