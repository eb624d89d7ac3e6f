"""The door of FHIR: REST-hook notifications of a Subscription (R4 §2.46 channel `rest-hook`).

The contract, made for what real servers do: any answer but `204` without a body may be sent again twenty times, and a 4xx for one
event delays all others. So an event that we cannot use is kept as quarantined and answered 204; only a wrong token (401), a body
over the limit (413) and a store that cannot commit (503) are said. The body is a hint and never believed: it only names which
resource to read again from the server.
"""

import zlib
from collections.abc import Callable

from flask import Blueprint, Request, Response, request
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge
from werkzeug.routing import PathConverter

from fhir_bridge.errors import Unavailable
from fhir_bridge.hook_intake import HookCall, call_of
from fhir_bridge.hook_token import opens

Receive = Callable[[HookCall], object]  # durable when it returns; raises Unavailable
Count = Callable[[str], None]

_GZIP = 16 + zlib.MAX_WBITS


def hooks(
    receive: Receive, secret: str, max_body_bytes: int, count: Count = lambda outcome: None, previous: str = ""
) -> Blueprint:
    """`POST|PUT|DELETE /hooks/fhir/<subscription>[/<Type>/<id>]`. `count` hears how each call ended.

    A caller bears the token that `hook_token.token_for` makes of the secret, or of the `previous` one, or the secret itself.
    Raises ValueError for an empty secret: there is no hook without one.
    """
    if not secret:
        raise ValueError("a hook needs a bearer token")
    blueprint = Blueprint("hooks", __name__, url_prefix="/hooks/fhir")

    def called(hook: str) -> Response:
        subscription, _, resource = hook.partition("/")
        body = _body(
            request, max_body_bytes
        )  # before anything is answered: what is left unread would be the next request
        if not opens(_bearer(request), subscription, (secret, previous)):
            count("unauthorized")
            return _empty(401, {"WWW-Authenticate": "Bearer"})
        headers = request.headers.get("Content-Type", ""), request.headers.get("If-Match", "")
        call = call_of(subscription, request.method, resource.strip("/"), headers, body)
        receive(call)
        count(call.outcome)
        return _empty(204)

    blueprint.record_once(lambda state: state.app.url_map.converters.update(anything=_Anything))
    blueprint.add_url_rule(
        "/<anything:hook>", view_func=called, methods=["POST", "PUT", "DELETE"], provide_automatic_options=False,
        strict_slashes=False, merge_slashes=False,  # else a redirect, which no server follows
    )  # fmt: skip

    @blueprint.errorhandler(RequestEntityTooLarge)
    def too_large(_error: RequestEntityTooLarge) -> Response:
        count("too-large")
        return _empty(413)

    @blueprint.errorhandler(Unavailable)
    def unavailable(_error: Unavailable) -> Response:
        count("unavailable")
        return _empty(503)

    return blueprint


class _Anything(PathConverter):
    """A path with line breaks, too: nothing that a server calls is answered 404, and sent again twenty times."""

    regex = "(?s:[^/].*?)"


def _bearer(call: Request) -> str:
    """Empty where the scheme is another, and never equal to a token then."""
    scheme, _, given = call.headers.get("Authorization", "").partition(" ")
    return given.strip() if scheme.lower() == "bearer" else ""


def _body(call: Request, max_bytes: int) -> bytes:
    """The whole body, or an error: a body that was cut off, by its sender or by our limit, is never taken for a whole one."""
    call.max_content_length = max_bytes + 1  # werkzeug silently stops at the limit where the body comes in chunks
    body = call.get_data(cache=False)
    if len(body) > max_bytes:
        raise RequestEntityTooLarge
    if call.content_length is not None and len(body) < call.content_length:
        raise ClientDisconnected
    return (
        _inflated(body, max_bytes) if call.headers.get("Content-Encoding", "").lower() in ("gzip", "x-gzip") else body
    )


def _inflated(body: bytes, max_bytes: int) -> bytes:
    """What was compressed (RFC 1952, one member), never more than the limit; as it came where it is no gzip, or not all of one."""
    inflater = zlib.decompressobj(_GZIP)
    try:
        found = inflater.decompress(body, max_bytes + 1)
    except zlib.error:
        return body
    if len(found) > max_bytes:
        raise RequestEntityTooLarge
    return found if inflater.eof and not inflater.unused_data else body


def _empty(status: int, headers: dict[str, str] | None = None) -> Response:
    answer = Response(status=status, headers=headers)
    del answer.headers["Content-Type"]
    return answer
