"""The Flask application: what holds for every page and every machine interface. compose adds the blueprints."""

from collections.abc import Collection, Sequence
from types import TracebackType
from urllib.parse import urlsplit

from flask import Blueprint, Flask, Response, g, render_template, request
from werkzeug.exceptions import HTTPException, InternalServerError

from fhir_bridge import log
from fhir_bridge.errors import BridgeError, Unavailable, classify

LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

_CACHED = ("static", "jwks.key_set")

ExceptionInfo = tuple[type, BaseException, TracebackType] | tuple[None, None, None]


class BridgeFlask(Flask):
    """Flask that never writes down the text of an exception: it may quote a patient."""

    def log_exception(self, exc_info: ExceptionInfo) -> None:
        """Type and frames, under the id that the error page shows."""
        error = exc_info[1]
        found = classify(error if isinstance(error, Exception) else RuntimeError())
        g.error_id = found.error_id
        log.event(
            "http.bug",
            error_id=found.error_id,
            error_type=found.where,
            frames=found.frames,
            method=request.method,
            where=request.endpoint or "",
        )


def make_app(blueprints: Sequence[Blueprint], hosts: Collection[str] = LOOPBACK_HOSTS) -> Flask:
    """One application of these blueprints. It answers only to the names in `hosts` (against DNS rebinding).

    A host is a name or an address without the port, an IPv6 address in brackets.
    """
    app = BridgeFlask(__name__)
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    known = frozenset(host.lower() for host in hosts)

    @app.before_request
    def check_host() -> Response | None:
        if _name_of(request.host) in known:
            return None
        return Response("This server does not go by that name.\n", 421, mimetype="text/plain")

    @app.after_request
    def add_headers(response: Response) -> Response:
        response.headers.update(HEADERS)
        if request.endpoint in _CACHED:
            response.headers["Cache-Control"] = "max-age=300"
        return response

    app.register_error_handler(HTTPException, _said_no)
    app.register_error_handler(InternalServerError, _bug)
    app.register_error_handler(Unavailable, _unavailable)
    app.register_error_handler(BridgeError, _refused)
    for blueprint in blueprints:
        app.register_blueprint(blueprint)
    return app


def host_of(url: str) -> str:
    """The host of a URL as `hosts` wants it: `http://Bridge.example:8765/x` is `bridge.example`; empty where there is none."""
    return _name_of(urlsplit(url).netloc.rpartition("@")[2])


def _name_of(host: str) -> str:
    name, colon, port = host.lower().rpartition(":")
    return name if colon and port.isdigit() else host.lower()


def _page(status: int, title: str, words: str) -> tuple[str, int]:
    return render_template("error.html", status=status, title=title, words=words), status


def _said_no(error: HTTPException) -> tuple[str, int] | HTTPException:
    if error.code is None or error.code < 400:
        return error  # a redirect
    title = "Not found" if error.code == 404 else error.name
    return _page(error.code, title, "The worklist has everything that there is to see.")


def _unavailable(error: Unavailable) -> tuple[str, int]:
    return _page(
        503,
        "Not available now",
        f"Our store or a peer cannot answer at the moment ({error.code}). Nothing is lost; try again.",
    )


def _refused(error: BridgeError) -> tuple[str, int]:
    """Whatever else is known by its code; of a bug met elsewhere, `where` is the error id."""
    return _page(500, "Something went wrong here", f"The operations manual explains it: {error.code} at {error.where}.")


def _bug(_error: InternalServerError) -> tuple[str, int]:
    error_id = g.get("error_id", "")
    return _page(
        500, "Something went wrong here", f"This is our mistake. The log has it under the error id {error_id}."
    )
