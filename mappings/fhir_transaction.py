"""A FHIR R4 transaction, entry by entry (R4 §3.1.0.11): each resource once, found again by its identifiers, so that the same
message again changes nothing.

    ensured    POST with If-None-Exist   what a message may bring, but not change: the patient of an order
    replaced   PUT ?identifier=          what a message is the truth of: the patient of an ADT, the order of a change
    patched    PATCH ?identifier=        one element, where the message says no more: the status of an order

A PUT replaces the whole resource. Who knows what the server has gives it as `known`: then what the message leaves empty stays, what
it deletes goes, and the PUT is guarded by the version that was read.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from mappings.fhir_elements import Json, name_uuid, percent_encoded
from mappings.fhir_elements import full_url as elements_full_url
from mappings.hl7v2_groups import Located
from mappings.hl7v2_identity import identifier_element
from mappings.hl7v2_message import NULL
from mappings.order import Identifier
from mappings.trace import Trace

_ESCAPED = str.maketrans({"\\": "\\\\", "|": "\\|", ",": "\\,", "$": "\\$"})  # R4 §3.1.1.4.0.1
_CHOICES = ("deceased", "multipleBirth", "effective", "occurrence", "onset", "value")  # value[x]: at most one of each
_UNITED = ("identifier", "link")  # lists that a message adds to; every other element it replaces whole


class Draft:
    """A resource in the making. Every element is noted in the trace with the field that it came from."""

    __slots__ = ("_name", "_trace", "_unlinked", "assumed", "elements", "kind", "removed")

    def __init__(self, kind: str, trace: Trace) -> None:
        self.kind = kind
        self.elements: Json = {"resourceType": kind}
        self.assumed: Json = {}
        self.removed: set[str] = set()
        self._name = kind
        self._trace = trace
        self._unlinked: list[tuple[str, str]] = []

    def numbered(self, number: int) -> "Draft":
        """The same draft, named `Kind[number]` in the trace."""
        self._name = f"{self.kind}[{number}]"
        return self

    def take(self, element: str, segment: Located | None, position: int, value: Any, rule: str = "") -> None:
        """An element from a field: its value; nothing where it is empty; deleted where the sender wrote a null (HL7 v2.5.1 §2.5.3)."""
        if segment is None:
            return
        if value or value is False:
            self.elements[element] = value
        elif position in segment.filled and segment.segment.value(position) == NULL:
            self.removed.add(element)
            self.elements.pop(element, None)
            rule = "a null: deleted"
        elif not rule:
            return
        if self._trace.wanted:
            self._trace.note(f"{self._name}.{element}", segment.where(position) + (f": {rule}" if rule else ""))

    def put(self, element: str, value: Any, source: str = "") -> None:
        """An element that the mapping itself decides."""
        if not value and value is not False:
            return
        self.elements[element] = value
        if source and self._trace.wanted:
            self._trace.note(f"{self._name}.{element}", source)

    def assume(self, element: str, value: Any, source: str) -> None:
        """An element that the message does not say and R4 wants: it gives way to what the server has."""
        self.assumed[element] = value
        self._trace.note(f"{self._name}.{element}", source)

    def unlink(self, link: Json) -> None:
        """Takes a Patient.link away from what the server has."""
        self._unlinked.append((link["other"]["reference"], link["type"]))

    def resource(self) -> Json:
        """As if the server had none."""
        return {**self.elements, **self.assumed}

    def over(self, present: Json) -> Json:
        """Laid over what the server has."""
        kept = {name: value for name, value in present.items() if name not in self.removed and name != "text"}
        parts = [path.split(".") for path in self.removed if "." in path]
        for outer, inner in parts:
            kept[outer] = {name: value for name, value in kept.get(outer, {}).items() if name != inner}
        for choice in _CHOICES:
            if any(name.startswith(choice) for name in self.elements):
                kept = {name: value for name, value in kept.items() if not name.startswith(choice)}
        for name, value in self.elements.items():
            if name in _UNITED and name in kept:
                kept[name] = _united(kept[name], value)
            elif any(name == outer for outer, _ in parts):
                kept[name] = {**kept[name], **value}
            else:
                kept[name] = value
        if self._unlinked and "link" in kept:
            links = [
                link
                for link in kept.pop("link")
                if (link["other"].get("reference"), link["type"]) not in self._unlinked
            ]
            kept |= {"link": links} if links else {}
        return {**self.assumed, **kept}


def _united(present: Sequence[Json], stated: Sequence[Json]) -> list[Json]:
    """Those of the message, then what else the server has. One identifier is one system and value."""

    def key(item: Json) -> tuple[object, ...]:
        other = item.get("other", {})
        return (item.get("system"), item.get("value"), other.get("reference"), item["type"] if other else None)

    stated_keys = [key(item) for item in stated]
    return [*stated, *(item for item in present if key(item) not in stated_keys)]


class Transaction:
    """The entries, in the order in which they were added. `known` are the server's resources by their search, as `searches` names them."""

    def __init__(self, known: Mapping[str, Json] | None = None) -> None:
        self._entries: dict[str, Json] = {}
        self._known = known or {}
        self._targets: list[Json] = []

    def ensured(self, draft: Draft, identifiers: Sequence[Identifier]) -> str:
        """Created unless the server has it. The reference to it."""
        search = search_of(draft.kind, identifiers)
        if present := self._known.get(search):
            return self._target(f"{draft.kind}/{present['id']}")
        request = {"method": "POST", "url": draft.kind, "ifNoneExist": search.partition("?")[2]}
        return self._added(draft.kind, identifiers, draft.resource(), request)

    def replaced(self, draft: Draft, identifiers: Sequence[Identifier]) -> str:
        """Created, or replaced where the server has it. The reference to it."""
        search = search_of(draft.kind, identifiers)
        present = self._known.get(search)
        if present is None:
            return self._added(draft.kind, identifiers, draft.resource(), {"method": "PUT", "url": search})
        there = f"{draft.kind}/{present['id']}"
        request = {"method": "PUT", "url": there}
        if version := present.get("meta", {}).get("versionId"):
            request["ifMatch"] = f'W/"{version}"'
        self._added(draft.kind, identifiers, draft.over(present), request)
        return there

    def patched(self, draft: Draft, identifiers: Sequence[Identifier], element: str) -> Json:
        """One required element replaced (R4 §3.1.0.8, FHIRPath Patch); 404 where the server has no such resource."""
        if search_of(draft.kind, identifiers) in self._known:
            return {"reference": self.replaced(draft, identifiers)}
        operation = [
            {"name": "type", "valueCode": "replace"},
            {"name": "path", "valueString": f"{draft.kind}.{element}"},
            {"name": "value", "valueCode": draft.elements[element]},
        ]
        parameters = {"resourceType": "Parameters", "parameter": [{"name": "operation", "part": operation}]}
        search = search_of(draft.kind, identifiers)
        self._entries.setdefault(search, {"resource": parameters, "request": {"method": "PATCH", "url": search}})
        reference = {"type": draft.kind, "identifier": identifier_element(identifiers[0])}
        self._targets.append(reference)
        return reference

    def put_by_id(self, resource: Json) -> None:
        """A resource that nothing but its id finds again."""
        url = f"{resource['resourceType']}/{resource['id']}"
        request = {"method": "PUT", "url": url}
        self._entries[url] = {
            "fullUrl": f"urn:uuid:{name_uuid(url)}",
            "resource": resource,
            "request": request,
        }

    def present(self, kind: str, identifiers: Sequence[Identifier]) -> str:
        """`Type/id` where the server is known to have it; else empty."""
        found = self._known.get(search_of(kind, identifiers))
        return f"{kind}/{found['id']}" if found else ""

    def has(self, kind: str, identifiers: Sequence[Identifier]) -> bool:
        """Whether this resource is in the transaction already."""
        return full_url(kind, identifiers[0]) in self._entries

    def amend(self, kind: str, identifier: Identifier, lists: Mapping[str, Json], **elements: Any) -> bool:
        """Sets elements of a resource that is in the transaction, and adds to its lists; False where it is not."""
        entry = self._entries.get(full_url(kind, identifier))
        if entry is None:
            return False
        entry["resource"] |= elements
        for name, item in lists.items():
            items = entry["resource"].setdefault(name, [])
            if item not in items:
                items.append(item)
        return True

    def targets(self) -> list[Json]:
        """References to all that is written, for Provenance."""
        return list(self._targets)

    def bundle(self) -> Json:
        """The Bundle."""
        return {"resourceType": "Bundle", "type": "transaction", "entry": list(self._entries.values())}

    def _added(self, kind: str, identifiers: Sequence[Identifier], resource: Json, request: Json) -> str:
        """One identity, one entry: servers merge or refuse two (R4 §3.1.0.11.2). The first is kept."""
        url = full_url(kind, identifiers[0])
        if url not in self._entries:
            self._entries[url] = {"fullUrl": url, "resource": resource, "request": request}
            self._target(url)
        return url

    def _target(self, reference: str) -> str:
        if {"reference": reference} not in self._targets:
            self._targets.append({"reference": reference})
        return reference


def full_url(kind: str, identifier: Identifier) -> str:
    """The entry's `urn:uuid:`: the same resource always has the same one."""
    return elements_full_url(kind, identifier.system, identifier.value)


def search_of(kind: str, identifiers: Iterable[Identifier]) -> str:
    """`Kind?identifier=a|1,b|2`: the resource that has one of these (R4 §3.1.1.4.17: a comma is OR)."""
    tokens = [_encoded_system(one.system) + percent_encoded(one.value.translate(_ESCAPED)) for one in identifiers]
    return f"{kind}?identifier={','.join(tokens)}"


@lru_cache(maxsize=1024)
def _encoded_system(system: str) -> str:
    return percent_encoded(f"{system.translate(_ESCAPED)}|")


def searches(bundle: Json) -> tuple[str, ...]:
    """What to ask a server for, to give the answers as `known`: `Kind?identifier=...` of every conditional entry."""
    found = []
    for entry in bundle["entry"]:
        request = entry["request"]
        if "ifNoneExist" in request:
            found.append(f"{request['url']}?{request['ifNoneExist']}")
        elif "?" in request["url"]:
            found.append(request["url"])
    return tuple(found)
