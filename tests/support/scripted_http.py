"""A peer on loopback that answers what the test scripted, and remembers what it was asked."""

import json
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import SimpleQueue
from typing import Any


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it came in; header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Scripted:
    """An answer. `length` other than the body's makes a truncated one; `hold` is waited for before the body's second half goes out."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    length: int | None = None
    hold: threading.Event | None = None


def fhir(resource: Mapping[str, Any], status: int = 200, **headers: str) -> Scripted:
    return Scripted(status, json.dumps(resource).encode(), {"Content-Type": "application/fhir+json", **headers})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    owner: "ScriptedServer"

    def setup(self) -> None:
        super().setup()
        self.owner.connections += 1

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (ConnectionError, ssl.SSLError):
            self.close_connection = True  # the client left: what a test of time-outs wants

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(self.command, self.path, headers, body)
        self.owner.asked.append(asked)
        self.owner.arrivals.put(asked)
        self._send(self.owner.answer(asked))

    def _send(self, scripted: Scripted) -> None:
        self.send_response_only(scripted.status)  # no Date of its own
        for name, value in scripted.headers.items():
            self.send_header(name, value)
        length = len(scripted.body) if scripted.length is None else scripted.length
        if scripted.status != 204:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        half = len(scripted.body) // 2 if scripted.hold else len(scripted.body)
        self.wfile.write(scripted.body[:half])
        if scripted.hold:
            self.wfile.flush()
            scripted.hold.wait(30)
            self.wfile.write(scripted.body[half:])
        self.close_connection = self.close_connection or length != len(scripted.body)

    do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815 - the standard library's names

    def log_message(self, *_: object) -> None:
        pass


class ScriptedServer:
    """`answer` is called in the server's threads for every request."""

    def __init__(
        self, answer: Callable[[Asked], Scripted], port: int = 0, *, tls: ssl.SSLContext | None = None
    ) -> None:
        self.answer = answer
        self.connections = 0  # that were ever made
        self.scheme = "https" if tls else "http"
        self.asked: list[Asked] = []
        self.arrivals: SimpleQueue[Asked] = SimpleQueue()  # for tests that wait for one
        handler = type("Handler", (_Handler,), {"owner": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", port), handler)
        self._server.daemon_threads = True
        if tls:  # the handshake is its handler's: one that fails must not end the server
            self._server.socket = tls.wrap_socket(self._server.socket, True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return self._server.server_port

    @property
    def url(self) -> str:
        host = "localhost" if self.scheme == "https" else "127.0.0.1"  # the name that certificates have
        return f"{self.scheme}://{host}:{self.port}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@contextmanager
def scripted_server(answer: Callable[[Asked], Scripted], tls: ssl.SSLContext | None = None) -> Iterator[ScriptedServer]:
    server = ScriptedServer(answer, tls=tls)
    try:
        yield server
    finally:
        server.close()


def in_turn(*answers: Scripted) -> Callable[[Asked], Scripted]:
    """One after the other; the last one again and again."""
    remaining = list(answers)
    return lambda _: remaining.pop(0) if len(remaining) > 1 else remaining[0]
