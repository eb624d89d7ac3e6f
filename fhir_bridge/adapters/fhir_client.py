"""The verbs of a FHIR R4 server that we use: read, search page by page, transaction, conditional create, update, delete (R4 §3.1.0, §3.1.1)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from threading import Event
from types import TracebackType
from typing import Self
from urllib.parse import SplitResult, unquote, urljoin, urlsplit, urlunsplit

from fhir_bridge.adapters.fhir_answer import has_errors
from fhir_bridge.adapters.fhir_capability import Capabilities, CapabilityCache, capabilities_of
from fhir_bridge.adapters.fhir_credentials import NOBODY, Credentials
from fhir_bridge.adapters.fhir_session import Session, Tls
from fhir_bridge.adapters.fhir_transport import Answer, Call, Limits, Timing, Transport
from fhir_bridge.errors import Refused, Unavailable, Uncertain
from fhir_bridge.setting_types import base_url as checked_base_url
from fhir_bridge.study import Resource
from mappings.fhir_elements import local_reference

MAX_PAGES = 2000  # of one search: a server that never comes to an end must not keep us for ever
_NO_CACHE = {"Cache-Control": "no-cache"}  # HAPI otherwise repeats an equal search, an empty one too, for a minute
_TOKEN_SEPARATORS = str.maketrans({character: f"\\{character}" for character in "\\$,|"})

Params = tuple[tuple[str, str], ...]


def token(value: str, system: str = "") -> str:
    """A token search value: `system|value`, or the value in any system, with FHIR's escapes (R4 §3.1.1.4.14)."""
    escaped = value.translate(_TOKEN_SEPARATORS)
    return f"{system.translate(_TOKEN_SEPARATORS)}|{escaped}" if system else escaped


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a search or of a history. `date`: its Date header, by the server's clock."""

    bundle: Resource = field(repr=False)
    date: datetime | None = None


