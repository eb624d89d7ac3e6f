"""What a scripted FHIR server does when it is written to: create, update, delete, with their conditions, and transactions (R4 §3.1.0)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from tests.support.fhir_search import TYPES, matches
from tests.support.fhir_shelf import Shelf
from tests.support.scripted_http import Asked

if TYPE_CHECKING:
    from tests.support.scripted_fhir import Traits

Resource = dict[str, Any]
Params = Sequence[tuple[str, str]]


class Outcome(Exception):
    """An OperationOutcome instead of what was asked for."""

    def __init__(self, status: int, code: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(code)
        self.status, self.code, self.headers = status, code, headers or {}


@dataclass(frozen=True, slots=True)
class Answered:
    """`resource` None: an empty body."""

    status: int
    resource: Resource | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Wish:
    """One write, alone or in a transaction. `condition` and `unless_there` are searches."""

    method: str
    kind: str
    id: str
    resource: Resource | None
    condition: Params = ()
    unless_there: str = ""
    if_match: str = ""


class Writes:
    """Raises Outcome."""

    def __init__(self, shelf: Shelf, traits: "Traits") -> None:
        self._shelf, self._traits = shelf, traits

    def handle(self, asked: Asked, path: list[str], params: Params) -> Answered:
        """A write as it came by HTTP."""
        if path == [""]:
            return Answered(200, self._transaction(_parsed(asked.body)))
        wish = Wish(
            asked.method,
            path[0],
            path[1] if len(path) > 1 else "",
            _parsed(asked.body) if asked.body else None,
            params,
            asked.headers.get("if-none-exist", ""),
            asked.headers.get("if-match", ""),
        )
        with self._shelf.at_once():
            status, kept = self._do(wish, self._place(wish))
        return self._worded(status, kept, asked.headers.get("prefer", ""))

    def _worded(self, status: int, kept: Resource | None, prefer: str) -> Answered:
        if kept is None:
            return Answered(204)
        location = f"{kept['resourceType']}/{kept['id']}/_history/{kept['meta']['versionId']}"
        headers = {"Location": location, "ETag": f'W/"{kept["meta"]["versionId"]}"'}
        minimal = {"preferred": "return=minimal" in prefer, "resource": False, "location": True}[self._traits.answers]
        return Answered(status, None if minimal else kept, headers)

    def _transaction(self, bundle: Resource) -> Resource:
        """All or nothing; links between entries by their `fullUrl` (R4 §3.1.0.11)."""
        if not self._traits.transactions or bundle.get("type") != "transaction":
            raise Outcome(405, "not-supported")
        with self._shelf.at_once():
            wishes = [_wish_of(entry) for entry in bundle["entry"]]
            places = [self._place(wish) for wish in wishes]
            text = json.dumps([wish.resource for wish in wishes])
            for entry, wish, place in zip(bundle["entry"], wishes, places, strict=True):
                if url := entry.get("fullUrl"):
                    text = text.replace(f'"{url}"', f'"{wish.kind}/{place}"')
            answers = []
            for wish, place, resource in zip(wishes, places, json.loads(text), strict=True):
                linked = Wish(
                    wish.method, wish.kind, wish.id, resource, wish.condition, wish.unless_there, wish.if_match
                )
                answers.append(_response(*self._do(linked, place)))
        return {"resourceType": "Bundle", "type": "transaction-response", "entry": answers}

    def _place(self, wish: Wish) -> str:
        """The id that is meant: that of the URL, of what the condition finds, or a new one."""
        if wish.kind not in TYPES or (wish.kind == "Subscription" and not self._traits.notices):
            raise Outcome(404, "not-supported")
        if wish.id:
            return wish.id
        query = wish.condition
        if wish.method == "POST" and self._traits.conditional_create and wish.unless_there:
            query = parse_qsl(wish.unless_there)
        found = [one["id"] for one in self._shelf.all_of(wish.kind) if matches(wish.kind, query)(one)] if query else []
        if len(found) > 1:
            raise Outcome(412, "multiple-matches")
        return str(found[0]) if found else self._shelf.new_id()

    def _do(self, wish: Wish, place: str) -> tuple[int, Resource | None]:
        reference = f"{wish.kind}/{place}"
        before = self._shelf.current(reference)
        if self._traits.written and wish.kind not in self._traits.written:
            raise Outcome(405, "not-supported")
        if wish.if_match and (before is None or wish.if_match.strip('W/"') != before["meta"]["versionId"]):
            raise Outcome(412, "conflict")
        if wish.method == "DELETE":
            self._shelf.delete(reference)
            return 204, None
        if wish.method == "POST" and before is not None:
            return 200, before
        if wish.method == "PUT" and wish.id and before is None and not self._traits.client_ids:
            raise Outcome(405, "not-supported")
        self._require(wish)
        return (200 if before else 201), self._shelf.put(self._completed(wish, place, before)).resource

    def _completed(self, wish: Wish, place: str, before: Resource | None) -> Resource:
        """Tags and labels stay when they are left out (as HAPI has it); a Subscription is active at once."""
        assert wish.resource is not None
        resource = {**wish.resource, "id": place}
        if before and "meta" not in resource:
            resource["meta"] = {name: before["meta"][name] for name in ("tag", "security") if name in before["meta"]}
        if wish.kind == "Subscription" and resource.get("status") == "requested":
            resource["status"] = "active"
        return resource

    def _require(self, wish: Wish) -> None:
        if wish.resource is None or wish.resource.get("resourceType") != wish.kind:
            raise Outcome(400, "invalid")
        for element in self._traits.required:
            kind, _, name = element.partition(".")
            if kind == wish.kind and not wish.resource.get(name):
                raise Outcome(422, "required")


def _wish_of(entry: Resource) -> Wish:
    request = entry["request"]
    path, _, query = request["url"].partition("?")
    kind, _, identity = path.partition("/")
    return Wish(
        request["method"],
        kind,
        identity,
        entry.get("resource"),
        parse_qsl(query),
        request.get("ifNoneExist", ""),
        request.get("ifMatch", ""),
    )


def _response(status: int, kept: Resource | None) -> Resource:
    if kept is None:
        return {"response": {"status": "204 No Content"}}
    version = kept["meta"]["versionId"]
    words = {200: "200 OK", 201: "201 Created"}[status]
    location = f"{kept['resourceType']}/{kept['id']}/_history/{version}"
    return {"response": {"status": words, "location": location, "etag": f'W/"{version}"'}}


def _parsed(body: bytes) -> Resource:
    try:
        parsed = json.loads(body)
    except ValueError:
        raise Outcome(400, "structure") from None
    if not isinstance(parsed, dict):
        raise Outcome(400, "structure")
    return parsed
