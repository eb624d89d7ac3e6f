"""The door of FHIR: REST-hook notifications of a Subscription (R4 §2.46 channel `rest-hook`).

The contract, made for what real servers do: any answer but `204` without a body may be sent again twenty times, and a 4xx for one
event delays all others. So an event that we cannot use is kept as quarantined and answered 204; only a wrong token (401), a body
over the limit (413) and a store that cannot commit (503) are said. The body is a hint and never believed: it only names which
resource to read again from the server.
"""

import hmac
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Request, Response, request
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge

from fhir_bridge.errors import Unavailable
from fhir_bridge.ports import Notification

Receive = Callable[[Notification, bytes], None]  # durable when it returns; raises Unavailable
Count = Callable[[str], None]

_TYPE = re.compile(r"[A-Z][A-Za-z]{0,63}")
_ID = re.compile(r"[A-Za-z0-9.\-]{1,64}")  # R4 §2.24 `id`
_VERSION = re.compile(r'(?:W/)?"?([A-Za-z0-9.\-]{1,64})"?')  # HAPI accepts and sends W/"2", others "2" or 2


def hooks(receive: Receive, token: str, max_body_bytes: int, count: Count = lambda outcome: None) -> Blueprint:
    """`POST|PUT|DELETE /hooks/fhir/<subscription>[/<Type>/<id>]`. `count` hears how each call ended.

    Raises ValueError for an empty token: there is no hook without one.
    """
    if not token:
        raise ValueError("a hook needs a bearer token")
    blueprint = Blueprint("hooks", __name__, url_prefix="/hooks/fhir")

    def hook(subscription: str, resource_type: str = "", resource_id: str = "") -> Response:
        if not _bears(token, request):
            count("unauthorized")
            return _empty(401, {"WWW-Authenticate": "Bearer"})
        body = _body(request, max_body_bytes)
        notification = notification_of(
            subscription, request.method, (resource_type, resource_id), body, request.headers.get("If-Match", "")
        )
        receive(notification, body)
        count("quarantined" if notification.status == "quarantined" else "received")
        return _empty(204)

    for rule in ("/<subscription>", "/<subscription>/<resource_type>/<resource_id>"):
        blueprint.add_url_rule(rule, view_func=hook, methods=["POST", "PUT", "DELETE"], strict_slashes=False)

    @blueprint.errorhandler(RequestEntityTooLarge)
    def too_large(_error: RequestEntityTooLarge) -> Response:
        count("too-large")
        return _empty(413)

    @blueprint.errorhandler(Unavailable)
    def unavailable(_error: Unavailable) -> Response:
        count("unavailable")
        return _empty(503)

    return blueprint


@dataclass(frozen=True, slots=True)
class _Hint:
    """What a body says it is about. `several`: a Bundle, or a body without a type of its own."""

    resource_type: str = ""
    resource_id: str = ""
    version_id: str = ""
    several: bool = False


def notification_of(subscription: str, method: str, path: tuple[str, str], body: bytes, if_match: str) -> Notification:
    """What a call tells us to look at: one resource, or everything (an empty type: an empty POST, a Bundle of events)."""
    hint = _hint(body)
    resource_type, resource_id = path
    reason = ""
    if resource_type:
        if not (_TYPE.fullmatch(resource_type) and _ID.fullmatch(resource_id)):
            resource_type = resource_id = ""  # nothing of a stranger's path goes into our store's columns
            reason = "hook.path-unusable"
        elif hint and not hint.several and (hint.resource_type, hint.resource_id) != path:
            reason = "hook.body-mismatch"
    elif method == "DELETE" or (body.strip() and hint is None):
        reason = "hook.nothing-named"
    elif hint and not hint.several:
        resource_type, resource_id = hint.resource_type, hint.resource_id
    version = _VERSION.fullmatch(if_match) if resource_type else None
    return Notification(
        id=0,
        subscription=subscription[:64],
        method=method,
        resource_type=resource_type,
        resource_id=resource_id,
        version_id=version[1] if version else hint.version_id if hint and resource_type else "",
        status="quarantined" if reason else "ready",
        reason=reason,
    )


def _hint(body: bytes) -> _Hint | None:
    """None where the body is empty, is not JSON (XML, say), or names no resource."""
    try:
        parsed: Any = json.loads(body)
    except (ValueError, RecursionError):  # RecursionError: nested past any resource
        return None
    if not isinstance(parsed, dict):
        return None
    kind, resource_id, meta = parsed.get("resourceType"), parsed.get("id"), parsed.get("meta")
    if kind == "Bundle":
        return _Hint(several=True)
    if not (
        isinstance(kind, str) and isinstance(resource_id, str) and _TYPE.fullmatch(kind) and _ID.fullmatch(resource_id)
    ):
        return None
    version = meta.get("versionId") if isinstance(meta, dict) else None
    usable = isinstance(version, str) and _ID.fullmatch(version)
    return _Hint(kind, resource_id, str(version) if usable else "")


def _bears(token: str, call: Request) -> bool:
    """The comparison takes the same time wherever the first wrong character is."""
    scheme, _, given = call.headers.get("Authorization", "").partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token.encode())


def _body(call: Request, max_bytes: int) -> bytes:
    """The whole body, or an error: a body that was cut off, by its sender or by our limit, is never taken for a whole one."""
    call.max_content_length = max_bytes + 1  # werkzeug silently stops at the limit where the body comes in chunks
    body = call.get_data(cache=False)
    if len(body) > max_bytes:
        raise RequestEntityTooLarge
    if call.content_length is not None and len(body) < call.content_length:
        raise ClientDisconnected
    return body


def _empty(status: int, headers: dict[str, str] | None = None) -> Response:
    answer = Response(status=status, headers=headers)
    del answer.headers["Content-Type"]
    return answer
