"""`changes.ChangeFeed` on a FHIR server: search by `_lastUpdated` (R4 §3.1.1.4.3) and `Type/_history` (R4 §3.1.0.9), page by page.

What real servers do (HAPI JPA 8.8.0, sekmet-fhir 0.1.1; tests/acceptance/test_changes_on_peers.py):
- HAPI's search is a snapshot of ids: what changes between two pages keeps its place and shows its new `lastUpdated`; what is deleted
  drops out. sekmet's next link is an offset: what changes moves to the end, and the others move up by one, past us.
- Both give `Type/_history` newest first, every version, `_since` inclusive. A deletion has no resource: HAPI tells its version in
  `request.url` and `response.etag`, and no time; sekmet has `response.lastModified`. It stays there when the resource comes back.
- sekmet's next link of a history forgets `_since`: the pages go on to the very first version. We stop where they are older than asked.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

from fhir_bridge.adapters.fhir_answer import has_errors
from fhir_bridge.adapters.fhir_client import FhirClient, Page, Params
from fhir_bridge.changes import Change, ChangePage
from fhir_bridge.errors import Refused, Unavailable
from fhir_bridge.server_traits import ServerTraits
from fhir_bridge.study import Resource
from mappings.fhir_elements import local_reference
from mappings.fhir_observations import is_ours

_ETAG = re.compile(r'(?:W/)?"?([A-Za-z0-9\-.]{1,64})"?')
_MAX_PAGES = 20_000  # a million changes; beyond that the server never comes to an end
_LONGEST_VERSION = 64  # R4 §2.24.0.1, id


@dataclass(frozen=True, slots=True)
class FhirChanges:
    """The port on one server; what it can do is in its traits. Errors: see `FhirClient`.

    Whole resources are asked for, which costs HAPI less than parts of them; but of a type whose page was too large, from then on only
    `id` and `meta` (R4 §3.1.1.5.9).
    """

    client: FhirClient
    traits: ServerTraits
    _too_large: set[str] = field(default_factory=set, init=False, repr=False)  # paths

    @property
    def is_sorted(self) -> bool:
        return self.traits.sorts_by_change

    @property
    def tells_deletions(self) -> bool:
        return self.traits.history

    def server_time(self) -> datetime | None:
        for page in self.client.pages("ServiceRequest", (("_summary", "count"),)):
            return _server_time(page)
        return None

    def changed_since(self, kind: str, since: datetime) -> Iterator[ChangePage]:
        params = [("_lastUpdated", f"ge{_instant(since)}"), ("_count", str(self.traits.page_size))]
        if self.is_sorted:
            params.insert(1, ("_sort", "_lastUpdated"))
        for page in self._pages(kind, tuple(params)):
            yield _change_page(page, lambda entry: _changed(entry, kind))

    def deleted_since(self, kind: str, since: datetime) -> Iterator[ChangePage]:
        if not self.tells_deletions:
            return
        since -= timedelta(microseconds=since.microsecond % 1000)  # servers tell milliseconds
        params = (("_since", _instant(since)), ("_count", str(self.traits.page_size)))
        for page in self._pages(f"{kind}/_history", params):
            told = _change_page(page, lambda entry: _version(entry, kind))
            times = [change.changed for change in told.changes if change.changed]
            deleted = (c for c in told.changes if c.is_deleted and (c.changed is None or c.changed >= since))
            yield replace(told, changes=tuple(deleted))
            if times and max(times) < since:
                return  # newest first: from here on all is older

    def _pages(self, path: str, params: Params) -> Iterator[Page]:
        slim = (("_elements", "id,meta"),) if path in self._too_large else ()
        try:
            yield from self.client.pages(path, (*params, *slim), limit=_MAX_PAGES)
        except Refused as refusal:
            if refusal.code != "fhir.too-large" or slim:
                raise
            self._too_large.add(path)
            raise Unavailable("fhir.page-too-large", refusal.where, "it is asked again without the content") from None


def _change_page(page: Page, change_of: Callable[[Any], Change | None]) -> ChangePage:
    """An entry that cannot be used is counted, and costs the others nothing."""
    changes, unusable = [], 0
    entries = page.bundle.get("entry", ())
    for entry in entries if isinstance(entries, list | tuple) else ():
        try:
            change = change_of(entry)
        except (AttributeError, KeyError, TypeError, ValueError):
            unusable += 1
        else:
            changes += [change] if change else []
    times = _times(page)
    return ChangePage(tuple(changes), min(times, default=None), unusable, max(times, default=None))


def _changed(entry: Resource, kind: str) -> Change | None:
    """Of a search; None for what was not searched for: included resources, an OperationOutcome."""
    resource = entry["resource"]
    if has_errors(resource):  # without what could not be found, the rest is not all
        raise Unavailable("fhir.error-inside", f"GET {kind}", "the search Bundle says that it failed")
    if entry.get("search", {}).get("mode", "match") != "match":
        return None
    if resource["resourceType"] != kind:
        return None
    meta = resource.get("meta", {})
    written, identity = meta.get("lastUpdated", ""), local_reference(f"{kind}/{resource['id']}").partition("/")[2]
    version = _short(meta.get("versionId") or written)
    return Change(kind, _filled(identity), version, _time(written), is_ours=is_ours(resource))


def _version(entry: Resource, kind: str) -> Change | None:
    """Of a history (R4 §3.1.0.9): the deletions have no resource; the others only tell how far back we are."""
    if entry["request"]["method"] != "DELETE":
        return _changed(entry, kind)
    url = local_reference(entry["request"]["url"]) or local_reference(entry.get("fullUrl", ""))
    resource_type, _, identity = url.partition("/")
    if resource_type != kind:
        return None if resource_type else _unusable()
    response = entry.get("response", {})
    written = response.get("lastModified", "")
    etag = _ETAG.fullmatch(response.get("etag", ""))
    version = entry["request"]["url"].partition("/_history/")[2] or (etag[1] if etag else "") or written
    return Change(kind, identity, _short(version), _time(written), is_deleted=True)


def _filled(identity: str) -> str:
    return identity or _unusable()


def _short(version: object) -> str:
    return text if len(text := str(version)) <= _LONGEST_VERSION else _unusable()


def _unusable() -> NoReturn:
    raise ValueError("an entry that does not say what it is of")


def _server_time(page: Page) -> datetime | None:
    """The earlier one: a proxy in front has a clock of its own, and too late a time would skip changes."""
    return min(_times(page), default=None)


def _times(page: Page) -> list[datetime]:
    meta = page.bundle.get("meta")
    times = [_time(meta.get("lastUpdated", ""))] if isinstance(meta, dict) else []
    return [time for time in (*times, page.date) if time]


def _time(written: object) -> datetime | None:
    """A FHIR instant (R4 §2.24.0.1), which has a zone; None for anything else."""
    try:
        time = datetime.fromisoformat(written) if isinstance(written, str) else None
        return time.astimezone(UTC) if time and time.tzinfo else None
    except (ValueError, OverflowError):
        return None


def _instant(time: datetime) -> str:
    """With milliseconds: a value cut to seconds means the whole second. Cut, not rounded: rather too early."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
