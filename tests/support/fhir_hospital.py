"""The hospital's side of a FHIR server: what it puts there, takes away and finds, by a client of its own. And servers that come back after they died."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urljoin

import requests

from fhir_bridge.practice.fhir_peer import FhirPeer
from tests.support.hapi import started_peer
from tests.support.serve_process import unlistened_port

Resource = dict[str, Any]

_TIMEOUT_SECONDS = 60


class FhirHospital(Protocol):
    """A server, and what the hospital does there. `stop` ends it, `start` brings it back with all that it had."""

    @property
    def base_url(self) -> str: ...

    def put(self, *resources: Resource) -> None: ...

    def delete(self, reference: str) -> None: ...

    def read(self, reference: str) -> Resource: ...

    def all_of(self, kind: str) -> list[Resource]: ...

    def stop(self) -> None: ...

    def start(self) -> None: ...


class RealHospital:
    """HAPI or sekmet on a port of its own. Raises requests.RequestException where it fails, or is down."""

    def __init__(self, kind: str, work: Path, database: Path | None = None) -> None:
        self._kind, self._work, self._database = kind, work, database
        self._port = unlistened_port()
        self._session = requests.Session()
        self._session.trust_env = False
        # HAPI answers an equal search from up to 60 s ago otherwise
        self._session.headers.update({"Accept": "application/fhir+json", "Cache-Control": "no-cache"})
        self._peer = self._started()

    @property
    def base_url(self) -> str:
        return self._peer.base_url

    def put(self, *resources: Resource) -> None:
        """In one transaction."""
        requests_ = [{"method": "PUT", "url": f"{one['resourceType']}/{one['id']}"} for one in resources]
        entries = [{"resource": one, "request": wish} for one, wish in zip(resources, requests_, strict=True)]
        bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
        self._call("POST", self.base_url, bundle)

    def delete(self, reference: str) -> None:
        self._call("DELETE", f"{self.base_url}/{reference}")

    def read(self, reference: str) -> Resource:
        found: Resource = self._call("GET", f"{self.base_url}/{reference}").json()
        return found

    def all_of(self, kind: str) -> list[Resource]:
        """Page after page."""
        found: list[Resource] = []
        url = f"{self.base_url}/{kind}?_count=50"
        while url:
            page = self._call("GET", url).json()
            found += [entry["resource"] for entry in page.get("entry", ())]
            following = [link["url"] for link in page.get("link", ()) if link["relation"] == "next"]
            url = urljoin(url, following[0]) if following else ""
        return [one for one in found if one["resourceType"] == kind]

    def stop(self) -> None:
        """SIGKILL."""
        self._peer.kill()

    def start(self) -> None:
        self._peer = self._started()

    def close(self) -> None:
        self._peer.stop()
        self._session.close()

    def _started(self) -> FhirPeer:
        return started_peer(self._kind, self._work, port=self._port, database=self._database)

    def _call(self, method: str, url: str, body: Resource | None = None) -> requests.Response:
        answer = self._session.request(method, url, json=body, timeout=_TIMEOUT_SECONDS)
        assert answer.status_code < 400, f"{self._kind} answers {method} with {answer.status_code}"
        return answer


@contextmanager
def real_hospital(kind: str, work: Path, database: Path | None = None) -> Iterator[RealHospital]:
    """The server until the end; HAPI keeps what it has in `database`, and only there."""
    hospital = RealHospital(kind, work, database)
    try:
        yield hospital
    finally:
        hospital.close()


def value_in(resource: Resource, system: str) -> str:
    """The first identifier of this system; empty where there is none."""
    return next((one["value"] for one in resource.get("identifier", ()) if one.get("system") == system), "")


def relative(reference: str) -> str:
    """`Type/id`, whether the server made it absolute, versioned, or neither."""
    return "/".join(reference.partition("/_history/")[0].split("/")[-2:])
