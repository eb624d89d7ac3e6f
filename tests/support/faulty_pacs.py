"""A DICOMweb server on loopback that lists its instances rightly and sends them wrongly, by script."""

import contextlib
import io
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pydicom

from tests.support.studies import an_instance

BOUNDARY = b"canary-free-boundary"
_QIDO = {"00080016": "SOPClassUID", "00080018": "SOPInstanceUID", "00080050": "AccessionNumber", "00080060": "Modality"}
_QIDO |= {"0020000D": "StudyInstanceUID", "0020000E": "SeriesInstanceUID"}

# fault -> status of the answer to a retrieval
_STATUSES = {
    "server-error": 500,
    "partial-content": 206,
    "unauthorized": 401,
    "redirect": 302,
    "busy": 503,
    "gone": 404,
}

# fault -> what becomes of the instances
_INSTANCES: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "missing-slice": lambda sent: sent[:-1],
    "foreign-instance": lambda sent: [*sent[:-1], an_instance(study_uid="1.2.3.4")],
    "extra-instance": lambda sent: [*sent, an_instance(number=99)],
    "twice-the-same": lambda sent: [*sent, sent[0]],
    "twice-but-different": lambda sent: [*sent, an_instance(number=1, size=8)],
    "not-dicom": lambda sent: [sent[0], b"<html>", *sent[2:]],
    "half-an-instance": lambda sent: [sent[0], sent[1][:-100], *sent[2:]],
}

# fault -> what becomes of the multipart body
_BODIES: dict[str, Callable[[bytes], bytes]] = {
    "cut-inside-a-part": lambda body: body[: len(body) // 2],
    "no-closing-delimiter": lambda body: body[: -len(b"--\r\n")],
    "wrong-part-length": lambda body: body.replace(b"\r\nX-Length:", b"\r\nContent-Length: 9\r\nX-Length:", 1),
    "silent": lambda body: body[: len(body) // 2],
}


@dataclass
class FaultyPacs:
    """What to serve, and how. `fault` concerns retrievals; `page` caps every page of results below what was asked for."""

    instances: Sequence[bytes]
    fault: str = ""
    page: int = 1000
    knows_offset: bool = True
    queries: list[str] = field(default_factory=list)
    credentials: list[str] = field(default_factory=list)
    url: str = ""
    _closing: threading.Event = field(default_factory=threading.Event)

    def listing(self, query: str) -> list[dict[str, object]]:
        parameters = parse_qs(query)
        self.queries.append(query)
        start = int(parameters.get("offset", ["0"])[0]) if self.knows_offset else 0
        headers = [pydicom.dcmread(io.BytesIO(content), stop_before_pixels=True) for content in self.instances]
        items = [{tag: {"vr": "LO", "Value": [str(h[word].value)]} for tag, word in _QIDO.items()} for h in headers]
        return items[start : start + min(self.page, int(parameters["limit"][0]))]

    def pieces(self) -> Iterator[bytes]:
        """The body of a retrieval, as the fault will have it."""
        instances = _INSTANCES.get(self.fault, list)(list(self.instances))
        body = b"".join(map(_part, instances)) + b"\r\n--" + BOUNDARY + b"--\r\n"
        body = _BODIES.get(self.fault, bytes)(body)
        if self.fault == "trickling":
            for position in range(len(body)):
                yield body[position : position + 1]
                if self._closing.wait(0.01):
                    return
        while self.fault == "endless" and not self._closing.is_set():
            yield _part(self.instances[0])
        yield body
        if self.fault == "silent":
            self._closing.wait(60)


def _part(content: bytes) -> bytes:
    head = b"\r\n--" + BOUNDARY + b"\r\nContent-Type: application/dicom\r\nX-Length: %d\r\n\r\n" % len(content)
    return head + content


@contextlib.contextmanager
def running(pacs: FaultyPacs) -> Iterator[FaultyPacs]:
    class Handler(_Handler):
        script = pacs

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    pacs.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield pacs
    finally:
        pacs._closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    script: FaultyPacs

    def do_GET(self) -> None:
        path = urlsplit(self.path)
        self.script.credentials.append(self.headers.get("Authorization", ""))
        if "limit=" in path.query:
            self._answer(200, "application/dicom+json", [json.dumps(self.script.listing(path.query)).encode()])
        elif self.script.fault in _STATUSES:
            self._answer(_STATUSES[self.script.fault], "text/plain", [b"no"])
        elif self.script.fault == "html":
            self._answer(200, "text/html", [b"<html>Please sign in</html>"])
        else:
            content_type = f'multipart/related; type="application/dicom"; boundary={BOUNDARY.decode()}'
            self._answer(200, content_type, self.script.pieces())

    def _answer(self, status: int, content_type: str, pieces: Sequence[bytes] | Iterator[bytes]) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Retry-After", "7")
        self.send_header("Location", "/elsewhere?limit=1")
        self.end_headers()  # HTTP/1.0: the end of the connection is the end of the body
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                self.wfile.write(piece)
                self.wfile.flush()

    def log_message(self, *arguments: object) -> None:
        """Nothing: a URL holds an accession number."""