class FhirClient:
    """One FHIR server. Threads may share it; `page_size` is the `_count` that we ask for at most.

    Errors: see `Transport`; besides, Unavailable `fhir.foreign-page`, `fhir.page-expired`, `fhir.pages-endless`, and Refused
    `fhir.certificate-unusable` where the files of `tls` are so. ValueError where `base_url` is none.
    """

    def __init__(
        self,
        base_url: str,
        credentials: Credentials = NOBODY,
        *,
        tls: Tls | None = None,
        limits: Limits | None = None,
        timing: Timing | None = None,
        page_size: int = 50,
    ) -> None:
        self.base_url = checked_base_url(base_url).rstrip("/")
        timing = timing or Timing()
        self._transport = Transport(Session(tls, timing.monotonic), credentials, limits or Limits(), timing)
        self._page_size = page_size
        self._capabilities = CapabilityCache(self._statement, timing.monotonic)

    def close(self) -> None:
        """Close the idle connections."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def read(self, reference: str) -> Resource:
        """The current version of `Type/id`; an absolute or versioned reference is cut down to that and asked of this server."""
        path = local_reference(reference)
        if not path:
            raise Refused("fhir.not-found", "reference", "not a literal reference to a resource")
        answer = self._call("GET", path, headers=_NO_CACHE)
        kind, _, number = path.partition("/")
        resource = _present(answer, f"GET {kind}")
        if (resource["resourceType"], resource.get("id")) != (kind, number):
            raise _not_fhir(f"GET {kind}", "the server answered with another resource")
        return resource

    def search(
        self, resource_type: str, params: Params, *, limit: int, stop: Event | None = None
    ) -> tuple[Resource, ...]:
        """The matches, at most `limit`, without repetitions; every page but none of its included or outcome entries. `stop`: see `pages`."""
        found: dict[str, Resource] = {}
        params = (*params, ("_count", str(min(self._page_size, limit))))
        for page in self.pages(resource_type, params, limit=MAX_PAGES, stop=stop):
            for resource in _matches(page.bundle, resource_type):
                found[resource["id"]] = resource
                if len(found) == limit:
                    return tuple(found.values())
        return tuple(found.values())

    def transaction(self, bundle: Resource) -> Resource:
        """Post a transaction Bundle; the server's transaction-response. Uncertain where it may have been done."""
        answer = self._call("POST", "", body=bundle).resource
        if answer is None or answer["resourceType"] != "Bundle" or answer.get("type") != "transaction-response":
            raise Uncertain(
                "fhir.not-fhir", "POST Bundle", "the answer is no transaction-response: it may have been done"
            )
        return answer

    def create_unless(self, resource: Resource, condition: str) -> Resource:
        """Conditional create (R4 §3.1.0.8.1): the new resource, or the one that `condition`, a search, finds already."""
        kind = resource["resourceType"]
        headers = {"If-None-Exist": condition, "Prefer": "return=representation"}
        return self._written(self._call("POST", kind, body=resource, headers=headers), kind, "")

    def update(self, reference: str, resource: Resource, *, if_match: str = "") -> Resource:
        """PUT by id; the resource as kept. `if_match` is the version that it may change (`W/"2"`), else Conflict."""
        guard = {"If-Match": if_match} if if_match else {}
        headers = {"Prefer": "return=representation", **guard}
        answer = self._call("PUT", reference, body=resource, headers=headers)
        return self._written(answer, resource["resourceType"], reference)

    def delete(self, reference: str) -> None:
        """DELETE by id."""
        self._call("DELETE", reference)

    def search_parameters(self) -> Mapping[str, frozenset[str]]:
        """Resource type -> search parameters, as the CapabilityStatement says; asked once an hour (`fhir_capability`)."""
        return self.capabilities().search_parameters

    def capabilities(self) -> Capabilities:
        """The CapabilityStatement, asked once an hour; what R4 defines where the server does not say."""
        return self._capabilities.current()

    def ping(self) -> None:
        """Asks for `/metadata` now, once, whatever it answered before. Raises as the others do."""
        call = Call("GET", f"{self.base_url}/metadata", "GET metadata", max_attempts=1, past_circuit=True)
        capabilities_of(_present(self._transport.exchange(call), "GET metadata"))

    def _statement(self) -> Resource:
        return _present(self._call("GET", "metadata", headers=_NO_CACHE), "GET metadata")

    def _written(self, answer: Answer, kind: str, reference: str) -> Resource:
        """What the server keeps. Of one that does not honour `Prefer`, as it need not, it is read."""
        kept = answer.resource
        if kept is None or kept["resourceType"] == "OperationOutcome":
            kept = self._read_back(kind, reference or local_reference(answer.location))
        if kept is None or kept["resourceType"] != kind or not _is_named(kept, reference):
            raise Uncertain(
                "fhir.not-fhir", f"write {kind}", "the answer is not what was written: it may have been done"
            )
        return kept

    def _read_back(self, kind: str, reference: str) -> Resource | None:
        try:
            return self.read(reference) if reference else None
        except Refused as refusal:
            words = "what was written cannot be read: it may have been done"
            raise Uncertain(refusal.code, f"write {kind}", words) from None

    def _call(
        self,
        method: str,
        path: str,
        *,
        params: Params = (),
        body: Resource | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        where = f"{method} {path.partition('/')[0] or 'Bundle'}"
        url = f"{self.base_url}/{path}" if path else self.base_url
        return self._transport.exchange(Call(method, url, where, params, body, headers or {}))

    def pages(self, path: str, params: Params, *, limit: int = MAX_PAGES, stop: Event | None = None) -> Iterator[Page]:
        """A search of `Type`, or `Type/_history`, page by page to the end (at most `limit` pages); none of them is kept.

        Unavailable `fhir.unavailable` once `stop` is set: nobody waits for the rest.
        """
        where = f"GET {path.partition('/')[0]}"
        answer = self._call("GET", path, params=params, headers=_NO_CACHE)
        seen: set[str] = set()
        while True:
            page = Page(_bundle(answer, where), answer.date)
            yield page
            link = _next_link(page.bundle)
            if not link:
                return
            url = self._own(link, where)
            if url in seen:
                raise _not_fhir(where, "the pages of the search go round in a circle")
            seen.add(url)
            if len(seen) == limit:
                raise Unavailable("fhir.pages-endless", where, f"the search did not end within {limit} pages")
            if stop is not None and stop.is_set():
                raise Unavailable("fhir.unavailable", where, "nobody waits for the rest of the search")
            answer = self._page(url, where)

    def _page(self, url: str, where: str) -> Answer:
        try:
            return self._transport.exchange(Call("GET", url, where, headers=_NO_CACHE))
        except Refused as refusal:
            if refusal.code != "fhir.not-found":
                raise
            raise Unavailable("fhir.page-expired", where, "the server forgot the search between two pages") from None

    def _own(self, link: str, where: str) -> str:
        """The next page under the configured base, credentials go nowhere else. Behind a proxy only scheme and port may differ."""
        base = urlsplit(self.base_url)
        try:
            target = urlsplit(urljoin(f"{self.base_url}/", link))
        except ValueError:
            raise _not_fhir(where, "the link to the next page is no URL") from None
        if not _is_under(base, target):
            raise Unavailable(
                "fhir.foreign-page", where, "the next page is on another server; set fhir.base_url to its own name"
            )
        return urlunsplit((base.scheme, base.netloc, target.path.rstrip("/"), target.query, ""))

    def is_own(self, reference: str) -> bool:
        """Whether it is not absolute, or to this server: `Patient/1` elsewhere is not ours of the same id."""
        try:
            target = urlsplit(reference)
        except ValueError:
            return False
        return target.scheme not in ("http", "https") or _is_under(urlsplit(self.base_url), target)


def _is_under(base: SplitResult, target: SplitResult) -> bool:
    path = target.path.rstrip("/")
    inside = path == base.path or path.startswith(f"{base.path}/")
    return target.hostname == base.hostname and inside and ".." not in unquote(path).split("/")


def _is_named(resource: Resource, reference: str) -> bool:
    """It has this reference, or any where there is none."""
    name = resource.get("id")
    return reference in (f"{resource['resourceType']}/{name}", "") and bool(name)


def _not_fhir(where: str, explanation: str) -> Unavailable:
    return Unavailable("fhir.not-fhir", where, explanation)


def _present(answer: Answer, where: str) -> Resource:
    if answer.resource is None:
        raise _not_fhir(where, "the answer has no body")
    return answer.resource


def _bundle(answer: Answer, where: str) -> Resource:
    bundle = _present(answer, where)
    if bundle["resourceType"] != "Bundle":
        raise _not_fhir(where, "the answer to a search is not a Bundle")
    return bundle


def _matches(page: Resource, resource_type: str) -> list[Resource]:
    """Entries without a search mode are matches: it is optional (R4 §3.1.1.5). An error inside makes the whole answer none."""
    found = []
    try:
        for entry in page.get("entry", ()):
            resource, mode = entry.get("resource"), entry.get("search", {}).get("mode", "")
            if not resource:
                continue
            if has_errors(resource):
                raise Unavailable("fhir.error-inside", f"GET {resource_type}", "the search Bundle says that it failed")
            if resource["resourceType"] == resource_type and mode in ("match", ""):
                found.append(_with_id(resource))
            elif mode == "match":
                raise _not_fhir(f"GET {resource_type}", "a match of the search is of another type")
    except (AttributeError, KeyError, TypeError):
        raise _not_fhir(f"GET {resource_type}", "the entries of the search Bundle are malformed") from None
    return found


def _with_id(resource: Resource) -> Resource:
    if not resource["id"] or not isinstance(resource["id"], str):
        raise TypeError("id")
    return resource


def _next_link(page: Resource) -> str:
    try:
        return next((str(link["url"]) for link in page.get("link", ()) if link["relation"] == "next"), "")
    except (KeyError, TypeError):
        raise _not_fhir("GET Bundle", "the links of the search Bundle are malformed") from None
