"""How a scripted FHIR server tells of what changed: REST hooks as HAPI sends them, or topic notifications that bear ids only, or nothing.

The shapes: facts of a real HAPI (PUT endpoint/Type/id with If-Match; nothing of what does not match), and the Subscriptions R4
Backport guide (`POST endpoint`, a Bundle of type history whose first entry is a Parameters of status; `handshake` before anything else).
"""

import json
import threading
from queue import SimpleQueue
from typing import Any
from urllib.parse import parse_qsl

import requests

from tests.support.fhir_search import matches
from tests.support.fhir_shelf import Version, instant

Resource = dict[str, Any]

ATTEMPTS, PAUSE_SECONDS, TIMEOUT_SECONDS = 4, 0.3, 10.0
DELETES = "http://hapifhir.io/fhir/StructureDefinition/subscription-send-delete-messages"
_STATUS_PROFILE = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-subscription-status-r4"


class Notices:
    """`content`: `resource`, `id-only` or `empty`. `is_off` loses what happens meanwhile. One thread, in the order of the changes."""

    def __init__(self, content: str) -> None:
        self.is_off = False
        self.sent = 0
        self._content = content
        self._subscriptions: dict[str, Resource] = {}
        self._numbers: dict[str, int] = {}
        self._waiting: SimpleQueue[tuple[Resource, Version | None] | None] = SimpleQueue()
        self._session = requests.Session()
        self._session.trust_env = False
        self._ended = threading.Event()
        threading.Thread(target=self._work, name="fhir-notices", daemon=True).start()

    def hear(self, version: Version) -> None:
        """A version was kept."""
        kind = version.reference.partition("/")[0]
        if kind == "Subscription":
            self._subscribe(version)
        elif not self.is_off:
            for subscription in self._subscriptions.values():
                if subscription["status"] == "active" and self._concerns(subscription, version):
                    self._waiting.put((subscription, version))

    def close(self) -> None:
        self._ended.set()
        self._waiting.put(None)

    def _subscribe(self, version: Version) -> None:
        if version.resource is None or version.resource["status"] == "off":
            self._subscriptions.pop(version.reference, None)
            return
        known = version.reference in self._subscriptions
        self._subscriptions[version.reference] = version.resource
        if not known and self._content != "resource":
            self._waiting.put((version.resource, None))  # the handshake

    def _concerns(self, subscription: Resource, version: Version) -> bool:
        kind, _, query = subscription["criteria"].partition("?")
        if kind != version.reference.partition("/")[0]:
            return False
        if version.resource is None:
            return any(one.get("url") == DELETES for one in subscription["channel"].get("extension", ()))
        return matches(kind, parse_qsl(query))(version.resource)

    def _work(self) -> None:
        while (waiting := self._waiting.get()) is not None:
            method, path, headers, body = self._request(*waiting)
            self._send(waiting[0]["channel"], method, path, headers, body)

    def _request(self, subscription: Resource, version: Version | None) -> tuple[str, str, dict[str, str], bytes]:
        if self._content != "resource":
            return "POST", "", {}, json.dumps(self._bundle(subscription, version)).encode()
        assert version is not None
        if version.resource is None:
            return "DELETE", f"/{version.reference}", {}, b""
        headers = {"If-Match": f'W/"{version.number}"'}
        return "PUT", f"/{version.reference}", headers, json.dumps(version.resource).encode()

    def _bundle(self, subscription: Resource, version: Version | None) -> Resource:
        own = f"Subscription/{subscription['id']}"
        number = self._numbers[own] = self._numbers.get(own, 0) + (version is not None)
        parameters = [
            {"name": "subscription", "valueReference": {"reference": own}},
            {"name": "status", "valueCode": "active"},
            {"name": "type", "valueCode": "event-notification" if version else "handshake"},
            {"name": "events-since-subscription-start", "valueString": str(number)},
        ]
        entries: list[Resource] = []
        if version is not None:
            event = [{"name": "event-number", "valueString": str(number)}]
            event += [{"name": "timestamp", "valueInstant": instant(version.changed)}]
            if self._content == "id-only":
                event += [{"name": "focus", "valueReference": {"reference": version.reference}}]
                entries = [{"fullUrl": version.reference, "request": {"method": "PUT", "url": version.reference}}]
            parameters.append({"name": "notification-event", "part": event})
        status = {"resourceType": "Parameters", "meta": {"profile": [_STATUS_PROFILE]}, "parameter": parameters}
        first = {"resource": status, "request": {"method": "GET", "url": f"{own}/$status"}}
        return {"resourceType": "Bundle", "type": "history", "entry": [first, *entries]}

    def _send(self, channel: Resource, method: str, path: str, headers: dict[str, str], body: bytes) -> None:
        """Until it is answered 204 without a body; a few times only, then it is lost for ever."""
        given = dict(line.split(": ", 1) for line in channel.get("header", ()))
        headers = {"Content-Type": "application/fhir+json; charset=UTF-8", **headers, **given}
        for _ in range(ATTEMPTS):
            try:
                answer = self._session.request(
                    method, channel["endpoint"].rstrip("/") + path, data=body, headers=headers, timeout=TIMEOUT_SECONDS
                )
            except requests.RequestException:
                answer = None
            if answer is not None and answer.status_code == 204 and not answer.content:
                self.sent += 1
                return
            if self._ended.wait(PAUSE_SECONDS):
                return
