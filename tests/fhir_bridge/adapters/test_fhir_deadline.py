"""A server that never is silent and never comes to an end, against the deadline of a call."""

import gzip
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from fhir_bridge.adapters.fhir_client import FhirClient
from fhir_bridge.adapters.fhir_transport import Limits
from fhir_bridge.errors import BridgeError, Unavailable, Uncertain

PATIENT = b'{"resourceType": "Patient", "id": "1"}'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/fhir+json\r\n"
GZIPPED = HEAD + b"Content-Encoding: gzip\r\nConnection: close\r\n\r\n"
EMPTY_BLOCK = b"\x00\x00\x00\xff\xff"  # of deflate (RFC 1951 §3.2.4): nothing comes of it
DRIPPING = {  # what is sent at once, what is sent again and again, and what would make it whole
    "status line": (b"HTTP/1.1", b" ", b"200 OK\r\n"),
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n", HEAD),
    "a header": (HEAD + b"X: ", b"x", b"\r\n\r\n"),
    "the size of a chunk": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"0", b"\r\n\r\n"),
    "packed nothing": (GZIPPED + gzip.compress(PATIENT)[:10], EMPTY_BLOCK, b""),
    "a body": (HEAD + b"Content-Length: 100000\r\n\r\n", b" ", b""),
}


@contextmanager
def dripping(first: bytes, piece: bytes, last: bytes) -> Iterator[str]:
    """Base URL of a server that drips for two seconds, then ends its answer."""
    listening, left = socket.create_server(("127.0.0.1", 0)), threading.Event()

    def serve() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(65536)
            try:
                connection.sendall(first)
                for _ in range(200):
                    left.wait(0.01)
                    connection.sendall(piece)
                connection.sendall(last)
            except OSError:
                pass  # the client left: what the test wants

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/fhir"
    finally:
        left.set()
        listening.close()
        thread.join(5)


@pytest.mark.parametrize("answer", DRIPPING.values(), ids=list(DRIPPING))
@pytest.mark.parametrize("writes", [False, True])
def test_an_answer_that_drips_ends_by_the_deadline(answer: tuple[bytes, bytes, bytes], writes: bool) -> None:
    limits = Limits(timeout_seconds=30, deadline_seconds=0.2)
    with dripping(*answer) as url, FhirClient(url, limits=limits) as client:
        began = time.monotonic()
        with pytest.raises(BridgeError) as raised:
            client.transaction({"resourceType": "Bundle"}) if writes else client.read("Patient/1")
        seconds = time.monotonic() - began
    assert seconds < 1
    assert (type(raised.value), raised.value.code) == (
        (Uncertain, "fhir.uncertain") if writes else (Unavailable, "fhir.unavailable")
    )
